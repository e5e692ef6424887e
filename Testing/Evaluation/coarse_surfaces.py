"""How near to an organ are the surfaces of its mask on coarse voxels and thick slices?

    python -m Testing.Evaluation.coarse_surfaces --organ lung_middle_lobe_right --voxels 2 3 6 --slices 2 3 5 8

Needs the development data beside the repository (``../shared/data``). Every organ whose own voxels are at most half as
long is given on cubic voxels of these edges, and on slices of these thicknesses with its own pixels. Printed is the
volume between the true voxels and those inside the surface, in relation to that of ``smooth_distance_grid``: of the
given mask, of ``signed_distance_grid`` (what fine masks get), and, between thick slices, of smoothing alone without
the contours within them.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np

from Testing.Evaluation.wrong_organs import organ_mask, unseen_cases


def wrong_volumes(truth: np.ndarray, geometry, edges_mm: np.ndarray) -> dict[str, int] | None:
    """Voxels that are wrong by what the surface was made with; None where the organ's own voxels are too coarse.

    Args:
        truth: (K, J, I) bool.
        geometry: of the truth.
        edges_mm: (3,) of the voxels it is given on, along i, j, k.
    """
    from ReShapeITLib import smooth_distance
    from ReShapeITLib.bricks import coarse_behind
    from ReShapeITLib.evaluation.damage_levels import coarse_input
    from ReShapeITLib.extraction import label_mask
    from ReShapeITLib.smooth_distance import is_thick, smooth_distance_grid
    from ReShapeITLib.surface import signed_distance_grid

    if (edges_mm > geometry.spacing_mm).sum() == 0 or (2.0 * geometry.spacing_mm > edges_mm)[np.argmax(edges_mm)]:
        return None
    given = coarse_input(truth, geometry, edges_mm)
    mask, grid = coarse_behind(given, geometry)
    fields = {"smooth distance": smooth_distance_grid(mask, grid), "signed distance": signed_distance_grid(mask, grid)}
    if is_thick(grid.spacing_mm):
        with patch.object(smooth_distance, "_SHARE_OF_SLICES", 0.0):
            fields["smoothing alone"] = smooth_distance_grid(mask, grid)
    inside = geometry.ijk_to_ras_points(np.argwhere(given)[:, ::-1])
    box = inside.min(0) - 1.5 * edges_mm.max(), inside.max(0) + 1.5 * edges_mm.max()
    masks = {"given": given} | {name: label_mask(field.at_ras, geometry, box) for name, field in fields.items()}
    return {name: np.count_nonzero(mask ^ truth) for name, mask in masks.items()}


def main() -> None:
    """Command line."""
    from ReShapeITLib.evaluation.inputs import head_feet_axis

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--cases", nargs="*", help="in the place of those of the evaluation")
    parser.add_argument("--voxels", type=float, nargs="*", default=[], help="edges of cubic voxels, mm")
    parser.add_argument("--slices", type=float, nargs="*", default=[], help="thicknesses of slices, mm")
    arguments = parser.parse_args()
    organs = [organ_mask(arguments.organ, case) for case in arguments.cases or unseen_cases(arguments.organ)]
    for kind, lengths in (("voxels", arguments.voxels), ("slices", arguments.slices)):
        for length in lengths:
            rows = []
            for truth, geometry in organs:
                edges_mm = np.maximum(length, geometry.spacing_mm)
                if kind == "slices":
                    edges_mm = np.where(np.arange(3) == head_feet_axis(geometry), edges_mm, geometry.spacing_mm)
                wrong = wrong_volumes(truth, geometry, edges_mm)
                if wrong is not None:
                    rows.append({name: count / wrong["smooth distance"] for name, count in wrong.items()})
            if rows:
                means = ", ".join(f"{name} {np.mean([row[name] for row in rows]):.3f}" for name in rows[0])
                print(f"{arguments.organ}, {kind} of {length:g} mm, {len(rows)} cases: {means}", flush=True)


if __name__ == "__main__":
    main()
