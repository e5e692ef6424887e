"""Entry point of the ``reshapeit`` command: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 the input does not look like the organ, 130 cancelled.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence

from .. import __version__
from ..atomic import FULL
from ..device import is_out_of_memory
from ..errors import (
    DISK_FULL,
    MISSING_PACKAGE,
    OUT_OF_MEMORY,
    BadInputError,
    CancelledError,
    ReShapeITError,
)
from ..progress import Progress, cancel_on_signals
from . import batch, demo, evaluate, metrics, prepare, refine, report, templates, train, train_restoration
from .common import Parser, escape_unprintable

COMMANDS = (refine, batch, report, prepare, train, train_restoration, templates, metrics, evaluate, demo)
CPU_MEMORY_IS_FULL = ("can't allocate memory", "not enough memory")  # torch's, on Windows the second
NOTICE = "Research software, not a medical device."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    escape_unprintable()
    progress = Progress("json" if _asks_for_json(argv) else "none")  # for usage errors; the subcommand's own follows
    try:
        arguments = build_parser().parse_args(argv)
        progress = arguments.progress = Progress(getattr(arguments, "progress", "none"))
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
        with contextlib.suppress(OSError, ValueError):
            progress.failure(told)
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
        return ReShapeITError(
            "The GPU has too little free memory", "use --device cpu or close other programs", OUT_OF_MEMORY
        )
    if isinstance(error, MemoryError) or any(words in str(error) for words in CPU_MEMORY_IS_FULL):
        return ReShapeITError(
            "There is too little free memory", "close other programs, crop the input or use a draft", OUT_OF_MEMORY
        )
    if isinstance(error, ImportError):
        return _missing_package(error)
    if isinstance(error, RuntimeError) and "Numpy is not available" in str(error):  # torch's words
        return ReShapeITError(
            "PyTorch {torch} was built for NumPy 1 and does not work with NumPy {numpy}",
            "install numpy<2 or torch>=2.3", "torch_numpy", torch=_version("torch"), numpy=_version("numpy"),
        )  # fmt: skip
    if isinstance(error, OSError) and error.errno in FULL:
        return BadInputError(
            "The disk is full ({path})", "free some space or choose another folder", DISK_FULL,
            path=error.filename or error,
        )  # fmt: skip
    if isinstance(error, OSError) and error.filename:
        return BadInputError(
            "{path}: {reason}", "check the path and its permissions", "file.refused",
            path=error.filename, reason=error.strerror,
        )  # fmt: skip
    return ReShapeITError(
        "Unexpected {kind}: {reason}", "run again with --debug to see where", "unexpected",
        kind=type(error).__name__, reason=error,
    )  # fmt: skip


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _missing_package(error: ImportError) -> ReShapeITError:
    package = (error.name or "").partition(".")[0]
    hint = "install ReShapeITLib's requirements again"
    if isinstance(error, ModuleNotFoundError):
        return ReShapeITError("The Python package {package} is missing", hint, MISSING_PACKAGE, package=package)
    words = "The Python package {package} cannot be loaded ({reason})"
    package = package or "that is asked for"
    return ReShapeITError(words, hint, MISSING_PACKAGE, package=package, reason=error)


def _asks_for_json(argv: Sequence[str]) -> bool:
    return "--progress=json" in argv or ("--progress", "json") in zip(argv, argv[1:], strict=False)


def _run(arguments) -> int:
    """Run the subcommand, which reports to ``arguments.progress``."""
    progress = arguments.progress
    progress.started()
    # Signal handlers can only be set in the main thread; elsewhere the caller cancels.
    in_main = threading.current_thread() is threading.main_thread()
    with cancel_on_signals(progress) if in_main else contextlib.nullcontext():
        try:
            code = arguments.run(arguments) or 0
        finally:
            progress.close()
    progress.result({})  # of a subcommand that has told none
    return code


if __name__ == "__main__":
    sys.exit(main())
