"""Entry point of the ``reshapeit`` command: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 the input does not look like the organ, 130 cancelled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import traceback
from collections.abc import Sequence

from .. import __version__
from ..device import is_out_of_memory
from ..errors import BadInputError, CancelledError, ReShapeITError
from ..progress import Progress, cancel_on_signals
from . import batch, demo, evaluate, metrics, prepare, refine, report, templates, train, train_restoration
from .common import Parser

COMMANDS = (refine, batch, report, prepare, train, train_restoration, templates, metrics, evaluate, demo)
CPU_MEMORY_IS_FULL = ("can't allocate memory", "not enough memory")  # torch's, on Windows the second
NOTICE = "Research software, not a medical device."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        arguments = build_parser().parse_args([word for word in argv if word != "--debug"])
        return _run(arguments)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except BrokenPipeError:
        # Whoever read our output is gone; stdout must not fail again when Python closes it.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        told = explained(error)
        print("reshapeit: " + " ".join(str(told).split()), file=sys.stderr)
        return told.exit_code


def build_parser() -> Parser:
    """Parser of all subcommands."""
    parser = Parser(
        prog="reshapeit",
        description=f"Repair organ segmentations with learned implicit shape templates. {NOTICE}",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error (also after COMMAND)")
    parser.add_argument("--version", action="version", version=f"reshapeit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def explained(error: BaseException) -> ReShapeITError:
    """An error in words for the user: what happened and what to do, with its exit code."""
    if isinstance(error, ReShapeITError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return CancelledError("cancelled; nothing was written")
    if is_out_of_memory(error):
        return ReShapeITError("The GPU has too little free memory; use --device cpu or close other programs.")
    if isinstance(error, MemoryError) or any(words in str(error) for words in CPU_MEMORY_IS_FULL):
        return ReShapeITError("There is too little free memory; close other programs, crop the input or use a draft.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BadInputError(f"The disk is full ({error.filename or error}); free some space or choose another folder.")
    if isinstance(error, OSError) and error.filename:
        return BadInputError(f"{error.filename}: {error.strerror}; check the path and its permissions.")
    return ReShapeITError(f"Unexpected {type(error).__name__}: {error}; run again with --debug to see where.")


def _run(arguments) -> int:
    """Run the subcommand; ``arguments.progress``, the mode, becomes the Progress that it reports to."""
    progress = arguments.progress = Progress(getattr(arguments, "progress", "none"))
    # Signal handlers can only be set in the main thread; elsewhere the caller cancels.
    in_main = threading.current_thread() is threading.main_thread()
    with cancel_on_signals(progress) if in_main else contextlib.nullcontext():
        try:
            return arguments.run(arguments) or 0
        finally:
            progress.close()


if __name__ == "__main__":
    sys.exit(main())
