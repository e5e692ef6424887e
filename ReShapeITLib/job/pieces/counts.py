"""Islands that went and holes that were filled, counted from the voxels whatever step did it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_CORNERS_TOUCH, _FACES_TOUCH = np.ones((3, 3, 3), dtype=bool), ndimage.generate_binary_structure(3, 1)


def islands_and_holes(before: np.ndarray, after: np.ndarray) -> dict[str, int]:
    """``islands_removed`` and ``holes_filled`` of an ``OrganReport``.

    An island is a component of the given organ of which nothing is left; of an organ that went as a whole none counts.
    A hole is a cavity of the given organ, closed all around, that the refined organ fills completely.

    Args:
        before, after: (K, J, I) bool voxels of the given and of the refined organ on one grid.
    """
    if not (before & after).any():
        return {"islands_removed": 0, "holes_filled": 0}
    islands = _whole_components(before & ~after, before & after, _CORNERS_TOUCH)
    # The background that surrounds the organ is one component, too, and is always left.
    holes = _whole_components(after & ~before, ~(before | after), _FACES_TOUCH, edge=True)
    return {"islands_removed": islands, "holes_filled": holes}


def _whole_components(changed: np.ndarray, left: np.ndarray, structure: np.ndarray, edge: bool = False) -> int:
    """How many components of ``changed`` and ``left`` together lie in ``changed`` as a whole.

    Args:
        edge: what touches the edge of the array is left.
    """
    found = ndimage.find_objects(changed.astype(np.uint8))
    if not found:
        return 0
    # A component that does not touch what is left is one of both together.
    around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found[0])
    changed, left = (np.pad(changed[around], 1), np.pad(left[around], 1, constant_values=edge))
    components, count = ndimage.label(changed, structure=structure)
    beside = grown(left) if structure is _CORNERS_TOUCH else _grown_by_faces(left)
    return int(count - len(np.unique(components[beside & changed])))


def grown(mask: np.ndarray) -> np.ndarray:
    """``ndimage.binary_dilation(mask, np.ones((3, 3, 3)))``, axis by axis."""
    for axis in range(3):
        larger = mask.copy()
        _grow_along(mask, larger, axis)
        mask = larger
    return mask


def _grown_by_faces(mask: np.ndarray) -> np.ndarray:
    larger = mask.copy()
    for axis in range(3):
        _grow_along(mask, larger, axis)
    return larger


def _grow_along(mask: np.ndarray, larger: np.ndarray, axis: int) -> None:
    larger, mask = np.moveaxis(larger, axis, 0), np.moveaxis(mask, axis, 0)
    larger[1:] |= mask[:-1]
    larger[:-1] |= mask[1:]
