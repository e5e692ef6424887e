"""What belongs between annotated slices: the likeliest shape.

That is not the closest surface. A field of the template's shape space is fitted (codes and pose, but no weights of
Deform of their own) to what was seen, above all, and to the organ that the restoration network expects. An organ whose
form the template does not know is not in that space; then the field misses what was seen, and counts less. Between
slices, where most is unknown, a second field that believes the network more is averaged with it: their errors differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from ..core.geometry import Similarity
from ..distance.between_slices import SparseAnnotation
from ..distance.combinators import WeightedMean
from ..distance.protocol import SignedDistance
from ..interaction.candidates import Candidates
from ..interaction.options import FitOptions
from .decision.calibration import calibration
from .healing import Healed

_POSE_RATE = 5e-3
_MOST_POINTS = 4000
# Error in relation to the extent of what was not seen. Of the interpolation, and of a network in doubted parts: chosen
# on nine organs of three kinds; of a network between slices: on ten held-out pancreases
# (Testing.Studies.between_slices_parts).
ERROR_PER_GAP = 1.0 / 12.0
NETWORK_ERROR_PER_GAP = 1.0 / 24.0


def in_shape_space(options: FitOptions) -> FitOptions:
    """The options of a fit that leaves the template's shape space nowhere."""
    return replace(options, weight_steps=0, pose_learning_rate=_POSE_RATE)


def likeliest_between(
    shapes: Sequence[SignedDistance], annotation: SparseAnnotation, healed: Healed | None
) -> SignedDistance:
    """What belongs between annotated slices.

    Args:
        shapes: that were fitted to the drawing.
        annotation: the slices.
        healed: what the network made of them; without one the interpolation between the slices stands in.
    """
    if healed is not None:
        shapes = [healed.restoration.limited(shape) for shape in shapes]
    mean = WeightedMean(tuple((1.0 / len(shapes), shape) for shape in shapes))
    misfit_mm = float(np.abs(mean.sdf_mm(contour_points(annotation))).mean())
    share = share_of_shapes(misfit_mm, annotation.gap_mm, ERROR_PER_GAP if healed is None else NETWORK_ERROR_PER_GAP)
    other = annotation.distance if healed is None else healed.restoration.restored
    return WeightedMean(((share, mean), (1.0 - share, other)))


def share_of_shapes(misfit_mm: float, gap_mm: float, error_per_gap: float = ERROR_PER_GAP) -> float:
    """Weight (0 to 1) of the fitted shapes beside what is known without them.

    As for two measurements of one thing by their variances: the error of the shapes is about by how much they miss what
    was seen, that of the others grows with the extent of what was not.

    Args:
        misfit_mm: mean distance of what was seen to the fitted shapes.
        gap_mm: way from slice to slice, or extent of a doubted part.
        error_per_gap: error of the others as a share of that.
    """
    other_mm = error_per_gap * gap_mm
    return other_mm**2 / (other_mm**2 + misfit_mm**2)


def contour_points(annotation: SparseAnnotation) -> np.ndarray:
    """(N, 3) points on the annotated contours, RAS mm."""
    from skimage.measure import find_contours

    points = []
    for planes in annotation.families:
        for number in planes.numbers:
            layer = np.take(annotation.distance.values_mm, number, axis=planes.axis)
            points.extend(np.insert(contour, planes.axis, number, axis=1) for contour in find_contours(layer, 0.0))
    return annotation.geometry.ijk_to_ras_points(np.concatenate(points)[:, ::-1])


def trusting_contours(candidates: Candidates, annotation: SparseAnnotation, ras_to_unit: Similarity, rng) -> Candidates:
    """Candidates with the annotated contours beside them, which count in full while all else counts little.

    A contour does not say the surface's normal; the one of the nearest candidate stands in.

    Args:
        candidates: of an organ that is known on the contours only.
        annotation: the slices.
        ras_to_unit: the alignment that the candidates were made with.
    """
    contours = ras_to_unit.apply(contour_points(annotation))
    contours = contours[rng.permutation(len(contours))[:_MOST_POINTS]]
    normals = candidates.normals[cKDTree(candidates.points).query(contours)[1]]
    # As many of the others, so that a step draws as many of either.
    others = rng.permutation(len(candidates.points))[: len(contours)]
    guesses = calibration().constants.trust_in_guesses
    return replace(
        candidates,
        points=np.concatenate([contours, candidates.points[others]]),
        normals=np.concatenate([normals, candidates.normals[others]]),
        weights=np.concatenate([np.ones(len(contours)), np.full(len(others), guesses)]),
        free_weights=np.full(len(candidates.free_points), guesses),
    )
