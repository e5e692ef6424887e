"""Which planes of an image an organ was drawn on, and which marks are no whole cross-section.

A plane on which the organ was drawn as a whole says what is organ and what is not. A mark (a brush that reached the
neighbouring slices, a stroke, the trace of an oblique plane) says only what is organ.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError

FEWEST_SLICES = 2
_MOST_LAYERS = 5  # of one drawn plane: a brush reaches two slices to either side
_LEAST_OWN = 0.5  # share of a drawn plane's voxels that no other plane explains
_LEAST_OF_PEAK = 0.65  # area of a cross-section beside a larger one next to it; brushes that spill over cover less
_LARGER = 1.25  # neighbours that say how large a cross-section between them is
_LEAST_COVERED = 0.6  # of what both such neighbours cover
_LEAST_CHORD = 4.0  # voxels, mean; the trace of an oblique plane is narrower
_LEAST_OVERLAP = 0.5  # of cross-sections on two slices that touch; the traces of an oblique plane move on
_OUTLINE = 2.0  # an outline encloses more than this many times its own area
_SPARSE_SHARE = 0.8  # of the voxels on drawn planes that makes a mask a sparse annotation
_SOLID_SHARE = 0.01  # of a mask's voxels
_SPARSE_PIECES = 3  # drawn slices, or runs of them, with nothing between
_MOST_FILLED = 0.6  # share of the slices that hold anything


@dataclass(frozen=True, eq=False)
class Planes:
    """Parallel planes of an image.

    Args:
        axis: of (K, J, I) arrays, across which the planes lie.
        numbers: of their layers, rising.
    """

    axis: int
    numbers: np.ndarray

    def moved(self, start_kji: np.ndarray) -> Planes:
        """The same planes where layer ``start_kji`` is the first."""
        return Planes(self.axis, self.numbers - start_kji[self.axis])

    def voxels(self, shape_kji: tuple[int, ...]) -> np.ndarray:
        """(K, J, I) bool: all voxels of the planes."""
        on = np.zeros(shape_kji, dtype=bool)
        np.moveaxis(on, self.axis, 0)[self.numbers] = True
        return on

    def layers_to(self, layer: np.ndarray) -> np.ndarray:
        """Way in layers from any (fractional) layer to the nearest plane."""
        last = len(self.numbers) - 1
        after = np.clip(np.searchsorted(self.numbers, layer), min(1, last), last)
        before = np.maximum(after - 1, 0)
        return np.minimum(np.abs(layer - self.numbers[before]), np.abs(layer - self.numbers[after]))


@dataclass(frozen=True, eq=False)
class Drawing:
    """A sparse annotation taken apart.

    Args:
        families: planes that hold whole cross-sections; the family that the organ is interpolated in comes first.
        sections: (K, J, I) bool, the drawing with its outlines filled.
        marks: (K, J, I) bool, drawn voxels beside all the planes.
    """

    families: tuple[Planes, ...]
    sections: np.ndarray
    marks: np.ndarray


def read_drawing(mask: np.ndarray) -> Drawing:
    """Take a (K, J, I) bool drawing apart.

    Raises:
        BadInputError: the mask is empty, has one plane only, or its planes leave no gap.
    """
    families, sections = _families(mask)
    no_planes = sum(len(planes.numbers) for planes in families) < FEWEST_SLICES
    if no_planes:
        families, sections = (_all_slices(mask),), mask
    first = families[0].numbers
    if len(families) == 1 and len(first) == first[-1] - first[0] + 1:
        raise _no_gap(no_planes)
    on_planes = np.logical_or.reduce([planes.voxels(mask.shape) for planes in families])
    return Drawing(families, sections, mask & ~on_planes)


def looks_sparse(mask: np.ndarray) -> bool:
    """Whether a (K, J, I) bool mask holds a few drawn planes with empty gaps between them rather than a whole organ."""
    if _is_solid(mask):
        return False
    families, _ = _families(mask)
    on_planes = np.zeros(mask.shape, dtype=bool)
    gaps = False
    for planes in families:
        others = [other.voxels(mask.shape) for other in families if other is not planes]
        own = mask & ~np.logical_or.reduce(others) if others else mask
        gaps |= _has_gaps(own.any(axis=tuple(axis for axis in range(3) if axis != planes.axis)))
        on_planes |= planes.voxels(mask.shape)
    return gaps and bool((mask & on_planes).sum() >= _SPARSE_SHARE * mask.sum())


def _is_solid(mask: np.ndarray) -> bool:
    """Whether some of the mask lies deeper than a drawn plane is thick; quick, and true of most whole organs."""
    depth, deep = _MOST_LAYERS // 2 + 1, mask
    solid = np.pad(mask, depth)
    # Corners of two cubes around each voxel: those of one may lie on planes that cross, hardly those of both.
    for corner in (*itertools.product((0, 2 * depth), repeat=3), *itertools.product((1, 2 * depth - 1), repeat=3)):
        deep = deep & solid[tuple(slice(c, c + n) for c, n in zip(corner, mask.shape, strict=True))]
    return bool(deep.sum() > _SOLID_SHARE * mask.sum())


def _has_gaps(used: np.ndarray) -> bool:
    """Whether the layers that hold something are a few thin ones far from each other."""
    pieces, n_pieces = ndimage.label(used)
    span = np.flatnonzero(used)
    if n_pieces < _SPARSE_PIECES or np.bincount(pieces)[1:].max() > _MOST_LAYERS:
        return False
    return len(span) <= _MOST_FILLED * (span[-1] - span[0] + 1)


def _no_gap(no_planes: bool) -> BadInputError:
    if no_planes:
        return BadInputError(
            "The drawing has no two whole cross-sections on axial, coronal or sagittal slices",
            "draw the organ as a whole on two such slices; what is drawn on oblique planes is then taken into account",
            "sparse.no_planes",
        )
    return BadInputError(
        "The organ was drawn on every slice, so there is nothing between them",
        "refine it without the option for sparse annotations",
        "sparse.no_gap",
    )


def _all_slices(mask: np.ndarray) -> Planes:
    """Every slice that is not empty, along the axis with the largest gaps."""
    used = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not len(used[0]):
        raise BadInputError("The mask is empty", "draw the organ on a few slices", "sparse.empty")
    if min(map(len, used)) < FEWEST_SLICES:
        raise BadInputError(
            "The organ was drawn on one slice only", "draw it on two slices or more", "sparse.one_slice"
        )
    axis = int(np.argmin([len(slices) / (slices[-1] - slices[0] + 1) for slices in used]))
    return Planes(axis, used[axis])


def _families(mask: np.ndarray) -> tuple[tuple[Planes, ...], np.ndarray]:
    """The planes with whole cross-sections of each axis, most of them first, and the drawing with outlines filled."""
    if not mask.any():
        return (), mask
    runs = [_run_lengths(mask, axis) for axis in range(3)]
    found = [_planes(mask, runs, axis, mask) for axis in range(3)]
    order = sorted((0, 1, 2), key=lambda axis: _filling(found[axis][0].numbers))
    families: list[Planes] = []
    sections, own = mask.copy(), mask
    for axis in order:
        planes, filled = _planes(mask, runs, axis, own) if families else found[axis]
        if len(planes.numbers):
            families.append(planes)
            sections |= filled
            own = own & ~planes.voxels(mask.shape)
    families.sort(key=lambda planes: -len(planes.numbers))
    return tuple(families), sections


def _filling(numbers: np.ndarray) -> float:
    """Share of the layers from the first to the last plane that hold one; a single plane fills all, none more."""
    return len(numbers) / (numbers[-1] - numbers[0] + 1) if len(numbers) else 2.0


def _run_lengths(mask: np.ndarray, axis: int) -> np.ndarray:
    """(K, J, I) int: how many voxels of the mask follow each other along an axis at each of its voxels."""
    line = np.zeros((3, 3, 3))
    np.moveaxis(line, axis, 0)[:, 1, 1] = 1
    pieces, _ = ndimage.label(mask, structure=line)
    lengths = np.bincount(pieces.ravel())
    lengths[0] = 0
    return lengths[pieces]


def _planes(mask: np.ndarray, runs: list[np.ndarray], axis: int, own: np.ndarray) -> tuple[Planes, np.ndarray]:
    """The planes across one axis, and their cross-sections with outlines filled.

    Args:
        runs: lengths of the mask's runs along each axis.
        own: what of the mask no other plane explains.
    """
    first, second = (runs[other] for other in range(3) if other != axis)
    # Thin across the plane, or solid as on slices that follow each other: not the trace of a plane across another axis.
    drawn = own & ((runs[axis] <= _MOST_LAYERS) | (np.minimum(first, second) > _MOST_LAYERS))
    layers, parts = np.moveaxis(mask, axis, 0), np.moveaxis(drawn, axis, 0)
    areas = layers.sum(axis=(1, 2))
    chosen = (areas > 0) & (parts.sum(axis=(1, 2)) >= _LEAST_OWN * areas)
    sections = np.zeros_like(layers)
    for number in np.flatnonzero(chosen):
        sections[number] = _filled(layers[number], parts[number])
    chosen &= ~_traces(sections, areas > 0) & ~_spilled(sections)
    chosen &= ~_partial(sections, np.flatnonzero(chosen))
    sections[~chosen] = False
    return Planes(axis, np.flatnonzero(chosen)), np.moveaxis(sections, 0, axis)


def _filled(layer: np.ndarray, part: np.ndarray) -> np.ndarray:
    """A layer, filled where it holds the outline of an organ."""
    filled = ndimage.binary_fill_holes(part)
    return layer | filled if filled.sum() > _OUTLINE * part.sum() else layer


def _traces(sections: np.ndarray, used: np.ndarray) -> np.ndarray:
    """(layers,) bool: which look like the trace of an oblique plane, narrow or moving on from slice to slice."""
    traces = np.zeros(len(sections), dtype=bool)
    areas = sections.sum(axis=(1, 2))
    beside = np.convolve(used, [1, 0, 1], mode="same") > 0
    for number in np.flatnonzero(beside & (areas > 0)):
        layer = np.pad(sections[number], 1)
        starts = [(np.diff(layer.astype(np.int8), axis=axis) > 0).sum() for axis in (0, 1)]
        traces[number] = areas[number] < _LEAST_CHORD * max(starts)
    for number in np.flatnonzero((areas[1:] > 0) & (areas[:-1] > 0)):
        common = (sections[number] & sections[number + 1]).sum()
        if common < _LEAST_OVERLAP * min(areas[number], areas[number + 1]):
            traces[number] = traces[number + 1] = True
    return traces


def _spilled(sections: np.ndarray) -> np.ndarray:
    """(layers,) bool: which cover much less than a slice of the same run of slices, at most two away."""
    areas = sections.sum(axis=(1, 2))
    padded = np.pad(areas, 2)
    peak = np.maximum(padded[1:-3], padded[3:-1])
    peak = np.maximum(peak, np.where(padded[1:-3] > 0, padded[:-4], 0))
    peak = np.maximum(peak, np.where(padded[3:-1] > 0, padded[4:], 0))
    return areas < _LEAST_OF_PEAK * peak


def _partial(sections: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(layers,) bool: which leave out much of what the next larger cross-sections on both sides cover."""
    areas = sections.sum(axis=(1, 2))
    partial = np.zeros(len(sections), dtype=bool)
    for number in numbers:
        larger = numbers[areas[numbers] > _LARGER * areas[number]]
        before, after = larger[larger < number], larger[larger > number]
        if len(before) and len(after):
            both = sections[before[-1]] & sections[after[0]]
            partial[number] = (sections[number] & both).sum() < _LEAST_COVERED * both.sum()
    return partial
