"""Pictures: geometry of the depth buffer, colours, sheets and slice montages on balls with known places."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.pictures.rendering import render_panels, render_surface
from ReShapeITLib.pictures.shading import PictureStyle, camera_for, colours_of, render_array, scalar_range
from ReShapeITLib.pictures.slices import CONTOUR_RGB, SliceOptions, slice_contours
from ReShapeITLib.pictures.zbuffer import VIEWS, Camera, rasterise


def ball(radius_mm=20.0, centre_ras=(0.0, 0.0, 0.0), n=40):
    """Latitude-longitude sphere with outward faces."""
    angles = np.pi * np.arange(2 * n) / n
    theta, phi = np.meshgrid(np.linspace(0, np.pi, n + 1), angles, indexing="ij")
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1).reshape(-1, 3)
    ring, step = np.meshgrid(np.arange(n), np.arange(2 * n), indexing="ij")
    a, b = ring * 2 * n + step, ring * 2 * n + (step + 1) % (2 * n)
    c, d = a + 2 * n, b + 2 * n
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return TriangleSurface(radius_mm * points + np.asarray(centre_ras), faces, points)


def camera(view="anterior", mm_per_pixel=0.5, size=120):
    return Camera(view, (0.0, 0.0, 0.0), mm_per_pixel, (size, size))


def bounds_of(*surfaces):
    points = np.concatenate([surface.vertices_ras for surface in surfaces])
    return points.min(axis=0), points.max(axis=0)


def luminance(picture):
    return picture.astype(float).mean(axis=-1)


@pytest.mark.parametrize(
    ("view", "right", "up", "near"),
    [
        ("anterior", (-1, 0, 0), (0, 0, 1), (0, 1, 0)),
        ("posterior", (1, 0, 0), (0, 0, 1), (0, -1, 0)),
        ("left", (0, -1, 0), (0, 0, 1), (-1, 0, 0)),
        ("right", (0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ("superior", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ("inferior", (-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    ],
)
def test_a_view_shows_the_patient_from_the_named_side(view, right, up, near):
    column, row, height = camera(view).project(np.array([right, up, near], dtype=float)).T
    assert column == pytest.approx([59.5 + 2, 59.5, 59.5])
    assert row == pytest.approx([59.5, 59.5 - 2, 59.5])
    assert height == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("view", VIEWS)
def test_a_ball_covers_its_disc_without_pinholes(view):
    surface = ball()
    covered = rasterise(surface.vertices_ras, surface.faces, camera(view)).covered
    assert covered.sum() == pytest.approx(np.pi * 40**2, rel=0.01)
    assert (ndimage.binary_fill_holes(covered) == covered).all()


def test_the_height_is_that_of_the_front_of_the_ball():
    surface = ball()
    buffer = rasterise(surface.vertices_ras, surface.faces, camera())
    row, column = np.indices(buffer.covered.shape)
    across_mm = 0.5 * np.hypot(row - 59.5, column - 59.5)
    inner = across_mm < 15
    assert np.abs(buffer.height_mm[inner] - np.sqrt(20**2 - across_mm[inner] ** 2)).max() < 0.1


def test_the_nearer_surface_hides_the_farther_one():
    near, far = ball(10, (0, 30, 0)), ball(20)
    faces = np.concatenate([far.faces, near.faces + len(far.vertices_ras)])
    vertices = np.concatenate([far.vertices_ras, near.vertices_ras])
    front, back = (rasterise(vertices, faces, camera(view)).face[60, 60] for view in ("anterior", "posterior"))
    assert front >= len(far.faces) > back >= 0


def test_faces_seen_from_behind_are_left_out():
    triangle = np.array([[-10.0, 0, -10], [10, 0, -10], [0, 0, 10]])
    front, back = (
        rasterise(triangle, np.array([[0, 1, 2]]), camera(view)).covered.sum() for view in ("posterior", "anterior")
    )
    assert back == 0 and front == pytest.approx(0.5 * 40 * 40, rel=0.05)


def test_a_linear_quantity_is_interpolated_exactly():
    surface = ball()
    buffer = rasterise(surface.vertices_ras, surface.faces, camera())
    x_mm = buffer.interpolate(surface.vertices_ras, surface.faces)[:, 0]
    columns = np.nonzero(buffer.covered)[1]
    assert np.abs(x_mm + 0.5 * (columns - 59.5)).max() < 1e-3


def test_a_mesh_partly_outside_the_picture_is_cut_at_its_edge():
    surface = ball(20, (-30, 0, 0))
    covered = rasterise(surface.vertices_ras, surface.faces, camera()).covered
    assert covered[60, -1] and not covered[60, 0]


def test_colours_run_from_blue_over_neutral_to_red():
    low, middle, high = colours_of(np.array([-9.0, 0.0, 9.0]), (-5, 5), "signed")
    assert low[2] > low[0] + 0.3 and high[0] > high[2] + 0.3 and np.ptp(middle) < 0.06


def test_values_that_are_not_finite_are_grey():
    assert np.ptp(colours_of(np.array([np.nan]), (0, 1), "distance")) == 0


def test_an_unknown_colour_map_is_told():
    with pytest.raises(BadInputError, match="signed"):
        colours_of(np.zeros(1), (0, 1), "rainbow")


def test_the_colour_range_is_round_symmetric_and_ignores_rare_extremes():
    values = np.concatenate([np.linspace(-3.7, 3.7, 1000), [80.0]])
    assert scalar_range([None, values], "signed") == (-4.0, 4.0)
    assert scalar_range([np.abs(values)], "distance") == (0.0, 4.0)


def test_values_colour_the_side_they_lie_on():
    surface = ball()
    signed_mm = np.where(surface.vertices_ras[:, 0] > 0, 5.0, -5.0)
    picture = render_array(surface, camera(), signed_mm).astype(int)
    red, blue = picture[60, 40], picture[60, 80]
    assert red[0] > red[2] + 40 and blue[2] > blue[0] + 40


def test_the_light_comes_from_above():
    picture = luminance(render_array(ball(), camera()))
    assert picture[32, 60] > 1.3 * picture[90, 60]


def test_a_hollow_is_darker_than_open_ground():
    two = ball(14, (-15, 0, 0)), ball(14, (15, 0, 0))
    faces = np.concatenate([two[0].faces, two[1].faces + len(two[0].vertices_ras)])
    both = TriangleSurface.from_triangles(np.concatenate([s.vertices_ras for s in two]), faces)
    open_air, hollow = (
        luminance(render_array(both, camera(), style=PictureStyle(occlusion=strength)))[60, 52:68].mean()
        for strength in (0.0, 0.8)
    )
    assert hollow < 0.97 * open_air


def test_supersampling_smooths_the_edges():
    pictures = [luminance(render_array(ball(n=24), camera(), style=PictureStyle(supersampling=n))) for n in (1, 2, 4)]
    errors = [np.abs(picture - pictures[-1]).mean() for picture in pictures[:2]]
    assert errors[1] < 0.6 * errors[0]


def test_one_camera_shows_all_surfaces_whole_at_one_scale():
    surfaces = [ball(20), ball(5, (60, 0, 0))]
    shown = camera_for(surfaces, "anterior", 200)
    lower, upper = bounds_of(*surfaces)
    assert shown.mm_per_pixel == camera_for(surfaces, "left", 200).mm_per_pixel
    corners = shown.project(np.array([lower, upper]))[:, :2]
    assert corners.min() > 0 and corners.max() < 199


def test_scalars_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match="one value per vertex"):
        render_array(ball(), camera(), np.zeros(3))


def test_a_surface_is_written_as_png(tmp_path):
    render_surface(ball(), tmp_path / "ball.png", size_pixels=150, title="ball")
    with Image.open(tmp_path / "ball.png") as picture:
        assert picture.format == "PNG" and picture.width == 150 + 2 * 6


def test_a_sheet_has_a_column_per_panel_and_a_row_per_view(tmp_path):
    large, small = ball(20), ball(10)
    values = np.linspace(-4, 4, len(small.vertices_ras))
    render_panels([(large, "large", None), (small, "small", values)], ["anterior", "left"], tmp_path / "s.png", 100)
    sheet = np.asarray(Image.open(tmp_path / "s.png")).astype(int)
    assert sheet.shape[1] == 2 * 106 + 6 and sheet.shape[0] > 2 * 106 + 40
    coloured = np.ptp(sheet[40:140, 6:106], axis=-1) > 25
    assert coloured.sum() == pytest.approx(np.pi * (20 / (40 * 1.28) * 100) ** 2, rel=0.1)


def test_pictures_carry_the_note_that_this_is_no_medical_device(tmp_path, monkeypatch):
    render_surface(ball(), tmp_path / "with.png", size_pixels=300)
    monkeypatch.setattr("ReShapeITLib.pictures.drawing.FOOTER", "")
    render_surface(ball(), tmp_path / "without.png", size_pixels=300)
    with_note, without = (luminance(np.asarray(Image.open(tmp_path / name))) for name in ("with.png", "without.png"))
    changed = np.argwhere(with_note != without)
    assert len(changed) > 100 and changed[:, 0].min() > 300


@pytest.mark.parametrize(
    ("panels", "views", "message"),
    [
        ([], ["left"], "at least one"),
        ([(ball(n=8), "", None)], ["top"], "anterior"),
        ([(TriangleSurface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3))), "", None)], ["left"], "no faces"),
    ],
)
def test_what_cannot_be_drawn_is_told(tmp_path, panels, views, message):
    with pytest.raises(BadInputError, match=message):
        render_panels(panels, views, tmp_path / "x.png", 80)
    assert not any(tmp_path.iterdir())


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        render_surface(ball(n=8), tmp_path / "nowhere" / "x.png", size_pixels=60)


def test_rendering_loads_no_graphics_library():
    program = (
        "import sys, numpy as np; from ReShapeITLib.core.mesh import TriangleSurface as T;"
        "from ReShapeITLib.pictures.shading import camera_for, render_array;"
        "s = T.from_triangles(np.eye(3), np.array([[0, 1, 2]])); render_array(s, camera_for([s], 'left', 32));"
        "assert not {'vtk', 'vtkmodules', 'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def ball_mask(geometry, radius_mm, centre_ras):
    k, j, i = np.indices(geometry.shape_kji)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    return (np.linalg.norm(points - np.asarray(centre_ras), axis=1) < radius_mm).reshape(geometry.shape_kji)


def pixels_of(path, colour):
    """(N, 2) row and column of the pixels of about this colour."""
    return np.argwhere(np.abs(np.asarray(Image.open(path)).astype(int) - colour).max(axis=-1) < 40)


TILTED = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1, -1, 1]), TILTED])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_slice_shows_the_circle_of_a_ball_on_any_grid(tmp_path, plane, direction):
    half = direction @ np.array([39, 39, 39])
    geometry = ImageGeometry.from_parts((79, 79, 40), (1, 1, 2), -half, direction)
    options = SliceOptions(planes=(plane,), slices_per_plane=1, size_pixels=200, margin_mm=10)
    slice_contours({"refined": ball_mask(geometry, 25, (0, 0, 0))}, geometry, tmp_path / "s.png", options=options)
    found = pixels_of(tmp_path / "s.png", CONTOUR_RGB["refined"])
    found = found[found[:, 0] < 206]
    radius_mm = np.hypot(*(found - (6 + 99.5)).T) * (50 + 20) / 200
    assert len(found) > 200 and np.median(radius_mm) == pytest.approx(25, abs=1.0)
    assert np.abs(radius_mm - 25).max() < 2.5


def test_axial_slices_have_the_patients_left_at_the_right_and_anterior_above(tmp_path):
    geometry = ImageGeometry.from_parts((60, 60, 10), (1, 1, 1), (-30, -30, -5))
    masks = {"truth": ball_mask(geometry, 4, (-20, 0, 0)), "refined": ball_mask(geometry, 4, (0, 20, 0))}
    options = SliceOptions(planes=("axial",), slices_per_plane=1, size_pixels=200)
    slice_contours(masks, geometry, tmp_path / "s.png", options=options)
    left, anterior = (pixels_of(tmp_path / "s.png", CONTOUR_RGB[name]) for name in masks)
    left, anterior = left[left[:, 0] < 206].mean(axis=0), anterior[anterior[:, 0] < 206].mean(axis=0)
    assert left[1] > anterior[1] + 40 and anterior[0] < left[0] - 40


def test_the_image_lies_behind_the_outlines(tmp_path):
    geometry = ImageGeometry.from_parts((40, 40, 40), (1, 1, 1))
    mask = ball_mask(geometry, 12, (20, 20, 20))
    image = np.where(mask, 240, -160).astype(np.int16)
    options = SliceOptions(planes=("axial",), slices_per_plane=1, size_pixels=100)
    slice_contours({"truth": mask}, geometry, tmp_path / "s.png", image, options)
    picture = luminance(np.asarray(Image.open(tmp_path / "s.png")))
    assert picture[56, 56] > 250 and picture[30, 20] < 5


def test_slices_pass_through_the_organ_and_not_through_a_far_island(tmp_path):
    geometry = ImageGeometry.from_parts((30, 30, 200), (1, 1, 1), (-15, -15, -20))
    mask = ball_mask(geometry, 12, (0, 0, 0))
    mask[195, 15, 15] = True
    options = SliceOptions(planes=("axial",), slices_per_plane=4, size_pixels=200)
    slice_contours({"truth": mask}, geometry, tmp_path / "s.png", options=options)
    found = pixels_of(tmp_path / "s.png", CONTOUR_RGB["truth"])
    found = found[found[:, 0] < 206]
    assert all((found[:, 1] // 206 == column).sum() > 20 for column in range(4))


def test_empty_masks_are_told(tmp_path):
    geometry = ImageGeometry.from_parts((4, 4, 4), (1, 1, 1))
    with pytest.raises(BadInputError, match="empty"):
        slice_contours({"truth": np.zeros((4, 4, 4), bool)}, geometry, tmp_path / "s.png")


def test_masks_of_another_shape_are_refused(tmp_path):
    geometry = ImageGeometry.from_parts((4, 4, 4), (1, 1, 1))
    with pytest.raises(ValueError, match="shape"):
        slice_contours({"truth": np.ones((4, 4, 5), bool)}, geometry, tmp_path / "s.png")
