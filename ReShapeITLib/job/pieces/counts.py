"""Islands that went and holes that were filled, counted from the voxels whatever step did it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_CORNERS_TOUCH = np.ones((3, 3, 3), dtype=bool)


def islands_and_holes(before: np.ndarray, after: np.ndarray) -> dict[str, int]:
    """``islands_removed`` and ``holes_filled`` of an ``OrganReport``.

    An island is a component of the given organ of which nothing is left; of an organ that went as a whole none counts.
    A hole is a cavity of the given organ, closed all around, that the refined organ fills completely.

    Args:
        before, after: (K, J, I) bool voxels of the given and of the refined organ on one grid.
    """
    found = ndimage.find_objects((before | after).astype(np.uint8))
    if not found or not (before & after).any():
        return {"islands_removed": 0, "holes_filled": 0}
    before, after = np.pad(before[found[0]], 1), np.pad(after[found[0]], 1)
    islands, n_islands = ndimage.label(before, structure=_CORNERS_TOUCH)
    islands_left = np.unique(islands[before & after])
    # The background that surrounds the organ is one component, too, and is always left.
    holes, n_holes = ndimage.label(~before)
    holes_left = np.unique(holes[~before & ~after])
    return {"islands_removed": n_islands - len(islands_left), "holes_filled": n_holes - len(holes_left)}
