"""Resampled masks: the coarse grid behind them is found, and their surface is smooth and where the organ's was."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.levels import coarse_input
from ReShapeITLib.distance.coarse_grid import coarse_behind
from ReShapeITLib.distance.narrow_band import label_mask
from ReShapeITLib.distance.smooth import smooth_distance_grid, smooth_distance_mm
from ReShapeITLib.distance.surface import signed_distance_grid, surface_from_grid
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import patient

TURN = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def ellipsoid(shape_kji, centre, radii) -> np.ndarray:
    where = np.indices(shape_kji).T
    return ((((where - np.array(centre)) / radii) ** 2).sum(axis=-1) < 1).T


@pytest.mark.parametrize("ratios", [(4, 1, 1), (2, 3, 4), (3, 3, 3)])
def test_the_coarse_mask_and_its_grid_come_back(ratios):
    coarse = ellipsoid((15, 17, 16), (7.2, 8.1, 7.7), (5.3, 6.4, 4.9))
    grid = ImageGeometry.from_parts((16, 17, 15), (3.0, 4.0, 5.0), (9.0, 8.0, 7.0), TURN)
    fine_matrix = grid.ijk_to_ras.copy()
    fine_matrix[:3, :3] /= ratios[::-1]
    # The first fine centre lies in the corner of the first coarse voxel.
    fine_matrix[:3, 3] = grid.ijk_to_ras_points(0.5 * (1.0 / np.array([ratios[::-1]]) - 1.0))[0]
    fine = coarse
    for axis, ratio in enumerate(ratios):
        fine = np.repeat(fine, ratio, axis=axis)
    found, geometry = coarse_behind(fine, ImageGeometry(fine_matrix, fine.shape[::-1]))
    assert found.sum() == coarse.sum()
    centres = [g.ijk_to_ras_points(np.argwhere(m)[:, ::-1]) for m, g in ((found, geometry), (coarse, grid))]
    np.testing.assert_allclose(*centres, atol=1e-6)


@pytest.mark.parametrize(("spacing", "voxel"), [(0.8, 3.0), (0.586, 3.0), (0.91, 6.0), (0.7, 2.5)])
def test_coarse_voxels_of_no_whole_number_of_voxels_are_found_where_they_are(spacing, voxel):
    geometry = ImageGeometry.from_parts((90, 90, 60), (spacing, spacing, 1.25))
    mask = ellipsoid((60, 90, 90), (30, 45, 44), (20.3, 33.1, 30.7))
    found, grid = coarse_behind(coarse_input(mask, geometry, voxel), geometry)
    np.testing.assert_allclose(grid.spacing_mm, voxel, atol=0.001)
    # The coarse grid starts at the corner of the mask's, half a fine voxel before its first centre.
    corner = geometry.ijk_to_ras_points(np.full((1, 3), -0.5))[0]
    from_corner = np.abs(grid.ijk_to_ras_points(np.zeros((1, 3)))[0] - corner) / voxel - 0.5
    np.testing.assert_allclose(from_corner, np.round(from_corner), atol=0.1 / voxel)
    assert found.sum() * grid.voxel_volume_mm3 == pytest.approx(mask.sum() * geometry.voxel_volume_mm3, rel=0.03)


def test_slices_of_two_lengths_in_turn_are_one_grid():
    # Slices of 5 mm on voxels of 3 mm take one or two of them.
    geometry = ImageGeometry.from_parts((90, 90, 40), (1.0, 1.0, 3.0))
    mask = ellipsoid((40, 90, 90), (19, 45, 44), (14.3, 33.1, 30.7))
    _, grid = coarse_behind(coarse_input(mask, geometry, (0.1, 0.1, 5.0)), geometry)
    assert grid.spacing_mm[2] == pytest.approx(5.0, abs=1e-6)
    first_slice = (grid.ijk_to_ras_points(np.zeros((1, 3)))[0, 2] + 1.5) / 5.0 - 0.5
    assert first_slice == pytest.approx(round(first_slice), abs=0.01)


def test_coarse_voxels_of_no_round_length_are_found_to_a_few_hundredths():
    geometry = ImageGeometry.from_parts((90, 90, 60), (0.8, 0.8, 1.25))
    mask = ellipsoid((60, 90, 90), (30, 45, 44), (20.3, 33.1, 30.7))
    _, grid = coarse_behind(coarse_input(mask, geometry, 3.31), geometry)
    np.testing.assert_allclose(grid.spacing_mm, 3.31, atol=0.03)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0)])
def test_a_mask_of_its_own_grid_was_not_resampled(spacing):
    mask = ellipsoid((40, 44, 48), (20, 21, 24), (13.3, 15.1, 17.7))
    assert coarse_behind(mask, ImageGeometry.from_parts((48, 44, 40), spacing)) is None
    assert coarse_behind(np.zeros((4, 4, 4), dtype=bool), ImageGeometry.from_parts((4, 4, 4), spacing)) is None


@pytest.mark.parametrize("radius", [3.5, 8.0, 14.0])
def test_the_smooth_surface_of_a_voxel_ball_is_the_ball(radius):
    geometry = ImageGeometry.from_parts((40, 40, 40), (1.0, 1.0, 1.0))
    centre = np.array([19.6, 20.1, 20.3])
    mask = ellipsoid((40, 40, 40), centre, (radius,) * 3)
    surface = surface_from_grid(smooth_distance_grid(mask, geometry))
    radii = np.linalg.norm(surface.vertices_ras - geometry.ijk_to_ras_points(centre[None, ::-1]), axis=1)
    assert abs(radii.mean() - radius) < 0.1 and radii.std() < 0.12


def test_the_smooth_distance_keeps_every_voxel_centre_on_its_side():
    spacing = np.array([5.0, 0.8, 0.8])
    rough = ellipsoid((14, 60, 60), (7, 30, 29), (4.6, 24.0, 21.0))
    rough[7, 28:33, 20:24] = False
    distance = smooth_distance_mm(rough, spacing)
    assert (distance[rough] < 0).all() and (distance[~rough] > 0).all()


def test_an_empty_coarse_mask_is_refused_in_a_sentence():
    with pytest.raises(BadInputError, match="empty"):
        smooth_distance_grid(np.zeros((4, 4, 4), dtype=bool), ImageGeometry.from_parts((4, 4, 4), (1.0, 1.0, 5.0)))


def test_the_surface_lies_midway_between_the_voxels_that_it_parts():
    # A slab two voxels thick, whose borders are as likely anywhere between the centres on either side.
    mask = np.zeros((10, 24, 24), dtype=bool)
    mask[4:6, 3:21, 3:21] = True
    distance = smooth_distance_mm(mask, np.array([4.0, 1.5, 1.5]))[:, 12, 12]
    borders = np.interp(0.0, distance[5:7], [5.0, 6.0]), np.interp(0.0, -distance[3:5], [3.0, 4.0])
    np.testing.assert_allclose(borders, (5.5, 3.5), atol=0.15)


def test_thick_slices_of_a_ball_leave_no_terraces():
    geometry = ImageGeometry.from_parts((72, 72, 16), (1.0, 1.0, 5.0))
    centre = np.array([7.6, 36.2, 35.7])
    mask = ellipsoid((16, 72, 72), centre, (30.0 / 5.0, 30.0, 30.0))
    surface = surface_from_grid(smooth_distance_grid(mask, geometry))
    off = np.linalg.norm(surface.vertices_ras - geometry.ijk_to_ras_points(centre[None, ::-1]), axis=1) - 30.0
    assert np.abs(off).mean() < 0.35


def test_a_flat_organ_across_thick_slices_is_found_between_its_contours():
    geometry = ImageGeometry.from_parts((110, 110, 20), (1.0, 1.0, 5.0), (-55.0, -55.0, -48.0))
    turn, radii = Rotation.from_euler("x", 15, degrees=True).as_matrix(), np.array([40.0, 35.0, 15.0])
    centres = geometry.ijk_to_ras_points(np.indices((20, 110, 110)).reshape(3, -1)[::-1].T)
    mask = (np.linalg.norm(centres @ turn / radii, axis=1) < 1.0).reshape(20, 110, 110)
    grid = smooth_distance_grid(mask, geometry)
    vertices = surface_from_grid(grid).vertices_ras
    place = vertices @ turn
    length = np.linalg.norm(place / radii, axis=1)
    off_mm = (length - 1.0) * length / np.linalg.norm(place / radii**2, axis=1)
    # Smoothing alone, which has no share of the contours within slices, leaves steps of 0.43 mm.
    assert np.abs(off_mm).mean() < 0.38
    # What a network is shown has to rise like a distance, not like the way within a slice.
    assert np.median(np.linalg.norm(grid.gradient_at_ras(vertices), axis=1)) < 1.25
    distance = grid.sdf_mm(centres).reshape(mask.shape)
    assert (distance[mask] < 0).all() and (distance[~mask] > 0).all()


def test_refinement_of_a_resampled_organ_comes_much_nearer_to_it(tiny_template_file):
    mask, geometry = patient(np.random.default_rng(8), spacing_mm=(1.5, 1.5, 1.5))
    resampled = coarse_input(mask, geometry, 6.0)
    refined = refine(resampled, geometry, OrganTemplate.load(tiny_template_file), REFINE_PRESETS["draft"]).mask(
        geometry
    )
    assert (refined ^ mask).sum() < 0.7 * (resampled ^ mask).sum()


def test_an_organ_on_thick_slices_keeps_its_voxels_and_gets_the_surface_of_what_is_behind_them(tiny_template_file):
    fine_mask, fine = patient(np.random.default_rng(8), spacing_mm=(1.0, 1.0, 1.0))
    mask, geometry = patient(np.random.default_rng(8), spacing_mm=(1.0, 1.0, 5.0))  # the same organ
    shape = refine(mask, geometry, OrganTemplate.load(tiny_template_file), REFINE_PRESETS["draft"])
    np.testing.assert_array_equal(shape.mask(geometry), mask)
    as_fine = label_mask(signed_distance_grid(mask, geometry).sdf_mm, fine, shape.bounds_ras)
    assert (shape.mask(fine) ^ fine_mask).sum() < 0.7 * (as_fine ^ fine_mask).sum()
