"""``reshapeit batch``: many files on this machine or on a dask cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..job.options import BATCH, option_values, options_of
from .common import add_options, add_progress_option, notice_of, whole_number

_NOTES = """\
Results have the names of their inputs; results.csv and results.parquet in DIR have a row for each organ. The same
command again goes on where the first one ended, and repeats only cases whose input, options, template or network
changed, and those that failed. Exit codes: 0 all done, 1 some cases were refused or failed (see the table), 2 bad
usage, 130 cancelled.
"""
_SURFACES = (".vtp", ".vtk", ".ply", ".stl", ".obj")


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)
    parser.add_argument(
        "source",
        metavar="DIR|TABLE",
        help="folder of label files and of patients' folders (s0001/segmentations/liver.nii.gz, ...), or a CSV table "
        "with the column 'input' and, if wanted, name, template, label, image (a CT, or the folder of its DICOM "
        "files; ct.nii.gz beside segmentations/ is found), include and exclude (files of points)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results; made if absent")
    parser.add_argument("--template", default="", metavar="NAME|FILE", help="as for 'reshapeit refine'")
    parser.add_argument("--label", default="", metavar="N", help="label number, segment id or name")
    parser.add_argument("--surfaces", choices=_SURFACES, default="", help="also write meshes, of this format")
    parser.add_argument("--reports", action="store_true", help="also write a JSON report of each case (a bit slower)")
    parser.add_argument(
        "--scheduler",
        default="local",
        metavar="local|tcp://HOST:PORT",
        help="workers on this machine, or a dask scheduler that sees the same folders (default: local)",
    )
    for name, kind, default, metavar, text in (
        ("--workers", whole_number, 0, "N", "on this machine (default: half the cores)"),
        ("--timeout", _number, 3600.0, "S", "seconds that a case may take (default: 3600; 0: no limit)"),
        ("--memory-limit", _number, 0.0, "GB", "that a case may take (default: no limit)"),
        ("--retries", whole_number, 2, "N", "of a case whose process died (default: 2)"),
    ):
        parser.add_argument(name, type=kind, default=default, metavar=metavar, help=text)
    add_options(parser, options_of(BATCH))
    add_progress_option(parser)


def run(arguments) -> int:
    """Refine all; one line says what came of it."""
    from ..batch.cases import BatchOptions, read_cases
    from ..batch.run import BatchSettings, run_batch

    options = BatchOptions(
        template=arguments.template,
        label=arguments.label,
        surface=arguments.surfaces,
        reports=arguments.reports,
        **option_values(arguments),
    )
    cases = read_cases(arguments.source, Path(arguments.out), options)
    settings = BatchSettings(
        arguments.scheduler, arguments.workers, arguments.timeout, arguments.memory_limit, arguments.retries
    )
    result = run_batch(cases, settings, arguments.progress, notice_of(arguments.progress))
    told = f"{result.done} done, {result.refused} refused, {result.failed} failed; see {result.table}.csv"
    if result.organs_left:
        told = f"{result.organs_left} organs stay as they are; {told}"
    arguments.progress.stage("done", 1.0, told)
    counts = {"done": result.done, "refused": result.refused, "failed": result.failed, "skipped": result.skipped}
    counts["organs_left"] = result.organs_left
    arguments.progress.result({"table": f"{result.table}.csv", **counts})
    if arguments.progress.mode != "json":
        print(told)
    return 1 if result.refused or result.failed else 0


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 0")
    return value
