"""Components of the given organ that go whatever is decided."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.combinators import BlendedField, FunctionDistance
from ReShapeITLib.distance.surface import DistanceGrid, SurfaceOptions, signed_distance_grid
from ReShapeITLib.refinement.components import without_small_components


@pytest.mark.parametrize(
    ("edge", "gap", "added", "stays"),
    [(2, 4, False, False), (2, 2, False, True), (6, 4, False, True), (2, 4, True, True)],
)
def test_a_small_piece_apart_goes_unless_it_is_near_or_large_or_something_was_added_beside_it(edge, gap, added, stays):
    geometry = ImageGeometry.from_parts((40, 20, 20), (4.0, 4.0, 4.0))
    whole = np.zeros(geometry.shape_kji, dtype=bool)
    whole[5:15, 5:15, 5:15] = True
    piece = (slice(5, 5 + edge), slice(5, 5 + edge), slice(14 + gap, 14 + gap + edge))  # the gap in voxels of 4 mm
    whole[piece] = True
    weight = np.zeros(geometry.shape_kji, dtype=np.float32)
    weight[5:7, 5:7, 15 : 14 + gap] = added
    distance_of = partial(signed_distance_grid, options=SurfaceOptions(smoothing_voxels=0))
    given = distance_of(whole, geometry)
    everywhere = FunctionDistance(lambda points: np.full(len(points), -10.0), given.bounds_ras)
    field = BlendedField(given, everywhere, DistanceGrid(weight, geometry))
    k, j, i = (np.mean([s.start, s.stop - 1]) for s in piece)
    middle = geometry.ijk_to_ras_points(np.array([[i, j, k]]))
    assert field.sdf_mm(middle)[0] < 0
    after = without_small_components(whole, geometry, field, distance_of)
    assert (after.sdf_mm(middle)[0] < 0) == stays
    if not stays:  # nothing is left of it, and the other piece is what it was
        fine = ImageGeometry.from_parts((79, 39, 39), (2.0, 2.0, 2.0))
        points = fine.ijk_to_ras_points(np.argwhere(np.ones(fine.shape_kji))[:, ::-1])
        alone = whole.copy()
        alone[piece] = False
        np.testing.assert_array_equal(after.sdf_mm(points) < 0, distance_of(alone, geometry).sdf_mm(points) < 0)
