"""A tree over surface vertices that finds, for many points at once, every vertex that may matter for the distance."""

from __future__ import annotations

import numpy as np

_LEAF_SIZE = 20
_CHUNK_POINTS = 16384
# Single precision finds candidates; these margins (relative, and in roundings of the coordinates) keep it safe.
_RELATIVE_MARGIN = 1e-4
_ROUNDINGS = 8.0


class VertexTree:
    """Quadtree-like grouping of vertices, each group bounded by a flat cylinder along its mean normal.

    A patch of a smooth surface is flat, so a cylinder bounds the distance to it from below far tighter than a box or
    ball: a plain kd-tree visits ever more vertices the farther a point lies from the surface, this tree does not.

    Args:
        vertices: (V, 3), coordinates small against their precision (around the origin).
        normals: (V, 3) surface normals; they only steer the shape of the groups' bounds.
        reach2: (V,) squared reach of each vertex, see ``candidates``.
    """

    def __init__(self, vertices: np.ndarray, normals: np.ndarray, reach2: np.ndarray):
        depth = max(0, int(np.ceil(np.log(len(vertices) / _LEAF_SIZE) / np.log(4.0))))
        size = -(-len(vertices) // 4**depth) * 4**depth
        groups = np.resize(np.arange(len(vertices)), size)[None]  # a few vertices repeat to fill up the leaves
        self._levels = []
        for _ in range(depth):
            groups = _halved(vertices, _halved(vertices, groups))
            self._levels.append(_cylinders(vertices, normals, reach2, groups))
        self._leaves = groups
        self._leaf_vertices = vertices[groups].astype(np.float32)
        self._leaf_reach2 = reach2[groups].astype(np.float32)
        self._extent = float(np.abs(vertices).max())

    def candidates(self, points: np.ndarray):
        """For each of (N, 3) points p: all vertices v with ``|p - v|^2 <= n^2 + reach2_v``, n to the nearest vertex.

        Yields, chunk by chunk: owners (C,) ascending point numbers, vertices (C,), their squared distances (C,)
        in single precision, and the largest error (in square units) to allow for when comparing them. Vertices may
        occur twice.
        """
        for start in range(0, len(points), _CHUNK_POINTS):
            part = points[start : start + _CHUNK_POINTS]
            slack = self._slack(part)
            owners, vertices, squared = self._candidates_in_chunk(part.astype(np.float32), slack)
            yield owners + start, vertices, squared, slack

    def _slack(self, points):
        # (x + e)^2 <= x^2 (1 + m) + e^2 (1 + 1 / m)
        rounding = _ROUNDINGS * np.finfo(np.float32).eps * max(self._extent, float(np.abs(points).max()))
        return np.float32(rounding**2 * (1.0 + 1.0 / _RELATIVE_MARGIN))

    def _candidates_in_chunk(self, points, slack):
        grow, n = np.float32(1.0 + _RELATIVE_MARGIN), len(points)
        nearest2 = np.full(n, np.inf, dtype=np.float32)
        owners, nodes = np.arange(n), np.zeros(n, dtype=np.int64)
        for cylinders in self._levels:
            nodes = (4 * nodes[:, None] + np.arange(4)).ravel()
            owners = np.repeat(owners, 4)
            centre2, least2, reach2 = _bounds(points, owners, cylinders, nodes)
            np.minimum(nearest2, np.minimum.reduceat(centre2, _starts(owners)), out=nearest2)
            keep = np.flatnonzero(least2 <= grow * (nearest2.take(owners) + reach2) + slack)
            owners, nodes = owners.take(keep), nodes.take(keep)
        offsets = self._leaf_vertices.take(nodes, axis=0) - points.take(owners, axis=0)[:, None]
        squared = _row_dots(offsets, offsets)
        nearest2 = np.minimum.reduceat(squared.min(axis=1), _starts(owners))
        limit = grow * (nearest2.take(owners)[:, None] + self._leaf_reach2.take(nodes, axis=0)) + slack
        hits = np.flatnonzero(squared <= limit)
        owners = owners.take(hits // self._leaves.shape[1])
        return owners, self._leaves.take(nodes, axis=0).ravel().take(hits), squared.ravel().take(hits)


def _bounds(points, owners, cylinders, nodes):
    """Squared distances to the cylinders' centres (vertices), squared lower bounds to their contents, and reaches."""
    # take() and columns instead of indexing and einsum: several times faster on rows this short.
    table = cylinders.take(nodes, axis=0)
    offsets = points.take(owners, axis=0) - table[:, :3]
    centre2, height = _row_dots(offsets, offsets), _row_dots(offsets, table[:, 3:6])
    aside = np.sqrt(np.maximum(centre2 - height * height, 0.0)) - table[:, 8]
    above = np.abs(height - table[:, 6]) - table[:, 7]
    least2 = np.maximum(aside, 0.0) ** 2 + np.maximum(above, 0.0) ** 2
    return centre2, least2, table[:, 9]


def _row_dots(a, b):
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _cylinders(vertices, normals, reach2, groups):
    """Per group: centre vertex (3), axis (3), middle and half of the height, radius, largest reach; (G, 10) float32."""
    members = vertices[groups]
    middle = members.mean(axis=1, keepdims=True)
    central = ((members - middle) ** 2).sum(axis=2).argmin(axis=1)
    centre = members[np.arange(len(groups)), central]
    axis = normals[groups].mean(axis=1)
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = np.where(length > 1e-6, axis / np.maximum(length, 1e-6), np.array([0.0, 0.0, 1.0]))
    offsets = members - centre[:, None]
    heights = np.einsum("gsx,gx->gs", offsets, axis)
    low, high = heights.min(axis=1), heights.max(axis=1)
    radius = np.sqrt(np.maximum((offsets**2).sum(axis=2) - heights**2, 0.0).max(axis=1))
    scalars = np.stack([0.5 * (low + high), 0.5 * (high - low), radius, reach2[groups].max(axis=1)], axis=1)
    return np.concatenate([centre, axis, scalars], axis=1).astype(np.float32)


def _halved(vertices, groups):
    """Split each row of groups (G, S) at the median along its longest side: (2 G, S / 2)."""
    members = vertices[groups]
    longest = np.ptp(members, axis=1).argmax(axis=1)
    key = np.take_along_axis(members, longest[:, None, None], axis=2)[..., 0]
    order = np.argpartition(key, groups.shape[1] // 2, axis=1)
    return np.take_along_axis(groups, order, axis=1).reshape(2 * len(groups), -1)


def _starts(sorted_ids):
    """Where each run of equal ids begins."""
    return np.flatnonzero(np.diff(sorted_ids, prepend=-1))
