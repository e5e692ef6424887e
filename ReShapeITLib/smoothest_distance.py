"""The smoothest signed distance that a mask allows: what lies behind voxels that are coarse against the organ.

Of all fields with the mask's sign at every voxel centre and with about its distance, the one of least bending energy is
taken (a variational interpolation, as thin-plate splines are; Turk and O'Brien, SIGGRAPH 1999, with inequalities in the
place of values). It is found by the alternating direction method of multipliers: the energy is diagonal under the cosine
transform, the bounds are a clip (Boyd et al., Foundations and Trends in Machine Learning 2011).
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from .geometry import ImageGeometry
from .surface import DistanceGrid

_STEPS = 40
_OVER_RELAXATION = 1.6
_SLACK = 0.6  # of the distance to the mask's, in voxels' diagonals per axis
_MARGIN_VOXELS = 4
_TARGET_MM = 1.5  # spacing that coarse axes are refined to


def smoothest_distance_grid(mask: np.ndarray, geometry: ImageGeometry) -> DistanceGrid:
    """Smoothest signed distance around a (K, J, I) bool mask, RAS mm, on a grid refined to about 1.5 mm."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    start = np.array([s.start for s in box]) - _MARGIN_VOXELS
    part = np.pad(mask[box], _MARGIN_VOXELS)
    around = geometry.cropped(start[::-1], part.shape[::-1])
    values = smoothest_distance_mm(part, around.spacing_mm[::-1])
    factors = np.maximum(1, np.round(around.spacing_mm / _TARGET_MM).astype(int))
    matrix = around.ijk_to_ras.copy()
    matrix[:3, :3] /= factors
    fine = _refined(values, factors[::-1])
    return DistanceGrid(fine, ImageGeometry(matrix, fine.shape[::-1]))


def smoothest_distance_mm(mask: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    """(K, J, I) signed distance of a bool mask, negative inside, that minimises the integral of (Laplace^2 phi)^2.

    Args:
        mask: with background all around.
        spacing_kji: mm.
    """
    spacing = np.asarray(spacing_kji, dtype=float)
    half = 0.5 * spacing.min()
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing) - half
    inside = ndimage.distance_transform_edt(mask, sampling=spacing) - half
    # The voxel's own size keeps distances of single voxels on their side.
    distance = np.where(mask, np.minimum(-inside, -1e-3), np.maximum(outside, 1e-3))
    slack = _SLACK * np.linalg.norm(spacing)
    lower = np.where(mask, distance - slack, np.maximum(distance - slack, 0.0))
    upper = np.where(mask, np.minimum(distance + slack, 0.0), distance + slack)
    smooth = 1.0 / (1.0 + np.prod(spacing) ** (8 / 3) * _laplace_eigenvalues(mask.shape, spacing) ** 4)
    split, dual = distance.copy(), np.zeros_like(distance)
    for _ in range(_STEPS):
        bent = fft.idctn(fft.dctn(split - dual, norm="ortho") * smooth, norm="ortho")
        relaxed = _OVER_RELAXATION * bent + (1.0 - _OVER_RELAXATION) * split
        split = np.clip(relaxed + dual, lower, upper)
        dual += relaxed - split
    return np.clip(bent, lower, upper)


def _laplace_eigenvalues(shape: tuple[int, ...], spacing: np.ndarray) -> np.ndarray:
    """(K, J, I) of the negative second differences with mirrored ends, which the cosine transform diagonalises."""
    along = [(2.0 - 2.0 * np.cos(np.pi * np.arange(n) / n)) / step**2 for n, step in zip(shape, spacing, strict=True)]
    return along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]


def _refined(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Float32 cubic spline through the values with ``factors`` steps from one to the next along each axis."""
    from scipy.interpolate import CubicSpline

    for axis, factor in enumerate(factors):
        if factor > 1:
            n = values.shape[axis]
            spline = CubicSpline(np.arange(n), values.astype(np.float32), axis=axis)
            values = spline(np.arange((n - 1) * factor + 1) / factor)
    return values.astype(np.float32)
