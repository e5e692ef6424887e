"""What is decided within the image beside a face of the image that cuts the organ: nothing is added there.

A network or a fitted shape continues the organ beyond the face. Where that continuation is wider than the given organ,
its foot would leave a rim within the image, whose voxels somebody saw. So within the image what lies beyond does not
count, and what is missing counts only where most of it lies away from the face.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from .blending import grid_points
from .truncation import Truncation

_NEIGHBOURS = np.ones((3, 3, 3))


def expected_within_image(
    given_mm: np.ndarray,
    expected_mm: np.ndarray,
    geometry: ImageGeometry,
    cut: Truncation,
    reach_mm: float,
    least_mm: float,
) -> np.ndarray:
    """(K, J, I) expected distance, as given beyond the cut faces and in additions that lie mostly beside them.

    Args:
        given_mm, expected_mm: (K, J, I) signed distances.
        geometry: of both.
        cut: at least one of its planes is a face of the image.
        reach_mm: how far from the face a part lies beside it.
        least_mm: differences from which cells belong to one part.
    """
    way_mm = cut.way_beyond_image_mm(grid_points(geometry)).reshape(given_mm.shape)
    beyond = way_mm > 0.0
    beside = way_mm > -reach_mm
    pieces, n_pieces = ndimage.label((given_mm - expected_mm > least_mm) & ~beyond, structure=_NEIGHBOURS)
    added = (pieces > 0) & (given_mm > 0) & (expected_mm < 0)
    cells = np.bincount(pieces[added], minlength=n_pieces + 1)
    near = np.bincount(pieces[added & beside], minlength=n_pieces + 1)
    foot = 2 * near > cells
    foot[0] = False
    return np.where(beyond | foot[pieces], given_mm, expected_mm)
