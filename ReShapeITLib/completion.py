"""What belongs where nothing was seen, between drawn slices and in the doubted parts of an organ: the likeliest shape.

That is not the closest surface. A field of the template's shape space is fitted (codes and pose, but no weights of
Deform of their own) to what was seen, above all, and to the organ that the restoration network expects. An organ whose
form the template does not know is not in that space; then the field misses what was seen, and counts less. Between
slices, where most is unknown, a second field that believes the network more is averaged with it: their errors differ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from .between_slices import DrawnSlices
from .geometry import Similarity
from .interaction.candidates import Candidates
from .interaction.fitting import FitOptions
from .restoration.healing import TRUST_IN_GUESSES

_POSE_RATE = 5e-3
_MOST_POINTS = 4000
# Chosen on nine organs of three kinds, 20, 30 and 40 mm apart (docs/RESULTS.md, "Few slices").
_ERROR_PER_GAP = 1.0 / 12.0


def in_shape_space(options: FitOptions) -> FitOptions:
    """The options of a fit that leaves the template's shape space nowhere."""
    return replace(options, code_steps=2 * options.code_steps, weight_steps=0, pose_learning_rate=_POSE_RATE)


def share_of_shapes(misfit_mm: float, gap_mm: float) -> float:
    """Weight (0 to 1) of the fitted shapes beside what is known without them.

    As for two measurements of one thing by their variances: the error of the shapes is about by how much they miss what
    was seen, that of the others grows with the extent of what was not.

    Args:
        misfit_mm: mean distance of what was seen to the fitted shapes.
        gap_mm: way from slice to slice, or extent of a doubted part.
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
        weights=np.concatenate([np.ones(len(contours)), np.full(len(others), TRUST_IN_GUESSES)]),
        free_weights=np.full(len(candidates.free_points), TRUST_IN_GUESSES),
    )
