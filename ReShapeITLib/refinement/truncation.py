"""Truncated fields of view: a given organ cut off at the border of the image, or in a plane across the body.

A scan that ends within the organ, or one that was cropped, leaves a flat end. Beyond it nothing is known, which is not
the same as nothing being there: the restoration network gets that as input and may continue the organ there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from ..core.mesh import TriangleSurface
from ..distance.narrow_band import extract_zero_level
from ..templates.template import OrganTemplate
from .decision.calibration import calibration

LEAST_BORDER_SHARE = 0.1  # of the largest cross-section that lies on the image's border
_TEMPLATE_CELLS = 96
_CONE_DEGREES = 14.0  # between the plane's normal and the axis of the body
_FLAT_DEGREES = 9.0  # between a triangle of a flat end and the plane
_NEIGHBOURS = np.ones((3, 3, 3))
_MOST_BEYOND = 0.01  # share of the surface that may lie beyond a flat end


@dataclass(frozen=True, eq=False)
class Truncation:
    """Planes beyond which nothing is known of an organ.

    Args:
        points_ras: (n, 3) a point in each plane, RAS mm.
        normals_ras: (n, 3) unit normals that point away from the organ.
        n_faces: how many of them, the first ones, are faces of the image.
    """

    points_ras: np.ndarray
    normals_ras: np.ndarray
    n_faces: int = 0

    def __len__(self) -> int:
        return len(self.points_ras)

    def known_at(self, points_ras: np.ndarray, half_cell_mm: float) -> np.ndarray:
        """(N,) bool: which of (N, 3) RAS points lie beyond no plane; ``half_cell_mm`` is not needed for that."""
        return ~(self._ways_mm(points_ras) > 0.0).any(axis=1)

    def way_beyond_image_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) how far (N, 3) RAS points lie beyond the faces of the image that cut the organ; negative within it."""
        return self._ways_mm(points_ras)[:, : self.n_faces].max(axis=1)

    def within_image(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) bool: which of (N, 3) RAS points lie on the image's side of all faces that cut the organ."""
        return self.way_beyond_image_mm(points_ras) <= 0.0

    def _ways_mm(self, points_ras: np.ndarray) -> np.ndarray:
        return points_ras @ self.normals_ras.T - (self.points_ras * self.normals_ras).sum(axis=1)


def find_truncation(
    mask: np.ndarray, geometry: ImageGeometry, surface: TriangleSurface, own_shares: tuple[float, float] = (0.0, 0.0)
) -> Truncation | None:
    """Where an organ looks truncated; None where it does nowhere.

    Args:
        mask: (K, J, I) bool on the grid of the image, so that its borders are those of the image.
        geometry: of the mask.
        surface: of the organ, RAS mm.
        own_shares: how flat the lower and upper end of such organs are by themselves, see :func:`own_flat_shares`.
    """
    found = [*faces_that_cut(mask, geometry)]
    n_faces = len(found)
    surface = surface.components()[0]  # stray pieces may lie beyond
    least = calibration().constants.least_flat_share
    for side, own in zip((-1.0, 1.0), own_shares, strict=True):
        share, point, normal = flat_end(surface, side)
        if share > own + least:
            found.append((point, normal))
    if not found:
        return None
    points, normals = (np.array(parts) for parts in zip(*found, strict=True))
    return Truncation(points, normals, n_faces)


def faces_that_cut(mask: np.ndarray, geometry: ImageGeometry) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Point and outward normal, both (3,) in RAS mm, of every face of the image that cuts the organ.

    Args:
        mask: (K, J, I) bool on the grid of the image.
        geometry: of the mask.
    """
    centre = 0.5 * (np.array(geometry.size_ijk) - 1)
    for axis_ijk in range(3):
        layers = np.moveaxis(mask, 2 - axis_ijk, 0)
        areas = layers.sum(axis=(1, 2))
        for index, side in ((0, -1.0), (len(areas) - 1, 1.0)):
            if areas[index] > LEAST_BORDER_SHARE * areas.max() and len(areas) > 1:
                place = centre.copy()
                place[axis_ijk] = index + 0.5 * side
                # The normal of a face is the cofactor direction: its inverse transpose, also where axes are sheared.
                normal = side * np.linalg.inv(geometry.ijk_to_ras[:3, :3])[axis_ijk]
                yield geometry.ijk_to_ras_points(place[None])[0], normal / np.linalg.norm(normal)


@lru_cache(maxsize=16)
def own_flat_shares(template: OrganTemplate) -> tuple[float, float]:
    """How much of its shadow along the body the template's own lower and upper end cover (see :func:`flat_end`): lobes
    end flat at fissures and at the diaphragm."""
    import torch

    device = template.alpha.device

    @torch.no_grad()
    def distance(points_unit: np.ndarray) -> np.ndarray:
        unit = torch.as_tensor(points_unit, dtype=torch.float32, device=device)
        return template.model.template_distance(unit).cpu().numpy()

    vertices, faces = extract_zero_level(distance, (np.full(3, -1.15), np.full(3, 1.15)), _TEMPLATE_CELLS)
    if not len(faces):
        return 0.0, 0.0
    mm_per_unit = float(np.median(template.info.scales_mm))
    surface = TriangleSurface.from_triangles(vertices * mm_per_unit, faces).components()[0]
    return flat_end(surface, -1.0)[0], flat_end(surface, 1.0)[0]


def flat_end(surface: TriangleSurface, side: float) -> tuple[float, np.ndarray, np.ndarray]:
    """How much of the organ's shadow along the body (0 to 1) one flat end at its upper or lower side covers.

    Args:
        surface: RAS mm, closed.
        side: +1 for the upper end, -1 for the lower one.

    Returns:
        share, a point of the plane (3,) in RAS mm, and its outward normal (3,).
    """
    vectors = surface.face_vectors_mm2
    areas = np.linalg.norm(vectors, axis=1)
    centres = surface.vertices_ras[surface.faces].mean(axis=1)
    axis = np.array([0.0, 0.0, side])
    shadow = np.clip(vectors @ axis, 0.0, None).sum()
    units = vectors / np.maximum(areas, 1e-12)[:, None]
    none = 0.0, np.zeros(3), axis
    flat = units @ axis > np.cos(np.radians(_CONE_DEGREES))
    if not flat.any() or shadow <= 0.0:
        return none
    tolerance_mm = 0.01 * float(np.ptp(surface.vertices_ras, axis=0).max()) + 0.5
    normal = axis
    for _ in range(4):
        heights = centres @ normal
        near = flat & (units @ normal > np.cos(np.radians(_FLAT_DEGREES)))
        if not near.any():
            return none
        level = _fullest(heights[near], areas[near], 2.0 * tolerance_mm)
        inside = near & (np.abs(heights - level) <= tolerance_mm)
        mean = vectors[inside].sum(axis=0)
        normal = mean / np.linalg.norm(mean)
    heights = centres @ normal
    inside = flat & (units @ normal > np.cos(np.radians(_FLAT_DEGREES)))
    level = _fullest(heights[inside], areas[inside], 2.0 * tolerance_mm) if inside.any() else 0.0
    inside &= np.abs(heights - level) <= tolerance_mm
    beyond = areas[heights > level + 2.0 * tolerance_mm].sum() > _MOST_BEYOND * areas.sum()
    if beyond or not inside.any() or normal @ axis < np.cos(np.radians(_CONE_DEGREES)):
        return none
    point = np.average(centres[inside], axis=0, weights=areas[inside])
    return float(vectors[inside].sum(axis=0) @ axis / shadow), point, normal


def _fullest(values: np.ndarray, weights: np.ndarray, width: float) -> float:
    """Centre of the window of that width that holds the most weight."""
    order = np.argsort(values)
    values, sums = values[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    last = np.searchsorted(values, values + width, side="right")
    return float(values[int(np.argmax(sums[last] - sums[:-1]))] + 0.5 * width)


def grid_points(geometry: ImageGeometry) -> np.ndarray:
    """(K * J * I, 3) RAS mm of all voxel centres, in the order of a raveled [k, j, i] array."""
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    return geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))


def expected_within_image(
    given_mm: np.ndarray,
    expected_mm: np.ndarray,
    geometry: ImageGeometry,
    cut: Truncation,
    reach_mm: float,
    least_mm: float,
) -> np.ndarray:
    """(K, J, I) expected distance, as given beyond the cut faces and in additions that lie mostly beside them.

    A network or a fitted shape continues the organ beyond a face. Where that continuation is wider than the given
    organ, its foot would leave a rim within the image, whose voxels somebody saw.

    Args:
        given_mm, expected_mm: (K, J, I) signed distances.
        geometry: of both.
        cut: at least one of its planes is a face of the image.
        reach_mm: how far from the face a part lies beside it.
        least_mm: differences from which cells belong to one part.
    """
    way_mm = cut.way_beyond_image_mm(grid_points(geometry)).reshape(given_mm.shape)
    beyond = way_mm > 0.0
    beside = way_mm > -reach_mm
    pieces, n_pieces = ndimage.label((given_mm - expected_mm > least_mm) & ~beyond, structure=_NEIGHBOURS)
    added = (pieces > 0) & (given_mm > 0) & (expected_mm < 0)
    cells = np.bincount(pieces[added], minlength=n_pieces + 1)
    near = np.bincount(pieces[added & beside], minlength=n_pieces + 1)
    foot = 2 * near > cells
    foot[0] = False
    return np.where(beyond | foot[pieces], given_mm, expected_mm)
