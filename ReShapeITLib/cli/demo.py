"""``reshapeit demo``: an unseen patient, damaged and refined, with metrics and pictures."""

from __future__ import annotations

from pathlib import Path

from ..job.options import OPTIONS
from .common import add_options, add_progress_option, notice_of


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.set_defaults(run=run)
    parser.add_argument("--output", default="demo_output", metavar="FOLDER", help="for files (default: demo_output)")
    parser.add_argument("--template", metavar="NAME|FILE", help="template (default: pancreas, else liver)")
    add_options(parser, [OPTIONS[name] for name in ("device", "non_commercial", "seed")])
    add_progress_option(parser)


def run(arguments) -> None:
    """Run the demo and print what it measured."""
    from ..job.demo import EASY_CASE, MADE_CT, comparison_table, run_demo
    from ..job.report import NOTICE

    folder = Path(arguments.output)
    result = run_demo(
        folder,
        arguments.template,
        arguments.seed,
        arguments.progress,
        notice_of(arguments.progress),
        device=arguments.device,
        non_commercial=arguments.non_commercial,
    )
    arguments.progress.stage("done", 1.0)
    (organ,) = result.refinement.report.organs
    arguments.progress.result({"folder": str(folder), "organs": result.refinement.report.to_json()["organs"]})
    if arguments.progress.mode == "json":
        return
    print(f"A {result.organ} of a patient that never was (seed {arguments.seed}), damaged and refined.")
    print(EASY_CASE)
    if result.said:
        print(MADE_CT)
    print(comparison_table(result.before, result.after, result.with_ct))
    print(f"{organ.summary()}; {result.refinement.report.seconds:.0f} s on {organ.device}")
    print("wrote " + ", ".join(path.name for path in result.files) + f" to {folder}")
    print(NOTICE)
