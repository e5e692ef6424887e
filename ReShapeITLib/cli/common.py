"""Options that several subcommands share. Nothing heavy is imported here: ``--help`` must be quick."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import BadInputError, CancelledError
from ..core.progress import MODES, Progress

if TYPE_CHECKING:
    from ..job.options import Option


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are BadInputErrors, so that usage errors are one line, too."""

    def error(self, message: str):
        raise BadInputError("{problem}", "see '{command} --help'", "usage", problem=message, command=self.prog)


def add_command(commands, name: str, summary: str) -> Parser:
    """A subcommand's parser, whose default ``run`` is a function of the arguments to nothing or an exit code."""
    return commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """``--progress``; left out, it is a bar on a terminal and nothing elsewhere."""
    parser.add_argument(
        "--progress",
        choices=MODES,
        default="bar" if sys.stderr.isatty() else "none",
        help="bar on stderr, one JSON object a line on stdout, or none (default: bar on a terminal)",
    )


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say of a training that is cancelled how it goes on."""
    try:
        yield
    except CancelledError as error:
        raise CancelledError(
            "cancelled",
            "the same command resumes from the last checkpoint in {path}",
            "cancelled.training",
            path=folder,
        ) from error


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Options of a refinement, as ``job.options`` declares them."""
    for option in options:
        parser.add_argument(option.flag, **option.argument())


def whole_number(text: str) -> int:
    """An argument that is a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return int(text)


def positive_number(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def notice(text: str) -> None:
    """One line for the user beside the result, on stderr."""
    print(f"reshapeit: {text}", file=sys.stderr)


def notice_of(progress: Progress) -> Callable[[str], None]:
    """Where a run's notices go: into its JSON lines where there are such, else to stderr."""
    return progress.notice if progress.mode == "json" else notice


def escape_unprintable() -> None:
    """Let stdout and stderr write what their encoding lacks as escapes: names of organs and files are in any script."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # replaced by something that is no text file, or closed
            stream.reconfigure(errors="backslashreplace")
