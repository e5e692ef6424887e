"""What a network for the detail of coarse voxels is worth, by how much of its offset counts.

    python -m Testing.Studies.coarse_detail --organ pancreas --voxels 3 4 6 --network FILE

Needs the development data beside the repository (``../shared/data``). Every organ (those held out where there are some,
else those of the evaluation) is given on cubic voxels of these edges, found again behind its steps, smoothed, and given
its detail. Printed is, in relation to smoothing alone, the volume that is wrong: of the input, with each share of the
offset, and with the share that ``detail.share_of_detail`` takes. The restoration network has no part in this.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from Testing.Studies.calibration import HELD_OUT
from Testing.Studies.wrong_organs import organ_mask, unseen_cases

SHARES = (0.25, 0.5, 0.75, 1.0, 1.25)


def results(given: np.ndarray, geometry, template, network) -> dict:
    """(K, J, I) bool mask by what was done."""
    from ReShapeITLib.distance.coarse_grid import coarse_behind
    from ReShapeITLib.distance.narrow_band import label_mask
    from ReShapeITLib.distance.smooth import smooth_distance_grid
    from ReShapeITLib.distance.surface import surface_from_grid
    from ReShapeITLib.interaction.alignment import align_to_template
    from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
    from ReShapeITLib.refinement.options import RefineOptions
    from ReShapeITLib.restoration import detail
    from ReShapeITLib.restoration.grid import CELL_UNIT

    coarse, grid = coarse_behind(given, geometry)
    smooth = smooth_distance_grid(coarse, grid)
    surface = surface_from_grid(smooth)
    points = surface.sample_points(2000, np.random.default_rng(0))[0]
    options = alignment_with_scale_prior(RefineOptions().alignment, template)
    frame = align_to_template(points, template.points_unit, options).ras_to_unit
    taken = detail.share_of_detail(grid.spacing_mm, CELL_UNIT / frame.scale)
    with patch.object(detail, "share_of_detail", lambda spacing_mm, cell_mm: 1.0):
        whole = detail.expected_detail(network, template, smooth, frame, grid.spacing_mm)
    fields = {"smoothed": smooth}
    for name, share in {"as it is": taken, **{f"{share:g}": share for share in SHARES}}.items():
        offset = replace(whole.offset, values_mm=np.float32(share) * whole.offset.values_mm)
        fields[name] = replace(whole, offset=offset).added_to(smooth)
    box = surface.vertices_ras.min(0) - 6.0, surface.vertices_ras.max(0) + 6.0
    return {"input": given} | {name: label_mask(field.sdf_mm, geometry, box) for name, field in fields.items()}


def main() -> None:
    """Command line."""
    import torch

    from ReShapeITLib.damage.levels import coarse_input
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--cases", nargs="*", help="in the place of those held out, or of the evaluation")
    parser.add_argument("--voxels", type=float, nargs="+", default=[3.0, 4.0, 6.0], help="edges of the voxels, mm")
    parser.add_argument("--network", required=True, help="file of a network for detail")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    template, network = OrganTemplate.load(find_template(arguments.organ)), RestorationModel.load(arguments.network)
    for edge_mm in arguments.voxels:
        rows = []
        for case in arguments.cases or HELD_OUT.get(arguments.organ) or unseen_cases(arguments.organ):
            truth, geometry = organ_mask(arguments.organ, case)
            given = coarse_input(truth, geometry, edge_mm)
            found = results(given, geometry, template, network)
            wrong = {name: np.count_nonzero(mask ^ truth) for name, mask in found.items()}
            if not rows:
                print(f"| {edge_mm:g} mm | {' | '.join(wrong)} |\n" + "|---" * (1 + len(wrong)) + "|")
            rows.append([count / wrong["smoothed"] for count in wrong.values()])
            print(f"| {case} | {' | '.join(f'{ratio:.3f}' for ratio in rows[-1])} |", flush=True)
        means = " | ".join(f"{ratio:.3f}" for ratio in np.mean(rows, axis=0))
        print(f"| mean of {len(rows)} | {means} |\n", flush=True)


if __name__ == "__main__":
    main()
