"""``reshapeit report``: an HTML page to review refinements with, for a case or a cohort."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import BadInputError
from .common import add_progress_option, positive_number

_NOTES = """\
SOURCE is a summary that 'reshapeit refine --report' wrote (a case), a folder with such summaries at any depth or the
folder of a batch (a cohort), or a table (.csv, .parquet) with the columns case, input, output, and where there are any
report, surface, image, truth, label, status, error. Input and output must still be where the summary says, or lie
beside it. The page is one file that opens without a network: pictures before and after, what moved, slices through the
largest change, measures, plausibility, licences; of a cohort a table to sort and filter, the worst case first. Where
no case can be shown the page has the reasons, and the exit code is 2.
"""


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)
    parser.add_argument("source", metavar="SOURCE", help="summary .json, folder of summaries or of a batch, or table")
    parser.add_argument("--output", required=True, metavar="HTML", help="page to write")
    parser.add_argument(
        "--truth",
        metavar="FILE|FOLDER",
        help="label file to compare with; of a cohort, a folder of files named as the cases",
    )
    parser.add_argument(
        "--image",
        metavar="FILE|FOLDER",
        help="image to show behind the outlines; of a cohort, a folder of files named as the cases",
    )
    parser.add_argument("--title", help="heading (default: from the name of SOURCE)")
    parser.add_argument(
        "--details",
        type=positive_number,
        default=100,
        metavar="N",
        help="so many cases, the worst, get a section with large pictures (default: 100)",
    )
    add_progress_option(parser)


def run(arguments) -> None:
    """Find the cases, write the page, say what is in it."""
    output = Path(arguments.output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(
            "{output} is no HTML file name", "give one that ends in .html", "review.output", output=output
        )
    from ..review.build import write_review
    from ..review.sources import find_cases

    source = Path(arguments.source)
    cases = find_cases(source, _path(arguments.truth), _path(arguments.image))
    title = arguments.title or f"Review of {source.resolve().name.removesuffix(source.suffix)}"
    reviewed = write_review(cases, output, title, arguments.details, arguments.progress)
    failed = sum(one.status == "failed" for one in reviewed)
    arguments.progress.stage("done", 1.0)
    if arguments.progress.mode != "json":
        size_mb = output.stat().st_size / 1e6
        print(f"{len(reviewed)} cases, {failed} of them failed or cannot be shown; wrote {output} ({size_mb:.1f} MB)")
    if failed == len(reviewed):
        words, hint = "Nothing of {input} can be shown: {reason}", "bring the files back; {output} has all reasons"
        reason = reviewed[0].trouble.rstrip(".")
        raise BadInputError(words, hint, "review.nothing_shown", input=source, output=output, reason=reason)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
