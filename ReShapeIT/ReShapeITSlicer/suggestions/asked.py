"""What is known about an organ's suggestions, and what the engine was asked about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Grid
from .suggestion import Suggestion


@dataclass(eq=False)
class Organ:
    """What is known about one organ.

    :param key: its label in the engine's run.
    :param found: suggestions as the refinement decided them, what matters first.
    :param now: the same as they are decided now, and those of clicks.
    :param put: what the scene shows, see Choice.concerns; None where that has to be asked for in any case.
    :param hasSurface: the scene shows the surface of what was decided.
    :param places: (N, 3) points of its surface when it was refined, world mm of then.
    :param regions: (K, J, I) number of the suggestion that would change a voxel, and its Grid; None until asked.
    """

    key: str
    found: list[Suggestion]
    now: list[Suggestion]
    put: tuple | None
    hasSurface: bool = True
    places: np.ndarray | None = None
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


def moved(matrix: np.ndarray, point) -> tuple[float, float, float]:
    """A point (mm) by a (4, 4) matrix."""
    x, y, z = matrix[:3, :3] @ np.asarray(point, dtype=float) + matrix[:3, 3]
    return float(x), float(y), float(z)
