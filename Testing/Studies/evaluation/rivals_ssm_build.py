"""Building the PCA shape model: template mesh registered to every training organ, then principal components."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface, unique_edges, vertex_normals
from ReShapeITLib.distance.narrow_band import extract_zero_level
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.interaction.alignment import AlignmentOptions, align_to_template
from ReShapeITLib.templates.template import OrganTemplate

from .rivals_ssm import ShapeModel

_LEAST_SCALE_LOG_SD = 0.05  # as for the templates: a handful of cases says little about the spread


@dataclass(frozen=True)
class ShapeBuildOptions:
    """How a shape model is built.

    Args:
        n_points: points drawn on each training organ.
        stiffness: weight of the smoothness of the displacement against the closest points, at the first and at the
            last iteration; it falls geometrically.
        iterations: of closest points.
        least_cosine: of the angle between the normals of a pair.
        variance: share of the training variance that the modes kept explain.
        seed: of the draws.
    """

    n_points: int = 12_000
    stiffness: tuple[float, float] = (100.0, 0.3)
    iterations: int = 25
    least_cosine: float = 0.3
    variance: float = 0.98
    seed: int = 0


def build_ssm(
    organs: Iterable[tuple[np.ndarray, ImageGeometry]],
    mesh: TriangleSurface,
    alignment: AlignmentOptions,
    options: ShapeBuildOptions | None = None,
) -> ShapeModel:
    """A shape model from training organs.

    Args:
        organs: (K, J, I) bool mask and geometry of each; taken one by one, so a generator may read them.
        mesh: the template's surface in the unit frame, for instance :func:`template_mesh`.
        alignment: of each organ to the mesh.

    Raises:
        BadInputError: fewer than three organs.
    """
    options = options or ShapeBuildOptions()
    shapes, log_scales = [], []
    for mask, geometry in organs:
        surface = surface_from_mask(mask, geometry)
        points, normals, _ = surface.sample_points(options.n_points, np.random.default_rng(options.seed))
        to_unit = align_to_template(points, mesh.vertices_ras, alignment).ras_to_unit
        shapes.append(registered(mesh, to_unit.apply(points), to_unit.apply_to_vectors(normals), options))
        log_scales.append(-np.log(to_unit.scale))
    if len(shapes) < 3:
        raise BadInputError(f"A shape model needs at least three training organs, not {len(shapes)}.")
    mean, modes, sds = principal_modes(np.stack(shapes), options.variance)
    spread = max(_LEAST_SCALE_LOG_SD, float(np.std(log_scales)))
    return ShapeModel(mean, modes, sds, mesh.faces, float(np.exp(np.mean(log_scales))), spread)


def template_mesh(template: OrganTemplate, cell_unit: float = 0.04) -> TriangleSurface:
    """Surface of the template field in the unit frame."""
    import torch

    def field(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            asked = torch.as_tensor(points, dtype=torch.float32, device=template.alpha.device)
            return template.model.template_distance(asked).cpu().double().numpy()

    reach = 1.2 * np.abs(template.points_unit).max()
    vertices, faces = extract_zero_level(field, (np.full(3, -reach), np.full(3, reach)), cell_size=cell_unit)
    return TriangleSurface.from_triangles(vertices, faces).components()[0]


def registered(
    mesh: TriangleSurface, points: np.ndarray, normals: np.ndarray, options: ShapeBuildOptions
) -> np.ndarray:
    """(V, 3) vertices of the mesh moved onto (N, 3) target points with normals, in one frame.

    Closest points in both directions pull at the vertices; the displacement from rest stays smooth, ever less so.
    """
    rest, moved = mesh.vertices_ras, mesh.vertices_ras
    laplacian, tree = _graph_laplacian(mesh), cKDTree(points)
    for stiffness in np.geomspace(*options.stiffness, options.iterations):
        directions = vertex_normals(moved, mesh.faces)
        goal, weight = _goals(moved, directions, tree, points, normals, options.least_cosine)
        system = splu((sparse.diags(weight) + stiffness * laplacian).tocsc())
        moved = rest + system.solve(weight[:, None] * (goal - rest))
    return moved


def _goals(moved, directions, tree, points, normals, least_cosine):
    """Where each vertex is pulled to (V, 3), and how strongly (V,): closest point, and the points it is closest to."""
    closest = tree.query(moved)[1]
    forward = np.einsum("ij,ij->i", directions, normals[closest]) > least_cosine
    vertex = cKDTree(moved).query(points)[1]
    agree = np.einsum("ij,ij->i", directions[vertex], normals) > least_cosine
    counts = np.bincount(vertex[agree], minlength=len(moved))
    backward = (
        np.stack([np.bincount(vertex[agree], points[agree, axis], minlength=len(moved)) for axis in range(3)], axis=1)
        / np.maximum(counts, 1)[:, None]
    )
    # A little weight everywhere keeps the system regular.
    weights = np.stack([forward, counts > 0]) + 1e-6
    goal = weights[0, :, None] * points[closest] + weights[1, :, None] * np.where(counts[:, None], backward, moved)
    return goal / weights.sum(axis=0)[:, None], weights.sum(axis=0)


def _graph_laplacian(mesh: TriangleSurface) -> sparse.csr_matrix:
    """(V, V) degree minus adjacency."""
    n = len(mesh.vertices_ras)
    first, second = unique_edges(mesh.faces, n)[0].T
    adjacency = sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    adjacency = adjacency + adjacency.T
    return (sparse.diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency).tocsr()


def principal_modes(shapes: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (V, 3), modes (M, V, 3) and standard deviations (M,) of corresponding (N, V, 3) shapes."""
    mean = shapes.mean(axis=0)
    _, singular, modes = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
    explained = np.cumsum(singular**2) / max(float((singular**2).sum()), 1e-300)
    kept = min(int(np.searchsorted(explained, variance)) + 1, len(shapes) - 1)
    return mean, modes[:kept].reshape(kept, *mean.shape), singular[:kept] / np.sqrt(len(shapes) - 1)
