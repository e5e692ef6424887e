"""Segmentations whose voxels are finer than what they were made from: the coarse grid behind a bricky mask.

A mask drawn or computed on coarse voxels and then resampled to a fine grid changes at few places along each axis only.
Its staircases are no image content, so the surface is taken from the coarse mask.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .geometry import ImageGeometry

LEAST_RATIO = 1.6  # fine voxels in a brick, along its longest edge, from which a mask counts as bricky
_FEWEST_BRICKS = 4  # along an axis; fewer tell nothing
_MOST_STRAY = 0.02  # share of the changes along an axis that may lie off the brick borders


def coarse_behind(mask: np.ndarray, geometry: ImageGeometry) -> tuple[np.ndarray, ImageGeometry] | None:
    """The coarse mask, and its grid, that a (K, J, I) bool mask was resampled from; None for a mask of its own grid."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    box, part = found[0], mask[found[0]]
    grids = [_bricks(part, axis) for axis in range(3)]
    ratios = np.array([ratio for _, ratio in grids])
    if ratios.max() < LEAST_RATIO:
        return None
    for axis, (starts, _) in enumerate(grids):
        part = np.take(part, starts, axis=axis)
    # A brick's centre lies half its length, less half a fine voxel, behind the centre of its first fine voxel.
    first = np.array([s.start for s in box]) + 0.5 * (ratios - 1.0)
    matrix = geometry.ijk_to_ras.copy()
    matrix[:3, 3] = geometry.ijk_to_ras_points(first[None, ::-1])[0]
    matrix[:3, :3] *= ratios[::-1]
    return part, ImageGeometry(matrix, part.shape[::-1])


def _bricks(mask: np.ndarray, axis: int) -> tuple[np.ndarray, float]:
    """One fine index inside each brick along an axis, and the bricks' mean length in fine voxels; 1.0 where the mask
    has none."""
    n = mask.shape[axis]
    plain = np.arange(n), 1.0
    layers = np.moveaxis(mask, axis, 0)
    changes = (layers[1:] != layers[:-1]).sum(axis=(1, 2))
    borders = np.flatnonzero(changes > _MOST_STRAY * changes.max()) + 1
    borders = np.concatenate([[0], borders, [n]])
    if len(borders) - 1 < _FEWEST_BRICKS:
        return plain
    steps = np.diff(borders)
    # Bricks differ by a voxel at most; where a border happens to change nothing, a step holds two of them.
    length = float(steps[steps <= steps.min() + 1].mean())
    counts = np.maximum(1, np.round(steps / length))
    ratio = n / counts.sum()
    if np.abs(steps - counts * ratio).max() > 1.0 + 0.05 * ratio:
        return plain
    return np.minimum(((np.arange(int(counts.sum())) + 0.5) * ratio).astype(int), n - 1), ratio
