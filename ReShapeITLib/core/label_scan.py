"""Looking through the voxels of a whole scan, slice by slice: nothing of the scan's size is made beside it."""

from __future__ import annotations

import numpy as np


def nonzero_values(layer: np.ndarray) -> list[int]:
    """Distinct non-zero values of a (K, J, I) integer array, ascending."""
    if not layer.size:
        return []
    low, high = int(layer.min()), int(layer.max())
    if high - low > 2**16:
        return [int(v) for v in np.unique(layer) if v != 0]
    seen = np.zeros(high - low + 1, dtype=bool)
    for section in layer:
        # Counting needs wide integers, so the background, most of a scan, is left out first.
        used = section[section != 0].astype(np.int64)
        seen |= np.bincount(used - low, minlength=len(seen)) > 0
    return [int(v) + low for v in np.flatnonzero(seen) if v + low != 0]


def extent(layer: np.ndarray, label: int) -> tuple[tuple[slice, slice, slice], int]:
    """Smallest box (k, j, i) that holds the voxels of a label in a (K, J, I) array, and their number.

    The box of a label without voxels is empty.
    """
    count, used_k = 0, []
    used_j, used_i = np.zeros(layer.shape[1], dtype=bool), np.zeros(layer.shape[2], dtype=bool)
    for k, section in enumerate(layer):
        here = section == label
        n = int(np.count_nonzero(here))
        if n:
            count += n
            used_k.append(k)
            used_j |= here.any(axis=1)
            used_i |= here.any(axis=0)
    if not count:
        return (slice(0, 0), slice(0, 0), slice(0, 0)), 0
    places = np.array(used_k), np.flatnonzero(used_j), np.flatnonzero(used_i)
    box_k, box_j, box_i = (slice(int(p[0]), int(p[-1]) + 1) for p in places)
    return (box_k, box_j, box_i), count
