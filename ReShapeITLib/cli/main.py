"""Entry point of the ``reshapeit`` command: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 the input does not look like the organ, 130 cancelled.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from .. import __version__
from ..core.progress import Progress, cancel_on_signals
from ..job.explanation import explained
from . import batch, demo, metrics, prepare, refine, report, templates, train, train_restoration
from .common import Parser, escape_unprintable

COMMANDS = (refine, batch, report, prepare, train, train_restoration, templates, metrics, demo)
NOTICE = "Research software, not a medical device."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns the exit code."""
    return run_command(build_parser, list(sys.argv[1:] if argv is None else argv))


def run_command(make_parser: Callable[[], Parser], argv: list[str]) -> int:
    """Parse and run, turning whatever goes wrong into one line and an exit code.

    Args:
        make_parser: to a parser whose arguments have ``run``, and ``progress`` where the command has that option.
        argv: the arguments; ``--debug`` among them shows tracebacks.
    """
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    escape_unprintable()
    progress = Progress("json" if _asks_for_json(argv) else "none")  # for usage errors; the subcommand's own follows
    try:
        arguments = make_parser().parse_args(argv)
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
