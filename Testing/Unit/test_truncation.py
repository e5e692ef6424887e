"""Truncated organs: found on solids with known answers, and given to the restoration network."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.refinement.given import given_organ
from ReShapeITLib.refinement.options import RefineOptions
from ReShapeITLib.refinement.truncation import Truncation, find_truncation, flat_end, own_flat_shares
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import ellipsoid_mask, label_volume, patient

SPACING_MM = (1.5, 1.5, 2.0)
CENTRE = np.array([10.0, -20.0, 800.0])


def ball(radius_mm: float = 40.0) -> tuple[np.ndarray, ImageGeometry]:
    """A ball with free space all around."""
    size = np.ceil(2.4 * radius_mm / np.array(SPACING_MM)).astype(int)
    geometry = ImageGeometry.from_parts(size, SPACING_MM, CENTRE - 0.5 * (size - 1) * SPACING_MM)
    return ellipsoid_mask(geometry, CENTRE, radius_mm), geometry


def heights(geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) S coordinate of the voxel centres."""
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    return geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))[:, 2].reshape(geometry.shape_kji)


def test_a_whole_ball_has_no_open_end():
    mask, geometry = ball()
    assert find_truncation(mask, geometry, surface_from_mask(mask, geometry)) is None


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_cut_ball_is_open_where_it_was_cut(side):
    mask, geometry = ball()
    cut = mask & (side * (heights(geometry) - CENTRE[2]) < 20.0)
    ends = find_truncation(cut, geometry, surface_from_mask(cut, geometry))
    assert len(ends) == 1
    assert ends.normals_ras[0] == pytest.approx([0.0, 0.0, side], abs=0.05)
    assert ends.points_ras[0, 2] == pytest.approx(CENTRE[2] + side * 20.0, abs=2.0)


def test_the_flat_share_is_that_of_the_cut_disk():
    mask, geometry = ball()
    cut = mask & (heights(geometry) - CENTRE[2] < 20.0)
    share, point, _ = flat_end(surface_from_mask(cut, geometry), 1.0)
    disk = (40.0**2 - 20.0**2) / 40.0**2
    assert 0.75 * disk < share < disk  # smoothing rounds the rim
    assert point[2] == pytest.approx(CENTRE[2] + 20.0, abs=2.0)
    assert flat_end(surface_from_mask(cut, geometry), -1.0)[0] < 0.1


def test_a_stray_piece_beyond_the_cut_does_not_hide_it():
    mask, geometry = ball()
    z = heights(geometry)
    cut = mask & (z - CENTRE[2] < 10.0)
    cut |= ellipsoid_mask(geometry, CENTRE + [0.0, 0.0, 36.0], 6.0)
    assert len(find_truncation(cut, geometry, surface_from_mask(cut, geometry))) == 1


def test_an_organ_that_touches_the_border_of_the_image_is_open_there():
    mask, geometry = ball()
    middle = mask.shape[2] // 2
    part = np.ascontiguousarray(mask[:, :, :middle])
    cropped = geometry.cropped([0, 0, 0], part.shape[::-1])
    ends = find_truncation(part, cropped, surface_from_mask(part, cropped))
    assert len(ends) == 1
    assert ends.normals_ras[0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    border = cropped.ijk_to_ras_points(np.array([[middle - 0.5, 0.0, 0.0]]))[0]
    assert ends.points_ras[0, 0] == pytest.approx(border[0])


def test_an_end_that_is_flat_by_nature_is_no_cut():
    mask, geometry = ball()
    half = mask & (heights(geometry) < CENTRE[2])
    surface = surface_from_mask(half, geometry)
    assert len(find_truncation(half, geometry, surface)) == 1
    assert find_truncation(half, geometry, surface, (0.0, flat_end(surface, 1.0)[0])) is None


def test_a_templates_own_ends_are_measured_on_its_surface(tiny_template_file):
    template = OrganTemplate.load(tiny_template_file)
    lower, upper = own_flat_shares(template)
    assert 0.0 <= lower < 0.2 and 0.0 <= upper < 0.2  # superellipsoids, which are round


def test_nothing_is_known_beyond_an_end():
    ends = Truncation(np.array([[0.0, 0.0, 10.0]]), np.array([[0.0, 0.0, 1.0]]))
    points = np.array([[5.0, 5.0, 9.0], [5.0, 5.0, 11.0]])
    assert ends.known_at(points, 1.0).tolist() == [True, False]


@pytest.mark.parametrize(("whole", "n_ends"), [(True, 0), (False, 1)])
def test_only_the_border_of_the_image_cuts_an_organ_not_that_of_the_part_around_it(whole, n_ends):
    mask, geometry = patient(np.random.default_rng(1), spacing_mm=(1.5, 1.5, 8.0))  # its outermost slices are large
    if not whole:
        half = mask.shape[2] // 2
        mask, geometry = mask[:, :, :half], geometry.cropped([0, 0, 0], (half, *mask.shape[1::-1]))
    part = label_volume(mask, geometry).around(1)
    given = given_organ(part.mask(1), part.geometry, RefineOptions())
    found = find_truncation(given.image_mask, given.image, given.surface)
    assert (0 if found is None else found.n_faces) == n_ends
