"""Surfaces from and to files."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.io.surfaces import read_surface, write_surface

EXTENSIONS = ("vtp", "vtk", "ply", "stl", "obj")
CUBE_CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
CUBE_FACES = np.array(
    [
        (0, 1, 3),
        (0, 3, 2),
        (4, 6, 7),
        (4, 7, 5),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
        (1, 5, 7),
        (1, 7, 3),
    ]
)


def box() -> TriangleSurface:
    """A closed box of 2 x 3 x 5 mm somewhere in the patient, its corners no round numbers in binary."""
    surface = TriangleSurface.from_triangles(CUBE_CORNERS * (2, 3, 5) + (10.1, -33.3, 900.7), CUBE_FACES)
    return surface.with_point_data(confidence=np.linspace(0, 1, 8), count=np.arange(8, dtype=np.int16))


def nearest_corners(surface: TriangleSurface) -> np.ndarray:
    """The corners of all faces, sorted: what a surface is when numbering does not count."""
    corners = surface.vertices_ras[surface.faces].reshape(-1, 9)
    return corners[np.lexsort(corners.T)]


@pytest.mark.parametrize("frame", ["LPS", "RAS"])
@pytest.mark.parametrize("extension", ["vtp", "vtk", "ply", "obj"])
def test_vertices_and_faces_come_back_exactly(tmp_path, extension, frame):
    write_surface(box(), tmp_path / f"s.{extension}", frame)
    again = read_surface(tmp_path / f"s.{extension}")
    assert np.array_equal(again.vertices_ras, box().vertices_ras)
    assert np.array_equal(again.faces, box().faces)


@pytest.mark.parametrize("frame", ["LPS", "RAS"])
def test_stl_brings_the_triangles_back_in_32_bits_with_shared_vertices(tmp_path, frame):
    write_surface(box(), tmp_path / "s.stl", frame)
    again = read_surface(tmp_path / "s.stl")
    assert again.vertices_ras.shape == (8, 3)
    assert again.is_closed
    corners = box().vertices_ras[box().faces].astype(np.float32)
    assert np.array_equal(again.vertices_ras[again.faces], corners)


@pytest.mark.parametrize("extension", ["vtp", "vtk"])
def test_normals_and_point_data_come_back_exactly(tmp_path, extension):
    write_surface(box(), tmp_path / f"s.{extension}")
    again = read_surface(tmp_path / f"s.{extension}")
    assert np.array_equal(again.normals, box().normals)
    assert again.point_data["confidence"].tolist() == box().point_data["confidence"].tolist()
    assert again.point_data["count"].dtype == np.int16


@pytest.mark.parametrize("frame", ["LPS", "RAS"])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_surface_stays_oriented_outwards(tmp_path, extension, frame):
    write_surface(box(), tmp_path / f"s.{extension}", frame)
    again = read_surface(tmp_path / f"s.{extension}")
    assert again.volume_mm3 == pytest.approx(30.0, abs=1e-3)
    outwards = again.vertices_ras - again.vertices_ras.mean(axis=0)
    assert (np.einsum("ij,ij->i", outwards, again.normals) > 0).all()


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_files_are_written_in_lps_with_the_mark_of_slicer(tmp_path, extension):
    path = tmp_path / f"s.{extension}"
    write_surface(box(), path)
    expected = box().vertices_ras * (-1, -1, 1)
    as_stored = read_surface(path, frame="RAS").vertices_ras  # taken as RAS: the numbers in the file
    np.testing.assert_allclose(np.sort(as_stored, axis=0)[:, 0], np.sort(expected[:, 0]), atol=1e-4)
    if extension != "vtp":
        assert b"SPACE=LPS" in path.read_bytes()[:300]


def test_a_vtp_file_tells_its_frame_in_a_field_array(tmp_path):
    vtk = pytest.importorskip("vtk")
    write_surface(box(), tmp_path / "s.vtp")
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "s.vtp"))
    reader.Update()
    assert reader.GetOutput().GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"


def test_a_file_without_mark_is_taken_as_lps(tmp_path):
    (tmp_path / "s.obj").write_text("v 1 2 3\nv 2 2 3\nv 1 3 3\nf 1 2 3\n")
    assert read_surface(tmp_path / "s.obj").vertices_ras[0].tolist() == [-1, -2, 3]


def test_the_mark_of_slicer_is_honoured(tmp_path):
    text = "# 3D Slicer output. SPACE=RAS\nv 1 2 3\nv 2 2 3\nv 1 3 3\nf 1 2 3\n"
    (tmp_path / "s.obj").write_text(text)
    assert read_surface(tmp_path / "s.obj").vertices_ras[0].tolist() == [1, 2, 3]


def test_a_given_frame_overrules_the_mark(tmp_path):
    write_surface(box(), tmp_path / "s.ply", "RAS")
    again = read_surface(tmp_path / "s.ply", frame="LPS")
    assert np.array_equal(again.vertices_ras, box().vertices_ras * (-1, -1, 1))


def test_polygons_are_split_into_triangles(tmp_path):
    (tmp_path / "s.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    surface = read_surface(tmp_path / "s.obj")
    assert len(surface.faces) == 2 and surface.area_mm2 == pytest.approx(1.0)


@pytest.mark.parametrize("extension", ["vtk", "ply", "stl"])
def test_vtk_reads_the_same_triangles(tmp_path, extension):
    vtk = pytest.importorskip("vtk")
    write_surface(box(), tmp_path / f"s.{extension}", "RAS")
    reader = {"vtk": vtk.vtkPolyDataReader, "ply": vtk.vtkPLYReader, "stl": vtk.vtkSTLReader}[extension]()
    reader.SetFileName(str(tmp_path / f"s.{extension}"))
    reader.Update()
    seen = TriangleSurface.from_vtk(reader.GetOutput())
    np.testing.assert_allclose(nearest_corners(seen), nearest_corners(box()), atol=1e-4)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.8])
def test_a_truncated_surface_file_is_told(tmp_path, extension, kept):
    path = tmp_path / f"s.{extension}"
    write_surface(box(), path)
    content = path.read_bytes()
    # of Wavefront text whole lines can be missing unnoticed: cut within the vertices
    path.write_bytes(content[: int((0.5 if extension == "obj" else 1.0) * kept * len(content))])
    with pytest.raises(BadInputError, match=rf"s\.{extension}"):
        read_surface(path)


@pytest.mark.parametrize("name, words", [("none.vtp", "no surface file"), ("x.txt", "extension"), ("f.stl", "folder")])
def test_a_path_that_is_no_surface_file_is_told(tmp_path, name, words):
    (tmp_path / "f.stl").mkdir()
    (tmp_path / "x.txt").touch()
    with pytest.raises(BadInputError, match=words):
        read_surface(tmp_path / name)


def test_faces_that_name_missing_vertices_are_told(tmp_path):
    (tmp_path / "s.obj").write_text("v 1 2 3\nv 2 2 3\nv 1 3 3\nf 1 2 9\n")
    with pytest.raises(BadInputError, match=r"s\.obj"):
        read_surface(tmp_path / "s.obj")


def test_nan_vertices_are_told(tmp_path):
    (tmp_path / "s.obj").write_text("v nan 2 3\nv 2 2 3\nv 1 3 3\nf 1 2 3\n")
    with pytest.raises(BadInputError, match=r"s\.obj has NaN"):
        read_surface(tmp_path / "s.obj")


def test_points_without_faces_are_told(tmp_path):
    (tmp_path / "s.obj").write_text("v 1 2 3\n")
    with pytest.raises(BadInputError, match=r"s\.obj has no usable faces"):
        read_surface(tmp_path / "s.obj")


def test_an_unknown_frame_is_told(tmp_path):
    with pytest.raises(BadInputError, match="use LPS or RAS"):
        write_surface(box(), tmp_path / "s.vtp", "LAS")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_writing_a_surface_into_a_missing_folder_is_told(tmp_path, extension):
    with pytest.raises(BadInputError, match="does not exist; create it"):
        write_surface(box(), tmp_path / "none" / f"s.{extension}")
