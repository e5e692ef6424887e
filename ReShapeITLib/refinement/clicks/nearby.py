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

# Cells of the grid on which a change is worked out, and how many reach from its middle to its end at most.
CELL_MM, _MOST_CELLS = 1.5, 14
# The correlation ends so many times as far from the point as the surface is, and within these ways in mm.
_REACH, _LEAST_REACH_MM, _MOST_REACH_MM = 3.0, 30.0, 60.0
# Who corrects clicks the middle of what is wrong: the surface is rather beyond the point than at it.
_BEYOND, _MOST_BEYOND_MM = 0.5, 6.0
_AS_LITTLE_REACH_MM = 6.0
# Other points keep their sides: near them the change fades.
_PIN_MM = 4.0
# A step where the image contradicts by one standard deviation of the organ's brightness is so much longer.
_EDGE, _MOST_SDS = 0.5, 4.0
# A cell that contradicts by so much follows the point by 60 %.
_CONTRADICTS_SDS = 3.0
_BLUR_CELLS = 0.5
_CORE_MM, _FEWEST_CORE_CELLS = 3.0, 50
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
    """

    correction_mm: np.ndarray
    geometry: ImageGeometry
    box_ras: Box
    grown_ras: Box | None
    volume_ml: float
    extent_mm: float


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
    beyond_mm = 0.0 if as_little else min(_BEYOND * max(-sign * away_mm, 0.0), _MOST_BEYOND_MM)
    shift = sign * (depth_mm + beyond_mm) - away_mm
    reach = float(np.clip(_REACH * (abs(away_mm) + depth_mm), _LEAST_REACH_MM, _MOST_REACH_MM))
    reach = max(_AS_LITTLE_REACH_MM, 1.5 * abs(shift)) if as_little else reach
    cell_mm = max(CELL_MM, reach / _MOST_CELLS)
    half = int(np.ceil(reach / cell_mm)) + 2
    grid = ImageGeometry.from_parts((2 * half + 1,) * 3, (cell_mm,) * 3, at - half * cell_mm)
    kji = np.moveaxis(np.indices(grid.shape_kji), 0, -1).reshape(-1, 3)
    centres = grid.ijk_to_ras_points(kji[:, ::-1])
    now = shape.sdf_mm(centres).reshape(grid.shape_kji)
    against = None if image is None or as_little else _against(grid, half, now, sign, image)
    correlation = _falling(_ways(grid, half, against) / reach)
    if against is not None:
        correlation *= np.exp(-0.5 * (against / _CONTRADICTS_SDS) ** 2)
    correlation = ndimage.gaussian_filter(correlation, _SMOOTH_CELLS)
    correlation *= _beside_pins(centres, pinned, sign, shape, depth_mm).reshape(grid.shape_kji)
    correlation = np.minimum(correlation / correlation[half, half, half], 1.0)
    correction = _one_piece(now, shift * correlation, (half,) * 3)
    return _change(now, correction.astype(np.float32), grid)


def _ways(grid: ImageGeometry, half: int, against: np.ndarray | None) -> np.ndarray:
    """(K, J, I) length of the shortest way from the middle cell in mm, longer where the image contradicts."""
    if against is None:
        offsets = (np.indices(grid.shape_kji) - half) * grid.spacing_mm[0]
        return np.sqrt((offsets**2).sum(axis=0))
    from skimage.graph import MCP_Geometric

    costs = 1.0 + _EDGE * np.minimum(against, _MOST_SDS) ** 2
    return MCP_Geometric(costs, sampling=tuple(grid.spacing_mm)).find_costs([(half,) * 3])[0]


def _against(grid: ImageGeometry, half: int, now: np.ndarray, sign: float, image: Image) -> np.ndarray:
    """(K, J, I) by how much the image contradicts that a cell is as the middle one, in standard deviations.

    What looks more like the organ than a point that belongs to it belongs to it as well; what looks less like it than a
    point that does not goes with that point.
    """
    from ...image.band import sampled_image

    values, covered = sampled_image(image, grid)
    unlike = _unlike(ndimage.gaussian_filter(values, _BLUR_CELLS), covered, now)
    middle = tuple(slice(half - 1, half + 2) for _ in range(3))
    return np.maximum(-sign * (unlike - np.median(unlike[middle])), 0.0)


def _unlike(values: np.ndarray, covered: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How unlike the organ nearby each value is, in robust standard deviations of the organ's."""
    inside = covered & (now < -_CORE_MM)
    if np.count_nonzero(inside) < _FEWEST_CORE_CELLS:
        inside = covered & (now <= np.quantile(now[covered], 0.1)) if covered.any() else np.ones_like(covered)
    own = values[inside]
    sd = 1.4826 * float(np.median(np.abs(own - np.median(own))))
    return np.abs(values - np.median(own)) / max(sd, 1e-3 * float(np.ptp(values)) + 1e-6)


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


def _change(now: np.ndarray, correction: np.ndarray, grid: ImageGeometry) -> Change:
    before, after = now < 0, now + correction < 0
    cells = np.argwhere(before != after)
    volume = len(cells) * grid.voxel_volume_mm3 / 1000.0
    extent = float(np.linalg.norm(np.ptp(cells, axis=0) + 1) * grid.spacing_mm[0]) if len(cells) else 0.0
    grown = np.argwhere(after)[:, ::-1]
    box = None
    if len(grown):
        lower, upper = grid.ijk_to_ras_points(np.array([grown.min(0) - 1, grown.max(0) + 1]))
        box = lower, upper
    lower, upper = grid.ijk_to_ras_points(np.array([(0, 0, 0), grid.size_ijk]))
    return Change(correction, grid, (lower, upper), box, volume, extent)
