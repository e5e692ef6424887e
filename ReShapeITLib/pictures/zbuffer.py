"""Orthographic depth buffer of a triangle mesh in numpy: no display and no graphics library needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Image right and image up in RAS as a viewer sees the patient from the named side.
VIEWS = {
    "anterior": ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "posterior": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "left": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "right": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "superior": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "inferior": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
}
_FRAGMENTS_PER_CHUNK = 2_000_000


@dataclass(frozen=True)
class Camera:
    """Orthographic view.

    Args:
        view: a key of ``VIEWS``.
        centre_ras: (3,) point in mm shown at the middle of the picture.
        mm_per_pixel: size of a pixel.
        size_pixels: width and height.
    """

    view: str
    centre_ras: tuple[float, float, float]
    mm_per_pixel: float
    size_pixels: tuple[int, int]

    @property
    def axes_ras(self) -> np.ndarray:
        """(3, 3) unit rows: image right, image up, towards the viewer."""
        right, up = (np.array(axis) for axis in VIEWS[self.view])
        return np.stack([right, up, np.cross(right, up)])

    def project(self, points_ras: np.ndarray) -> np.ndarray:
        """(N, 3) column, row (pixels, fractions allowed) and height towards the viewer (mm) of (N, 3) points."""
        right, up, height = ((points_ras - np.asarray(self.centre_ras)) @ self.axes_ras.T).T
        width_px, height_px = self.size_pixels
        columns = right / self.mm_per_pixel + 0.5 * (width_px - 1)
        rows = 0.5 * (height_px - 1) - up / self.mm_per_pixel
        return np.stack([columns, rows, height], axis=1)


@dataclass(frozen=True, eq=False)
class DepthBuffer:
    """What each pixel (rows, columns) shows: ``face`` (-1: background), ``barycentric`` (h, w, 3), ``height_mm``."""

    face: np.ndarray
    barycentric: np.ndarray
    height_mm: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """(h, w) True where the mesh is seen."""
        return self.face >= 0

    def interpolate(self, vertex_values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(P, n) values at the covered pixels, in row order, from (V, n) values at the vertices."""
        weights = self.barycentric[self.covered]
        return np.einsum("pc,pcn->pn", weights, vertex_values[faces[self.face[self.covered]]])


def rasterise(vertices_ras: np.ndarray, faces: np.ndarray, camera: Camera) -> DepthBuffer:
    """Nearest face at every pixel centre of a (V, 3), (F, 3) mesh; faces seen from behind are left out."""
    width, height = camera.size_pixels
    face_buffer = np.full(width * height, -1, dtype=np.int32)
    weights_buffer = np.zeros((width * height, 3), dtype=np.float32)
    height_buffer = np.full(width * height, -np.inf, dtype=np.float32)
    corners = camera.project(vertices_ras)[faces]
    limit = np.array([width - 1, height - 1])
    low = np.clip(np.ceil(corners[:, :, :2].min(axis=1)), 0, limit + 1).astype(np.int64)
    high = np.clip(np.floor(corners[:, :, :2].max(axis=1)), -1, limit).astype(np.int64)
    extent = np.maximum(high - low + 1, 0)
    # Rows point down, so a face that looks at the viewer runs clockwise here: its doubled area is negative.
    candidates = np.flatnonzero((_doubled_area(corners) < 0) & (extent > 0).all(axis=1))
    pixels = extent[candidates].prod(axis=1)
    chunk_ids = np.cumsum(pixels) // _FRAGMENTS_PER_CHUNK
    for chunk in np.split(candidates, np.flatnonzero(np.diff(chunk_ids)) + 1):
        pixel, face, weights, depth = _fragments(corners, chunk, low, extent, width)
        # Written from far to near: the last write to a pixel stays.
        order = np.argsort(depth, kind="stable")
        order = order[depth[order] > height_buffer[pixel[order]]]
        face_buffer[pixel[order]] = face[order]
        weights_buffer[pixel[order]] = weights[order]
        height_buffer[pixel[order]] = depth[order]
    shape = (height, width)
    return DepthBuffer(face_buffer.reshape(shape), weights_buffer.reshape(*shape, 3), height_buffer.reshape(shape))


def _doubled_area(corners: np.ndarray) -> np.ndarray:
    """(F,) signed doubled areas of the projected (F, 3, 3) triangles."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _fragments(corners, chunk, low, extent, width):
    """Pixel index, face, barycentric weights and height of every pixel centre that a face of the chunk covers."""
    counts = extent[chunk].prod(axis=1)
    face = np.repeat(chunk, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    row, column = np.divmod(within, extent[face, 0])
    column, row = column + low[face, 0], row + low[face, 1]
    triangle = corners[face]
    area = _doubled_area(corners[chunk])[np.repeat(np.arange(len(chunk)), counts)]
    weights = np.empty((len(face), 3), dtype=np.float64)
    for corner in range(3):
        a, b = triangle[:, (corner + 1) % 3], triangle[:, (corner + 2) % 3]
        edge = (b[:, 0] - a[:, 0]) * (row - a[:, 1]) - (b[:, 1] - a[:, 1]) * (column - a[:, 0])
        weights[:, corner] = edge / area
    # The small allowance closes the hair lines between neighbouring faces.
    seen = (weights > -1e-6).all(axis=1)
    weights = weights[seen]
    depth = np.einsum("pc,pc->p", weights, triangle[seen, :, 2])
    return row[seen] * width + column[seen], face[seen], weights, depth.astype(np.float32)
