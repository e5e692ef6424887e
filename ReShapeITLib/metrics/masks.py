"""Metrics between two masks on one voxel grid: Dice, normalised surface Dice, HD95 and ASSD.

Distances run from surfel to nearest surfel of the other mask (see ``surfels``), and every mean, percentile and fraction
is weighted by surfel area. This is the definition of Nikolov et al., "Clinically Applicable Segmentation of Head and
Neck Anatomy for Radiotherapy" (J Med Internet Res 2021), here for any affine voxel grid. Its surfels form a layer, not
a sheet: they reach about half a voxel to either side, so the ASSD of smooth surfaces 2 mm apart reads 1.6 mm at a
spacing of 1 mm. Values can be compared on one grid, and with others of this definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from .surfels import is_surfel, neighbourhood_codes, surfel_areas_mm2, surfel_distances_mm

_TIE_MM = 1e-6  # a distance of exactly the tolerance counts as agreement, whatever its rounding


@dataclass(frozen=True)
class MaskMetrics:
    """Agreement of a test mask with a reference mask.

    Attributes:
        dsc: Dice similarity coefficient of the voxels, 0 to 1.
        nsd: normalised surface Dice, 0 to 1: share of both surfaces within ``nsd_tolerance_mm`` of the other.
        nsd_tolerance_mm: the tolerance of ``nsd``.
        hd95_mm: 95 % Hausdorff distance, the larger of both directions' area-weighted 95th percentiles.
        assd_mm: average symmetric surface distance over the area of both surfaces together.
    """

    dsc: float
    nsd: float
    nsd_tolerance_mm: float
    hd95_mm: float
    assd_mm: float


def compare_masks(
    reference_mask: np.ndarray, test_mask: np.ndarray, geometry: ImageGeometry, nsd_tolerance_mm: float
) -> MaskMetrics:
    """Voxel and surface agreement of two masks on the same grid.

    A mask that touches the border of the image is closed there. An empty test mask has ``dsc`` and ``nsd`` 0 and
    infinite distances, so that it ranks last and cannot vanish from an average unseen.

    Args:
        reference_mask, test_mask: (K, J, I) bool.
        geometry: the grid of both masks; any spacing, orientation, handedness and shear.
        nsd_tolerance_mm: deviation in mm that still counts as agreement; say what is acceptable for the organ.

    Raises:
        BadInputError: a mask does not fit the grid, the reference is empty or the tolerance is not a length.
    """
    if not 0 <= nsd_tolerance_mm < np.inf:
        raise BadInputError(
            "The NSD tolerance must be at least 0 mm, not {tolerance}",
            "choose another one",
            "metrics.tolerance",
            tolerance=nsd_tolerance_mm,
        )
    reference_mask = _checked_mask(reference_mask, geometry, "reference")
    test_mask = _checked_mask(test_mask, geometry, "test")
    reference_box, test_box = _bounding_box(reference_mask), _bounding_box(test_mask)
    if reference_box is None:
        raise BadInputError(
            "The reference mask is empty", "choose the segment or label that holds the organ", "metrics.empty_mask"
        )
    if test_box is None:
        return MaskMetrics(0.0, 0.0, float(nsd_tolerance_mm), np.inf, np.inf)
    box = tuple(slice(min(r.start, t.start), max(r.stop, t.stop)) for r, t in zip(reference_box, test_box, strict=True))
    return _compare_cropped(reference_mask[box], test_mask[box], geometry, nsd_tolerance_mm)


def _compare_cropped(reference, test, geometry, nsd_tolerance_mm) -> MaskMetrics:
    """All metrics of two non-empty masks cropped to the same box."""
    dsc = 2.0 * np.count_nonzero(reference & test) / (np.count_nonzero(reference) + np.count_nonzero(test))
    ijk_to_mm = geometry.ijk_to_ras[:3, :3]
    codes_r, codes_t = neighbourhood_codes(reference), neighbourhood_codes(test)
    surfels_r, surfels_t = is_surfel(codes_r), is_surfel(codes_t)
    area_of_code = surfel_areas_mm2(ijk_to_mm)
    area_r, area_t = area_of_code[codes_r[surfels_r]], area_of_code[codes_t[surfels_t]]
    distance_r = surfel_distances_mm(surfels_r, surfels_t, ijk_to_mm)
    distance_t = surfel_distances_mm(surfels_t, surfels_r, ijk_to_mm)
    reach_mm = nsd_tolerance_mm + _TIE_MM
    total_area = area_r.sum() + area_t.sum()
    close_area = area_r[distance_r <= reach_mm].sum() + area_t[distance_t <= reach_mm].sum()
    return MaskMetrics(
        dsc=float(dsc),
        nsd=float(close_area / total_area),
        nsd_tolerance_mm=float(nsd_tolerance_mm),
        hd95_mm=max(_weighted_percentile(distance_r, area_r, 95), _weighted_percentile(distance_t, area_t, 95)),
        assd_mm=float((distance_r @ area_r + distance_t @ area_t) / total_area),
    )


def _checked_mask(mask: np.ndarray, geometry: ImageGeometry, name: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.shape != geometry.shape_kji:
        raise BadInputError(
            "The {name} mask has the shape {shape} but its grid has {grid} (k, j, i)",
            "resample both masks to one grid",
            "metrics.shape",
            name=name,
            shape=mask.shape,
            grid=geometry.shape_kji,
        )
    return mask.astype(bool, copy=False)


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Smallest box around the true voxels, ``None`` without any; each axis narrows the search for the next."""
    box = [slice(None)] * 3
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if occupied.size == 0:
            return None
        box[axis] = slice(int(occupied[0]), int(occupied[-1]) + 1)
    return tuple(box)


def _weighted_percentile(values: np.ndarray, weights: np.ndarray, percent: float) -> float:
    """Smallest value at or below which ``percent`` of the weight lies."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    position = np.searchsorted(cumulative, percent / 100.0 * cumulative[-1])
    return float(values[order[min(position, len(order) - 1)]])
