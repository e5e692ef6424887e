"""``reshapeit refine``: one or several organs of a label map or segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..job.labels import parse_templates
from ..job.options import COMMAND, option_values, options_of
from .common import add_options, add_progress_option, notice_of

if TYPE_CHECKING:
    from ..job.job import RefineResult
    from ..job.request import RefineJob

_NOTES = """\
Organs that are absent, do not look like the organ or fail stay as they are, and each is told with its reason; --strict
ends the run instead. --template auto takes TotalSegmentator's output as it is: a file with names in it, a file without
(--names totalsegmentator-v2), or its folder of masks (liver.nii.gz, ...). Of a folder OUT gets all files, known organs
refined. A list of one's own for --names says other conventions, for instance AMOS as five lines "1: spleen",
"2: kidney_right", "3: kidney_left", "6: liver", "10: pancreas".

The output has the grid, voxel type, segments and other labels of the input; its extension says the format. Voxels of
labels that are not refined stay theirs: a refined organ takes new voxels from the background only. Of several refined
organs that claim a voxel, the one that is deepest there gets it. Labels of --with keep all their voxels.

A piece as large as an organ neither goes nor comes without --force, and sides that are swapped are refused.

Exit codes: 0 done (at least one organ was refined), 2 bad input or usage, 3 the input does not look like the organ,
130 cancelled (nothing is written).
"""


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="label map or segmentation (.nrrd .seg.nrrd .nii .nii.gz .mha, DICOM SEG or RTSTRUCT, .npz of nnU-Net), "
        "surface mesh (.stl .ply .obj .vtp .vtk), or a folder of masks, one an organ",
    )
    parser.add_argument(
        "--template",
        required=True,
        metavar="NAME|FILE",
        help="template of the organ (see 'reshapeit templates'), LABEL=NAME,LABEL=NAME,... for several organs, or "
        "auto: every organ that is known by its name; NAME+NAME for two organs in one label",
    )
    parser.add_argument("--label", metavar="N", help="label number, segment id or name (default: the only one)")
    parser.add_argument(
        "--output", required=True, metavar="OUT", help="label file to write, or folder; a file may be INPUT itself"
    )
    parser.add_argument(
        "--surface",
        metavar="MESH",
        help="also write the surface: .vtp .vtk .ply .stl .obj (of several organs, MESH_LABEL each)",
    )
    parser.add_argument(
        "--image",
        metavar="CT",
        help="the CT that was segmented, of any grid (.nrrd .nii .nii.gz .mha, or the folder of a DICOM series): moves "
        "the surface to the organ's edge where the image is sure of it",
    )
    parser.add_argument(
        "--suggestions",
        metavar="SEG.NRRD",
        help="also write where given and expected organ contradict each other, a segment each with its probability; "
        "'reshapeit decide' makes another choice of them",
    )
    for flag, words in (("--include", "that belong to the organ"), ("--exclude", "that do not belong to the organ")):
        parser.add_argument(
            flag,
            metavar="POINTS",
            help=f"points {words} (.mrk.json of Slicer, or .csv with r,a,s in mm); of several organs each point counts "
            "for the nearest one",
        )
    parser.add_argument("--report", metavar="JSON", help="also write what changed and how certain it is")
    add_options(parser, options_of(COMMAND))
    add_progress_option(parser)


def run(arguments) -> None:
    """Refine and say in one line per organ what changed."""
    from ..job.job import run_refine_job

    job = job_of(arguments)
    result = run_refine_job(job, arguments.progress, notice_of(arguments.progress))
    summaries = result.report.summary()
    arguments.progress.stage("done", 1.0, "; ".join(summaries))
    arguments.progress.result(told_of(job, result))
    if arguments.progress.mode != "json":
        print("\n".join([*summaries, f"wrote {job.output}"]))


def job_of(arguments) -> RefineJob:
    """The job that parsed arguments ask for.

    Raises:
        BadInputError: the templates are malformed.
    """
    from ..job.request import RefineJob

    return RefineJob(
        input=Path(arguments.input),
        templates=parse_templates(arguments.template, arguments.label),
        output=Path(arguments.output),
        surface=arguments.surface and Path(arguments.surface),
        report=arguments.report and Path(arguments.report),
        suggestions=arguments.suggestions and Path(arguments.suggestions),
        image=arguments.image and Path(arguments.image),
        include=arguments.include and Path(arguments.include),
        exclude=arguments.exclude and Path(arguments.exclude),
        **option_values(arguments),
    )


def told_of(job: RefineJob, result: RefineResult) -> dict:
    """What programs are told at the end of a run."""
    told = result.report.to_json()
    return {"output": str(job.output), **{name: told[name] for name in ("organs", "not_refined")}}
