"""The fitted field as witness, for a template that has no restoration network."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...core.geometry import Similarity
from ...distance.protocol import SignedDistance
from ...distance.surface import DistanceGrid
from ...restoration.grid import CanonicalGrid
from ...restoration.model import FIELD, Restoration, Seen, known_cells
from ...restoration.network import GIVEN_LIMIT_CELLS
from ...templates.template import OrganTemplate


def restored_by_field(
    field: SignedDistance,
    template: OrganTemplate,
    distance: DistanceGrid,
    ras_to_unit: Similarity,
    seen: Seen | None = None,
) -> Restoration:
    """The organ of a fitted field beside the given one, on the cells on which a network would answer.

    Args:
        field: fitted to the given organ, mm.
        template: of the field.
        distance: signed distance of the given organ, mm.
        ras_to_unit: its alignment.
        seen: the ends where it was cut off.
    """
    grid = CanonicalGrid.around(template.points_unit)
    given, fitted = (grid.sample_cells(organ, ras_to_unit, GIVEN_LIMIT_CELLS) for organ in (distance, field))
    cell_mm = grid.cell_unit / ras_to_unit.scale
    geometry = grid.geometry_ras(ras_to_unit)
    restored, given_mm = (
        DistanceGrid((cells * cell_mm).astype(np.float32), geometry) for cells in (main_piece(fitted, given), given)
    )
    unseen = known_cells(seen, grid, ras_to_unit) == 0.0
    return Restoration(restored, given_mm, cell_mm, None, unseen, FIELD)


def main_piece(fitted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The fitted distances with every piece made outside but the one that holds most of the given organ.

    A template is one connected organ, so whatever else a fitted field encloses is not part of it.

    Args:
        fitted, given: [z, y, x] signed distances.
    """
    pieces, _ = ndimage.label(fitted < 0)
    overlap = np.bincount(pieces[given < 0])
    overlap[:1] = 0
    return np.where(pieces == overlap.argmax(), fitted, np.abs(fitted)) if overlap.any() else fitted
