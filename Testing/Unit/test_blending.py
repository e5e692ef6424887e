"""Blending: the given surface stands where the field agrees, the field wins where they contradict each other deeply."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.combinators import BlendedField, FunctionDistance
from ReShapeITLib.distance.surface import DistanceGrid, SurfaceOptions, signed_distance_grid
from ReShapeITLib.refinement.blending import (
    TYPICAL_FIT_RESIDUAL_UNIT,
    BlendOptions,
    field_weight,
    grid_points,
    main_piece,
    without_small_components,
    working_geometry,
)

CELL_MM = 3.0
OPTIONS = BlendOptions(add_mm=8.0, add_depth_mm=4.0, remove_mm=8.0, island_mm=5.0, skin_mm=3.0, transition_mm=4.0)
GEOMETRY = working_geometry(np.full(3, -60.0), np.full(3, 60.0), CELL_MM)
POINTS = grid_points(GEOMETRY)
BITE_CENTRE, LEAK_CENTRE = np.array([40.0, 0, 0]), np.array([-40.0, 0, 0])


def on_grid(values):
    return values.reshape(GEOMETRY.shape_kji)


def sphere_mm(points, radius=40.0, centre=(0.0, 0.0, 0.0)):
    return np.linalg.norm(points - np.asarray(centre), axis=1) - radius


def bitten_mm(points, bite_radius=20.0):
    return np.maximum(sphere_mm(points), -sphere_mm(points, bite_radius, BITE_CENTRE))


def leaking_mm(points, leak_radius=18.0):
    return np.minimum(sphere_mm(points), sphere_mm(points, leak_radius, LEAK_CENTRE))


def weights(given, fitted=sphere_mm, options=OPTIONS):
    return on_grid(field_weight(on_grid(given(POINTS)), on_grid(fitted(POINTS)), CELL_MM, options).ravel())


def blended(given, fitted=sphere_mm, options=OPTIONS):
    grid = DistanceGrid(on_grid(given(POINTS)).astype(np.float32), GEOMETRY)
    return BlendedField(
        grid, FunctionDistance(fitted, grid.bounds_ras), DistanceGrid(weights(given, fitted, options), GEOMETRY)
    )


def test_the_weight_is_zero_where_both_surfaces_are_the_same():
    assert (weights(sphere_mm) == 0).all()


@pytest.mark.parametrize("difference_mm", [-7.0, 7.0])
def test_a_difference_below_the_tolerance_keeps_the_given_surface(difference_mm):
    assert (weights(lambda p: sphere_mm(p, 40.0 + difference_mm)) == 0).all()


@pytest.mark.parametrize("difference_mm", [-14.0, 14.0])
def test_a_difference_beyond_the_tolerance_does_not(difference_mm):
    assert weights(lambda p: sphere_mm(p, 40.0 + difference_mm)).max() == 1.0


def test_the_weight_is_one_in_a_bite_and_zero_far_from_it():
    weight = weights(bitten_mm).ravel()
    inside_bite = (sphere_mm(POINTS, 20.0, BITE_CENTRE) < -1) & (sphere_mm(POINTS) < -1)
    assert inside_bite.sum() > 100
    assert (weight[inside_bite] == 1.0).all()
    assert (weight[POINTS[:, 0] < -15] == 0.0).all()


def test_the_weight_is_one_in_a_leak_and_zero_far_from_it():
    weight = weights(leaking_mm).ravel()
    leaked = (leaking_mm(POINTS) < 0) & (sphere_mm(POINTS) > 1)
    assert leaked.sum() > 100
    assert (weight[leaked] == 1.0).all()
    assert (weight[POINTS[:, 0] > 20] == 0.0).all()


def small_organ_mm(points):
    return sphere_mm(points, 25.0)


def island_weights(distance_mm, options=OPTIONS):
    """Weights within a stray island of radius 6 mm whose nearest point is so far from the organ."""

    def island(points):
        return sphere_mm(points, 6.0, (25.0 + distance_mm + 6.0, 0, 0))

    weight = weights(lambda points: np.minimum(small_organ_mm(points), island(points)), small_organ_mm, options)
    return weight.ravel()[island(POINTS) < 0]


def test_a_stray_island_is_given_to_the_field():
    assert (island_weights(12.0) == 1.0).all()


def test_an_island_is_judged_as_a_whole():
    assert (island_weights(5.5) == 1.0).all()
    assert (island_weights(5.5, replace(OPTIONS, island_mm=12.0, remove_mm=100.0)) == 0.0).all()


def test_the_largest_piece_is_no_island_however_far_it_is_from_the_field():
    def elsewhere(points):
        return sphere_mm(points, 12.0, (0, -40.0, 0))

    weight = weights(elsewhere, lambda points: sphere_mm(points, 12.0, (0, 40.0, 0)), replace(OPTIONS, remove_mm=100.0))
    assert (weight.ravel()[elsewhere(POINTS) < 0] == 0.0).all()


def test_the_weight_falls_smoothly_over_the_transition():
    weight = weights(leaking_mm, options=replace(OPTIONS, transition_mm=15.0))
    assert ((weight > 0) & (weight < 1)).sum() > 500
    largest_step = max(np.abs(np.diff(weight, axis=axis)).max() for axis in range(3))
    # The distance changes by one cell from a voxel to the next.
    assert 0.9 * CELL_MM / 15.0 < largest_step <= 1.01 * CELL_MM / 15.0


def test_a_believed_contradiction_does_not_creep_along_a_thin_difference():
    weight = weights(bitten_mm, lambda points: sphere_mm(points, 42.0)).ravel()
    assert weight.max() == 1.0
    assert (weight[POINTS[:, 0] < -15] == 0.0).all()


def test_a_missing_part_must_lie_deep_inside_the_fields_organ():
    thin = replace(OPTIONS, add_depth_mm=25.0)
    assert (weights(bitten_mm, options=thin) == 0).all()


def test_a_missing_part_that_reaches_too_far_is_not_believed():
    assert (weights(bitten_mm, options=replace(OPTIONS, add_most_mm=10.0)) == 0).all()


def test_only_the_piece_that_holds_the_given_organ_belongs_to_the_field():
    def two_pieces(points):
        return np.minimum(sphere_mm(points, 20.0, (-30.0, 0, 0)), sphere_mm(points, 20.0, (35.0, 0, 0)))

    given = on_grid(sphere_mm(POINTS, 18.0, (-30.0, 0, 0)))
    kept = main_piece(on_grid(two_pieces(POINTS)), given).ravel()
    assert np.array_equal(kept < 0, sphere_mm(POINTS, 20.0, (-30.0, 0, 0)) < 0)


def test_a_stray_island_beside_the_organ_leaves_the_organ_as_it_was():
    def given(points):
        return np.minimum(sphere_mm(points, 30.0), sphere_mm(points, 5.0, (0, 0, 42.0)))

    weight = weights(given, lambda points: sphere_mm(points, 30.0)).ravel()
    assert (weight[sphere_mm(POINTS, 5.0, (0, 0, 42.0)) < 0] == 1.0).all()
    assert (weight[sphere_mm(POINTS, 30.0) < -CELL_MM] == 0.0).all()


def test_tolerances_grow_with_the_organ_a_poor_alignment_and_a_poor_fit():
    lengths = {"add_mm": 12.0, "add_depth_mm": 5.0, "remove_mm": 15.0, "island_mm": 9.0}
    options = replace(OPTIONS, add_most_mm=30.0, **lengths)
    doubled = replace(options, **{name: 2 * length for name, length in lengths.items()})
    assert options.scaled(90.0, 0.3, 0.001) == options
    assert options.scaled(180.0, 1.0, 0.0) == replace(doubled, add_most_mm=60.0, cell_mm=2 * options.cell_mm)
    assert options.scaled(90.0, 2.0, 0.0) == doubled
    assert options.scaled(90.0, 0.0, 2 * TYPICAL_FIT_RESIDUAL_UNIT) == doubled


def test_either_direction_can_be_switched_off_by_its_tolerance():
    assert (weights(bitten_mm, options=replace(OPTIONS, add_mm=100.0)) == 0).all()
    assert (weights(leaking_mm, options=replace(OPTIONS, remove_mm=100.0)) == 0).all()
    assert weights(bitten_mm, options=replace(OPTIONS, remove_mm=100.0)).max() == 1


def random_points(rng, n=4000):
    return rng.uniform(-58, 58, size=(n, 3))


def test_where_the_weight_is_zero_the_blended_field_is_the_given_one_exactly(rng):
    field, points = blended(bitten_mm), random_points(rng)
    kept = field.weight_at(points) == 0
    assert 1000 < kept.sum() < len(points)
    assert np.array_equal(field.sdf_mm(points)[kept], field.given.sdf_mm(points)[kept])


def test_where_the_weight_is_one_the_blended_field_is_the_fitted_one(rng):
    field, points = blended(bitten_mm), random_points(rng, 20_000)
    won = field.weight_at(points) == 1
    assert won.sum() > 50
    assert field.sdf_mm(points)[won] == pytest.approx(sphere_mm(points)[won])


def test_in_between_the_blended_field_is_the_weighted_mean(rng):
    field, points = blended(bitten_mm), random_points(rng)
    weight = field.weight_at(points)
    expected = (1 - weight) * field.given.sdf_mm(points) + weight * sphere_mm(points)
    assert ((weight > 0) & (weight < 1)).sum() > 50
    assert field.sdf_mm(points) == pytest.approx(expected)


def test_the_bite_is_filled_and_the_leak_removed():
    assert bitten_mm(np.array([[28.0, 0, 0]]))[0] > 0 > blended(bitten_mm).sdf_mm(np.array([[28.0, 0, 0]]))[0]
    assert leaking_mm(np.array([[-52.0, 0, 0]]))[0] < 0 < blended(leaking_mm).sdf_mm(np.array([[-52.0, 0, 0]]))[0]


def test_the_network_is_asked_only_where_it_has_a_say(rng):
    asked = []

    def fitted(points):
        asked.append(points)
        return sphere_mm(points)

    whole = blended(bitten_mm)
    field = replace(whole, expected=FunctionDistance(fitted, whole.bounds_ras))
    points = random_points(rng)
    field.sdf_mm(points)
    assert np.array_equal(np.concatenate(asked), points[field.weight_at(points) > 0])


def test_outside_its_grid_the_weight_is_zero():
    field = blended(lambda p: sphere_mm(p, 5.0))
    assert field.weight_at(np.array([[20.0, 0, 0], [1000.0, 0, 0]])).tolist() == [1.0, 0.0]


def test_the_working_grid_covers_the_box_with_cubic_cells():
    geometry = working_geometry(np.array([-5.0, 0, 7]), np.array([6.0, 4.1, 7.0]), 2.0)
    assert geometry.spacing_mm == pytest.approx([2.0, 2.0, 2.0])
    assert geometry.origin_ras.tolist() == [-5.0, 0.0, 7.0]
    assert geometry.size_ijk == (7, 4, 1)


def test_grid_points_come_in_the_order_of_a_raveled_array():
    geometry = working_geometry(np.zeros(3), np.array([1.0, 2.0, 3.0]), 1.0)
    values = grid_points(geometry)[:, 2].reshape(geometry.shape_kji)
    assert values.shape == (4, 3, 2)
    assert values[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


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
    assert (without_small_components(whole, geometry, field, distance_of).sdf_mm(middle)[0] < 0) == stays
