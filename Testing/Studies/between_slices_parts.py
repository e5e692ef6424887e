"""Which part of a completion knows best what lies between drawn slices: network, shapes, or a mean of both?

    python -m Testing.Studies.between_slices_parts --organ pancreas --gap 30 --networks FILE FILE

Needs the development data beside the repository (``../shared/data``). Every organ (those held out where there are some,
else those of the evaluation) is drawn on slices so far apart and completed once with each network. Printed is, for each
part alone and for means of both with other constants in the place of ``completion.NETWORK_ERROR_PER_GAP``, how far the
surface lies off on average, by wrong volume over the truth's surface, in mm; all of them pass through the contours.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np

from Testing.Studies.calibration import HELD_OUT
from Testing.Studies.wrong_organs import organ_mask, unseen_cases

PER_GAP = (1 / 8, 1 / 12, 1 / 16, 1 / 24, 1 / 36, 1 / 60)


def parts(given: np.ndarray, geometry, template, network) -> dict:
    """(K, J, I) bool mask by the part's name."""
    from ReShapeITLib.distance.combinators import WeightedMean
    from ReShapeITLib.distance.narrow_band import label_mask
    from ReShapeITLib.refinement import completion, expected
    from ReShapeITLib.refinement.options import RefineOptions
    from ReShapeITLib.refinement.refine import refine

    seen = {}

    def recorded(shapes, drawn, healed):
        limited = WeightedMean(tuple((1.0 / len(shapes), healed.restoration.limited(shape)) for shape in shapes))
        seen.update(shapes=limited, drawn=drawn, healed=healed)
        return completion.likeliest_between(shapes, drawn, healed)

    options = RefineOptions(sparse=True)
    # The parts are nowhere in the result: they are caught where they are put together.
    with patch.object(expected, "likeliest_between", recorded):
        shape = refine(given, geometry, template, options, force=True, restoration=network)
    drawn, shapes, answer = seen["drawn"], seen["shapes"], seen["healed"].restoration.restored
    misfit_mm = float(np.abs(shapes.sdf_mm(completion.contour_points(drawn))).mean())
    fields = {"network": answer, "shapes": shapes}
    for per_gap in PER_GAP:
        share = completion.share_of_shapes(misfit_mm, drawn.gap_mm, per_gap)
        fields[f"gap / {1 / per_gap:.0f}"] = WeightedMean(((share, shapes), (1.0 - share, answer)))
    through = {name: drawn.through_contours(field) for name, field in fields.items()}
    through = {"interpolation": drawn.distance, "as it is": shape, **through}
    return {name: label_mask(field.sdf_mm, geometry, shape.bounds_ras) for name, field in through.items()}


def main() -> None:
    """Command line."""
    import torch

    from ReShapeITLib.damage.levels import sparse_input
    from ReShapeITLib.distance.surface import surface_from_mask
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate
    from Testing.Studies.evaluation.inputs import head_feet_axis

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--cases", nargs="*", help="in the place of those held out, or of the evaluation")
    parser.add_argument("--gap", type=float, default=30.0, help="way from slice to slice, mm")
    parser.add_argument("--networks", nargs="+", required=True, help="restoration network files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    template = OrganTemplate.load(find_template(arguments.organ))
    for file in arguments.networks:
        network, rows = RestorationModel.load(file), []
        for case in arguments.cases or HELD_OUT.get(arguments.organ) or unseen_cases(arguments.organ):
            truth, geometry = organ_mask(arguments.organ, case)
            given = sparse_input(truth, head_feet_axis(geometry), arguments.gap / geometry.spacing_mm)
            area_mm2 = surface_from_mask(truth, geometry).area_mm2
            found = parts(given, geometry, template, network)
            wrong = {name: (mask ^ truth).sum() * geometry.voxel_volume_mm3 / area_mm2 for name, mask in found.items()}
            if not rows:
                print(f"| {file} | {' | '.join(wrong)} |\n" + "|---" * (1 + len(wrong)) + "|")
            rows.append(list(wrong.values()))
            print(f"| {case} | {' | '.join(f'{mm:.2f}' for mm in rows[-1])} |", flush=True)
        print(f"| mean | {' | '.join(f'{mm:.3f}' for mm in np.mean(rows, axis=0))} |\n", flush=True)


if __name__ == "__main__":
    main()
