"""Features of an image around a sphere of known brightness."""

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.combinators import FunctionDistance
from ReShapeITLib.image.band import Image, sampled_distance, sampled_image, working_grid
from ReShapeITLib.image.features import NAMES, band_features, coarser, finer

CENTRE_RAS = np.array([12.0, -30.0, 55.0])


def sphere(radius_mm):
    bounds = CENTRE_RAS - radius_mm, CENTRE_RAS + radius_mm
    return FunctionDistance(lambda points: np.linalg.norm(points - CENTRE_RAS, axis=1) - radius_mm, bounds)


def image_of_sphere(radius_mm, rng, inside=110.0, outside=-80.0, noise=12.0):
    """Oblique, anisotropic voxels of a bright sphere."""
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
    geometry = ImageGeometry.from_parts((110, 100, 50), (1.2, 1.2, 3.0), (0, 0, 0), turn)
    middle = geometry.ijk_to_ras_points(np.array([[55.0, 50.0, 25.0]]))[0]
    matrix = geometry.ijk_to_ras.copy()
    matrix[:3, 3] += CENTRE_RAS - middle
    geometry = ImageGeometry(matrix, geometry.size_ijk)
    kji = np.moveaxis(np.indices(geometry.shape_kji), 0, -1).reshape(-1, 3)
    distance = sphere(radius_mm).sdf_mm(geometry.ijk_to_ras_points(kji[:, ::-1])).reshape(geometry.shape_kji)
    values = np.where(distance < 0, inside, outside) + rng.normal(0, noise, distance.shape)
    return Image(values.astype(np.int16), geometry)


def features_of(image, given, shape):
    grid = working_grid(shape.bounds_ras)
    values, covered = sampled_image(image, grid)
    given_mm, shape_mm = sampled_distance(given, grid), sampled_distance(shape, grid)
    found = band_features(values, covered, given_mm, shape_mm)
    return found, grid, shape_mm


def test_distances_on_the_working_grid_are_those_of_the_organ():
    grid = working_grid(sphere(20.0).bounds_ras)
    kji = np.moveaxis(np.indices(grid.shape_kji), 0, -1).reshape(-1, 3)
    true = sphere(20.0).sdf_mm(grid.ijk_to_ras_points(kji[:, ::-1])).reshape(grid.shape_kji)
    found = sampled_distance(sphere(20.0), grid)
    assert np.abs(found - true)[np.abs(true) < 4.5].max() < 1e-3
    assert np.abs(found - true).max() < 1.2, "only the sphere's centre is interpolated badly"


def test_an_oblique_image_comes_onto_the_grid_where_it_belongs(rng):
    image = image_of_sphere(20.0, rng, noise=0.0)
    grid = working_grid(sphere(20.0).bounds_ras)
    values, covered = sampled_image(image, grid)
    distance = sampled_distance(sphere(20.0), grid)
    assert covered[distance < 10].all()
    assert (values[distance < -3.5] == 110).all() and (values[covered & (distance > 3.5)] == -80).all()


def test_along_common_axes_the_values_are_those_of_the_general_way(rng):
    voxels = rng.integers(-1000, 1000, (30, 40, 50)).astype(np.int16)
    image = Image(
        voxels, ImageGeometry.from_parts((50, 40, 30), (0.8, 0.9, 1.7), (3.0, 2.0, 1.0), np.diag([-1.0, 1.0, 1.0]))
    )
    grid = ImageGeometry.from_parts((24, 22, 34), (2.0, 2.0, 2.0), (-40.3, -1.4, -4.2))
    tilted = grid.ijk_to_ras.copy()
    tilted[0, 1] += 1e-8  # too little to move a value, enough for the general way
    own, covered = sampled_image(image, grid)
    general, covered_there = sampled_image(image, ImageGeometry(tilted, grid.size_ijk))
    np.testing.assert_allclose(own, general, atol=0.01)
    np.testing.assert_array_equal(covered, covered_there)
    assert 0.2 < covered.mean() < 0.9


@pytest.mark.parametrize("shape", [(8, 10, 12), (9, 7, 11)])
def test_coarser_cells_and_back_keep_what_is_linear(shape):
    k, j, i = np.indices(shape, dtype=np.float32)
    ramp = k - 2.0 * j + 0.5 * i
    inner = (slice(1, -2),) * 3  # an odd grid's last cell is repeated
    np.testing.assert_allclose(finer(coarser(ramp), shape)[inner], ramp[inner], atol=1e-5)


def test_every_feature_is_finite_and_has_a_name(rng):
    found, _, _ = features_of(image_of_sphere(20.0, rng), sphere(18.0), sphere(17.0))
    assert found.features.shape == (np.count_nonzero(found.where), len(NAMES))
    assert np.isfinite(found.features).all()


def test_brightness_tells_organ_from_surroundings_and_says_how_well(rng):
    found, grid, _ = features_of(image_of_sphere(20.0, rng), sphere(17.0), sphere(17.0))
    true = sampled_distance(sphere(20.0), grid)[found.where]
    ratio = found.features[:, NAMES.index("ratio_2")]
    assert (ratio[true < -3.5] > 0.5).all() and (ratio[true > 3.5] < -0.5).all()
    assert found.separability > 0.97
    alike, _, _ = features_of(image_of_sphere(20.0, rng, inside=0.0, outside=0.0), sphere(17.0), sphere(17.0))
    assert alike.separability < 0.6


@pytest.mark.parametrize("gain, offset", [(1.0, 1024.0), (0.4, 60.0)])
def test_units_and_window_of_the_image_do_not_matter(rng, gain, offset):
    image = image_of_sphere(20.0, rng)
    other = Image((image.voxels * gain + offset).astype(np.float32), image.geometry)
    found, again = (features_of(one, sphere(18.0), sphere(18.0))[0] for one in (image, other))
    assert np.abs(found.features - again.features).mean() < 0.01


def test_shells_say_where_the_edge_of_a_section_is(rng):
    found, _, shape_mm = features_of(image_of_sphere(20.0, rng), sphere(16.0), sphere(16.0))
    near = np.abs(shape_mm[found.where]) < 1.0
    inner, outer = (found.features[near, NAMES.index(f"ratio_shell_{n}")].mean() for n in (1, 7))
    just_outside = found.features[near, NAMES.index("ratio_shell_4")].mean()
    assert inner > 1.0 and just_outside > 0.5 and outer < -1.0, "the edge lies 4 mm outside of the shape"


def test_an_image_that_does_not_reach_the_organ_has_no_features(rng):
    image = image_of_sphere(20.0, rng)
    matrix = image.geometry.ijk_to_ras.copy()
    matrix[0, 3] += 1000.0
    away = Image(image.voxels, ImageGeometry(matrix, image.geometry.size_ijk))
    assert features_of(away, sphere(18.0), sphere(18.0))[0] is None
