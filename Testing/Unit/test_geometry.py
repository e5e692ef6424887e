"""The value types for frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.geometry import ImageGeometry, Similarity

SEEDS = st.integers(0, 2**32 - 1)


def random_geometry(seed: int) -> ImageGeometry:
    """An oblique, anisotropic grid, left-handed half of the time."""
    rng = np.random.default_rng(seed)
    direction = Rotation.from_rotvec(rng.normal(size=3)).as_matrix() * rng.choice([-1.0, 1.0])
    return ImageGeometry.from_parts((5, 6, 7), rng.uniform(0.3, 5, 3), rng.uniform(-500, 500, 3), direction)


def test_parts_make_the_affine_written_down_by_hand():
    direction = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    geometry = ImageGeometry.from_parts((2, 3, 4), (0.5, 2.0, 3.0), (10.0, 20.0, 30.0), direction)
    expected = [[0, 0, 3, 10], [0.5, 0, 0, 20], [0, 2, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(geometry.ijk_to_ras, expected)


def test_a_voxel_lies_at_the_point_computed_by_hand():
    geometry = ImageGeometry.from_parts((9, 9, 9), (0.5, 2.0, 3.0), (10.0, 20.0, 30.0), np.diag([-1, -1, 1]))
    np.testing.assert_array_equal(geometry.ijk_to_ras_points([[2, 3, 4]]), [[9.0, 14.0, 42.0]])


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_points_come_back_from_any_grid(seed):
    geometry = random_geometry(seed)
    points = np.random.default_rng(seed).uniform(-50, 50, (20, 3))
    there = geometry.ijk_to_ras_points(points)
    np.testing.assert_allclose(geometry.ras_to_ijk_points(there), points, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_spacing_and_direction_make_the_affine_again(seed):
    geometry = random_geometry(seed)
    again = ImageGeometry.from_parts((5, 6, 7), geometry.spacing_mm, geometry.origin_ras, geometry.direction_ras)
    np.testing.assert_allclose(again.ijk_to_ras, geometry.ijk_to_ras, atol=1e-12)


def test_a_voxel_of_a_left_handed_grid_has_positive_volume():
    geometry = ImageGeometry.from_parts((2, 2, 2), (0.5, 2.0, 3.0), direction_ras=np.diag([-1.0, 1.0, 1.0]))
    assert geometry.voxel_volume_mm3 == pytest.approx(3.0)


def test_arrays_have_the_axes_in_reverse_order():
    assert ImageGeometry.from_parts((2, 3, 4), (1, 1, 1)).shape_kji == (4, 3, 2)


def test_the_affine_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        ImageGeometry.from_parts((2, 3, 4), (1, 1, 1)).ijk_to_ras[0, 0] = 2.0


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.0, 1.0), (1.0, np.nan, 1.0)])
def test_a_zero_or_nan_spacing_is_refused(spacing_mm):
    with pytest.raises(ValueError, match="singular|finite"):
        ImageGeometry.from_parts((2, 2, 2), spacing_mm)


def test_a_cropped_grid_keeps_its_voxels_where_they_were():
    geometry = random_geometry(3)
    crop = geometry.cropped((-2, 1, 3), (4, 4, 4))
    np.testing.assert_allclose(crop.ijk_to_ras_points([[2, 1, 0]]), geometry.ijk_to_ras_points([[0, 2, 3]]), atol=1e-9)


def test_grids_are_the_same_within_the_tolerance_at_the_far_corner_only():
    geometry = ImageGeometry.from_parts((101, 2, 2), (1.0, 1.0, 1.0))
    stretched = ImageGeometry.from_parts((101, 2, 2), (1.0001, 1.0, 1.0))
    assert not geometry.same_grid_as(stretched)
    assert geometry.same_grid_as(stretched, tolerance_mm=0.02)
    assert not geometry.same_grid_as(ImageGeometry.from_parts((100, 2, 2), (1.0, 1.0, 1.0)))


def random_similarity(seed: int) -> Similarity:
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
    return Similarity(rng.uniform(0.01, 50), rotation, rng.normal(size=3) * 100)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_inverse_similarity_takes_points_back(seed):
    similarity = random_similarity(seed)
    points = np.random.default_rng(seed).normal(size=(10, 3))
    np.testing.assert_allclose(similarity.inverse().apply(similarity.apply(points)), points, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SEEDS)
def test_chained_similarities_apply_the_first_one_first(seed_a, seed_b):
    first, second = random_similarity(seed_a), random_similarity(seed_b)
    points = np.random.default_rng(seed_a).normal(size=(10, 3))
    expected = second.apply(first.apply(points))
    np.testing.assert_allclose(second.after(first).apply(points), expected, rtol=1e-9, atol=1e-7)


def test_a_similarity_known_by_hand_scales_turns_and_moves():
    quarter_turn = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    similarity = Similarity(2.0, quarter_turn, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(similarity.apply([[1.0, 0.0, 3.0]]), [[1.0, 3.0, 7.0]])
    np.testing.assert_allclose(similarity.apply_to_vectors([[1.0, 0.0, 0.0]]), [[0.0, 1.0, 0.0]])


def test_a_similarity_without_positive_scale_is_refused():
    with pytest.raises(ValueError, match="positive"):
        Similarity(0.0, np.eye(3), np.zeros(3))


def test_the_box_around_ras_bounds_holds_the_touched_voxels_and_is_empty_beside_the_grid():
    flipped = ImageGeometry.from_parts((10, 12, 14), (1.0, 1.0, 2.0), (9.0, 0.0, 0.0), np.diag([-1.0, 1.0, 1.0]))
    assert flipped.box_around(([2.5, 3.0, 4.0], [4.0, 5.5, 40.0])) == (slice(2, 14), slice(3, 7), slice(5, 8))
    missed = flipped.box_around(([50.0, 3.0, 4.0], [60.0, 5.0, 6.0]))
    assert missed[2].start == missed[2].stop
