"""The likely signed distance behind a mask whose voxels are coarse against the organ.

The surface lies somewhere between the centres of voxels inside and outside, most likely midway. So the distance to the
nearest centre of the other side, less half a voxel, is smoothed by a little bending energy and held within what the
mask allows, by two steps of the alternating direction method of multipliers: the energy is diagonal under the cosine
transform, the bounds are a clip (Boyd et al., Foundations and Trends in Machine Learning 2011). Carried on until it
settles it would be the smoothest surface that keeps every centre on its side, which touches the centres and so cuts off
what is convex.

Between thick slices of fine pixels that takes steps where a contour moves far from one slice to the next, as it does
wherever the surface lies flat. There the distances to the contours within the slices, blended from slice to slice
(:mod:`between_slices`), have no steps; they know nothing of what lies beyond the outermost slices, nor of parts that
leave each other between two. The errors of both differ, so both are averaged, but for contours that move very far.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from ..core.geometry import ImageGeometry
from ..core.parallel import threads, together
from .between_slices import distance_within_slice
from .surface import DistanceGrid, bounding_crop, with_true_distances

_STEPS = 2
_OVER_RELAXATION = 1.6
_BENDING = 0.008  # weight of the bending energy, for voxels of unit size
_BULKY_MM, _BULKY_VOXELS = 6.0, 2.0  # volume over surface of an organ, either of which brings the full weight
_LEAST_SHARE = 0.45  # of that volume over surface; thinner organs still lose their steps
_LEAST = 0.05  # way of voxel centres to the surface, at least, in shortest edges
_SLACK = 0.6  # of the distance to the mask's, in voxels' diagonals per axis
_THICK = 2.0  # a slice's thickness in edges of its pixels, from which their contours tell more than the slices
# Chosen on livers and middle lobes with slices of 3, 5 and 8 mm (Testing.Studies.coarse_surfaces).
_SHARE_OF_SLICES = 0.5
_FAR = 6.0  # way of a contour from one slice to the next, in thicknesses, from which on they count less
_BLUR_PIXELS = 0.5  # of distances within slices, whose contours follow the pixels
_COARSE_MM = 2.0  # longest edge
_MARGIN_VOXELS = 4
_TARGET_MM = 1.5  # spacing that coarse axes are refined to


def smooth_distance_grid(mask: np.ndarray, geometry: ImageGeometry) -> DistanceGrid:
    """Smooth signed distance around a (K, J, I) bool mask, RAS mm, on a grid refined to about 1.5 mm.

    Raises:
        BadInputError: the mask is empty or does not have the shape of the geometry.
    """
    start_ijk, cropped = bounding_crop(mask, geometry)
    part = _padded_to_quick_lengths(cropped)
    around = geometry.cropped(start_ijk - _MARGIN_VOXELS, part.shape[::-1])
    factors = np.maximum(1, np.round(around.spacing_mm / _TARGET_MM).astype(int))
    matrix = around.ijk_to_ras.copy()
    matrix[:3, :3] /= factors
    fine = _refined_distance(part, around.spacing_mm[::-1], factors[::-1])
    return with_true_distances(DistanceGrid(fine, ImageGeometry(matrix, fine.shape[::-1])))


def _refined_distance(mask: np.ndarray, spacing: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The distance with ``factors`` steps from one voxel to the next."""
    values = smooth_distance_mm(mask, spacing)
    if not is_thick(spacing):
        return _refined(values, factors, _spline)
    axis = int(np.argmax(spacing))
    layers = (np.moveaxis(array, axis, 0) for array in (values, mask))
    longer = np.moveaxis(_blend_with_slices(*layers, spacing[axis], np.delete(spacing, axis)), 0, axis)
    return _refined(values, factors, _spline) / _refined(longer, factors, _polygon)


def _padded_to_quick_lengths(part: np.ndarray) -> np.ndarray:
    """The mask with a margin, and behind it as much more as makes the cosine transform quick."""
    lengths = [fft.next_fast_len(n + 2 * _MARGIN_VOXELS, real=True) for n in part.shape]
    behind = [length - n - _MARGIN_VOXELS for length, n in zip(lengths, part.shape, strict=True)]
    return np.pad(part, [(_MARGIN_VOXELS, n) for n in behind])


def smooth_distance_mm(mask: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    """(K, J, I) float32 signed distance of a bool mask, negative inside; its sign is the mask's at every voxel centre.

    Args:
        mask: with background all around.
        spacing_kji: mm.
    """
    spacing = np.asarray(spacing_kji, dtype=float)
    # Single precision takes half the time and is far finer than the voxels.
    distance = _distance_to_other_side(mask, spacing)
    slack = np.float32(_SLACK * np.linalg.norm(spacing))
    lower, upper = distance - slack, distance + slack
    least = np.float32(_LEAST * min(spacing))
    np.maximum(lower, least, out=lower, where=~mask)
    np.minimum(upper, -least, out=upper, where=mask)
    # Thin, lobed organs have detail of the size of a voxel.
    bulky = min(_BULKY_MM, _BULKY_VOXELS * float(spacing.max()))
    bending = _BENDING * np.clip(_volume_over_surface(mask, spacing) / bulky, _LEAST_SHARE, 1.0) ** 2
    energy = bending * np.prod(spacing) ** (8 / 3) * _laplace_eigenvalues(mask.shape, spacing) ** 4
    smooth = (1.0 / (1.0 + energy)).astype(np.float32)
    split, dual = distance, np.zeros_like(distance)
    for _ in range(_STEPS):
        waves = fft.dctn(split - dual, norm="ortho", overwrite_x=True, workers=threads())
        waves *= smooth
        bent = fft.idctn(waves, norm="ortho", overwrite_x=True, workers=threads())
        # The over-relaxed field plus the dual; the dual keeps what the bounds cut off.
        split *= np.float32(1.0 - _OVER_RELAXATION)
        split += np.float32(_OVER_RELAXATION) * bent
        dual += split
        np.clip(dual, lower, upper, out=split)
        dual -= split
    return np.clip(bent, lower, upper, out=bent)


def is_thick(spacing_mm: np.ndarray) -> bool:
    """True for voxels of such edges (3,) that are slices: one edge is much longer than both others."""
    *_, longer, longest = sorted(spacing_mm)
    return longest >= _THICK * longer


def is_coarse(spacing_mm: np.ndarray) -> bool:
    """True for voxels of such edges (3,) whose surface is nearer to the organ's from here than from
    ``surface.signed_distance_grid``, which smooths as for fine ones."""
    return max(spacing_mm) >= _COARSE_MM


def _blend_with_slices(smooth: np.ndarray, mask: np.ndarray, thickness: float, within: np.ndarray) -> np.ndarray:
    """Average a smooth distance, in place, with distances to the contours within slices.

    Args:
        smooth, mask: (slices, ...).
        thickness: of a slice, mm.
        within: (2,) edges of a pixel, mm.

    Returns:
        (slices, ...) float32, how much longer the result is than the way to the surface: 1 or more.
    """

    def to_contour(number):
        distance = ndimage.gaussian_filter(distance_within_slice(mask[number], within), _BLUR_PIXELS)
        # What is a pixel thin would otherwise be blurred away.
        return np.where(mask[number], np.minimum(distance, 0.0), np.maximum(distance, 0.0))

    used = [int(number) for number in np.flatnonzero(mask.any(axis=(1, 2)))]
    distances = dict(zip(used, together(to_contour, used), strict=True))
    longer = np.ones(mask.shape, dtype=np.float32)
    for number in used:
        if number - 1 in distances and number + 1 in distances:
            own = distances[number]
            steps = [np.abs(own - distances[other]) / thickness for other in (number - 1, number + 1)]
            share = _SHARE_OF_SLICES / (1.0 + np.square(np.maximum(*steps) / _FAR))
            # Deep inside, the way within the slice says nothing of the surface above and below.
            share *= np.clip(2.0 - np.abs(smooth[number]) / thickness, 0.0, 1.0)
            smooth[number] += (share * (own - smooth[number])).astype(np.float32)
            within_slice = np.sqrt(1.0 + np.square(0.5 * (steps[0] + steps[1])))
            longer[number] += (share * (within_slice - 1.0)).astype(np.float32)
    return longer


def _distance_to_other_side(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(K, J, I) float32 signed distance in mm to the nearest voxel centre of the other side, less half a voxel."""

    def squared_to_other(side):
        squared = np.zeros(mask.shape, dtype=np.float32)
        nearest = ndimage.distance_transform_edt(side, sampling=spacing, return_distances=False, return_indices=True)
        for axis, step in enumerate(spacing):
            nearest[axis] -= np.arange(mask.shape[axis], dtype=np.int32).reshape(np.where(np.arange(3) == axis, -1, 1))
            squared += np.square(nearest[axis] * np.float32(step))
        return squared

    # Voxels of the other side find themselves and add nothing.
    squared = sum(together(squared_to_other, (mask, ~mask)))
    # The voxel's own size keeps distances of single voxels on their side.
    distance = np.maximum(np.sqrt(squared, out=squared) - np.float32(0.5 * min(spacing)), np.float32(1e-3))
    return np.negative(distance, out=distance, where=mask)


def _volume_over_surface(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Volume of the voxels over the area of their outer faces, mm."""
    faces = [np.count_nonzero(np.diff(mask, axis=axis)) / step for axis, step in enumerate(spacing)]
    return np.count_nonzero(mask) / max(sum(faces), 1.0 / spacing.max())


def _laplace_eigenvalues(shape: tuple[int, ...], spacing: np.ndarray) -> np.ndarray:
    """(K, J, I) of the negative second differences with mirrored ends, which the cosine transform diagonalises."""
    along = [(2.0 - 2.0 * np.cos(np.pi * np.arange(n) / n)) / step**2 for n, step in zip(shape, spacing, strict=True)]
    return along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]


def _refined(values: np.ndarray, factors: np.ndarray, curve) -> np.ndarray:
    """Float32 curve (``_spline`` or ``_polygon``) through the values with ``factors`` steps from one to the next along
    each axis."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            # The curve is linear in its values, so one matrix, that of the unit vectors' curves, makes it for all.
            matrix = curve(values.shape[axis], int(factor)).astype(np.float32)
            values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values, dtype=np.float32)


def _spline(n: int, factor: int) -> np.ndarray:
    """((n - 1) * factor + 1, n) values of the cubic splines through the unit vectors."""
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.arange(n), np.eye(n))(np.arange((n - 1) * factor + 1) / factor)


def _polygon(n: int, factor: int) -> np.ndarray:
    """The same of straight lines from value to value."""
    return np.stack([np.interp(np.arange((n - 1) * factor + 1) / factor, np.arange(n), unit) for unit in np.eye(n)], 1)
