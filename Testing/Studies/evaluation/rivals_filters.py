"""Rivals that look at the given mask alone: what a user of a segment editor has, and rules of size and place.

Every function takes a (K, J, I) bool mask and its geometry and returns a new mask. Median, Gaussian and closing do what
Slicer's Segment Editor does with one segment; lengths are in mm and become voxels the way they do there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.surface import SurfaceOptions, clean_mask

_TOUCHING = np.ones((3, 3, 3), dtype=bool)  # pieces hang together by corners
# vtkImageGaussianSmooth cuts its kernel off at this many standard deviations as the editor sets it.
_GAUSSIAN_REACH_SD = 4.0


@dataclass(frozen=True)
class PieceRule:
    """Which pieces of an organ are believed.

    Args:
        least_share: pieces below this share of the largest piece's volume go.
        most_gap_mm: pieces further than this from the largest one go, unless they are large.
        large_share: pieces of at least this share of the largest one stay wherever they are.
    """

    least_share: float
    most_gap_mm: float
    large_share: float


_COMPACT_ORGAN = PieceRule(least_share=0.05, most_gap_mm=10.0, large_share=0.5)
# Networks lose the thin neck of a pancreas, so that head and tail come apart.
PIECE_RULES = {"pancreas": PieceRule(least_share=0.02, most_gap_mm=25.0, large_share=0.3)}


def largest_piece(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """The largest connected piece with its closed cavities filled; an empty mask stays empty."""
    if not mask.any():
        return mask.copy()
    return clean_mask(mask, geometry, SurfaceOptions(min_island_fraction=1.0, max_hole_mm3=np.inf))[0]


def by_rules(mask: np.ndarray, geometry: ImageGeometry, organ: str) -> np.ndarray:
    """Pieces dropped by their size and their distance to the largest piece, cavities filled.

    Such rules, one set for each organ, are what ShapeKit applies to the output of networks; these are written from
    that description. It also compares organs with one another, which a single organ does not allow.
    """
    pieces, count = ndimage.label(mask, structure=_TOUCHING)
    if not count:
        return mask.copy()
    rule = PIECE_RULES.get(organ, _COMPACT_ORGAN)
    voxels = np.bincount(pieces.ravel())[1:]
    largest = int(voxels.argmax()) + 1
    kept = np.zeros(count + 1, dtype=bool)
    kept[1:] = voxels >= rule.least_share * voxels.max()
    if kept.sum() > 1:
        away_mm = ndimage.distance_transform_edt(pieces != largest, sampling=geometry.spacing_mm[::-1])
        gaps_mm = np.asarray(ndimage.minimum(away_mm, pieces, np.arange(1, count + 1)))
        kept[1:] &= (gaps_mm <= rule.most_gap_mm) | (voxels >= rule.large_share * voxels.max())
    return clean_mask(kept[pieces], geometry, SurfaceOptions(min_island_mm3=0.0, max_hole_mm3=np.inf))[0]


def median_smoothed(mask: np.ndarray, geometry: ImageGeometry, kernel_mm: float = 3.0) -> np.ndarray:
    """Every voxel takes the majority within a box of ``kernel_mm``."""
    sizes = kernel_voxels(geometry, kernel_mm)
    return _within_margin(
        mask, sizes, lambda part: ndimage.uniform_filter(part.astype(np.float32), sizes[::-1], mode="constant") > 0.5
    )


def gaussian_smoothed(mask: np.ndarray, geometry: ImageGeometry, sd_mm: float = 3.0) -> np.ndarray:
    """The mask blurred with a Gaussian and cut at one half."""
    _require_length(sd_mm)
    sd = (sd_mm / geometry.spacing_mm)[::-1]
    reach = np.ceil(_GAUSSIAN_REACH_SD * sd[::-1]).astype(int)
    return _within_margin(
        mask,
        reach,
        lambda part: (
            ndimage.gaussian_filter(part.astype(np.float32), sd, mode="constant", truncate=_GAUSSIAN_REACH_SD) > 0.5
        ),
    )


def closed(mask: np.ndarray, geometry: ImageGeometry, kernel_mm: float = 3.0) -> np.ndarray:
    """Dilated and eroded with an ellipsoid of diameter ``kernel_mm``: gaps and holes narrower than that are filled."""
    sizes = kernel_voxels(geometry, kernel_mm)
    # In half kernels an ellipsoid is a ball of radius one.
    steps = (2.0 / sizes)[::-1]

    def close(part):
        dilated = ndimage.distance_transform_edt(~part, sampling=steps) <= 1.0
        return ndimage.distance_transform_edt(dilated, sampling=steps) > 1.0

    return _within_margin(mask, sizes, close)


def kernel_voxels(geometry: ImageGeometry, kernel_mm: float) -> np.ndarray:
    """(3,) odd numbers of voxels along i, j, k nearest to a length in mm, at least one."""
    _require_length(kernel_mm)
    return np.maximum(1, 2 * np.round((kernel_mm / geometry.spacing_mm + 1.0) / 2.0).astype(int) - 1)


def _within_margin(mask: np.ndarray, margin_ijk: np.ndarray, filter_part) -> np.ndarray:
    """``filter_part`` applied to the box around the mask and ``margin_ijk`` voxels of background on every side."""
    box = ndimage.find_objects(np.asarray(mask, dtype=np.uint8))
    if not box:
        return mask.copy()
    margin = [int(m) + 1 for m in margin_ijk[::-1]]
    filtered = filter_part(np.pad(mask[box[0]], [(m, m) for m in margin]))
    result = np.zeros_like(mask)
    target, source = [], []
    for part, m, n in zip(box[0], margin, mask.shape, strict=True):
        # What the filter puts beyond the grid is lost.
        start, stop = max(0, part.start - m), min(n, part.stop + m)
        target.append(slice(start, stop))
        source.append(slice(start - part.start + m, stop - part.start + m))
    result[tuple(target)] = filtered[tuple(source)]
    return result


def _require_length(length_mm: float) -> None:
    if not length_mm > 0:
        raise BadInputError(f"The size of a filter must be a length in mm above zero, not {length_mm}.")
