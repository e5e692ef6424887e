"""``reshapeit metrics``: how close one segmentation is to another."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from ..core.errors import BadInputError
from ..io.atomic import atomic_path

if TYPE_CHECKING:
    import numpy as np

    from ..core.labels import LabelVolume
    from ..metrics import SegmentationMetrics

_DESCRIPTION = """Compare a segmentation with a reference on the same voxel grid: Dice and normalised surface Dice,
95 % Hausdorff and average surface distance in mm, Chamfer and earth mover's distance in the unit sphere of the
reference. A segmentation without any voxel scores 0 and infinitely far."""


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("reference", metavar="REFERENCE", help="label map or segmentation that is right")
    parser.add_argument("test", metavar="TEST", help="label map or segmentation to measure, on the same grid")
    parser.add_argument("--label", metavar="N", help="label, segment id or name (default: the only one in each file)")
    parser.add_argument("--test-label", metavar="M", help="the same for TEST where it differs (default: --label)")
    parser.add_argument(
        "--tolerance", type=float, default=2.0, metavar="MM", help="of the surface Dice, in mm (default: %(default)s)"
    )
    parser.add_argument("--output", metavar="JSON", help="also write the numbers to this file; - prints JSON only")
    parser.add_argument("--seed", type=int, default=0, help="of the points sampled for CD and EMD (default: 0)")
    parser.set_defaults(run=run)


def run(arguments) -> int:
    """Measure, print and write; returns the exit code 0.

    Raises:
        BadInputError: a file, a label or an option is wrong.
    """
    from ..io.volumes import read_labels
    from ..metrics import evaluate

    reference, test = read_labels(arguments.reference), read_labels(arguments.test)
    if not reference.geometry.same_grid_as(test.geometry):
        raise BadInputError(
            "{input} lies on another voxel grid than {reference}: {difference}",
            "resample it to that grid first",
            "metrics.other_grid",
            input=arguments.test,
            reference=arguments.reference,
            difference=test.geometry.difference_from(reference.geometry),
        )
    if arguments.seed < 0:
        raise BadInputError(
            "--seed must be at least 0, not {seed}", "choose another number", "metrics.seed", seed=arguments.seed
        )
    reference_mask = reference.mask(reference.single_label() if arguments.label is None else arguments.label)
    metrics = evaluate(
        reference_mask,
        _test_mask(test, arguments),
        reference.geometry,
        nsd_tolerance_mm=arguments.tolerance,
        seed=arguments.seed,
    )
    files = {"reference": str(arguments.reference), "test": str(arguments.test)}
    text = json.dumps({**files, **metrics.to_json()}, indent=2)
    if arguments.output == "-":
        print(text)
        return 0
    print(format_table(metrics))
    if arguments.output is not None:
        with atomic_path(arguments.output) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return 0


def format_table(metrics: SegmentationMetrics) -> str:
    """The metrics as aligned lines of name, value and unit, in the paper's units."""
    rows = [
        ("DSC", f"{100 * metrics.dsc:.2f}", "%"),
        (f"NSD at {metrics.nsd_tolerance_mm:g} mm", f"{100 * metrics.nsd:.2f}", "%"),
        ("HD95", f"{metrics.hd95_mm:.2f}", "mm"),
        ("ASSD", f"{metrics.assd_mm:.2f}", "mm"),
        ("CD x 100", f"{metrics.cd_x100:.3f}", "squared radii of the reference's sphere, mean"),
        ("EMD", f"{metrics.emd:.3f}", "radii of the reference's sphere, mean"),
        ("EMD (Eq. 10)", f"{metrics.emd_squared:.3f}", "squared radii of the reference's sphere, sum"),
    ]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:<{name_width}}  {value:>{value_width}}  {unit}" for name, value, unit in rows)


def _test_mask(volume: LabelVolume, arguments) -> np.ndarray:
    """Voxels of TEST. Where it lacks the label of the reference nothing was segmented, which is a result."""
    which = arguments.label if arguments.test_label is None else arguments.test_label
    import numpy as np

    present = volume.label_values()
    try:
        return volume.mask(volume.single_label() if which is None else which)
    except BadInputError:
        is_same_number = arguments.test_label is None and which is not None and which.isdecimal()
        if present and not (is_same_number and int(which) not in present):
            raise
    print(f"note: {volume.source} has no voxels of the label, which counts as an empty segmentation", file=sys.stderr)
    return np.zeros(volume.geometry.shape_kji, dtype=bool)
