"""Surfaces from and to files: .vtp .vtk .ply .stl .obj, marked with their frame as 3D Slicer does.

Slicer writes LPS and says so: ``SPACE=LPS`` in the header or comment, in a .vtp as a field data array. Files without
that mark are taken as LPS, as Slicer takes them. Going between LPS and RAS is half a turn about the third axis, so
faces stay counter-clockwise from outside. Vertices come back as 64-bit numbers exactly, faces in their order, except
from .stl, which has 32-bit numbers and no shared vertices. .vtp and .vtk keep normals and point data as well; from the
others the normals are made anew.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import BadInputError
from ..core.mesh import TriangleSurface
from . import vtk_process
from .atomic import atomic_path, came_out_broken, file_suffix, require_file
from .itk_image import damaged

SURFACE_SUFFIXES = (".vtp", ".vtk", ".ply", ".stl", ".obj")
_FRAMES = ("LPS", "RAS")
_FARTHEST_MM = 1e6
_LPS_TO_RAS_SIGNS = np.array([-1.0, -1.0, 1.0])


def write_surface(surface: TriangleSurface, path: str | Path, frame: str = "LPS") -> None:
    """Write a surface in the given frame; the extension says the format.

    Raises:
        BadInputError: unknown extension or frame, no faces, or the folder does not take the file.
    """
    suffix, path = surface_file_suffix(path), Path(path)
    if not len(surface.faces):
        raise BadInputError(
            "Cannot write {path}, the surface has no faces",
            "choose a label that has voxels",
            "surface.write_empty",
            path=path,
        )
    moved = _in_other_frame(surface, _known_frame(frame))
    with atomic_path(path) as temporary:
        if suffix in (".vtp", ".vtk"):
            if not _write_with_vtk(moved.to_vtk(), temporary, frame):
                raise came_out_broken(path)
        else:
            writer = {".ply": _write_ply, ".stl": _write_stl, ".obj": _write_obj}[suffix]
            writer(moved, temporary, _mark(frame))


def read_surface(path: str | Path, frame: str | None = None) -> TriangleSurface:
    """Read a surface mesh (polygons are split into triangles); ``frame`` overrules what the file says.

    Raises:
        BadInputError: the file is missing, damaged, without faces, or of an unknown extension.
    """
    suffix = surface_file_suffix(path)
    path = require_file(path, "surface file")
    surface, in_file = _read_with_vtk(path) if suffix in (".vtp", ".vtk") else _read_with_trimesh(path)
    if not np.isfinite(surface.vertices_ras).all():
        raise BadInputError("{input} has NaN or infinite vertices", "export it again", "surface.vertices", input=path)
    if np.abs(surface.vertices_ras).max() > _FARTHEST_MM:
        raise BadInputError(
            "{input} has vertices more than a kilometre away", "export it again, in mm", "surface.far", input=path
        )
    return _in_other_frame(surface, _known_frame(frame or in_file or "LPS"))


def _in_other_frame(surface: TriangleSurface, frame: str) -> TriangleSurface:
    """The surface with its coordinates taken from RAS to ``frame`` or back, which is the same."""
    if frame == "RAS":
        return surface
    # + 0.0 turns -0.0 into 0.0
    return dataclasses.replace(
        surface,
        vertices_ras=surface.vertices_ras * _LPS_TO_RAS_SIGNS + 0.0,
        normals=surface.normals * _LPS_TO_RAS_SIGNS + 0.0,
    )


def surface_file_suffix(path: str | Path) -> str:
    """Suffix of a surface file, or BadInputError where this library neither reads nor writes such files."""
    suffix = file_suffix(path)
    if suffix not in SURFACE_SUFFIXES:
        raise BadInputError(
            "{path} has no known surface extension",
            "use one of {known}",
            "surface.extension",
            path=path,
            known=", ".join(SURFACE_SUFFIXES),
        )
    return suffix


def _known_frame(frame: str) -> str:
    if frame not in _FRAMES:
        raise BadInputError("There is no surface frame {frame!r}", "use LPS or RAS", "surface.frame", frame=frame)
    return frame


def _mark(frame: str) -> str:
    """The header or comment by which Slicer tells the frame."""
    return f"ReShapeIT output. SPACE={frame}"


def _frame_in_text(path: Path) -> str | None:
    """The frame named in the first bytes, where all formats but .vtp have their header or comment."""
    with open(path, "rb") as stream:
        found = re.search(rb"SPACE=(LPS|RAS)", stream.read(2048))
    return found[1].decode() if found else None


def _write_with_vtk(polydata: Any, path: Path, frame: str) -> bool:
    """Write binary .vtp or .vtk; False where VTK met an error."""
    from vtkmodules.vtkCommonCore import vtkStringArray
    from vtkmodules.vtkIOLegacy import vtkPolyDataWriter
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    if path.suffix == ".vtp":
        space = vtkStringArray()
        space.SetName("SPACE")
        space.InsertNextValue(frame)
        polydata.GetFieldData().AddArray(space)
        writer: Any = vtkXMLPolyDataWriter()
        writer.EncodeAppendedDataOff()
    else:
        writer = vtkPolyDataWriter()
        writer.SetFileTypeToBinary()
        writer.SetHeader(_mark(frame))
    writer.SetFileName(str(path))
    writer.SetInputData(polydata)
    with vtk_process.vtk_errors(writer, writer.GetExecutive()) as errors:
        succeeded = writer.Write()
    return bool(succeeded) and not errors and not writer.GetErrorCode()


def _write_ply(surface: TriangleSurface, path: Path, mark: str) -> None:
    """Binary Stanford PLY with 64-bit vertices."""
    header = ["ply", "format binary_little_endian 1.0", f"comment {mark}"]
    header += [f"element vertex {len(surface.vertices_ras)}"] + [f"property double {axis}" for axis in "xyz"]
    header += [f"element face {len(surface.faces)}", "property list uchar int vertex_indices", "end_header", ""]
    faces = np.empty(len(surface.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, surface.faces
    vertices = surface.vertices_ras.astype("<f8")
    path.write_bytes("\n".join(header).encode("ascii") + vertices.tobytes() + faces.tobytes())


def _write_stl(surface: TriangleSurface, path: Path, mark: str) -> None:
    """Binary STL: 80 bytes of header, then a normal and three corners per face."""
    faces = np.zeros(len(surface.faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])
    lengths = np.linalg.norm(surface.face_vectors_mm2, axis=1, keepdims=True)
    faces["normal"] = surface.face_vectors_mm2 / np.where(lengths > 0, lengths, 1.0)
    faces["corners"] = surface.vertices_ras[surface.faces]
    count = np.array(len(faces), dtype="<u4")
    path.write_bytes(mark.encode("ascii").ljust(80, b"\0") + count.tobytes() + faces.tobytes())


def _write_obj(surface: TriangleSurface, path: Path, mark: str) -> None:
    """Wavefront text; Python prints 64-bit numbers so that they come back exactly."""
    lines = [f"# {mark}"]
    lines += (f"v {x} {y} {z}" for x, y, z in surface.vertices_ras.tolist())
    lines += (f"f {a} {b} {c}" for a, b, c in (surface.faces + 1).tolist())
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _read_with_vtk(path: Path) -> tuple[TriangleSurface, str | None]:
    """The mesh of a .vtp or .vtk in the file's frame, and the frame the file names."""
    surface, space = vtk_process.read_with_vtk(path)
    if file_suffix(path) == ".vtk":
        return surface, _frame_in_text(path)
    return surface, space if space in _FRAMES else None


def _read_with_trimesh(path: Path) -> tuple[TriangleSurface, str | None]:
    """The mesh of a .ply, .stl or .obj in the file's frame, and the frame the file names.

    (VTK's reader of .ply crashes on a truncated file.)
    """
    import trimesh

    suffix = file_suffix(path)
    options = {"maintain_order": True, "skip_materials": True} if suffix == ".obj" else {}
    try:
        mesh = trimesh.load_mesh(str(path), file_type=suffix[1:], process=False, **options)
        vertices, faces = np.array(mesh.vertices, dtype=np.float64), np.array(mesh.faces)
    except Exception as error:  # a damaged file makes trimesh raise about anything
        raise damaged(path) from error
    if not len(faces):
        raise BadInputError(
            "{input} has no usable faces",
            "give a surface mesh of triangles or polygons",
            "surface.unusable",
            input=path,
        )
    if vertices.shape[1:] != (3,) or faces.shape[1:] != (3,) or not np.issubdtype(faces.dtype, np.integer):
        raise damaged(path)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise damaged(path)
    if suffix == ".stl":
        vertices, faces = _merged(vertices, faces)
    return TriangleSurface.from_triangles(vertices, faces), _frame_in_text(path)


def _merged(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give equal vertices one number, in the order of their first appearance."""
    _, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return vertices[first[order]], rank[inverse.ravel()][faces]
