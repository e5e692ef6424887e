"""Smoothed signed distance of a voxel mask as arrays: the numerical half of ``surface`` (no frames in here).

Arrays are (K, J, I); spacings and factors are given along i, j, k, as in ``ImageGeometry``.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# A voxel centre is at least this share of the (finest) spacing away from the surface.
_LEAST_SHARE = 0.1
# Smoothed distances stand up to the first distance (in voxels) from the surface, exact ones from the second.
_NEAR_VOXELS, _FAR_VOXELS = 3.0, 6.0


def signed_distance_mm(mask: np.ndarray, spacing_mm: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Signed distance (negative inside) to the boundary of a mask's voxels, on a grid refined by odd ``factors``.

    Exact at the mask's voxel centres; in between, shape-based interpolation, so that thick slices leave no terraces.

    Returns:
        float32 array with ``(n - 1) * factor + 1`` points along each axis.
    """
    for axis, factor in enumerate(factors[::-1]):
        mask = np.repeat(mask, factor, axis=axis) if factor > 1 else mask
    step_kji = (spacing_mm / factors)[::-1]
    values = _distance_to_other_side(~mask, step_kji) - _distance_to_other_side(mask, step_kji)
    for axis, factor in enumerate(factors[::-1]):
        if factor > 1:
            values = _interpolated_between_layers(values, axis, factor)
    return values


def smoothed_keeping_voxels(
    distance_mm: np.ndarray,
    mask: np.ndarray,
    spacing_mm: np.ndarray,
    factors: np.ndarray,
    sigma_voxels: float,
    passes: int,
) -> np.ndarray:
    """Smooth a distance from ``signed_distance_mm`` without changing its sign at any voxel centre of the mask.

    Args:
        distance_mm: refined (K', J', I') distance.
        mask: the (K, J, I) mask it belongs to.
        spacing_mm: spacing of the refined grid.
        factors: refinement along i, j, k.
        sigma_voxels: standard deviation in voxels of the coarsest axis of the refined grid.
        passes: how often smoothing and the constraint alternate.
    """
    centres = tuple(slice(None, None, factor) for factor in factors[::-1])
    least = np.float32(_LEAST_SHARE * spacing_mm.min())
    sigma_kji = (sigma_voxels * spacing_mm.max() / spacing_mm)[::-1]
    smooth = distance_mm.copy()
    for _ in range(passes if sigma_voxels > 0 else 0):
        # 2 G - G G leaves curved surfaces in place to second order; G alone would shrink the organ.
        once = ndimage.gaussian_filter(smooth, sigma_kji, truncate=3.0)
        twice = ndimage.gaussian_filter(once, sigma_kji, truncate=3.0)
        smooth = np.subtract(2 * once, twice, out=once)
        _hold_sign(smooth[centres], mask, least)
    _hold_sign(smooth[centres], mask, least)
    near, far = (float(n * spacing_mm.max()) for n in (_NEAR_VOXELS, _FAR_VOXELS))
    share = np.clip((np.abs(distance_mm) - near) / (far - near), 0.0, 1.0)
    return smooth + share * (distance_mm - smooth)


def _hold_sign(values, mask, least):
    np.minimum(values, -least, out=values, where=mask)
    np.maximum(values, least, out=values, where=~mask)


def _distance_to_other_side(mask, step_kji):
    """Distance (mm) from voxel centres in the mask to the boundary before the nearest voxel outside it; else 0."""
    nearest = ndimage.distance_transform_edt(mask, sampling=step_kji, return_distances=False, return_indices=True)
    squared, half_step = np.zeros((2, *mask.shape), dtype=np.float32)
    for axis, step in enumerate(step_kji):
        own = np.arange(mask.shape[axis], dtype=np.int32).reshape(np.where(np.arange(3) == axis, -1, 1))
        part = np.square((nearest[axis] - own).astype(np.float32) * np.float32(step))
        squared += part
        half_step += part * np.float32(0.25 * step**2)
    # The boundary lies half a step before that voxel's centre; a step is an ellipsoid with the voxel's axes.
    lengths = np.sqrt(squared)
    half_step = np.sqrt(half_step, out=half_step)
    return lengths - np.divide(half_step, lengths, out=half_step, where=lengths > 0)


def _interpolated_between_layers(values, axis, factor):
    """Catmull-Rom interpolation of every ``factor``-th layer: linear would cut the corners of round organs."""
    layers = np.moveaxis(values, axis, 0)[factor // 2 :: factor]
    fine = np.empty(((len(layers) - 1) * factor + 1, *layers.shape[1:]), dtype=np.float32)
    fine[::factor] = layers
    numbers = np.clip(np.arange(-1, len(layers) + 1), 0, len(layers) - 1)
    before, left, right, after = (numbers[shift : shift + len(layers) - 1] for shift in range(4))
    for step in range(1, factor):
        t = step / factor
        weights = 0.5 * np.array([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2])
        w = weights.astype(np.float32)
        fine[step::factor] = w[0] * layers[before] + w[1] * layers[left] + w[2] * layers[right] + w[3] * layers[after]
    return np.ascontiguousarray(np.moveaxis(fine, 0, axis))
