"""Masks become closed, smooth, outward surfaces that keep every voxel on its side."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import LPS_TO_RAS, ImageGeometry, Similarity
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.surface import (
    DistanceGrid,
    SurfaceOptions,
    clean_mask,
    signed_distance_grid,
    surface_from_grid,
    surface_from_mask,
)

AXES_MM = np.array([24.0, 18.0, 14.0])
OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def ellipsoid_mask(spacing_mm, direction=None, axes_mm=AXES_MM, pad=4):
    """Mask of an ellipsoid centred in RAS (3, -2, 5) mm, whose axes follow the voxel axes, off the voxel centres."""
    spacing_mm = np.asarray(spacing_mm, dtype=float)
    size = np.ceil(2 * axes_mm / spacing_mm).astype(int) + 2 * pad
    direction = np.eye(3) if direction is None else direction
    corner = -((size - 1) / 2 + [0.13, 0.21, 0.3]) * spacing_mm
    geometry = ImageGeometry.from_parts(size, spacing_mm, direction @ corner + [3.0, -2.0, 5.0], direction)
    local = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1) * spacing_mm + corner
    return ((local / axes_mm) ** 2).sum(axis=-1).transpose(2, 1, 0) < 1.0, geometry


def on_ellipsoid(surface, axes_mm=AXES_MM, direction=None):
    """Distance (V,) in mm (first order) from the ellipsoid, and angle (V,) in degrees from its normals."""
    direction = np.eye(3) if direction is None else direction
    local = (surface.vertices_ras - [3.0, -2.0, 5.0]) @ direction
    gradient = 2 * local / axes_mm**2
    steepness = np.linalg.norm(gradient, axis=1)
    cosines = np.einsum("ij,ij->i", gradient / steepness[:, None], surface.normals @ direction)
    return (((local / axes_mm) ** 2).sum(axis=1) - 1) / steepness, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def centres_ras(mask, geometry, inside=True):
    return geometry.ijk_to_ras_points(np.argwhere(mask == inside)[:, ::-1])


def box_surface(size_mm=(2.0, 3.0, 4.0)):
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=float)
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = np.array([[q[a], q[b], q[c]] for q in quads for a, b, c in ((0, 1, 2), (0, 2, 3))])
    return TriangleSurface.from_triangles(corners * size_mm, faces)


@pytest.mark.parametrize(
    ("spacing_mm", "rms_mm", "angle_deg"),
    [((1, 1, 1), 0.07, 2.5), ((0.8, 0.8, 2.5), 0.22, 6.0), ((0.9, 0.9, 5.0), 0.65, 11.0)],
)
def test_an_ellipsoid_comes_out_smooth_and_of_its_size(spacing_mm, rms_mm, angle_deg):
    mask, geometry = ellipsoid_mask(spacing_mm)
    surface = surface_from_mask(mask, geometry)
    gaps_mm, angles_deg = on_ellipsoid(surface)
    assert np.sqrt(np.mean(gaps_mm**2)) < rms_mm
    assert angles_deg.mean() < angle_deg
    assert surface.volume_mm3 == pytest.approx(mask.sum() * geometry.voxel_volume_mm3, rel=0.01)


def test_a_sphere_has_its_analytic_area_and_volume():
    surface = surface_from_mask(*ellipsoid_mask((1, 1, 1), axes_mm=np.full(3, 20.0)))
    assert surface.area_mm2 == pytest.approx(4 * np.pi * 400, rel=0.01)
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * 8000, rel=0.005)


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, 1.0, 1.0]), OBLIQUE, OBLIQUE[:, [1, 0, 2]]])
def test_surfaces_are_closed_and_outward_for_any_orientation(direction):
    surface = surface_from_mask(*ellipsoid_mask((0.9, 1.1, 2.0), direction))
    gaps_mm, angles_deg = on_ellipsoid(surface, direction=direction)
    assert surface.is_closed and surface.n_components == 1
    assert surface.volume_mm3 > 0
    assert np.abs(gaps_mm).max() < 1.5 and angles_deg.max() < 60
    assert (np.einsum("ij,ij->i", surface.face_vectors_mm2, surface.normals[surface.faces[:, 0]]) > 0).mean() > 0.99


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (0.7, 0.7, 3.0), (0.9, 0.9, 5.0), (2.0, 0.8, 0.8)])
def test_every_voxel_centre_keeps_its_side(spacing_mm, rng):
    mask, geometry = ellipsoid_mask(spacing_mm, OBLIQUE, axes_mm=np.array([14.0, 12.0, 13.0]))
    mask = mask ^ (rng.random(mask.shape) < 0.02)  # specks, pits and corners
    grid = signed_distance_grid(mask, geometry)
    assert (grid.sdf_mm(centres_ras(mask, geometry)) < 0).all()
    assert (grid.sdf_mm(centres_ras(mask, geometry, inside=False)) > 0).all()


def test_thresholding_the_grid_at_its_own_points_returns_the_mask():
    mask, geometry = ellipsoid_mask((0.7, 0.7, 3.0))
    grid = signed_distance_grid(mask, geometry)
    ijk = geometry.ras_to_ijk_points(grid.geometry.ijk_to_ras_points(np.argwhere(grid.values_mm < 0)[:, ::-1]))
    ijk = np.round(ijk[np.abs(ijk - np.round(ijk)).max(axis=1) < 1e-6]).astype(int)
    back = np.zeros_like(mask)
    back[tuple(ijk[:, ::-1].T)] = True
    assert np.array_equal(back, mask)


def test_thick_slices_are_interpolated_to_about_the_target_spacing():
    grid = signed_distance_grid(*ellipsoid_mask((0.8, 0.8, 5.0)))
    assert np.allclose(grid.geometry.spacing_mm, [0.8, 0.8, 1.0])
    assert grid.values_mm.dtype == np.float32 and grid.values_mm.shape == grid.geometry.shape_kji


def test_interpolation_is_given_up_where_the_grid_would_be_too_large():
    mask, geometry = ellipsoid_mask((0.8, 0.8, 5.0))
    grid = signed_distance_grid(mask, geometry, SurfaceOptions(max_voxels=1000))
    assert np.allclose(grid.geometry.spacing_mm, geometry.spacing_mm)


def test_the_unsmoothed_distance_to_a_box_is_exact_in_front_of_its_faces():
    mask = np.zeros((12, 14, 16), dtype=bool)
    mask[4:8, 4:10, 4:12] = True
    geometry = ImageGeometry.from_parts((16, 14, 12), (1.0, 2.0, 1.5))
    grid = signed_distance_grid(mask, geometry, SurfaceOptions(smoothing_voxels=0, target_spacing_mm=3.0))
    points_ijk = np.array([[8, 7, 9], [8, 11, 6], [2, 7, 6], [11, 7, 6], [8, 4, 6]])
    expected_mm = [1.5 * 1.5, 1.5 * 2.0, 1.5 * 1.0, -0.5 * 1.0, -0.5 * 2.0]
    assert np.allclose(grid.sdf_mm(geometry.ijk_to_ras_points(points_ijk)), expected_mm, atol=1e-5)


def test_distances_far_from_the_surface_are_true_distances():
    mask, geometry = ellipsoid_mask((1, 1, 1), axes_mm=np.full(3, 15.0), pad=12)
    grid = signed_distance_grid(mask, geometry, SurfaceOptions(margin_mm=11.0))
    radii_mm = np.array([2.0, 5.0, 12.0, 15.0, 18.0, 24.0])
    points = np.array([3.0, -2.0, 5.0]) + radii_mm[:, None] * np.array([0.6, 0.0, 0.8])
    assert np.allclose(grid.sdf_mm(points), radii_mm - 15.0, atol=0.25)


def test_the_distance_goes_on_growing_outside_the_grid():
    grid = signed_distance_grid(*ellipsoid_mask((1, 1, 1), OBLIQUE))
    away = OBLIQUE[:, 0] * 100.0 + [3.0, -2.0, 5.0]
    near, far = grid.sdf_mm(np.stack([away, away + 50.0 * OBLIQUE[:, 0]]))
    assert near == pytest.approx(100.0 - AXES_MM[0], abs=1.0)
    assert far - near == pytest.approx(50.0, abs=1e-6)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, OBLIQUE[:, [1, 0, 2]]])
def test_the_gradient_of_a_linear_field_is_that_field(direction):
    geometry = ImageGeometry.from_parts((9, 10, 11), (0.7, 1.0, 2.0), (4.0, 5.0, 6.0), direction)
    slope = np.array([0.3, -0.8, 0.5])
    nodes = np.stack(np.meshgrid(*(np.arange(n) for n in (9, 10, 11)), indexing="ij"), axis=-1).reshape(-1, 3)
    values = (geometry.ijk_to_ras_points(nodes) @ slope).reshape(9, 10, 11).transpose(2, 1, 0)
    grid = DistanceGrid(values.astype(np.float32), geometry)
    points = geometry.ijk_to_ras_points(np.array([[4.2, 5.1, 5.7], [3.0, 4.0, 5.0]]))
    assert np.allclose(grid.gradient_at_ras(points), slope, atol=1e-5)
    assert np.allclose(grid.sdf_mm(points), points @ slope, atol=1e-5)


def test_a_mask_that_touches_the_image_border_is_closed():
    mask = np.zeros((16, 17, 18), dtype=bool)
    mask[:, 2:, :15] = True
    surface = surface_from_mask(mask, ImageGeometry.from_parts((18, 17, 16), (2.0, 2.0, 2.0)))
    assert surface.is_closed
    assert surface.volume_mm3 == pytest.approx(mask.sum() * 8.0, rel=0.1)


def test_a_level_outside_makes_the_surface_larger_and_keeps_it_closed():
    grid = signed_distance_grid(*ellipsoid_mask((1, 1, 1)))
    volumes = [surface_from_grid(grid, level).volume_mm3 for level in (-2.0, 0.0, 2.0)]
    assert volumes[0] < volumes[1] < volumes[2]
    beyond = surface_from_grid(grid, 10.0)  # leaves the grid through its walls
    assert beyond.is_closed and beyond.volume_mm3 > volumes[2]


def test_a_level_without_inside_is_refused():
    with pytest.raises(BadInputError, match="Nothing lies inside the level"):
        surface_from_grid(signed_distance_grid(*ellipsoid_mask((2, 2, 2))), -100.0)


@pytest.mark.parametrize("function", [surface_from_mask, clean_mask, signed_distance_grid])
def test_an_empty_mask_is_refused(function):
    with pytest.raises(BadInputError, match="empty"):
        function(np.zeros((4, 5, 6), dtype=bool), ImageGeometry.from_parts((6, 5, 4), (1, 1, 1)))


def test_a_mask_of_another_shape_than_its_geometry_is_refused():
    with pytest.raises(BadInputError, match="shape"):
        surface_from_mask(np.ones((4, 5, 6), dtype=bool), ImageGeometry.from_parts((4, 5, 6), (1, 1, 1)))


@pytest.mark.parametrize("bad", [{"smoothing_voxels": -1.0}, {"target_spacing_mm": 0.0}, {"margin_mm": float("nan")}])
def test_impossible_options_are_refused(bad):
    with pytest.raises(BadInputError):
        SurfaceOptions(**bad)


@pytest.mark.parametrize("smoothing_voxels", [0.0, 2.0])
def test_a_single_voxel_has_a_closed_surface_around_its_centre(smoothing_voxels):
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[1, 1, 1] = True
    options = SurfaceOptions(smoothing_voxels=smoothing_voxels)
    surface = surface_from_mask(mask, ImageGeometry.from_parts((3, 3, 3), (1, 1, 4)), options)
    assert surface.is_closed and surface.volume_mm3 > 0
    assert np.allclose(surface.vertices_ras.mean(axis=0), [1, 1, 4], atol=0.1)


def test_touching_corners_still_give_a_closed_surface(rng):
    mask = rng.random((12, 12, 12)) < 0.4
    surface = surface_from_mask(
        mask, ImageGeometry.from_parts((12, 12, 12), (1, 1, 1)), SurfaceOptions(min_island_mm3=0, fill_holes=False)
    )
    assert surface.is_closed


def two_boxes_and_a_speck():
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:12, 2:12, 2:12] = True
    mask[5:7, 5:7, 5:8] = False  # a cavity of 12 voxels
    mask[14:18, 14:18, 14:18] = True  # a piece of 64 voxels
    mask[2, 16, 16:18] = True  # a speck of 2 voxels
    return mask, ImageGeometry.from_parts((20, 20, 20), (1.0, 1.0, 2.0))


def test_cleaning_drops_specks_fills_cavities_and_keeps_pieces():
    mask, geometry = two_boxes_and_a_speck()
    cleaned, report = clean_mask(mask, geometry)
    expected = mask.copy()
    expected[5:7, 5:7, 5:8] = True
    expected[2, 16, 16:18] = False
    assert np.array_equal(cleaned, expected)
    assert (report.islands_removed, report.removed_mm3) == (1, 4.0)
    assert (report.holes_filled, report.filled_mm3) == (1, 24.0)


def test_only_cavities_up_to_the_limit_are_filled():
    mask, geometry = two_boxes_and_a_speck()
    mask[3, 3, 3] = False  # a cavity of 2 mm^3 beside that of 24
    cleaned, report = clean_mask(mask, geometry, SurfaceOptions(max_hole_mm3=10.0))
    assert cleaned[3, 3, 3] and not cleaned[5:7, 5:7, 5:8].any()
    assert (report.holes_filled, report.filled_mm3) == (1, 2.0)


def test_cleaning_can_be_switched_off_and_leaves_its_input_alone():
    mask, geometry = two_boxes_and_a_speck()
    before = mask.copy()
    cleaned, report = clean_mask(mask, geometry, SurfaceOptions(min_island_mm3=0, fill_holes=False))
    assert np.array_equal(cleaned, mask) and np.array_equal(mask, before)
    assert report.islands_removed == report.holes_filled == 0


def test_the_island_fraction_is_measured_against_the_largest_piece():
    mask, geometry = two_boxes_and_a_speck()
    cleaned, report = clean_mask(mask, geometry, SurfaceOptions(min_island_fraction=0.1))
    assert report.islands_removed == 2 and not cleaned[14:18, 14:18, 14:18].any()


def test_the_largest_piece_stays_even_below_the_limit():
    mask, geometry = two_boxes_and_a_speck()
    cleaned, _ = clean_mask(mask, geometry, SurfaceOptions(min_island_mm3=1e9))
    assert cleaned[2, 2, 2] and not cleaned[15, 15, 15]


def test_a_pit_that_opens_through_a_face_is_no_cavity():
    mask = np.ones((5, 5, 5), dtype=bool)
    mask[:3, 2, 2] = False
    _, report = clean_mask(mask, ImageGeometry.from_parts((5, 5, 5), (1, 1, 1)))
    assert report.holes_filled == 0


def test_pieces_come_largest_first_and_add_up():
    mask, geometry = two_boxes_and_a_speck()
    surface = surface_from_mask(mask, geometry)
    pieces = surface.components()
    assert surface.n_components == len(pieces) == 2
    assert pieces[0].volume_mm3 > pieces[1].volume_mm3 > 0
    assert all(piece.is_closed for piece in pieces)
    assert sum(piece.volume_mm3 for piece in pieces) == pytest.approx(surface.volume_mm3)


def test_a_box_has_its_area_volume_and_closedness():
    box = box_surface((2.0, 3.0, 4.0))
    assert box.area_mm2 == pytest.approx(52.0) and box.volume_mm3 == pytest.approx(24.0)
    assert box.is_closed
    opened = TriangleSurface(box.vertices_ras, box.faces[1:], box.normals)
    assert not opened.is_closed


def test_point_samples_are_uniform_by_area_on_the_surface_and_reproducible():
    box = box_surface((2.0, 3.0, 4.0))
    points, normals, face_ids = box.sample_points(40_000, np.random.default_rng(1))
    on_wall = np.isclose(points, 0) | np.isclose(points, [2.0, 3.0, 4.0])
    assert on_wall.any(axis=1).all()
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0)
    assert np.mean(np.isclose(points[:, 2], 0)) == pytest.approx(6 / 52, abs=0.01)
    low = points[np.isclose(points[:, 2], 0)]
    assert np.allclose(low[:, :2].mean(axis=0), [1.0, 1.5], atol=0.05)  # uniform within the wall, too
    again = box.sample_points(40_000, np.random.default_rng(1))
    assert np.array_equal(points, again[0]) and np.array_equal(face_ids, again[2])


def test_the_first_samples_are_as_spread_out_as_all():
    points, _, _ = box_surface().sample_points(10_000, np.random.default_rng(1))
    assert np.allclose(points[:1000].mean(axis=0), points.mean(axis=0), atol=0.15)


def test_a_similarity_scales_area_and_volume_and_turns_normals():
    surface = surface_from_mask(*ellipsoid_mask((2, 2, 2)))
    moved = surface.transformed(Similarity(2.0, OBLIQUE, [10.0, 0.0, -5.0]))
    assert moved.area_mm2 == pytest.approx(4 * surface.area_mm2)
    assert moved.volume_mm3 == pytest.approx(8 * surface.volume_mm3)
    assert np.allclose(moved.normals, surface.normals @ OBLIQUE.T)


def test_vtk_gives_back_the_surface_it_was_given():
    surface = surface_from_mask(*ellipsoid_mask((3, 3, 3)))
    surface = surface.with_point_data(moved_mm=np.arange(len(surface.vertices_ras)), arrow=surface.normals * 2)
    back = TriangleSurface.from_vtk(surface.to_vtk())
    assert np.array_equal(back.vertices_ras, surface.vertices_ras) and np.array_equal(back.faces, surface.faces)
    assert np.array_equal(back.normals, surface.normals)
    assert set(back.point_data) == {"moved_mm", "arrow"}
    assert np.array_equal(back.point_data["arrow"], surface.normals * 2)


def test_polygons_from_vtk_are_split_and_get_normals():
    import vtk

    cube = vtk.vtkTessellatedBoxSource()
    cube.SetBounds(0, 2, 0, 3, 0, 4)
    cube.QuadsOn()
    weld = vtk.vtkCleanPolyData()
    weld.SetInputConnection(cube.GetOutputPort())
    weld.Update()
    surface = TriangleSurface.from_vtk(weld.GetOutput())
    assert len(surface.faces) == 12 and abs(surface.volume_mm3) == pytest.approx(24.0)
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1.0)


def test_point_data_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="confidence"):
        box_surface().with_point_data(confidence=np.zeros(3))


def test_a_real_organ_with_thick_slices_keeps_its_volume_and_voxels(shared_data):
    import SimpleITK as sitk

    image = sitk.ReadImage(str(shared_data / "pancreas" / "btcv_0001.nii.gz"))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    geometry = ImageGeometry(LPS_TO_RAS @ matrix, image.GetSize())
    mask, _ = clean_mask(sitk.GetArrayFromImage(image) > 0, geometry)
    grid = signed_distance_grid(mask, geometry, SurfaceOptions(smoothing_passes=1, margin_mm=4.0))
    surface = surface_from_grid(grid)
    assert surface.is_closed
    assert surface.volume_mm3 == pytest.approx(mask.sum() * geometry.voxel_volume_mm3, rel=0.01)
    assert (grid.sdf_mm(centres_ras(mask, geometry)) < 0).all()


def test_specks_are_dropped_and_real_pieces_kept():
    zz, yy, xx = np.mgrid[:60, :60, :60]
    big = (xx - 30) ** 2 + (yy - 30) ** 2 + (zz - 20) ** 2 < 17**2
    piece = (xx - 30) ** 2 + (yy - 30) ** 2 + (zz - 50) ** 2 < 5**2
    speck = (xx == 5) & (yy == 5) & (zz == 55)
    geometry = ImageGeometry.from_parts((60, 60, 60), (1.0, 1.0, 1.0))
    surface = surface_from_mask(big | piece | speck, geometry, SurfaceOptions(min_island_mm3=0.0))
    assert surface.n_components == 3
    assert surface.without_specks(1e-3).n_components == 2
    assert surface.without_specks(0.5).n_components == 1
