"""Masks between the given and the refined voxels of an organ."""

from __future__ import annotations

import numpy as np

NEAR_VOXELS = 2
FAR_MM = 1e3


class Blend:
    """All masks from before to after; distances are computed once, where the two differ.

    :param before: (K, J, I) bool.
    :param after: (K, J, I) bool.
    :param spacing_mm: (3,) along i, j, k.
    """

    def __init__(self, before: np.ndarray, after: np.ndarray, spacing_mm):
        self._before, self._after = np.ascontiguousarray(before), np.ascontiguousarray(after)
        self._spacing_mm = np.asarray(spacing_mm, dtype=float)[::-1]
        self._differs, self._distances = None, None

    def at(self, fraction: float) -> np.ndarray:
        """(K, J, I) bool; 0 is exactly before, 1 exactly after, between them both signed distances are mixed."""
        if fraction <= 0.0 or fraction >= 1.0:
            return self._before if fraction <= 0.0 else self._after
        if self._distances is None:
            self._differs = np.flatnonzero(self._before != self._after)
            self._distances = [self._signed_mm(mask) for mask in (self._before, self._after)]
        before_mm, after_mm = self._distances
        mask = self._before.copy()
        mask.ravel()[self._differs] = (1.0 - fraction) * before_mm + fraction * after_mm < 0.0
        return mask

    def _signed_mm(self, mask: np.ndarray) -> np.ndarray:
        """Distances of the voxels that differ to the nearest voxel on the other side of a mask, negative inside."""
        inside = mask.ravel()[self._differs]
        distances = np.empty(len(self._differs))
        for side, sign in ((False, 1.0), (True, -1.0)):
            voxels = self._differs[inside == side]
            distances[inside == side] = sign * _nearest_mm(voxels, mask, not side, self._spacing_mm)
        return distances


def _nearest_mm(voxels: np.ndarray, mask: np.ndarray, value: bool, spacing_mm: np.ndarray) -> np.ndarray:
    """(N,) distance from voxels (flat indices) to the nearest voxel of a value in a mask; far where there is none.

    Most are near: they are looked up around each voxel, the nearest places first. A search tree finds the others.
    """
    places = np.stack(np.unravel_index(voxels, mask.shape), axis=1)
    found_mm, open_ = np.full(len(voxels), FAR_MM), np.arange(len(voxels))
    padded = np.pad(mask == value, NEAR_VOXELS)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    flat, here = padded.ravel(), (places + NEAR_VOXELS) @ strides
    steps = np.arange(-NEAR_VOXELS, NEAR_VOXELS + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths_mm = np.linalg.norm(offsets * spacing_mm, axis=1)
    for index in np.argsort(lengths_mm, kind="stable"):
        # A voxel that is not among the offsets is at least this far away.
        if lengths_mm[index] >= (NEAR_VOXELS + 1) * spacing_mm.min() or not len(open_):
            break
        hit = flat[here[open_] + offsets[index] @ strides]
        found_mm[open_[hit]] = lengths_mm[index]
        open_ = open_[~hit]
    if len(open_):
        targets = np.flatnonzero(_border(mask) & (mask == value))
        if len(targets):
            from scipy.spatial import cKDTree

            points = np.stack(np.unravel_index(targets, mask.shape), axis=1)
            tree = cKDTree(points * spacing_mm, balanced_tree=False, compact_nodes=False)
            found_mm[open_] = tree.query(places[open_] * spacing_mm)[0]
    return found_mm


def _border(mask: np.ndarray) -> np.ndarray:
    """(K, J, I) bool voxels with a face to a voxel of the other value; the nearest of each value are among them."""
    border = np.zeros(mask.shape, dtype=bool)
    for axis in range(3):
        first, second = (
            tuple(slice(*ends) if a == axis else slice(None) for a in range(3)) for ends in ((None, -1), (1, None))
        )
        change = mask[first] != mask[second]
        border[first] |= change
        border[second] |= change
    return border
