"""A surface mesh in the place of labels."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.io.surfaces import read_surface, write_surface
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.inputs.mesh import grid_around, mesh_volume, voxels_inside
from Testing.tiny_template import patient

CENTRE, RADIUS_MM = np.array([30.0, -40.0, 50.0]), 20.0


def ball(subdivisions: int = 4) -> TriangleSurface:
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=RADIUS_MM)
    return TriangleSurface.from_triangles(np.asarray(mesh.vertices) + CENTRE, np.asarray(mesh.faces))


def true_ball(geometry: ImageGeometry, radius_mm: float) -> np.ndarray:
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))
    return (np.linalg.norm(points - CENTRE, axis=1) < radius_mm).reshape(geometry.shape_kji)


@pytest.mark.parametrize("mirrored", [1.0, -1.0])
@pytest.mark.parametrize("shear", [0.0, 0.3])
def test_the_voxels_of_a_mesh_are_those_with_their_centre_inside_on_any_grid(mirrored, shear):
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, mirrored]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * (1.3, 1.7, 2.1)
    matrix[:3, 1] += shear * matrix[:3, 0]
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ (30, 25, 20)
    geometry = ImageGeometry(matrix, (60, 50, 40))
    found = voxels_inside(ball(), geometry)
    assert not (found & ~true_ball(geometry, RADIUS_MM)).any()
    assert not (true_ball(geometry, RADIUS_MM - 0.1) & ~found).any()


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".vtp", ".vtk"])
def test_a_mesh_of_every_format_becomes_label_one_on_a_grid_of_its_own(tmp_path, suffix):
    write_surface(ball(3), tmp_path / f"liver{suffix}")
    volume = mesh_volume(tmp_path / f"liver{suffix}")
    assert volume.mask("liver").sum() == pytest.approx(ball(3).volume_mm3, rel=0.01)
    assert volume.geometry.spacing_mm.tolist() == [1, 1, 1]
    border = volume.mask(1).copy()
    border[2:-2, 2:-2, 2:-2] = False
    assert not border.any()


def test_a_very_large_mesh_gets_coarser_voxels():
    large = TriangleSurface.from_triangles(ball(1).vertices_ras * 30, ball(1).faces)
    assert max(grid_around(large).size_ijk) <= 402


def test_a_mesh_goes_onto_the_grid_of_its_image(tmp_path):
    write_surface(ball(3), tmp_path / "a.stl")
    geometry = ImageGeometry.from_parts((40, 40, 30), (2.0, 2.0, 2.5), CENTRE - 38)
    write_labels(LabelVolume((np.zeros(geometry.shape_kji, np.int16),), geometry), tmp_path / "ct.nii.gz")
    volume = mesh_volume(tmp_path / "a.stl", tmp_path / "ct.nii.gz")
    assert volume.geometry.same_grid_as(geometry)
    assert not (volume.mask(1) & ~true_ball(geometry, RADIUS_MM)).any() and volume.mask(1).any()
    away = ImageGeometry.from_parts((4, 4, 4), (2.0, 2.0, 2.5), CENTRE + 200)
    write_labels(LabelVolume((np.zeros(away.shape_kji, np.int16),), away), tmp_path / "far.nii.gz")
    with pytest.raises(BadInputError, match=r"a\.stl lies outside the grid of .*far\.nii\.gz"):
        mesh_volume(tmp_path / "a.stl", tmp_path / "far.nii.gz")


def test_an_open_mesh_is_told_with_the_number_of_its_open_edges(tmp_path):
    whole = ball(2)
    write_surface(TriangleSurface.from_triangles(whole.vertices_ras, whole.faces[:-1]), tmp_path / "a.stl")
    with pytest.raises(BadInputError, match=r"a\.stl is not a closed surface \(3 of its edges .*; close its holes"):
        mesh_volume(tmp_path / "a.stl")


@pytest.fixture(scope="module")
def organ(tmp_path_factory):
    """Mesh of a patient of the test template, and its image's grid as a file."""
    folder = tmp_path_factory.mktemp("mesh")
    mask, geometry = patient(np.random.default_rng(3))
    write_surface(surface_from_mask(mask, geometry), folder / "organ.stl")
    write_labels(LabelVolume((np.zeros(mask.shape, np.int16),), geometry), folder / "ct.nrrd")
    return folder


def refine(organ, template, output, *options) -> int:
    arguments = ["refine", str(organ / "organ.stl"), "--template", str(template), "--output", str(output)]
    return main([*arguments, "--preset", "draft", "--device", "cpu", *options])


def test_refine_makes_a_mesh_of_a_mesh(organ, tiny_template_file, tmp_path):
    assert refine(organ, tiny_template_file, tmp_path / "out.ply") == 0
    before, after = read_surface(organ / "organ.stl"), read_surface(tmp_path / "out.ply")
    assert after.is_closed and after.volume_mm3 == pytest.approx(before.volume_mm3, rel=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.ply"]


def test_refine_makes_voxels_of_a_mesh_on_the_grid_of_its_reference(organ, tiny_template_file, tmp_path):
    assert refine(organ, tiny_template_file, tmp_path / "out.nrrd", "--reference", str(organ / "ct.nrrd")) == 0
    assert read_labels(tmp_path / "out.nrrd").geometry.same_grid_as(read_labels(organ / "ct.nrrd").geometry)


def test_a_mesh_as_output_of_labels_or_beside_another_is_refused(organ, tiny_template_file, tmp_path, capsys):
    assert refine(organ, tiny_template_file, tmp_path / "a.ply", "--surface", str(tmp_path / "b.ply")) == 2
    assert "leave out --surface" in capsys.readouterr().err
    labels = ["refine", str(organ / "ct.nrrd"), "--template", str(tiny_template_file)]
    assert main([*labels, "--output", str(tmp_path / "a.ply")]) == 2
    assert "write it with --surface" in capsys.readouterr().err
