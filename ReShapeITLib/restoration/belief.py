"""Where the given organ is believed and where the restored one is: learned trust in the place of tolerances.

The network answers on a coarse grid and is right to about half a cell, so the given surface, which came from the image,
stands wherever the two agree to within a cell. Where they differ by clearly more, as far as that disagreement reaches,
the restored organ is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..surface import DistanceGrid
from .model import Restoration


@dataclass(frozen=True)
class BeliefOptions:
    """When a disagreement counts.

    Args:
        sure_cells: difference of the two distances at which the network is believed against the given organ.
        reach_cells: a sure disagreement extends over all connected cells that differ by more than this.
        transition_cells: width of the smooth transition at its border.
    """

    sure_cells: float = 1.5
    reach_cells: float = 0.7
    transition_cells: float = 1.0


def doubt(restoration: Restoration, options: BeliefOptions) -> DistanceGrid:
    """Weight of the restored organ against the given one, from 0 (kept) to 1, on the network's grid."""
    difference = np.abs(restoration.restored.values_mm - restoration.given.values_mm) / restoration.cell_mm
    pieces, n_pieces = ndimage.label(difference > options.reach_cells, structure=np.ones((3, 3, 3)))
    sure = np.zeros(n_pieces + 1, dtype=bool)
    sure[np.unique(pieces[difference > options.sure_cells])] = True
    sure[0] = False
    weight = np.zeros(difference.shape, dtype=np.float32)
    if sure.any():
        cells = ndimage.distance_transform_edt(~sure[pieces])
        weight = np.clip(1.0 - (cells - 1.0) / options.transition_cells, 0.0, 1.0).astype(np.float32)
    return DistanceGrid(weight, restoration.restored.geometry)
