"""Two organs in one label, ``--template 1=kidney_left+kidney_right``: split to refine them, then one label again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...core.errors import BadInputError
from ...core.geometry import ImageGeometry
from ...core.labels import LabelVolume, Segment
from ...refinement.plausibility import OTHER_ORGAN_LEAD, SHAPE_LIMIT
from .likeness import KnownOrgans, counterpart, is_solid, points_of, voxel_moments

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
_MOST_PIECES = 5  # of an organ that damage divides; the others follow the nearest of these
_LEAST_CORE = 0.05  # share of the label that a piece has at least to stand for an organ
_TYPICAL = 1.2  # distance of organs that look no less like themselves than most training cases
_DEPTHS = np.linspace(0.05, 0.9, 18)  # of the erosions that divide touching organs, of the largest depth


def pair_of(name: str) -> tuple[str, str] | None:
    """The two names in ``A+B``; None where ``name`` is one template, or a file.

    Raises:
        BadInputError: there are more than two, one is empty, or they are the same.
    """
    if "+" not in name or Path(name).is_file():
        return None
    names = [part.strip() for part in name.split("+")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise BadInputError(
            "The template '{name}' does not name two organs",
            "write two different ones with a plus sign between them, as in kidney_left+kidney_right",
            "template.pair",
            name=name,
        )
    return names[0], names[1]


def with_parts(
    volume: LabelVolume, label: int | str, names: tuple[str, str], organs: tuple[str, str], known: KnownOrgans
) -> tuple[LabelVolume, dict[int | str, str]]:
    """The volume with a label's two organs as segments of their own, and the template name of each by its id.

    An organ that the label does not hold has no voxels.

    Args:
        volume: the given labels.
        label: that holds both.
        names: of the templates.
        organs: of these templates.
        known: organs to compare with.

    Raises:
        BadInputError: there is no such label.
    """
    index, value = volume.locate(label)
    layer = volume.layers[index]
    free = int(max(int(other.max()) for other in volume.layers)) + 1
    layer = layer.astype(np.promote_types(layer.dtype, np.min_scalar_type(free)))
    box, count = volume.extent(label)
    if count:
        part = volume.cropped(box)
        second = split(part.mask(label), part.geometry, organs, known)[1]
        layer[box][second] = free
    keys = [f"{label}_{Path(name).name.partition('.')[0]}" for name in names]
    segments = [s for s in volume.segments if (s.layer, s.label) != (index, value)]
    segments += [Segment(v, key, key, layer=index) for v, key in zip((value, free), keys, strict=True)]
    layers = (*volume.layers[:index], layer, *volume.layers[index + 1 :])
    return replace(volume, layers=layers, segments=tuple(segments)), dict(zip(keys, names, strict=True))


def split(
    mask: np.ndarray, geometry: ImageGeometry, organs: tuple[str, str], known: KnownOrgans
) -> tuple[np.ndarray, np.ndarray]:
    """(K, J, I) bool masks of two organs that one mask holds; the second or first is empty where only one is there.

    Of all ways to part its pieces, or to cut it where it is narrow, that one counts whose halves look most like the
    two organs. The left one of a pair lies on the left.
    """
    voxel_mm3 = geometry.voxel_volume_mm3
    points = points_of(mask, geometry)

    def distances(which: np.ndarray) -> dict[str, float]:
        inside = points[which]
        return known.distances(voxel_moments(inside, voxel_mm3)) if is_solid(inside) else {}

    best, chosen = np.inf, np.zeros(len(points), dtype=bool)
    for first in _partings(mask, geometry):
        which = first[mask]
        if which.all() or not which.any():
            continue
        if _is_first_on_the_right(points, which, organs):
            which = ~which
        ways = (which,) if counterpart(organs[0]) == organs[1] else (which, ~which)
        for way in ways:
            score = max(distances(half).get(organ, np.inf) for half, organ in zip((way, ~way), organs, strict=True))
            if score < best:
                best, chosen = score, way
        if best < _TYPICAL:
            break
    whole = distances(np.ones(len(points), dtype=bool))
    alone = min(organs, key=lambda organ: whole.get(organ, np.inf))
    if whole.get(alone, np.inf) < min(best - OTHER_ORGAN_LEAD, SHAPE_LIMIT):
        chosen = np.full(len(points), alone == organs[0])
    halves = np.zeros(mask.shape, dtype=bool), np.zeros(mask.shape, dtype=bool)
    halves[0][mask], halves[1][mask] = chosen, ~chosen
    return halves


def _is_first_on_the_right(points: np.ndarray, which: np.ndarray, organs: tuple[str, str]) -> bool:
    """Whether ``which`` of the points lie on the side of the second of a left and a right organ; R grows rightwards."""
    if counterpart(organs[0]) != organs[1]:
        return False
    first_r, second_r = points[which, 0].mean(), points[~which, 0].mean()
    return bool((first_r > second_r) == organs[0].endswith("left"))


def _partings(mask: np.ndarray, geometry: ImageGeometry) -> Iterator[np.ndarray]:
    """(K, J, I) bool halves of the mask, one for each way to part it in two."""
    pieces, count = ndimage.label(mask, structure=_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = [n for n in np.argsort(-sizes)[:_MOST_PIECES] if sizes[n] > _LEAST_CORE * sizes.sum()]
    for one, other in combinations(large, 2):
        yield _nearest(pieces == one, pieces == other, pieces, geometry) & mask
    cores = _cores(mask, geometry)
    if cores is not None:
        yield _nearest(*cores, None, geometry) & mask
    yield _beside_a_plane(mask, geometry)


def _nearest(one: np.ndarray, other: np.ndarray, pieces: np.ndarray | None, geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) bool: nearer to ``one`` than to ``other``; whole pieces go where most of them is nearer."""
    spacing = geometry.spacing_mm[::-1]
    if pieces is not None and np.array_equal(one | other, pieces > 0):
        return one
    nearer: np.ndarray = ndimage.distance_transform_edt(~one, spacing) < ndimage.distance_transform_edt(~other, spacing)
    if pieces is None:
        return nearer
    count = int(pieces.max()) + 1
    share = np.bincount(pieces.ravel(), nearer.ravel(), count) / np.maximum(1, np.bincount(pieces.ravel(), None, count))
    mostly: np.ndarray = (share > 0.5)[pieces]
    return mostly


def _cores(mask: np.ndarray, geometry: ImageGeometry) -> tuple[np.ndarray, np.ndarray] | None:
    """The two cores of touching organs, from the smallest depth that divides them; None where no depth does."""
    padded = np.pad(mask, 1)
    depth_mm = ndimage.distance_transform_edt(padded, geometry.spacing_mm[::-1])[1:-1, 1:-1, 1:-1]
    for level in _DEPTHS * depth_mm.max():
        pieces, count = ndimage.label(depth_mm > level)
        if count < 2:
            continue
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        second, first = np.argsort(sizes)[-2:]
        if sizes[second] > _LEAST_CORE * sizes[first]:
            return pieces == first, pieces == second
    return None


def _beside_a_plane(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """The half of the mask on one side of the plane between two clusters of its voxels."""
    points = points_of(mask, geometry)
    centred = points - points.mean(axis=0)
    along = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    which = centred @ along > 0
    for _ in range(20):
        if which.all() or not which.any():
            break
        one, other = points[which].mean(axis=0), points[~which].mean(axis=0)
        which = (points - (one + other) / 2) @ (one - other) > 0
    half = np.zeros(mask.shape, dtype=bool)
    half[mask] = which
    return half
