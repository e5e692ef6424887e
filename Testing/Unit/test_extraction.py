"""Zero level sets: the narrow band gives what a dense grid gives, for a fraction of the questions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.narrow_band import (
    NarrowBandOptions,
    SampleGrid,
    extract_zero_level,
    label_voxels,
    narrow_band_values,
)

UNIT_BOX = (-np.ones(3), np.ones(3))
DENSE = NarrowBandOptions(coarse_stride=1)


def sphere(points, radius=0.8, centre=(0.0, 0.0, 0.0)):
    return np.linalg.norm(points - np.asarray(centre), axis=1) - radius


def torus(points):
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.6, points[:, 2]) - 0.12


def box(points, half=(0.71, 0.37, 0.513)):
    outside = np.abs(points) - np.asarray(half)
    return np.linalg.norm(np.maximum(outside, 0), axis=1) + np.minimum(outside.max(axis=1), 0)


def two_spheres(points):
    return np.minimum(sphere(points, 0.4, (-0.5, 0, 0)), sphere(points, 0.07, (0.6, 0.61, 0.3)))


def thin_plate(points):
    return box(points, (0.7, 0.6, 0.011))


class Counting:
    """A field that counts the points it was asked and remembers how far they reached."""

    def __init__(self, field):
        self.field, self.count, self.lower, self.upper = field, 0, np.full(3, np.inf), np.full(3, -np.inf)

    def __call__(self, points):
        self.count += len(points)
        self.lower = np.minimum(self.lower, points.min(axis=0))
        self.upper = np.maximum(self.upper, points.max(axis=0))
        return self.field(points)


def surface_of(field, *args, **kwargs):
    return TriangleSurface.from_triangles(*extract_zero_level(field, *args, **kwargs))


@pytest.mark.parametrize("field", [sphere, torus, box, two_spheres, thin_plate])
def test_the_band_gives_the_vertices_of_the_dense_grid(field):
    vertices, faces = extract_zero_level(field, UNIT_BOX, 64)
    dense_vertices, dense_faces = extract_zero_level(field, UNIT_BOX, 64, DENSE)
    assert faces.shape == dense_faces.shape and (faces == dense_faces).all()
    assert np.abs(vertices - dense_vertices).max() < 0.01 * 2 / 64


@given(st.tuples(*[st.floats(-0.5, 0.5)] * 3), st.floats(0.02, 0.45), st.floats(0.6, 1.3))
def test_the_band_is_exact_for_any_ball_and_any_slope_within_the_bound(centre, radius, slope):
    def field(points):
        return slope * sphere(points, radius, centre)

    grid = SampleGrid(-np.ones(3), np.diag([0.05, 0.07, 0.04]), (41, 29, 51))
    band, dense = (narrow_band_values(field, grid, options) for options in (NarrowBandOptions(), DENSE))
    assert ((band < 0) == (dense < 0)).all()
    assert (np.abs(band) <= np.abs(dense) + 1e-6).all()


def test_a_field_steeper_than_the_bound_keeps_a_surface_that_is_met_on_the_way():
    field = Counting(lambda points: 3.0 * sphere(points))
    vertices, _ = extract_zero_level(field, UNIT_BOX, 64)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.8).max() < 1e-3


@pytest.mark.parametrize(("resolution", "share"), [(128, 0.10), (256, 0.04)])
def test_few_points_are_asked(resolution, share):
    field = Counting(sphere)
    extract_zero_level(field, UNIT_BOX, resolution)
    assert field.count < share * (resolution + 1) ** 3


def test_a_sphere_is_closed_and_oriented_outwards_with_its_analytic_volume_and_area():
    surface = surface_of(sphere, UNIT_BOX, 96)
    assert surface.is_closed and surface.n_components == 1
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=2e-3)
    assert surface.area_mm2 == pytest.approx(4 * np.pi * 0.8**2, rel=2e-3)


def test_a_piece_smaller_than_a_coarse_cell_is_found():
    assert surface_of(two_spheres, UNIT_BOX, 64).n_components == 2


def test_a_plate_thinner_than_a_cell_is_not_lost_between_coarse_samples():
    assert surface_of(thin_plate, UNIT_BOX, 64).volume_mm3 == pytest.approx(8 * 0.7 * 0.6 * 0.011, rel=0.3)


def test_a_surface_that_leaves_the_bounds_is_closed_at_them():
    surface = surface_of(sphere, (np.array([-1.0, -1, -1]), np.array([0.0, 1, 1])), 80)
    assert surface.is_closed
    assert surface.volume_mm3 == pytest.approx(2 / 3 * np.pi * 0.8**3, rel=0.02)
    assert surface.vertices_ras[:, 0].max() < 2 / 80


def test_a_surface_through_the_samples_themselves_has_no_hole_and_no_flat_face():
    def hollow_box(points):
        return np.maximum(box(points, (0.75, 0.75, 0.75)), -box(points, (0.5, 0.5, 0.5)))

    surface = surface_of(hollow_box, UNIT_BOX, 32)
    assert surface.is_closed and surface.face_areas_mm2.min() > 0
    assert surface.volume_mm3 == pytest.approx(1.5**3 - 1, rel=0.03)


def test_the_cell_size_sets_the_spacing_of_the_mesh():
    surface = surface_of(sphere, UNIT_BOX, cell_size=0.1)
    edges = surface.vertices_ras[surface.faces[:, 0]] - surface.vertices_ras[surface.faces[:, 1]]
    assert np.linalg.norm(edges, axis=1).max() <= 0.1 * np.sqrt(3) + 1e-9
    assert np.median(np.linalg.norm(edges, axis=1)) > 0.05


def test_long_bounds_have_the_resolution_along_their_longest_edge():
    grid_points = Counting(sphere)
    extract_zero_level(grid_points, (np.array([-1.0, -1, -4]), np.array([1.0, 1, 4])), 64, DENSE)
    assert grid_points.count == 65 * 17 * 17


def test_points_come_in_batches_of_the_given_size():
    sizes = []

    def field(points):
        sizes.append(len(points))
        return sphere(points)

    extract_zero_level(field, UNIT_BOX, 32, NarrowBandOptions(batch_size=500))
    assert max(sizes) == 500


@pytest.mark.parametrize("bounds", [((2, 2, 2), (3, 3, 3)), ((1, 1, 1), (-1, -1, -1)), ((np.nan, 0, 0), (1, 1, 1))])
def test_bounds_without_a_surface_are_told(bounds):
    with pytest.raises(BadInputError, match="bounds"):
        extract_zero_level(sphere, bounds, 32)


def test_a_field_that_is_not_finite_is_told():
    with pytest.raises(BadInputError, match="not finite"):
        extract_zero_level(lambda points: np.full(len(points), np.nan), UNIT_BOX, 16)


def test_a_coarse_stride_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        NarrowBandOptions(coarse_stride=6)


def rotation(degrees, axis):
    angle, (x, y, z) = np.deg2rad(degrees), np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


SHEARED = np.array([[0.9, 0.3, 0.0, -40], [0.0, 1.1, 0.4, -40], [0.1, 0.0, 1.7, -45], [0, 0, 0, 1]])
GEOMETRIES = {
    "axis aligned": ImageGeometry.from_parts((80, 70, 60), (1.0, 1.2, 1.4), (-40, -41, -42)),
    "thick slices": ImageGeometry.from_parts((100, 100, 20), (0.8, 0.8, 5.0), (-39, -40, -47)),
    "oblique": ImageGeometry.from_parts((70, 80, 60), (1.3, 1.1, 2.0), (-60, -30, -40), rotation(25, (1, 2, 3))),
    "left-handed": ImageGeometry.from_parts((90, 80, 30), (0.9, 1.0, 2.5), (40, -38, -37), np.diag([-1.0, 1, 1])),
    "sheared": ImageGeometry(SHEARED, (80, 70, 50)),
}
BALL_BOUNDS = (np.array([-20.0, -24, -13]), np.array([30.0, 26, 37]))


def ball(points_ras):
    return sphere(points_ras, 24.0, (5.0, 1.0, 12.0))


def voxel_centres(geometry):
    k, j, i = np.indices(geometry.shape_kji)
    return geometry.ijk_to_ras_points(np.stack([i, j, k], axis=-1).reshape(-1, 3))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_voxels_are_those_of_the_dense_evaluation(name):
    geometry = GEOMETRIES[name]
    mask, (i, j, k) = label_voxels(ball, geometry, BALL_BOUNDS)
    whole = np.zeros(geometry.shape_kji, dtype=bool)
    whole[k : k + mask.shape[0], j : j + mask.shape[1], i : i + mask.shape[2]] = mask
    assert whole.any()
    assert (whole == (ball(voxel_centres(geometry)) < 0).reshape(geometry.shape_kji)).all()


def test_a_large_image_is_asked_only_around_the_shape():
    geometry = ImageGeometry.from_parts((512, 512, 500), (0.7, 0.7, 1.0), (-180, -180, -250))
    field = Counting(ball)
    mask, _ = label_voxels(field, geometry, BALL_BOUNDS)
    assert mask.sum() * geometry.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 24**3, rel=2e-3)
    assert mask.size < 75 * 75 * 55
    assert field.count < 0.25 * mask.size
    assert (field.lower > BALL_BOUNDS[0] - 8).all() and (field.upper < BALL_BOUNDS[1] + 8).all()


def test_a_shape_that_leaves_the_image_is_cut_at_its_border():
    geometry = ImageGeometry.from_parts((20, 80, 80), (1, 1, 1), (0, -40, -30))
    mask, start = label_voxels(ball, geometry, BALL_BOUNDS)
    assert start[0] == 0 and mask.shape[2] == 20 and mask[:, :, 0].any()


def test_bounds_outside_the_image_give_an_empty_mask():
    geometry = ImageGeometry.from_parts((20, 20, 20), (1, 1, 1), (500, 500, 500))
    mask, start = label_voxels(ball, geometry, BALL_BOUNDS)
    assert mask.size == 0 and start == (0, 0, 0)
