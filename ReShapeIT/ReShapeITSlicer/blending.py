"""Masks between the given and the refined voxels of an organ."""

from __future__ import annotations

import numpy as np


class Blend:
    """All masks from before to after; distances are computed once, where the two differ.

    :param before: (K, J, I) bool.
    :param after: (K, J, I) bool.
    :param spacing_mm: (3,) along i, j, k.
    """

    def __init__(self, before: np.ndarray, after: np.ndarray, spacing_mm):
        self._before, self._after, self._spacing_mm = before, after, np.asarray(spacing_mm)[::-1]
        self._distances = None

    def at(self, fraction: float) -> np.ndarray:
        """(K, J, I) bool; 0 is exactly before, 1 exactly after, between them both signed distances are mixed."""
        if fraction <= 0.0 or fraction >= 1.0:
            return self._before if fraction <= 0.0 else self._after
        differs = self._before != self._after
        if self._distances is None:
            self._distances = [self._signed_mm(mask)[differs] for mask in (self._before, self._after)]
        before_mm, after_mm = self._distances
        mask = self._before.copy()
        mask[differs] = (1.0 - fraction) * before_mm + fraction * after_mm < 0.0
        return mask

    def _signed_mm(self, mask: np.ndarray) -> np.ndarray:
        """Distance to the border between voxels, negative inside."""
        from scipy.ndimage import distance_transform_edt

        if mask.all() or not mask.any():
            return np.full(mask.shape, -1e3 if mask.any() else 1e3)
        outside = distance_transform_edt(~mask, sampling=self._spacing_mm)
        return outside - distance_transform_edt(mask, sampling=self._spacing_mm)
