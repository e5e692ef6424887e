"""Segmentations whose voxels are finer than what they were made from: the coarse grid behind a resampled mask.

A mask segmented on coarse voxels and then resampled to a fine grid changes at few places along each axis only.
Its staircases are no image content, so the surface is taken from the coarse mask.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry

LEAST_RATIO = 1.6  # fine voxels in a coarse one, along its longest edge, from which a mask counts as resampled
_FEWEST_VOXELS = 4  # coarse ones along an axis; fewer say nothing
_ROUND_MM = 0.5  # the spacings of coarse grids are mostly multiples of it
_MOST_STRAY = 0.02  # share of the changes along an axis that may lie off the borders of coarse voxels


def coarse_behind(mask: np.ndarray, geometry: ImageGeometry) -> tuple[np.ndarray, ImageGeometry] | None:
    """The coarse mask, and its grid, that a (K, J, I) bool mask was resampled from; None for a mask of its own grid."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    box, part = found[0], mask[found[0]]
    grids = [_coarse_voxels(part, axis, geometry.spacing_mm[2 - axis]) for axis in range(3)]
    starts, ratios = np.array([grid[0] for grid in grids]), np.array([grid[1] for grid in grids])
    if ratios.max() < LEAST_RATIO:
        return None
    for axis, (start, ratio, count) in enumerate(grids):
        centres = start + ratio * (np.arange(count) + 0.5)
        part = np.take(part, np.clip(centres.astype(int), 0, part.shape[axis] - 1), axis=axis)
    # Voxel i reaches from i - 0.5 to i + 0.5.
    first = np.array([s.start for s in box]) + starts + 0.5 * ratios - 0.5
    matrix = geometry.ijk_to_ras.copy()
    matrix[:3, 3] = geometry.ijk_to_ras_points(first[None, ::-1])[0]
    matrix[:3, :3] *= ratios[::-1]
    return part, ImageGeometry(matrix, part.shape[::-1])


def _coarse_voxels(mask: np.ndarray, axis: int, spacing_mm: float) -> tuple[float, float, int]:
    """Where the first coarse voxel along an axis starts, in fine voxels from the mask's corner, how long coarse voxels
    are in fine ones, and their number; the mask's own voxels where there are none."""
    n = mask.shape[axis]
    plain = 0.0, 1.0, n
    layers = np.moveaxis(mask, axis, 0)
    changes = (layers[1:] != layers[:-1]).sum(axis=(1, 2))
    borders = np.flatnonzero(changes > _MOST_STRAY * changes.max()) + 1
    borders = np.concatenate([[0], borders, [n]])
    if len(borders) - 1 < _FEWEST_VOXELS:
        return plain
    steps = np.diff(borders)
    # Coarse voxels differ by a fine one at most; where a border happens to change nothing, a step holds two of them.
    length = float(steps[steps <= steps.min() + 1].mean())
    counts = np.maximum(1, np.round(steps / length))
    ratio = n / counts.sum()
    if np.abs(steps - counts * ratio).max() > 1.0 + 0.05 * ratio:
        return plain
    return *_even_edges(borders, np.concatenate([[0], np.cumsum(counts)]), spacing_mm), int(counts.sum())


def _even_edges(borders: np.ndarray, numbers: np.ndarray, spacing_mm: float) -> tuple[float, float]:
    """Start and length, in fine voxels, of equal coarse voxels whose edges lie deepest in what the borders allow.

    A fine voxel takes the coarse one that its centre lies in, so an edge lies within half a voxel of the border seen.
    Coarse grids mostly have round spacings, so of the lengths that are possible a round one is taken.

    Args:
        borders: fine voxels before each border.
        numbers: coarse voxels before each border.
        spacing_mm: of the fine voxels.
    """
    from scipy.optimize import linprog

    # Unknowns: start, length, and the largest distance of an edge from its border, which is to be small.
    edges, one = np.stack([np.ones(len(numbers)), numbers], axis=1), np.ones((len(numbers), 1))
    upper, lower = np.hstack([edges, -one]), np.hstack([-edges, -one])
    bounds = [(None, None), (0.0, None), (0.0, None)]
    found = linprog([0.0, 0.0, 1.0], np.vstack([upper, lower]), np.concatenate([borders, -borders]), bounds=bounds)
    start, length = map(float, found.x[:2])
    round_length = _ROUND_MM * round(length * spacing_mm / _ROUND_MM) / spacing_mm
    starts = borders - round_length * numbers
    if np.ptp(starts) <= 1.0:
        start, length = 0.5 * (starts.min() + starts.max()), round_length
    return start, length
