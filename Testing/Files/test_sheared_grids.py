"""A grid whose axes are oblique to each other, as of a tilted CT gantry, is used as it is."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.distance.smooth import smooth_distance_grid
from ReShapeITLib.distance.surface import signed_distance_grid, surface_from_mask
from ReShapeITLib.io.volumes import read_labels, write_labels

RADIUS_MM = 20.0
CENTRE = np.array([30.0, -40.0, 50.0])


def sheared(shear: float, spacing=(1.5, 1.5, 2.0)) -> ImageGeometry:
    """A grid around CENTRE whose slices are shifted against each other along the second axis."""
    matrix = np.diag([*spacing, 1.0])
    matrix[1, 2] = shear * spacing[2]
    size = np.array([40, 60, 36])
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ (size / 2)
    return ImageGeometry(matrix, size)


def ball(geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) voxels whose centres lie within RADIUS_MM of CENTRE."""
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))
    return (np.linalg.norm(points - CENTRE, axis=1) <= RADIUS_MM).reshape(geometry.shape_kji)


@pytest.mark.parametrize("shear", [0.0, 0.27, -0.6])
@pytest.mark.parametrize("distance_of", [signed_distance_grid, smooth_distance_grid])
def test_distances_are_in_mm_whatever_the_shear(distance_of, shear):
    geometry = sheared(shear)
    grid = distance_of(ball(geometry), geometry)
    offsets = np.random.default_rng(0).normal(size=(2000, 3))
    offsets *= np.random.default_rng(1).uniform(14, 24, (2000, 1)) / np.linalg.norm(offsets, axis=1, keepdims=True)
    found, true = grid.sdf_mm(CENTRE + offsets), np.linalg.norm(offsets, axis=1) - RADIUS_MM
    half_a_voxel_mm = 0.5 * np.linalg.norm(geometry.spacing_mm)
    assert np.abs(found - true).max() < half_a_voxel_mm and np.abs(found - true).mean() < 0.25


def test_the_distance_keeps_every_voxel_of_a_sheared_mask():
    geometry = sheared(0.6)
    mask = ball(geometry)
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    found = signed_distance_grid(mask, geometry).sdf_mm(geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1)))
    assert np.array_equal((found < 0).reshape(mask.shape), mask)


def test_the_surface_of_a_sheared_mask_is_the_ball():
    geometry = sheared(0.6)
    surface = surface_from_mask(ball(geometry), geometry)
    radii = np.linalg.norm(surface.vertices_ras - CENTRE, axis=1)
    assert surface.is_closed and np.abs(radii - RADIUS_MM).max() < 1.5
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.02)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_a_sheared_grid_goes_through_every_format_to_the_bit(tmp_path, suffix):
    geometry = sheared(0.25)
    write_labels(LabelVolume.from_array(ball(geometry), geometry), tmp_path / f"a{suffix}")
    again = read_labels(tmp_path / f"a{suffix}")
    assert np.array_equal(again.geometry.ijk_to_ras, geometry.ijk_to_ras)
    assert np.array_equal(again.mask(1), ball(geometry))


def test_a_sheared_sform_beside_an_orthogonal_qform_is_what_counts(tmp_path):
    geometry = sheared(0.25)
    image = nibabel.Nifti1Image(ball(geometry).astype(np.uint8).T, geometry.ijk_to_ras)
    image.set_sform(geometry.ijk_to_ras, 1)
    image.set_qform(geometry.ijk_to_ras, 1)  # nibabel strips the shear
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_labels(tmp_path / "a.nii")
    assert np.array_equal(volume.geometry.ijk_to_ras, geometry.ijk_to_ras)
    assert [told.code for told in volume.notices] == ["nifti.forms_differ"]


def test_what_differs_between_grids_is_said_with_its_size():
    plain = ImageGeometry.from_parts((10, 11, 12), (1.0, 2.0, 3.0))
    turned = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]])
    differences = {
        "size 10 x 11 x 12 and 10 x 11 x 13 voxels": ImageGeometry.from_parts((10, 11, 13), (1.0, 2.0, 3.0)),
        "spacing 1 x 2 x 3 and 1 x 2 x 3.5 mm": ImageGeometry.from_parts((10, 11, 12), (1.0, 2.0, 3.5)),
        "origin by 5 mm": ImageGeometry.from_parts((10, 11, 12), (1.0, 2.0, 3.0), (3.0, 4.0, 0.0)),
        "direction by 5.73 degrees along i": ImageGeometry.from_parts(
            (10, 11, 12), (1.0, 2.0, 3.0), direction_ras=turned
        ),
        "": plain,
    }
    for words, other in differences.items():
        assert plain.difference_from(other) == words
