"""Training samples follow section 4.1 of the paper and survive the disk."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.training.sampling import SamplingOptions, ShapeSamples, sample_shape, unit_sphere_normalisation

CENTRE_RAS = np.array([30.0, -20.0, 100.0])
RADIUS_MM = 24.0
FEW = SamplingOptions(n_surface=4000, n_free=6000)


@pytest.fixture(scope="module")
def ball():
    """Surface of a ball of 24 mm around a point away from the RAS origin."""
    size = 30
    geometry = ImageGeometry.from_parts((size,) * 3, (2.0,) * 3, CENTRE_RAS - (size - 1))
    offsets_mm = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij")) * 2.0 - (size - 1)
    return surface_from_mask(np.linalg.norm(offsets_mm, axis=0) < RADIUS_MM, geometry)


@pytest.fixture(scope="module")
def samples(ball):
    return sample_shape(ball, unit_sphere_normalisation(ball), FEW, np.random.default_rng(3), "ball")


def test_the_normalised_mesh_fits_the_unit_sphere(ball):
    unit = ball.transformed(unit_sphere_normalisation(ball))
    assert np.linalg.norm(unit.vertices_ras, axis=1).max() == pytest.approx(1.0)
    centres = unit.vertices_ras[unit.faces].mean(axis=1)
    assert np.allclose(unit.face_areas_mm2 @ centres, 0.0, atol=1e-9)


def test_normalisation_of_a_ball_is_its_centre_and_radius(ball):
    to_unit = unit_sphere_normalisation(ball)
    assert 1.0 / to_unit.scale == pytest.approx(RADIUS_MM, rel=0.03)
    assert np.allclose(to_unit.inverse().apply(np.zeros((1, 3))), CENTRE_RAS, atol=0.1)


def test_numbers_and_types_are_as_asked(samples):
    assert samples.surface_points_unit.shape == samples.surface_normals.shape == (4000, 3)
    assert samples.free_points_unit.shape == (6000, 3) and samples.free_sdf_unit.shape == (6000,)
    arrays = (samples.surface_points_unit, samples.surface_normals, samples.free_points_unit, samples.free_sdf_unit)
    assert all(array.dtype == np.float32 for array in arrays)
    assert samples.case == "ball"
    assert samples.volume_ml == pytest.approx(4 / 3 * np.pi * 2.4**3, rel=0.02)


def test_surface_points_lie_on_the_ball_with_outward_normals(samples):
    radii = np.linalg.norm(samples.surface_points_unit, axis=1)
    assert np.allclose(radii, radii.mean(), atol=0.03)
    cosines = np.einsum("ij,ij->i", samples.surface_points_unit / radii[:, None], samples.surface_normals)
    assert cosines.mean() > 0.995 and cosines.min() > 0.9
    assert np.allclose(np.linalg.norm(samples.surface_normals, axis=1), 1.0, atol=1e-5)


def test_free_points_fill_the_unit_ball_uniformly(samples):
    radii = np.linalg.norm(samples.free_points_unit, axis=1)
    assert radii.max() <= 1.0 + 1e-6
    assert np.mean(radii < 0.5) == pytest.approx(0.125, abs=0.015)
    assert np.allclose(samples.free_points_unit.mean(axis=0), 0.0, atol=0.03)


def test_free_distances_are_those_of_the_ball(ball, samples):
    radius_unit = RADIUS_MM * samples.ras_to_unit.scale
    expected = np.linalg.norm(samples.free_points_unit, axis=1) - radius_unit
    assert np.allclose(samples.free_sdf_unit, expected, atol=0.04)


def test_a_larger_ball_can_be_filled(ball):
    options = SamplingOptions(n_surface=10, n_free=500, ball_radius_unit=1.5)
    drawn = sample_shape(ball, unit_sphere_normalisation(ball), options, np.random.default_rng(0))
    assert 1.4 < np.linalg.norm(drawn.free_points_unit, axis=1).max() <= 1.5 + 1e-6


def test_the_near_surface_share_lies_near_the_surface(ball):
    options = SamplingOptions(n_surface=10, n_free=8000, near_surface_fraction=0.5, near_surface_sd_unit=(0.02,))
    drawn = sample_shape(ball, unit_sphere_normalisation(ball), options, np.random.default_rng(0))
    # 95 % of the moved points within 2 sd along the normal (those beyond the ball are replaced), few of the others.
    assert 0.35 < np.mean(np.abs(drawn.free_sdf_unit) < 0.04) < 0.6
    assert len(drawn.free_points_unit) == 8000


def test_the_order_of_free_points_is_random(ball):
    options = SamplingOptions(n_surface=10, n_free=4000, near_surface_fraction=0.5, near_surface_sd_unit=(0.02,))
    drawn = sample_shape(ball, unit_sphere_normalisation(ball), options, np.random.default_rng(0))
    near = np.abs(drawn.free_sdf_unit) < 0.04
    assert near[:2000].mean() == pytest.approx(near[2000:].mean(), abs=0.06)


def test_the_same_seed_gives_the_same_samples(ball, samples):
    again = sample_shape(ball, unit_sphere_normalisation(ball), FEW, np.random.default_rng(3), "ball")
    assert np.array_equal(again.free_points_unit, samples.free_points_unit)
    assert np.array_equal(again.surface_points_unit, samples.surface_points_unit)


def test_samples_come_back_from_disk_as_they_were(samples, tmp_path):
    turned = ShapeSamples(
        **{**vars(samples), "ras_to_unit": Similarity(0.1, np.eye(3)[[1, 2, 0]], [1, 2, 3]), "case": 'é "7"'}
    )
    turned.save(tmp_path / "ball.safetensors")
    back = ShapeSamples.load(tmp_path / "ball.safetensors")
    assert np.array_equal(back.surface_points_unit, samples.surface_points_unit)
    assert np.array_equal(back.free_points_unit, samples.free_points_unit)
    assert np.array_equal(back.free_sdf_unit, samples.free_sdf_unit)
    assert np.allclose(back.surface_normals, samples.surface_normals, atol=1e-3)
    assert np.allclose(np.linalg.norm(back.surface_normals, axis=1), 1.0, atol=1e-6)
    assert (back.case, back.volume_ml, back.ras_to_unit.scale) == ('é "7"', samples.volume_ml, 0.1)
    assert np.array_equal(back.ras_to_unit.rotation, turned.ras_to_unit.rotation)
    assert os.listdir(tmp_path) == ["ball.safetensors"]


@pytest.mark.parametrize("content", [None, b"no safetensors"])
def test_a_missing_or_foreign_file_is_told_by_name(tmp_path, content):
    path = tmp_path / "shape.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match="shape.safetensors"):
        ShapeSamples.load(path)


def test_a_safetensors_file_without_samples_is_told_by_name(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(3, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(BadInputError, match="model.safetensors"):
        ShapeSamples.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_an_impossible_share_is_refused(fraction):
    with pytest.raises(BadInputError, match="near_surface_fraction"):
        SamplingOptions(near_surface_fraction=fraction)
