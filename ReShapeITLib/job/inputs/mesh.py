"""A surface mesh as input: its voxels on the grid of an image, or on a grid of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import BadInputError
from ...core.geometry import ImageGeometry
from ...core.labels import LabelVolume, Segment
from ...core.mesh import TriangleSurface, unique_edges
from ...io.atomic import FilePath, file_suffix
from ...io.readers import read_grid
from ...io.surfaces import SURFACE_SUFFIXES, read_surface

if TYPE_CHECKING:
    from ..request import RefineJob

_VOXEL_MM = 1.0
_MARGIN_MM = 10.0
_MOST_VOXELS_ALONG = 400  # of a large organ's longest side; more only take time


def is_mesh(path: FilePath) -> bool:
    """True where a path's extension is that of a surface mesh."""
    return file_suffix(path) in SURFACE_SUFFIXES


def with_mesh_output(job: RefineJob) -> RefineJob:
    """The job whose surface is its output, where that is a mesh.

    Raises:
        BadInputError: the output is a mesh and the input none, or a surface is asked for as well.
    """
    if not is_mesh(job.output):
        return job
    if not is_mesh(job.input):
        words, hint = "{output} is a surface mesh and {input} is not", "write it with --surface beside a label file"
        raise BadInputError(words, hint, "output.mesh", output=job.output, input=job.input)
    if job.surface:
        words, hint = "The output {output} is the surface", "leave out --surface"
        raise BadInputError(words, hint, "output.two_meshes", output=job.output)
    return replace(job, surface=job.output)


def mesh_volume(path: Path, reference: FilePath | None = None) -> LabelVolume:
    """Voxels inside a closed surface mesh, as label 1.

    Args:
        path: .stl, .ply, .obj, .vtp or .vtk, in mm.
        reference: image whose grid is used; without it voxels of 1 mm with a margin of 10 mm.

    Raises:
        BadInputError: the mesh is open, cannot be read, or lies outside the reference.
    """
    surface = read_surface(path)
    if not surface.is_closed:
        edges, of_face = unique_edges(surface.faces, len(surface.vertices_ras))
        open_edges = int(np.count_nonzero(np.bincount(of_face.ravel(), minlength=len(edges)) != 2))
        raise BadInputError(
            "{input} is not a closed surface ({count} of its edges do not lie between two faces), so it has no inside",
            "close its holes, with MeshLab or 3D Slicer's Surface Toolbox for example",
            "mesh.open",
            input=path,
            count=open_edges,
        )
    geometry = grid_around(surface) if reference is None else read_grid(reference)[0]
    mask = voxels_inside(surface, geometry)
    if not mask.any():
        where = "the grid of {reference}" if reference else "every voxel"
        words, hint = "{input} lies outside " + where, "check that both are of one patient, in mm, and in one frame"
        raise BadInputError(words, hint, "mesh.outside", input=path, reference=reference)
    segments = (Segment(1, path.stem, "Segment_1"),)
    return LabelVolume((mask.astype(np.uint8),), geometry, segments, source=str(path))


def grid_around(surface: TriangleSurface) -> ImageGeometry:
    """A grid along RAS around a surface, of voxels of 1 mm or, where it is very large, coarser ones."""
    low, high = surface.vertices_ras.min(axis=0) - _MARGIN_MM, surface.vertices_ras.max(axis=0) + _MARGIN_MM
    voxel_mm = max(_VOXEL_MM, float((high - low).max()) / _MOST_VOXELS_ALONG)
    size = np.ceil((high - low) / voxel_mm).astype(int) + 1
    return ImageGeometry.from_parts(size, np.full(3, voxel_mm), low)


def voxels_inside(surface: TriangleSurface, geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) bool voxels whose centres lie inside a closed surface."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

    # In voxel indices any grid is the same one, sheared and mirrored ones too.
    in_voxels = TriangleSurface.from_triangles(geometry.ras_to_ijk_points(surface.vertices_ras), surface.faces)
    stencil, image = vtkPolyDataToImageStencil(), vtkImageStencilToImage()
    stencil.SetInputData(in_voxels.to_vtk())
    stencil.SetOutputWholeExtent(*[n for size in geometry.size_ijk for n in (0, size - 1)])
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    values: np.ndarray = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    inside: np.ndarray = values.reshape(geometry.shape_kji) != 0
    return inside
