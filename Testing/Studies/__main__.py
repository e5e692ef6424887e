"""Measure methods on many cases and report.

    python -m Testing.Studies STUDY.yaml --output FOLDER [--workers N]

STUDY.yaml names the organ, its label files (truths), families of input (predictions, damage, coarse, sparse, clean) and
methods, as described in ``Testing/Studies/evaluation/study.py``, or another study as its base and what differs. The
folder gets rows.jsonl while the study runs; the same command again goes on where it stopped. In the end it holds
results.csv, results.parquet, statistics.csv, summary.md, charts, pictures and report.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ReShapeITLib.cli.common import Parser, add_progress_option, notice_of, positive_number
from ReShapeITLib.cli.main import run_command
from ReShapeITLib.core.errors import CancelledError


def main(argv: Sequence[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's arguments); returns the exit code of ``reshapeit``."""
    return run_command(build_parser, list(sys.argv[1:] if argv is None else argv))


def build_parser() -> Parser:
    """Parser of the command."""
    parser = Parser(prog="python -m Testing.Studies", description="Measure methods on many cases and report.")
    parser.add_argument("study", metavar="STUDY.yaml", help="what to measure")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="for rows, tables and report; made if absent")
    parser.add_argument("--workers", type=positive_number, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--calibrations",
        metavar="FOLDER",
        type=Path,
        help="of calibrations each without a patient, as calibration --left-out writes them (default: the shipped one)",
    )
    add_progress_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments) -> None:
    """Read the study, measure what is missing, write the report.

    Raises:
        BadInputError: the study or a file it names is wrong, or a case was trained on.
        CancelledError: the user cancelled; the rows so far are kept.
    """
    from .evaluation.patients import check_patients
    from .evaluation.report import write_report
    from .evaluation.run import run_study
    from .evaluation.study import read_study

    study = replace(read_study(arguments.study), calibrations=arguments.calibrations)
    folder = Path(arguments.output)
    check_patients(study)
    try:
        rows = run_study(study, folder, arguments.workers, arguments.progress.part(0.0, 0.9))
        report = write_report(study, rows, folder, notice_of(arguments.progress), arguments.progress.part(0.9, 1.0))
    except CancelledError as error:
        raise CancelledError(f"cancelled; the same command goes on from the rows in {folder}") from error
    failed = sum("error" in row for row in rows)
    arguments.progress.stage("done", 1.0)
    if arguments.progress.mode != "json":
        print(f"measured {len(rows)} rows, {failed} of them failed; wrote {report}")


if __name__ == "__main__":
    sys.exit(main())
