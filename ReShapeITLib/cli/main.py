"""Entry point of the ``reshapeit`` command: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 the input does not look like the organ, 130 cancelled.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module

from .. import __version__
from ..core.progress import Progress, cancel_on_signals
from .common import Parser, add_command, escape_unprintable

# A subcommand's file is imported when the command is called: --version and --help must be quick.
COMMANDS = {
    "refine": "repair organs of a segmentation with templates",
    "batch": "refine many files; goes on where it stopped",
    "report": "write an HTML page to review refinements with",
    "prepare": "sample label files of one organ for training",
    "train": "train a template; the same command again goes on where it stopped",
    "train-restoration": "train the network that tells damage from organ; goes on where it stopped",
    "templates": "list, describe, draw and fetch templates",
    "decide": "make another choice of a refinement's suggestions, at once",
    "serve": "answer requests of a program on stdin, with templates and results in memory",
    "calibrate": "fit the probabilities of suggestions to organs whose truth is known",
    "metrics": "compare a segmentation with a reference",
    "demo": "draw a patient from a template, damage it, refine it, measure it",
}
NOTICE = "Research software, not a medical device."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: build_parser(next((word for word in words if not word.startswith("-")), "")), words)


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
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every error ends as one sentence
        from ..job.explanation import explained

        if debug:
            from traceback import print_exc

            print_exc()
        told = explained(error)
        print("reshapeit: " + " ".join(str(told).split()), file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):
            progress.failure(told)
        return told.exit_code


def build_parser(called: str | None = None) -> Parser:
    """Parser of all subcommands.

    Args:
        called: the only subcommand whose own arguments are needed; None for all.
    """
    parser = Parser(
        prog="reshapeit",
        description=f"Repair organ segmentations with learned implicit shape templates. {NOTICE}",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error (also after COMMAND)")
    parser.add_argument("--version", action="version", version=f"reshapeit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, summary in COMMANDS.items():
        command = add_command(commands, name, summary)
        if called in (None, name):
            import_module(f".{name.replace('-', '_')}", __package__).add_arguments(command)
    return parser


def _asks_for_json(argv: Sequence[str]) -> bool:
    return "--progress=json" in argv or ("--progress", "json") in itertools.pairwise(argv)


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
