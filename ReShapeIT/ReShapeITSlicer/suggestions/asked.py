"""What is known about an organ's suggestions, and what the engine was asked about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from ..geometry import Grid, localToWorld
from .points import Position
from .suggestion import Suggestion

MOST_PLACES = 4000


@dataclass(eq=False)
class Organ:
    """What is known about one organ.

    :param key: its label in the engine's run.
    :param found: suggestions as the refinement decided them, what matters first.
    :param now: the same as they are decided now, and those of clicks.
    :param put: what the scene shows, see Choice.concerns; None where that has to be asked for in any case.
    :param hasSurface: the scene shows the surface of what was decided.
    :param places: (N, 3) points of its surface when it was refined, world mm of then.
    :param told: numbers of what the engine took when it was asked for ``put``: points go before what was asked.
    :param regions: (K, J, I) number of the suggestion that would change a voxel, and its Grid; None until asked.
    """

    key: str
    found: list[Suggestion]
    now: list[Suggestion]
    put: tuple | None
    hasSurface: bool = True
    places: np.ndarray | None = None
    told: frozenset[int] | None = None
    regions: tuple[np.ndarray, Grid] | None = None


@dataclass(eq=False)
class Request:
    """A request on its way: its answer, what it is about, when it was sent."""

    answer: object
    segmentId: str
    wanted: tuple | None
    files: dict
    sent: float


def partOf(grid: Grid, box: dict) -> Grid:
    """The part of a file's grid that the engine answered about.

    :param box: ``start_ijk`` and ``size_ijk`` in the file.
    """
    start = tuple(int(a) + int(b) for a, b in zip(grid.start, box["start_ijk"], strict=True))
    return Grid(grid.ijkToLocal, start, tuple(map(int, box["size_ijk"])))


class Frames:
    """The world as it was when the engine got the segments, and as it is now.

    :param segmentationNode: whose transform may have changed since.
    :param toWorld: (4, 4) from its local mm to world of then.
    """

    def __init__(self, segmentationNode, toWorld: np.ndarray):
        self._node, self._toWorld = segmentationNode, toWorld

    def then(self, point) -> Position:
        """World RAS mm of then, of a point of now."""
        return _moved(self._toWorld @ np.linalg.inv(localToWorld(self._node)), point)

    def now(self, point) -> Position:
        """World RAS mm of now, of a point of then."""
        return _moved(localToWorld(self._node) @ np.linalg.inv(self._toWorld), point)


def placesOf(surface, toWorld: np.ndarray) -> np.ndarray:
    """(N, 3) some points of a surface (vtkPolyData, local mm), world mm."""
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    return points[:: max(1, len(points) // MOST_PLACES)] @ toWorld[:3, :3].T + toWorld[:3, 3]


def _moved(matrix: np.ndarray, point) -> Position:
    x, y, z = matrix[:3, :3] @ np.asarray(point, dtype=float) + matrix[:3, 3]
    return float(x), float(y), float(z)
