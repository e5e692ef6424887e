"""Closed triangle surfaces in RAS mm: measures, pieces, point sampling, and the way from and to VTK."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInputError
from .geometry import Similarity

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData


@dataclass(frozen=True, eq=False)
class TriangleSurface:
    """A triangle mesh, oriented outwards.

    Args:
        vertices_ras: (V, 3) float64, mm.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        normals: (V, 3) float64 outward unit normals.
        point_data: per-vertex arrays (V,) or (V, n) by name, e.g. a confidence.
    """

    vertices_ras: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    point_data: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices_ras", np.ascontiguousarray(self.vertices_ras, dtype=np.float64))
        object.__setattr__(self, "faces", np.ascontiguousarray(self.faces, dtype=np.int32))
        object.__setattr__(self, "normals", np.ascontiguousarray(self.normals, dtype=np.float64))
        object.__setattr__(self, "point_data", {k: np.asarray(v) for k, v in self.point_data.items()})
        n = len(self.vertices_ras)
        if self.vertices_ras.shape != (n, 3) or self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError("vertices_ras must be (V, 3) and faces (F, 3)")
        if self.normals.shape != (n, 3):
            raise ValueError("there must be one normal per vertex")
        for name, values in self.point_data.items():
            if len(values) != n:
                raise ValueError(f"point data '{name}' has {len(values)} values for {n} vertices")

    @classmethod
    def from_triangles(cls, vertices_ras: np.ndarray, faces: np.ndarray) -> TriangleSurface:
        """Surface with angle-weighted vertex normals made from (V, 3) points and (F, 3) outward faces."""
        vertices_ras = np.asarray(vertices_ras, dtype=np.float64)
        return cls(vertices_ras, faces, vertex_normals(vertices_ras, np.asarray(faces)))

    @cached_property
    def face_vectors_mm2(self) -> np.ndarray:
        """(F, 3) outward face normals whose length is the face's area in mm^2."""
        a, b, c = (self.vertices_ras[self.faces[:, k]] for k in range(3))
        return 0.5 * np.cross(b - a, c - a)

    @cached_property
    def face_areas_mm2(self) -> np.ndarray:
        """(F,) areas in mm^2."""
        return np.linalg.norm(self.face_vectors_mm2, axis=1)

    @cached_property
    def area_mm2(self) -> float:
        """Surface area in mm^2."""
        return float(self.face_areas_mm2.sum())

    @cached_property
    def volume_mm3(self) -> float:
        """Enclosed volume in mm^3, by the divergence theorem (meaningful for a closed surface)."""
        if not len(self.faces):
            return 0.0
        # Coordinates relative to one vertex: patient coordinates can be large against the organ.
        centres = self.vertices_ras[self.faces].mean(axis=1) - self.vertices_ras[0]
        return float(np.einsum("ij,ij->", centres, self.face_vectors_mm2) / 3.0)

    @cached_property
    def is_closed(self) -> bool:
        """True where every edge belongs to exactly two faces."""
        if not len(self.faces):
            return False
        edges, face_edges = unique_edges(self.faces, len(self.vertices_ras))
        return bool((np.bincount(face_edges.ravel(), minlength=len(edges)) == 2).all())

    @cached_property
    def _vertex_components(self) -> tuple[int, np.ndarray]:
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        n = len(self.vertices_ras)
        pairs = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]]])
        graph = coo_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        _, labels = connected_components(graph, directed=False)
        used, face_labels = np.unique(labels[self.faces[:, 0]], return_inverse=True)
        return len(used), face_labels

    @property
    def n_components(self) -> int:
        """Number of pieces that share no vertex."""
        return self._vertex_components[0]

    def components(self) -> list[TriangleSurface]:
        """The connected pieces, the one with the largest enclosed volume first."""
        count, face_labels = self._vertex_components
        order = np.argsort(face_labels, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(face_labels, minlength=count))[:-1])
        return sorted((self._of_faces(group) for group in groups), key=lambda piece: -abs(piece.volume_mm3))

    def without_specks(self, share: float = 1e-4) -> TriangleSurface:
        """The surface without pieces, or cavities, of less than ``share`` of the largest piece's volume."""
        parts = self.components()
        kept = [part for part in parts if abs(part.volume_mm3) >= share * abs(parts[0].volume_mm3)]
        if len(kept) == len(parts):
            return self
        offsets = np.cumsum([0, *[len(part.vertices_ras) for part in kept[:-1]]])
        faces = np.concatenate([part.faces + offset for part, offset in zip(kept, offsets, strict=True)])
        return TriangleSurface.from_triangles(np.concatenate([part.vertices_ras for part in kept]), faces)

    def _of_faces(self, face_ids: np.ndarray) -> TriangleSurface:
        used, faces = np.unique(self.faces[face_ids], return_inverse=True)
        data = {name: values[used] for name, values in self.point_data.items()}
        return TriangleSurface(self.vertices_ras[used], faces.reshape(-1, 3), self.normals[used], data)

    def sample_points(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw ``n`` points uniformly by area.

        Returns:
            points (n, 3) in RAS mm, interpolated unit normals (n, 3), and the face (n,) of each; in random order.
        """
        if not self.area_mm2 > 0:
            raise BadInputError(
                "No points can be drawn on a surface without area", "give a surface with faces", "surface.no_area"
            )
        counts = rng.multinomial(n, self.face_areas_mm2 / self.area_mm2)
        face_ids = rng.permutation(np.repeat(np.arange(len(self.faces)), counts))
        # Uniform in the triangle: fold the unit square along its diagonal.
        u, v = rng.random((2, n))
        outside = u + v > 1.0
        u[outside], v[outside] = 1.0 - u[outside], 1.0 - v[outside]
        weights = np.stack([1.0 - u - v, u, v], axis=1)
        points, normals = np.zeros((n, 3)), np.zeros((n, 3))
        for corner in range(3):
            vertex_ids = self.faces[:, corner].take(face_ids)
            points += weights[:, corner, None] * self.vertices_ras.take(vertex_ids, axis=0)
            normals += weights[:, corner, None] * self.normals.take(vertex_ids, axis=0)
        return points, _unit(normals), face_ids

    def transformed(self, similarity: Similarity) -> TriangleSurface:
        """The surface in the target frame of ``similarity``."""
        return replace(
            self,
            vertices_ras=similarity.apply(self.vertices_ras),
            normals=similarity.apply_to_vectors(self.normals),
        )

    def with_point_data(self, **arrays: np.ndarray) -> TriangleSurface:
        """The same surface with per-vertex arrays (V,) or (V, n) added or replaced."""
        return replace(self, point_data={**self.point_data, **arrays})

    @classmethod
    def from_vtk(cls, polydata: vtkPolyData) -> TriangleSurface:
        """Surface from a ``vtkPolyData`` in RAS mm; polygons are split, normals are made where absent.

        Raises:
            BadInputError: there are no faces, or faces of points that there are not.
        """
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkFiltersCore import vtkTriangleFilter

        if not all(_cells_are_sound(cells, polydata) for cells in (polydata.GetPolys(), polydata.GetStrips())):
            raise BadInputError(
                "The mesh has faces of points that are not in it", "export it again", "surface.strange_faces"
            )
        triangles = vtkTriangleFilter()
        triangles.SetInputData(polydata)
        triangles.PassVertsOff()
        triangles.PassLinesOff()
        triangles.Update()
        mesh = triangles.GetOutput()
        if not mesh.GetNumberOfPolys():
            raise BadInputError(
                "The mesh has no faces", "give a surface mesh made of triangles or polygons", "surface.no_faces"
            )
        vertices = vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64)
        faces = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int32)
        arrays = mesh.GetPointData()
        data = {arrays.GetArrayName(i): arrays.GetArray(i) for i in range(arrays.GetNumberOfArrays())}
        data = {name: vtk_to_numpy(array).copy() for name, array in data.items() if name and array is not None}
        normals = data.pop("Normals", None)
        if normals is None:
            normals = vertex_normals(vertices, faces)
        return cls(vertices, faces, normals, data)

    def to_vtk(self) -> vtkPolyData:
        """The surface as ``vtkPolyData`` (double precision points, point normals, point data)."""
        from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
        from vtkmodules.vtkCommonCore import vtkPoints
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

        points = vtkPoints()
        points.SetData(numpy_to_vtk(self.vertices_ras, deep=True))
        cells = vtkCellArray()
        offsets = 3 * np.arange(len(self.faces) + 1, dtype=np.int64)
        cells.SetData(
            numpy_to_vtkIdTypeArray(offsets, deep=True),
            numpy_to_vtkIdTypeArray(self.faces.astype(np.int64).ravel(), deep=True),
        )
        polydata = vtkPolyData()
        polydata.SetPoints(points)
        polydata.SetPolys(cells)
        normals = numpy_to_vtk(self.normals, deep=True)
        normals.SetName("Normals")
        polydata.GetPointData().SetNormals(normals)
        for name, values in self.point_data.items():
            array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
            array.SetName(name)
            polydata.GetPointData().AddArray(array)
        return polydata


def _cells_are_sound(cells: vtkCellArray, polydata: vtkPolyData) -> bool:
    """Whether all faces are made of points that there are; VTK's filters do not look before they use them."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if not cells.GetNumberOfCells():
        return True
    offsets, points = (vtk_to_numpy(a) for a in (cells.GetOffsetsArray(), cells.GetConnectivityArray()))
    starts_and_ends = offsets[0] == 0 and offsets[-1] == len(points) and (np.diff(offsets) >= 0).all()
    n_points = polydata.GetNumberOfPoints()
    return bool(starts_and_ends and (not len(points) or (points.min() >= 0 and points.max() < n_points)))


def unique_edges(faces: np.ndarray, n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges (E, 2) of (F, 3) faces, and the edge (F, 3) that lies opposite each corner."""
    ends = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].astype(np.int64), axis=2)
    keys, inverse = np.unique(ends[..., 0] * n_vertices + ends[..., 1], return_inverse=True)
    return np.stack(np.divmod(keys, n_vertices), axis=1), inverse.reshape(-1, 3)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals: face normals weighted by the face's angle at the vertex."""
    corners = np.asarray(vertices, dtype=np.float64)[faces]
    face_normals = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    sums = np.zeros((len(vertices), 3))
    for k in range(3):
        to_next = _unit(corners[:, (k + 1) % 3] - corners[:, k])
        to_last = _unit(corners[:, (k + 2) % 3] - corners[:, k])
        angles = np.arccos(np.clip(np.einsum("ij,ij->i", to_next, to_last), -1.0, 1.0))
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, k], angles * face_normals[:, axis], minlength=len(vertices))
    return _unit(sums)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.where(lengths > 0, lengths, 1.0)[:, None]
