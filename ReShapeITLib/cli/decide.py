"""``reshapeit decide``: another choice of the suggestions that a refinement wrote."""

from __future__ import annotations

import argparse
from pathlib import Path

_NOTES = """\
Nothing is aligned, asked or fitted again. A suggestion is taken where its probability is above that of --boldness, or
as it was decided before where --boldness is left out; --take and --leave go first.
"""


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)
    parser.add_argument("input", metavar="INPUT", help="the label file that was refined, as it was given")
    parser.add_argument("--suggestions", required=True, metavar="SEG.NRRD", help="that 'reshapeit refine' wrote")
    parser.add_argument("--output", required=True, metavar="OUT", help="label file to write; may be INPUT itself")
    parser.add_argument(
        "--boldness", default="", metavar="NAME|PROBABILITY", help="cautious, balanced, bold, or a probability"
    )
    parser.add_argument("--take", type=_numbers, default=(), metavar="N,N", help="suggestions to take in any case")
    parser.add_argument("--leave", type=_numbers, default=(), metavar="N,N", help="suggestions to leave in any case")
    for flag, words in (("--include", "that are organ"), ("--exclude", "that are not organ")):
        text = f"points {words} (.mrk.json of Slicer, or .csv with r,a,s in mm): the suggestions that they lie in go so"
        parser.add_argument(flag, metavar="POINTS", help=text)


def run(arguments) -> None:
    """Decide and write."""
    from ..io.volumes import read_labels, write_labels
    from ..job.inputs.markups import read_points
    from ..job.pieces.suggested import decided_volume
    from ..refinement.decision.calibration import calibration

    least = calibration().least(arguments.boldness) if arguments.boldness else None
    volume, suggestions = read_labels(arguments.input), read_labels(arguments.suggestions)
    points = [read_points(file) if file else None for file in (arguments.include, arguments.exclude)]
    decided = decided_volume(volume, suggestions, least, arguments.take, arguments.leave, *points)
    write_labels(decided, Path(arguments.output))
    print(f"wrote {arguments.output}")


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers like 2,5")
    return tuple(map(int, parts))
