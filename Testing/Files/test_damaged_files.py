"""Damaged files that once broke the readers, found by ``python -m Testing.Fuzz.run``: told in one sentence now."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.io import vtk_process
from ReShapeITLib.io.surfaces import read_surface, write_surface
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.io.vtk_process import read_with_vtk
from ReShapeITLib.review.sources import find_cases
from ReShapeITLib.training.config import read_config
from Testing.Fuzz.run import fuzz
from Testing.Fuzz.targets import make_targets


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Kinds of files and sound ones of each."""
    return make_targets(tmp_path_factory.mktemp("sound"))


def _damaged(targets, kind: str, old: bytes, new: bytes) -> bytes:
    """A sound file of a kind with something in it exchanged."""
    content = targets[kind].seeds[0]
    assert old in content
    return content.replace(old, new, 1)


def _refused(path, content: bytes, read, says: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=says) as told:
        read(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -352.0, 1e30])
def test_a_nifti_file_whose_voxels_begin_nowhere(targets, tmp_path, offset):
    content = bytearray(targets["nii"].seeds[0])
    content[108:112] = np.float32(offset).tobytes()
    _refused(tmp_path / "a.nii", bytes(content), read_labels, "where its voxels begin")


@pytest.mark.parametrize("line", [b"spaceorigin (1,2,3)\n", b"unheard of: 1\n", b"kinds" + b"x" * 5000 + b": domain\n"])
def test_an_nrrd_file_with_a_field_that_the_format_does_not_have(targets, tmp_path, line):
    content = targets["nrrd raw"].seeds[0].replace(b"endian: little\n", b"endian: little\n" + line)
    _refused(tmp_path / "a.nrrd", content, read_labels, "unknown field")


def test_a_field_of_endless_length(targets, tmp_path):
    content = targets["nrrd raw"].seeds[0].replace(b"kinds: domain", b"kinds: " + b"domain " * 2000)
    _refused(tmp_path / "a.nrrd", content, read_labels, "unknown field")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POLYGONS 4 16", b"POLYGONS 4 1600000"),  # more than there are
        (b"3 0 2 1", b"9 0 2 1"),  # a face that is longer than all of them
        (b"3 0 2 1", b"3 0 2 77"),  # a corner that is no point
        (b"3 0 2 1", b"3 0 2 -5"),
    ],
)
def test_a_vtk_file_with_wrong_faces(tmp_path, old, new):
    sound = (
        b"# vtk DataFile Version 3.0\nSPACE=RAS\nASCII\nDATASET POLYDATA\nPOINTS 4 float\n0 0 0 9 0 0 0 9 0 0 0 9\n"
        b"POLYGONS 4 16\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
    )
    path = tmp_path / "a.vtk"
    path.write_bytes(sound)
    assert len(read_surface(path).faces) == 4
    assert old in sound
    _refused(path, sound.replace(old, new, 1), read_surface, "a.vtk")


def test_an_xml_mesh_with_a_face_of_a_missing_point(tmp_path):
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    points, faces, mesh = vtkPoints(), vtkCellArray(), vtkPolyData()
    for place in ((0, 0, 0), (9, 0, 0), (0, 9, 0)):
        points.InsertNextPoint(place)
    for corner in (3, (0, 1, 77)):
        faces.InsertNextCell(corner) if isinstance(corner, int) else [faces.InsertCellPoint(c) for c in corner]
    mesh.SetPoints(points)
    mesh.SetPolys(faces)
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(tmp_path / "a.vtp"))
    writer.SetInputData(mesh)
    writer.Write()
    with pytest.raises(BadInputError, match="a.vtp"):
        read_surface(tmp_path / "a.vtp")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'NumberOfPoints="4"', b'NumberOfPoints="2147483647"'),
        (b'offset="131"', b'offset="1,2"'),
        (b'offset="28"', b'offset="1e999"'),
        (b"_\x01\x00\x00\x00", b"_\xff\xff\xff\x7f"),  # blocks of the first array
    ],
)
def test_an_xml_mesh_with_numbers_that_no_file_of_its_size_has(targets, tmp_path, old, new):
    _refused(tmp_path / "a.vtp", _damaged(targets, "vtp", old, new), read_surface, "a.vtp")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<Points>", b"<Points><DataArray/>"),
        (b"<Piece ", b"<!DOCTYPE a><Piece "),
        (b"</Strips>", b""),
        (b"   _", b"  2_"),
    ],
)
def test_an_xml_mesh_without_the_parts_that_it_must_have(targets, tmp_path, old, new):
    _refused(tmp_path / "a.vtp", _damaged(targets, "vtp", old, new), read_surface, "a.vtp")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'type="Int64"', b'type=":64"'),  # of the vertices that are cells, of which there are none
        (b'<DataArray type="Int64" Name="offsets"', b"<DataArra"),
        (b'Name="connectivity"', b'Name="connections"'),
    ],
)
def test_an_xml_mesh_whose_damage_touches_no_face_is_read_whole(targets, tmp_path, old, new):
    (tmp_path / "a.vtp").write_bytes(_damaged(targets, "vtp", old, new))
    assert read_surface(tmp_path / "a.vtp").faces.tolist() == [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]


def test_a_mesh_on_which_vtk_crashes_ends_a_child_only(targets, tmp_path):
    content = _damaged(targets, "vtk", b"signed_change_mm 1 4 double", b"signed_change_mm 1 -1 double")
    _refused(tmp_path / "a.vtk", content, read_surface, r"Cannot read .*a\.vtk, it is damaged")


def test_a_mesh_that_takes_too_long_is_told(targets, tmp_path):
    _refused(tmp_path / "a.vtp", targets["vtp"].seeds[0], lambda path: read_with_vtk(path, 0.001), "more than 0.001 s")


def test_a_mesh_on_which_vtk_counts_for_minutes_is_ended_by_the_limit_of_the_processor(targets, tmp_path, monkeypatch):
    lower = "; from ReShapeITLib.io import vtk_process; vtk_process._MOST_PROCESSOR_SECONDS = 1; child("
    assert vtk_process._MOST_PROCESSOR_SECONDS == 20 and "; child(" in vtk_process._PROGRAM
    monkeypatch.setattr(vtk_process, "_PROGRAM", vtk_process._PROGRAM.replace("; child(", lower))
    old, new = b'Name="Points" NumberOfComponents="3"', b'Name="Points" NumberOfComponents="99999999999999999999"'
    _refused(tmp_path / "a.vtp", _damaged(targets, "vtp", old, new), read_surface, r"Cannot read .*a\.vtp")


@pytest.mark.parametrize("tuples", [b"-1", b"9223372036854775807", b"4000"])
def test_a_vtk_file_with_an_array_larger_than_the_file(targets, tmp_path, tuples):
    old, new = b"signed_change_mm 1 4 double", b"signed_change_mm 1 " + tuples + b" double"
    content = _damaged(targets, "vtk", old, new)
    _refused(tmp_path / "a.vtk", content, read_surface, "a.vtk")


@pytest.mark.parametrize(("old", "new"), [(b"POINTS 4", b"POINTS -1"), (b"POINT_DATA 4", b"POINT_DATA 99999")])
def test_a_vtk_file_with_points_that_it_cannot_hold(targets, tmp_path, old, new):
    _refused(tmp_path / "a.vtk", _damaged(targets, "vtk", old, new), read_surface, "a.vtk")


def test_a_vtk_file_with_points_of_a_type_that_there_is_not(targets, tmp_path):
    content = _damaged(targets, "vtk", b"POINTS 4 double", b"POINTS 4 dou\\\x93")
    _refused(tmp_path / "a.vtk", content, read_surface, "a.vtk")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("version", [42, 51])
def test_a_sound_vtk_file_with_everything_in_it_is_read(tmp_path, binary, version):
    from vtkmodules.vtkCommonCore import vtkFloatArray, vtkUnsignedCharArray
    from vtkmodules.vtkIOLegacy import vtkPolyDataWriter

    corners = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    surface = TriangleSurface.from_triangles(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    mesh = surface.to_vtk()
    for kind, components in ((vtkFloatArray, 3), (vtkFloatArray, 1), (vtkUnsignedCharArray, 3)):
        for data in (mesh.GetPointData(), mesh.GetCellData()):
            array = kind()
            array.SetName(f"{kind.__name__} {components}")
            array.SetNumberOfComponents(components)
            array.SetComponentName(0, "with information")
            array.SetNumberOfTuples(4)
            array.Fill(3)
            (data.SetScalars if components == 1 or kind is vtkUnsignedCharArray else data.SetVectors)(array)
    writer = vtkPolyDataWriter()
    writer.SetFileVersion(version)
    (writer.SetFileTypeToBinary if binary else writer.SetFileTypeToASCII)()
    writer.SetFileName(str(tmp_path / "a.vtk"))
    writer.SetInputData(mesh)
    assert writer.Write()
    found = read_surface(tmp_path / "a.vtk", frame="RAS")
    assert np.array_equal(found.vertices_ras, corners) and np.array_equal(found.faces, surface.faces)


def test_a_vtk_file_that_ends_where_its_faces_begin(targets, tmp_path):
    content = targets["vtk"].seeds[0]
    _refused(tmp_path / "a.vtk", content[: content.index(b"POLYGONS") + 9], read_surface, "a.vtk")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NDims = 3", b"NDims = 1e308"),
        (b"NDims = 3", b"NDims = 65536"),
        (b"TransformMatrix = -1 0 0 0 -1 0 0", b"TransformMatrix = -1 0 0 0 -1 0 1e308"),
        (b"AnatomicalOrientation", b"Anatomica\xfb\x11\xbcOrientation"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = " + b"[" * 3000),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = %s%n"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = slice%03d%n.raw 1 5 1"),
    ],
)
def test_a_metaimage_with_numbers_or_names_that_no_image_has(targets, tmp_path, old, new):
    _refused(tmp_path / "a.mhd", _damaged(targets, "mhd", old, new), read_labels, "a.mhd")


@pytest.mark.parametrize("suffix", [".obj", ".vtk", ".ply", ".stl", ".vtp"])
def test_vertices_beyond_any_patient(tmp_path, suffix):
    corners = 1e9 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    surface = TriangleSurface.from_triangles(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    write_surface(surface, tmp_path / f"a{suffix}")
    with pytest.raises(BadInputError, match="kilometre"):
        read_surface(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("faces", [b"f 1 2\n", b"f 1 2 9\n", b"f 1 2 x\n"])
def test_an_obj_file_with_wrong_faces(tmp_path, faces):
    _refused(tmp_path / "a.obj", b"v 0 0 0\nv 9 0 0\nv 0 9 0\n" + faces, read_surface, "a.obj")


def test_twelve_damaged_files_of_each_kind_do_no_harm(targets, tmp_path):
    outcomes = fuzz(list(targets), 12, seed=20, folder=tmp_path)
    assert [line for outcome in outcomes.values() for line in outcome.crashes] == []
    assert all(outcome.read + outcome.refused == 12 for outcome in outcomes.values())
    # The damage is neither invisible nor always fatal.
    assert sum(outcome.refused for outcome in outcomes.values()) > 0.3 * 12 * len(outcomes)
    assert sum(outcome.read for outcome in outcomes.values()) > 0.05 * 12 * len(outcomes)


@pytest.mark.parametrize("cell", ["[" * 3000, "1" * 5000, "a.nrrd" * 400])
@pytest.mark.parametrize("column", ["case", "input", "label"])
def test_a_table_with_an_endless_cell(tmp_path, column, cell):
    row = {"case": "a", "input": "a.nrrd", "output": "b.nrrd", "label": "1", "status": "done"} | {column: cell}
    table = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    _refused(tmp_path / "a.csv", table.encode(), find_cases, "characters")


@pytest.mark.parametrize(
    "text",
    [
        "model: {'first_omega\\n10.0': 3}",
        "model: {? " + "[1, 2]" * 1 + " : 3}",
        "optimiser: {learning_rate: 1" + "0" * 400 + "}",
        "optimiser: {steps: '" + "x" * 3000 + "'}",
    ],
)
def test_settings_that_fill_pages_are_told_in_a_line(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError) as told:
        read_config(path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


def test_a_summary_that_names_files_longer_than_names_can_be(targets, tmp_path):
    summary = json.loads(targets["summary json"].seeds[0])
    (tmp_path / "a.json").write_text(json.dumps({**summary, "output": "/tmp/" + 5000 * "1"}))
    targets["summary json"].read(tmp_path / "a.json")
