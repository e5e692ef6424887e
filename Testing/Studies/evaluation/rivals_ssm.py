"""A PCA statistical shape model as rival: the classical explicit shape prior, fitted robustly to a given organ.

Model and fit live in a unit frame like the templates'. ``rivals_ssm_build`` makes a model from training masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.core.mesh import TriangleSurface, vertex_normals
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.interaction.alignment import align_to_template
from ReShapeITLib.io.atomic import atomic_path, require_file
from ReShapeITLib.refinement.options import RefineOptions

_FORMAT = "reshapeit-ssm-1"
# Freedom of one step of the pose, radians and unit lengths: the alignment has found it, the fit only settles it.
_POSE_SD = np.array([0.1, 0.1, 0.1, 0.05, 0.05, 0.05])


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Mean shape and principal modes of corresponding meshes, unit frame.

    Args:
        mean: (V, 3) vertices of the mean shape.
        modes: (M, V, 3) orthonormal displacements, the one of largest variance first.
        sds: (M,) standard deviation along each mode, unit lengths.
        faces: (F, 3) outward faces.
        expected_scale_mm: typical mm per unit of the training shapes.
        scale_log_sd: sd of the log of that.
    """

    mean: np.ndarray
    modes: np.ndarray
    sds: np.ndarray
    faces: np.ndarray
    expected_scale_mm: float
    scale_log_sd: float

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """(V, 3) shape of (M,) coefficients in standard deviations."""
        return self.mean + np.tensordot(coefficients * self.sds, self.modes, axes=1)

    def save(self, path: str | Path) -> None:
        """Write an .npz file by way of a temporary one."""
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, format=_FORMAT, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> ShapeModel:
        """Read what ``save`` wrote.

        Raises:
            BadInputError: the file is absent, damaged or of another kind.
        """
        try:
            with np.load(require_file(path, "shape model"), allow_pickle=False) as file:
                if str(file["format"]) != _FORMAT:
                    raise ValueError("another format")
                arrays = {name: file[name] for name in cls.__dataclass_fields__}
        except (OSError, ValueError, KeyError) as error:
            raise BadInputError(f"{path} is no shape model of this version ({error}): build it again.") from error
        scale = {name: float(arrays.pop(name)) for name in ("expected_scale_mm", "scale_log_sd")}
        return cls(**arrays, **scale)


@dataclass(frozen=True)
class ShapeFitOptions:
    """How a model is fitted.

    Args:
        n_points: points drawn on the given organ.
        steps: iterations of closest points and reweighted least squares.
        robust_unit: distance to the closest point beyond which a pair loses its say (Geman-McClure), at the start
            and from half way on.
        noise_unit: sd of the distance between a good model and the organ; larger ones keep closer to the mean.
        effective_points: number of independent measurements that all points together count as.
        most_sd: greatest size of a coefficient, in standard deviations.
        seed: of the draw.
    """

    n_points: int = 3000
    steps: int = 40
    robust_unit: tuple[float, float] = (0.2, 0.05)
    noise_unit: float = 0.02
    effective_points: float = 300.0
    most_sd: float = 3.0
    seed: int = 0


def fit_to_mask(
    mask: np.ndarray, geometry: ImageGeometry, model: ShapeModel, options: ShapeFitOptions | None = None
) -> tuple[np.ndarray, TriangleSurface]:
    """The model's shape that explains a given organ best.

    Args:
        mask: (K, J, I) bool, the given organ.
        geometry: of the mask.

    Returns:
        (K, J, I) bool voxels of that shape, and its surface in RAS mm.

    Raises:
        BadInputError: the mask is empty or too small.
    """
    options = options or ShapeFitOptions()
    surface = surface_from_mask(mask, geometry)
    points, normals, _ = surface.sample_points(options.n_points, np.random.default_rng(options.seed))
    alignment = replace(
        RefineOptions().alignment, expected_scale_mm=model.expected_scale_mm, scale_log_sd=model.scale_log_sd
    )
    ras_to_unit = align_to_template(points, model.mean, alignment).ras_to_unit
    coefficients, ras_to_unit = fit_shape(model, points, normals, ras_to_unit, options)
    vertices = ras_to_unit.inverse().apply(model.vertices(coefficients))
    fitted = TriangleSurface.from_triangles(vertices, model.faces)
    return voxelised(fitted, geometry), fitted


def fit_shape(
    model: ShapeModel,
    points_ras: np.ndarray,
    normals_ras: np.ndarray,
    ras_to_unit: Similarity,
    options: ShapeFitOptions,
) -> tuple[np.ndarray, Similarity]:
    """Coefficients (M,) in standard deviations, and the settled pose, for (N, 3) surface points and normals."""
    coefficients = np.zeros(len(model.sds))
    start, end = options.robust_unit
    for step in range(options.steps):
        robust = start + (end - start) * min(1.0, 2.0 * step / options.steps)
        points, normals = ras_to_unit.apply(points_ras), ras_to_unit.apply_to_vectors(normals_ras)
        vertices = model.vertices(coefficients)
        rows = _closest_pairs(vertices, vertex_normals(vertices, model.faces), points, normals)
        pose, coefficients = _least_squares(model, coefficients, rows, vertices, points, robust, options)
        turn = Similarity(1.0, Rotation.from_rotvec(pose[:3]).as_matrix(), pose[3:])
        ras_to_unit = turn.after(ras_to_unit)
    return coefficients, ras_to_unit


def _closest_pairs(vertices, vertex_directions, points, normals):
    """Vertex (P,), point (P,) and direction (P, 3) of all closest pairs from either side whose normals agree.

    The distance of a pair is taken along the normal of the side that was searched in, so that surfaces can slide.
    """
    to_vertex = cKDTree(vertices).query(points)[1]
    to_point = cKDTree(points).query(vertices)[1]
    vertex = np.concatenate([to_vertex, np.arange(len(vertices))])
    point = np.concatenate([np.arange(len(points)), to_point])
    direction = np.concatenate([vertex_directions[to_vertex], normals[to_point]])
    agree = np.einsum("ij,ij->i", vertex_directions[vertex], normals[point]) > 0
    return vertex[agree], point[agree], direction[agree]


def _least_squares(model: ShapeModel, coefficients, rows, vertices, points, robust: float, options: ShapeFitOptions):
    """A step of the pose (rotation vector, translation) of the points, and the new coefficients."""
    vertex, point, direction = rows
    gap = vertices[vertex] - points[point]
    weights = 1.0 / (1.0 + np.einsum("ij,ij->i", gap, gap) / robust**2) ** 2
    # Residual: direction . (vertex(coefficients) - turned point).
    of_modes = np.einsum("pi,mpi->pm", direction, model.modes[:, vertex]) * model.sds
    design = np.concatenate([-np.cross(points[point], direction), -direction, of_modes], axis=1)
    target = of_modes @ coefficients - np.einsum("pi,pi->p", direction, gap)
    trust = options.effective_points / max(weights.sum(), 1e-9) / options.noise_unit**2
    precision = np.concatenate([_POSE_SD**-2.0, np.ones(len(coefficients))])
    weighted = design * (trust * weights)[:, None]
    found = np.linalg.solve(weighted.T @ design + np.diag(precision), weighted.T @ target)
    return found[:6], np.clip(found[6:], -options.most_sd, options.most_sd)


def voxelised(surface: TriangleSurface, geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) bool voxels whose centres lie inside a closed surface in RAS mm, by VTK's image stencil."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    # In voxel indices any orientation of the grid is one and the same case.
    mesh = TriangleSurface(geometry.ras_to_ijk_points(surface.vertices_ras), surface.faces, surface.normals).to_vtk()
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputData(mesh)
    stencil.SetOutputSpacing(1.0, 1.0, 1.0)
    stencil.SetOutputOrigin(0.0, 0.0, 0.0)
    stencil.SetOutputWholeExtent(*[bound for n in geometry.size_ijk for bound in (0, n - 1)])
    image = vtk.vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    return vtk_to_numpy(image.GetOutput().GetPointData().GetScalars()).reshape(geometry.shape_kji) > 0
