"""``reshapeit prepare``: label files of one organ to training samples in one frame."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..core.errors import BadInputError
from ..job.options import OPTIONS
from .common import add_options, add_progress_option, positive_number


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.set_defaults(run=run)
    parser.add_argument("inputs", nargs="+", metavar="FILE|FOLDER", help="label files, or folders that hold them")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder for the samples; made if absent")
    parser.add_argument("--label", type=positive_number, metavar="N", help="label of the organ (default: the only one)")
    parser.add_argument(
        "--label-modulo", type=positive_number, metavar="M", help="take label values modulo M first (flag bits)"
    )
    parser.add_argument(
        "--surface-points",
        type=positive_number,
        default=100_000,
        metavar="N",
        help="points on each surface (default: 100000; the paper has 800000)",
    )
    parser.add_argument(
        "--free-points",
        type=positive_number,
        default=100_000,
        metavar="N",
        help="points around each surface (default: 100000; the paper has 200000)",
    )
    parser.add_argument(
        "--near-surface-fraction",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of the free points near the surface (default: 0.5; the paper has 0)",
    )
    parser.add_argument(
        "--least-spacing",
        type=float,
        default=0.0,
        metavar="MM",
        help="thin finer label grids to about this spacing, for speed (default: 0, as they are)",
    )
    parser.add_argument(
        "--frame-of",
        metavar="TEMPLATE",
        help="lay the shapes in the frame of a template, for another template that restoration networks "
        "trained with that one shall know (default: a frame of their own)",
    )
    add_options(parser, [OPTIONS["seed"]])
    add_progress_option(parser)


def run(arguments) -> None:
    """Sample all files, then move the samples into the folder: it never holds half a set."""
    from ..training.prepare import PrepareOptions, prepare_shapes
    from ..training.sampling import SamplingOptions

    paths = label_files(arguments.inputs)
    sampling = SamplingOptions(arguments.surface_points, arguments.free_points, arguments.near_surface_fraction)
    options = PrepareOptions(sampling=sampling, least_spacing_mm=arguments.least_spacing, seed=arguments.seed)
    reference = None
    if arguments.frame_of:
        from ..templates.store import find_template
        from ..templates.template import OrganTemplate

        reference = OrganTemplate.load(find_template(arguments.frame_of)).points_unit
    folder = Path(arguments.output)
    _check_folder(folder, paths)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".prepare-") as temporary:
        written = prepare_shapes(
            paths, Path(temporary), options, arguments.label, arguments.label_modulo, arguments.progress, reference
        )
        for path in written:
            os.replace(path, folder / path.name)
    arguments.progress.stage("done", 1.0)
    if arguments.progress.mode != "json":
        print(f"prepared {len(written)} shapes in {folder}")


def label_files(inputs: list[str]) -> list[Path]:
    """The label files named, and those in the folders named, sorted within each.

    Raises:
        BadInputError: something is absent or a folder holds none.
    """
    from ..io.volumes import label_file_suffix

    def is_label_file(path: Path) -> bool:
        try:
            label_file_suffix(path)
        except BadInputError:
            return False
        return path.is_file() and not path.name.startswith(".")

    found: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise BadInputError("There is no file or folder {input}", "check the path", "prepare.missing", input=path)
        inside = [p for p in sorted(path.iterdir()) if is_label_file(p)] if path.is_dir() else [path]
        if not inside:
            raise BadInputError(
                "The folder {input} holds no label files",
                "give .nrrd, .nii, .nii.gz or .mha files",
                "prepare.no_labels",
                input=path,
            )
        found += inside
    return found


def _check_folder(folder: Path, paths: list[Path]) -> None:
    """Shapes of one training run share a frame, so a folder must not mix two preparations."""
    from ..training.prepare import SUFFIX, case_name

    if folder.exists() and not folder.is_dir():
        raise BadInputError("{path} is a file", "give a folder for the samples", "prepare.output_file", path=folder)
    strangers = {p.name for p in folder.glob(f"*{SUFFIX}")} - {case_name(p) + SUFFIX for p in paths}
    if strangers:
        raise BadInputError(
            "{path} holds samples of other cases ({case}), aligned to another frame",
            "give an empty folder",
            "prepare.other_cases",
            path=folder,
            case=min(strangers),
        )
