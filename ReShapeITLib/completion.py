"""An organ that was drawn on a few slices, completed by the shapes that the template knows.

Between the slices nothing was seen, so what belongs there is the likeliest shape, not the closest surface. Two fields
of the template's shape space are fitted (codes and pose, but no weights of Deform of their own), one to the contours
above all, one evenly to the organ that the restoration network expects, and averaged: their errors differ. An organ
whose form the template does not know is not in that space; then the fields miss the contours, and count less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from .between_slices import DrawnSlices
from .geometry import Similarity
from .interaction.candidates import Candidates
from .interaction.fitting import FitOptions

_POSE_RATE = 5e-3
# What contours are worth beside points that were never drawn; that between 0.05 and 0.2 made no difference.
_TRUST_BETWEEN = 0.2
_MOST_POINTS = 4000
# Chosen on nine organs of three kinds, 20, 30 and 40 mm apart (docs/RESULTS.md, "Few slices").
_ERROR_PER_GAP = 1.0 / 12.0


def in_shape_space(options: FitOptions) -> FitOptions:
    """The options of a fit that leaves the template's shape space nowhere."""
    return replace(options, code_steps=2 * options.code_steps, weight_steps=0, pose_learning_rate=_POSE_RATE)


def share_of_shapes(misfit_mm: float, gap_mm: float) -> float:
    """Weight (0 to 1) of the fitted shapes beside what is known without them.

    As for two measurements of one thing by their variances: the error of the shapes is about by how much they miss the
    contours, that of the others grows with the way to the next slice.

    Args:
        misfit_mm: mean distance of the drawn contours to the fitted shapes.
        gap_mm: way from slice to slice.
    """
    other_mm = _ERROR_PER_GAP * gap_mm
    return other_mm**2 / (other_mm**2 + misfit_mm**2)


def contour_points(drawn: DrawnSlices) -> np.ndarray:
    """(N, 3) points on the drawn contours, RAS mm."""
    from skimage.measure import find_contours

    points = []
    for number in drawn.slices:
        layer = np.take(drawn.distance.values_mm, number, axis=drawn.axis)
        for contour in find_contours(layer, 0.0):
            points.append(np.insert(contour, drawn.axis, number, axis=1))
    return drawn.geometry.ijk_to_ras_points(np.concatenate(points)[:, ::-1])


def trusting_contours(candidates: Candidates, drawn: DrawnSlices, ras_to_unit: Similarity, rng) -> Candidates:
    """Candidates with the drawn contours beside them, which count in full while all else counts little.

    A contour does not tell the surface's normal; the one of the nearest candidate stands in.

    Args:
        candidates: of an organ that is known on the contours only.
        drawn: the slices.
        ras_to_unit: the alignment that the candidates were made with.
    """
    contours = ras_to_unit.apply(contour_points(drawn))
    contours = contours[rng.permutation(len(contours))[:_MOST_POINTS]]
    normals = candidates.normals[cKDTree(candidates.points).query(contours)[1]]
    # As many of the others, so that a step draws as many of either.
    others = rng.permutation(len(candidates.points))[: len(contours)]
    return replace(
        candidates,
        points=np.concatenate([contours, candidates.points[others]]),
        normals=np.concatenate([normals, candidates.normals[others]]),
        weights=np.concatenate([np.ones(len(contours)), np.full(len(others), _TRUST_BETWEEN)]),
        free_weights=np.full(len(candidates.free_points), _TRUST_BETWEEN),
    )
