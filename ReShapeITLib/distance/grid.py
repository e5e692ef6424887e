"""Smooth signed distance of a voxel mask as arrays: the numerical half of ``surface`` (no frames in here).

Arrays are (K, J, I); spacings and factors are given along i, j, k, as in ``ImageGeometry``.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.parallel import gaussian_filter, together

# A voxel centre is at least this share of the (finest) spacing away from the surface.
_LEAST_SHARE = 0.1
# The smoothed field stands up to the first distance (in voxels) from the surface, true distances from the second.
_NEAR_VOXELS, _FAR_VOXELS = 1.0, 3.0
# Both sides' transforms hold 24 bytes for each voxel.
_MOST_VOXELS_AT_ONCE = 25_000_000


def smooth_signed_distance_mm(
    mask: np.ndarray, spacing_mm: np.ndarray, factors: np.ndarray, sigma_voxels: float, passes: int
) -> np.ndarray:
    """Signed distance (negative inside) to a smooth surface that keeps every voxel centre of the mask on its side.

    Thick slices are bridged by shape-based interpolation, so that they leave no terraces.

    Args:
        mask: (K, J, I) boolean, not touching its border.
        spacing_mm: spacing of the mask.
        factors: odd numbers by which the grid is refined along i, j, k.
        sigma_voxels: standard deviation of the smoothing, in voxels of the coarsest axis of the refined grid.
        passes: how often smoothing and the constraint alternate.

    Returns:
        float32 array with ``(n - 1) * factor + 1`` points along each axis; every factor-th is a voxel centre.
    """
    fine_mm = spacing_mm / factors
    fine_mask = mask
    for axis, factor in enumerate(factors[::-1]):
        fine_mask = np.repeat(fine_mask, factor, axis=axis) if factor > 1 else fine_mask
    to_centre_mm, to_boundary_mm, hops = _to_other_side(fine_mask, fine_mm[::-1])
    for axis, factor in enumerate(factors[::-1]):
        if factor > 1:
            to_boundary_mm = _interpolated_between_layers(to_boundary_mm, axis, factor)
    smooth_mm = _smoothed(to_boundary_mm, mask, fine_mm, factors, sigma_voxels, passes)
    far_mm = _through_other_side(smooth_mm, to_centre_mm, hops, factors)
    near, far = (float(n * fine_mm.max()) for n in (_NEAR_VOXELS, _FAR_VOXELS))
    share = np.clip((np.abs(smooth_mm) - near) / (far - near), 0.0, 1.0)
    share[np.sign(far_mm) != np.sign(smooth_mm)] = 0.0
    return smooth_mm + share * (far_mm - smooth_mm)


def _to_other_side(mask, step_kji):
    """From each voxel centre to the nearest one of the other side, both signed distances negative inside.

    Returns:
        distance to that centre, distance to the boundary half a voxel before it, and its place (flat, relative).
    """
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    rim = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
    to_centre, to_boundary = np.empty((2, *mask.shape), dtype=np.float32)
    hops = np.empty(mask.shape, dtype=np.int32)
    strides = np.array([mask.shape[1] * mask.shape[2], mask.shape[2], 1], dtype=np.int32)

    def one_side(sign, part):
        side = mask[part] if sign < 0 else ~mask[part]
        _fill((to_centre[part], to_boundary[part], hops[part]), sign, side, step_kji, strides)

    run = together if mask.size <= _MOST_VOXELS_AT_ONCE else map
    list(run(one_side, (1, -1), ((slice(None),) * 3, rim)))  # each side writes its own voxels only
    return to_centre, to_boundary, hops


def _fill(views, sign, side, step_kji, strides):
    """Write distances and hops of the voxels of one side, in place, slice by slice: that stays within the cache."""
    nearest = ndimage.distance_transform_edt(side, sampling=step_kji, return_distances=False, return_indices=True)
    rows, columns = (np.arange(n, dtype=np.int32) for n in side.shape[1:])
    for k, here in enumerate(side):
        offsets = nearest[0, k] - np.int32(k), nearest[1, k] - rows[:, None], nearest[2, k] - columns
        squared, half, hops = np.float32(0.0), np.float32(0.0), np.int32(0)
        for offset, step, stride in zip(offsets, step_kji, strides, strict=True):
            part = np.square(offset * np.float32(step), dtype=np.float32)
            squared, half, hops = squared + part, half + part * np.float32(0.25 * step**2), hops + offset * stride
        lengths = np.sqrt(squared)
        # Half the voxel, seen as an ellipsoid, in that direction; voxels of the other side are not written.
        to_boundary = lengths - np.sqrt(half) / np.maximum(lengths, np.float32(1e-6))
        for view, values in zip(views, (np.float32(sign) * lengths, np.float32(sign) * to_boundary, hops), strict=True):
            np.copyto(view[k], values, where=here)


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


def _smoothed(distance_mm, mask, fine_mm, factors, sigma_voxels, passes):
    """Smooth the distance without changing its sign at any voxel centre of the mask."""
    centres = tuple(slice(None, None, factor) for factor in factors[::-1])
    least = np.float32(_LEAST_SHARE * fine_mm.min())
    sigma_kji = (sigma_voxels * fine_mm.max() / fine_mm)[::-1]
    smooth = distance_mm.copy()
    _hold_sign(smooth[centres], mask, least)
    for _ in range(passes if sigma_voxels > 0 else 0):
        # 2 G - G G leaves curved surfaces in place to second order; G alone would shrink the organ.
        once = gaussian_filter(smooth, sigma_kji, truncate=3.0)
        twice = gaussian_filter(once, sigma_kji, truncate=3.0)
        smooth = np.subtract(2 * once, twice, out=once)
        _hold_sign(smooth[centres], mask, least)
    return smooth


def _hold_sign(values, mask, least):
    np.minimum(values, -least, out=values, where=mask)
    np.maximum(values, least, out=values, where=~mask)


def _through_other_side(smooth_mm, to_centre_mm, hops, factors):
    """Distance by way of the nearest centre of the other side and its own small distance to the smooth surface."""
    rims = [(factor // 2, factor // 2) for factor in factors[::-1]]
    padded = np.pad(smooth_mm, rims, mode="edge") if max(factors) > 1 else smooth_mm
    there = padded.ravel().take(np.arange(hops.size, dtype=np.int32) + hops.ravel()).reshape(hops.shape)
    inner = tuple(slice(rim, -rim or None) for rim, _ in rims)
    return (to_centre_mm + there)[inner]
