"""What changes around one point: the organ's signed distance, conditioned on its value there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...core.geometry import ImageGeometry
from ...distance.protocol import Box

if TYPE_CHECKING:
    from ...image.band import Image
    from ..refined import Point, RefinedShape

CELL_MM = 1.5
# The correlation ends so many times as far from the point as the surface is, and within these ways in mm.
_REACH, _LEAST_REACH_MM, _MOST_REACH_MM = 2.2, 10.0, 45.0
_AS_LITTLE_REACH_MM = 6.0
# Other points keep their sides: near them the change fades.
_PIN_MM = 4.0
# A step across an edge of one standard deviation of the organ's brightness is so much longer than one along it.
_EDGE = 1.5
_SMOOTH_CELLS = 0.8


@dataclass(frozen=True, eq=False)
class Change:
    """What a point changes.

    Args:
        correction_mm: (K, J, I) float32 to add to the organ's signed distance.
        geometry: of the correction.
        box_ras: around all of the correction.
        grown_ras: box around what becomes organ; None where nothing does.
        volume_ml: of what changes sides.
        extent_mm: diagonal of the box around that.
        depth_cells: how far the point was from the surface.
    """

    correction_mm: np.ndarray
    geometry: ImageGeometry
    box_ras: Box
    grown_ras: Box | None
    volume_ml: float
    extent_mm: float
    depth_cells: float


def change_at(
    shape: RefinedShape,
    point: Point,
    sign: float,
    depth_mm: float,
    pinned: Sequence[tuple[Point, float]] = (),
    image: Image | None = None,
    as_little: bool = False,
) -> Change:
    """Condition the organ on one point.

    Args:
        shape: the organ.
        point: r, a, s in mm.
        sign: -1 where the point is organ, 1 where it is not.
        depth_mm: how far inside or outside it is to lie.
        pinned: other points with their signs, which keep their sides.
        image: the change ends at its edges.
        as_little: only as much as it takes.
    """
    at = np.array(point)
    away_mm = float(shape.sdf_mm(at[None])[0])
    shift = sign * depth_mm - away_mm
    reach = float(np.clip(_REACH * abs(shift), _LEAST_REACH_MM, _MOST_REACH_MM))
    reach = max(_AS_LITTLE_REACH_MM, 1.5 * abs(shift)) if as_little else reach
    half = int(np.ceil(reach / CELL_MM)) + 2
    grid = ImageGeometry.from_parts((2 * half + 1,) * 3, (CELL_MM,) * 3, at - half * CELL_MM)
    kji = np.moveaxis(np.indices(grid.shape_kji), 0, -1).reshape(-1, 3)
    centres = grid.ijk_to_ras_points(kji[:, ::-1])
    now = shape.sdf_mm(centres).reshape(grid.shape_kji)
    way = _ways(grid, half, now, None if as_little else image)
    correlation = ndimage.gaussian_filter(_falling(way / reach), _SMOOTH_CELLS)
    correlation *= _beside_pins(centres, pinned, sign, shape, depth_mm).reshape(grid.shape_kji)
    correlation = np.minimum(correlation / correlation[half, half, half], 1.0)
    correction = _one_piece(now, shift * correlation, (half,) * 3)
    return _change(now, correction.astype(np.float32), grid, abs(away_mm))


def _ways(grid: ImageGeometry, half: int, now: np.ndarray, image: Image | None) -> np.ndarray:
    """(K, J, I) length of the shortest way from the middle cell in mm, longer across the image's edges."""
    if image is None:
        offsets = (np.indices(grid.shape_kji) - half) * CELL_MM
        return np.sqrt((offsets**2).sum(axis=0))
    from skimage.graph import MCP_Geometric

    from ...image.band import sampled_image

    values, covered = sampled_image(image, grid)
    sd = _spread(values, covered & (now < -1.0))
    middle = tuple(slice(half - 1, half + 2) for _ in range(3))
    sds = (values - np.median(values[middle])) / sd
    costs = 1.0 + _EDGE * np.minimum(sds**2, 16.0)
    ways, _ = MCP_Geometric(costs, sampling=(CELL_MM,) * 3).find_costs([(half,) * 3])
    return ways


def _spread(values: np.ndarray, inside: np.ndarray) -> float:
    """Robust standard deviation of the image within the organ nearby."""
    own = values[inside] if np.count_nonzero(inside) > 50 else values.ravel()
    sd = 1.4826 * float(np.median(np.abs(own - np.median(own))))
    return max(sd, 1e-3 * float(np.ptp(values)) + 1e-6)


def _falling(way: np.ndarray) -> np.ndarray:
    """Wendland's correlation of a way in parts of its reach: 1 at 0, smooth, 0 from 1 on."""
    near = np.clip(1.0 - way, 0.0, None)
    return near**4 * (4.0 * way + 1.0)


def _beside_pins(
    centres: np.ndarray, pinned: Sequence[tuple[Point, float]], sign: float, shape: RefinedShape, depth_mm: float
) -> np.ndarray:
    """(N,) 1 far from points of the other sign, 0 at them."""
    share = np.ones(len(centres))
    for point, other in pinned:
        if other != sign:
            way = np.linalg.norm(centres - np.array(point), axis=1)
            share *= 1.0 - _falling(way / _PIN_MM)
    return share


def _one_piece(now: np.ndarray, correction: np.ndarray, middle: tuple[int, ...]) -> np.ndarray:
    """The correction where it changes the piece that holds the middle, faded out beside it; nothing elsewhere."""
    changes = (now < 0) != (now + correction < 0)
    if not changes[middle]:
        return correction
    pieces, _ = ndimage.label(changes)
    away = ndimage.distance_transform_edt(pieces != pieces[middle])
    others = changes & (pieces != pieces[middle])
    share = np.clip(1.0 - (away - 1.5) / 2.0, 0.0, 1.0)
    share[others] = 0.0
    return correction * share


def _change(now: np.ndarray, correction: np.ndarray, grid: ImageGeometry, away_mm: float) -> Change:
    before, after = now < 0, now + correction < 0
    cells = np.argwhere(before != after)
    volume = len(cells) * CELL_MM**3 / 1000.0
    extent = float(np.linalg.norm(np.ptp(cells, axis=0) + 1) * CELL_MM) if len(cells) else 0.0
    grown = np.argwhere(after)[:, ::-1]
    box = None
    if len(grown):
        lower, upper = grid.ijk_to_ras_points(np.array([grown.min(0) - 1, grown.max(0) + 1]))
        box = lower, upper
    lower, upper = grid.ijk_to_ras_points(np.array([(0, 0, 0), grid.size_ijk]))
    return Change(correction, grid, (lower, upper), box, volume, extent, away_mm / CELL_MM)
