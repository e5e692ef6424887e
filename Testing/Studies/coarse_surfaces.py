"""How near to an organ are the surfaces of its mask on coarse voxels and thick slices?

    python -m Testing.Studies.coarse_surfaces --organ lung_middle_lobe_right --voxels 2 3 6 --slices 2 3 5 8

Needs the development data beside the repository (``../shared/data``). Every organ whose own voxels are at most half as
long is given on cubic voxels of these edges, and on slices of these thicknesses with its own pixels. Printed is the
volume between the true voxels and those inside the surface, in relation to that of ``smooth_distance_grid``: of the
given mask, of ``signed_distance_grid`` (what fine masks get), and, between thick slices, of smoothing alone without
the contours within them. ``--picture FILE`` draws the surfaces of the last organ on the last voxels.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np

from Testing.Studies.wrong_organs import organ_mask, unseen_cases

ROOM_MM = 10.0


def fields_of(mask: np.ndarray, grid) -> dict:
    """Distance grid of a (K, J, I) bool mask on coarse voxels by what made it."""
    from ReShapeITLib.distance import smooth as smooth_distance
    from ReShapeITLib.distance.smooth import is_thick, smooth_distance_grid
    from ReShapeITLib.distance.surface import signed_distance_grid

    fields = {"smooth distance": smooth_distance_grid(mask, grid), "signed distance": signed_distance_grid(mask, grid)}
    if is_thick(grid.spacing_mm):
        with patch.object(smooth_distance, "_SHARE_OF_SLICES", 0.0):
            fields["smoothing alone"] = smooth_distance_grid(mask, grid)
    return fields


def wrong_volumes(truth: np.ndarray, geometry, given: np.ndarray, fields: dict) -> dict[str, int]:
    """Voxels of the truth's grid that are wrong, by what the surface was made with."""
    from ReShapeITLib.distance.narrow_band import label_mask

    inside = geometry.ijk_to_ras_points(np.argwhere(given | truth)[:, ::-1])
    box = inside.min(0) - ROOM_MM, inside.max(0) + ROOM_MM
    masks = {"given": given} | {name: label_mask(field.sdf_mm, geometry, box) for name, field in fields.items()}
    return {name: np.count_nonzero(mask ^ truth) for name, mask in masks.items()}


def draw(truth: np.ndarray, geometry, fields: dict, path: str) -> None:
    """A picture of the true surface and of those on coarse voxels."""
    from ReShapeITLib.distance.surface import surface_from_grid, surface_from_mask
    from ReShapeITLib.pictures.rendering import render_panels

    panels = [(surface_from_mask(truth, geometry), "truth", None)]
    panels += [(surface_from_grid(fields[name]), name, None) for name in ("signed distance", "smooth distance")]
    render_panels(panels, ["anterior", "left"], path)


def main() -> None:
    """Command line."""
    from ReShapeITLib.damage.levels import coarse_input
    from ReShapeITLib.distance.coarse_grid import coarse_behind
    from Testing.Studies.evaluation.inputs import head_feet_axis

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--cases", nargs="*", help="in the place of those of the evaluation")
    parser.add_argument("--voxels", type=float, nargs="*", default=[], help="edges of cubic voxels, mm")
    parser.add_argument("--slices", type=float, nargs="*", default=[], help="thicknesses of slices, mm")
    parser.add_argument("--picture", help="a PNG file")
    arguments = parser.parse_args()
    organs = [organ_mask(arguments.organ, case) for case in arguments.cases or unseen_cases(arguments.organ)]
    last = None
    for kind, lengths in (("voxels", arguments.voxels), ("slices", arguments.slices)):
        for length in lengths:
            rows = []
            for truth, geometry in organs:
                if 2.0 * geometry.spacing_mm.max() > length:
                    continue
                edges_mm = np.full(3, length)
                if kind == "slices":
                    edges_mm = np.where(np.arange(3) == head_feet_axis(geometry), length, geometry.spacing_mm)
                given = coarse_input(truth, geometry, edges_mm)
                fields = fields_of(*coarse_behind(given, geometry))
                wrong = wrong_volumes(truth, geometry, given, fields)
                rows.append({name: count / wrong["smooth distance"] for name, count in wrong.items()})
                last = truth, geometry, fields
            if rows:
                means = ", ".join(f"{name} {np.mean([row[name] for row in rows]):.3f}" for name in rows[0])
                print(f"{arguments.organ}, {kind} of {length:g} mm, {len(rows)} cases: {means}", flush=True)
    if arguments.picture and last:
        draw(*last, arguments.picture)


if __name__ == "__main__":
    main()
