"""Where the image moves the surface, and where it has no say.

A single cell's probability is never enough. The surface moves where the cells of a section of it, some 15 mm wide, say
together that it lies beside the organ's edge, and by how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.parallel import gaussian_filter
from .band import CELL_MM
from .features import coarser, finer

# Standard deviation of the smoothing of P in cells (1 mm), and of a section of the surface in coarse cells of 4 mm.
_SMOOTH_CELLS, _SECTION_CELLS = 0.5, 1.75
# A probability of 0 or 1 stands for so many mm from the edge.
_CERTAIN_MM = 2.0
_LEAST_CORRECTION_MM = 0.02
_NEAR_CELLS = 5
_LEAST_AREA = 0.02  # share of a section that is surface
_LEAST_NEAR = 1e-5  # surface at the end of what a section reaches, 16 mm away


@dataclass(frozen=True)
class ImageNumbers:
    """What the evidence must reach, of every organ alike; chosen by cross-validation over patients.

    Args:
        least_inside: mean P inside the organ below which the image has no say.
        shift_mm: a section that is off by less stays; from the second on it follows the image.
        agreement: share of a section's evidence that points in one direction, likewise.
        whole_mm: from the first on, as mean of all sections, sections follow that are off by less; from the second on
            the whole surface follows.
        threshold: P at the surface.
        deep_mm, deep_threshold: what lies this deep inside goes only where P is below the threshold.
        far_mm, far_threshold: what lies this far outside comes only where P is above the threshold.
    """

    least_inside: float
    shift_mm: tuple[float, float]
    agreement: tuple[float, float]
    whole_mm: tuple[float, float]
    threshold: float
    deep_mm: float
    deep_threshold: float
    far_mm: float
    far_threshold: float


@dataclass(frozen=True, eq=False)
class Moved:
    """What the image did.

    Args:
        correction_mm: (K, J, I) float32 to add to the shape's signed distance; None where nothing moves.
        inside: mean P inside the shape's organ.
        added_ml, removed_ml: volumes.
        moved_share: share of the surface that follows the image.
    """

    correction_mm: np.ndarray | None
    inside: float
    added_ml: float = 0.0
    removed_ml: float = 0.0
    moved_share: float = 0.0


def moved_surface(probability: np.ndarray, where: np.ndarray, shape_mm: np.ndarray, numbers: ImageNumbers) -> Moved:
    """Decide.

    Args:
        probability: (K, J, I) float32 P(organ); read in ``where`` alone.
        where: (K, J, I) bool band.
        shape_mm: (K, J, I) float32 signed distance by shape alone.
        numbers: of this organ.
    """
    organ = np.clip(0.5 - shape_mm / CELL_MM, 0.0, 1.0).astype(np.float32)
    told = gaussian_filter(np.where(where, probability, organ), (_SMOOTH_CELLS,) * 3, truncate=2.5)
    inside = shape_mm < 0
    certainty = float(told[inside].mean()) if inside.any() else 0.0
    if certainty < numbers.least_inside:
        return Moved(None, certainty)
    weight = _sections(told, organ, shape_mm, numbers)
    weight[~where] = 0.0
    correction = weight * (_edge(told, shape_mm, numbers) - shape_mm)
    correction[np.abs(correction) < _LEAST_CORRECTION_MM] = 0.0
    correction = _in_one_piece(shape_mm, correction)
    after = shape_mm + correction < 0
    cell_ml = CELL_MM**3 / 1000.0
    added, removed = (float(np.count_nonzero(c)) * cell_ml for c in (after & ~inside, inside & ~after))
    surface = np.abs(shape_mm) < 0.5 * CELL_MM
    share = float((weight[surface] > 0.5).mean()) if surface.any() else 0.0
    return Moved(correction if correction.any() else None, certainty, added, removed, share)


def _sections(told: np.ndarray, organ: np.ndarray, shape_mm: np.ndarray, numbers: ImageNumbers) -> np.ndarray:
    """(K, J, I) share of the image's say: how far off, and how unanimously, each section of the surface is."""
    change = coarser(told - organ)
    area = coarser(np.maximum(0.0, 1.0 - np.abs(shape_mm) / CELL_MM) / CELL_MM)
    net, gross, whole = (_section(values) for values in (change, np.abs(change), area))
    shift_mm = np.abs(net) / np.maximum(whole, _LEAST_AREA / CELL_MM)
    agreement = np.abs(net) / np.maximum(gross, 1e-4)
    weight = _ramp(shift_mm, numbers.shift_mm) * _ramp(agreement, numbers.agreement)
    # What is deep inside or far outside goes with the surface nearby.
    near, of_surface = (gaussian_filter(values, (1.0,) * 3, truncate=4.0) for values in (area, area * weight))
    share = finer(of_surface / np.maximum(near, _LEAST_NEAR), told.shape)
    off_mm = float((shift_mm * area).sum() / max(float(area.sum()), _LEAST_AREA))
    everywhere = float(_ramp(np.float32(off_mm), numbers.whole_mm))
    return everywhere + (1.0 - everywhere) * share


def _section(values: np.ndarray) -> np.ndarray:
    return gaussian_filter(values, (_SECTION_CELLS,) * 3, truncate=2.5)


def _ramp(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return np.clip((values - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)


def _edge(told: np.ndarray, shape_mm: np.ndarray, numbers: ImageNumbers) -> np.ndarray:
    """Signed distance to where P passes its threshold, which depends on the depth; exact beside the edge only."""
    middle = numbers.threshold
    # How certain the image is of what lies within two cells; the surface itself is where it is undecided.
    lowest, highest = (f(told, size=_NEAR_CELLS) for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    deep = _ramp(-shape_mm, (0.5 * numbers.deep_mm, numbers.deep_mm)) * (lowest > numbers.deep_threshold)
    far = _ramp(shape_mm, (0.5 * numbers.far_mm, numbers.far_mm)) * (highest < numbers.far_threshold)
    limit = middle + deep * (numbers.deep_threshold - middle) + far * (numbers.far_threshold - middle)
    above = (told - limit) / np.maximum(1.0 - limit, 1e-3)
    below = (told - limit) / np.maximum(limit, 1e-3)
    edge = (-_CERTAIN_MM * np.where(told > limit, above, below)).astype(np.float32)
    # Where both are sure of the same the shape's distance stays.
    agreed = _ramp(np.abs(edge), (0.8 * _CERTAIN_MM, 0.98 * _CERTAIN_MM)) * (edge * shape_mm > 0)
    return edge + agreed * (np.copysign(np.maximum(np.abs(shape_mm), np.abs(edge)), edge) - edge)


def _in_one_piece(shape_mm: np.ndarray, correction: np.ndarray) -> np.ndarray:
    """Without new pieces away from the organ, and without new cavities in it."""
    before, after = shape_mm < 0, shape_mm + correction < 0
    correction = correction.copy()
    for value, grown in ((1.0, after), (-1.0, ~after)):
        labels, count = ndimage.label(grown)
        known = before if value > 0 else ~before
        kept = np.zeros(count + 1, dtype=bool)
        kept[np.unique(labels[grown & known])] = True
        kept[0] = True
        correction[~kept[labels]] = 0.0
    return correction
