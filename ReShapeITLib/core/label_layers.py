"""Several layers of labels as one, where they do not overlap."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count

import numpy as np

Place = tuple[int, int]  # layer and label


def first_overlaps(layers: Sequence[np.ndarray], most: int = 3) -> list[tuple[Place, Place]]:
    """Pairs of (layer, label) that share a voxel of (K, J, I) layers, up to ``most`` of them."""
    found: list[tuple[Place, Place]] = []
    for later in range(1, len(layers)):
        for earlier in range(later):
            both = (layers[earlier] != 0) & (layers[later] != 0)
            if both.any():
                labels = np.stack([layers[earlier][both], layers[later][both]], axis=1)
                found += [((earlier, int(a)), (later, int(b))) for a, b in np.unique(labels, axis=0)[:most]]
    return found[:most]


def distinct_values(places: Iterable[Place], reserved: Collection[int]) -> dict[Place, int]:
    """A label number for each place, none twice: its own for the first that has it, a new one for the others.

    Args:
        places: (layer, label) of all segments.
        reserved: numbers that are not given anew, because something else is called so.
    """
    places = sorted(set(places))
    taken = {label for _, label in places}
    free = (number for number in count(max(taken, default=0) + 1) if number not in reserved)
    values: dict[Place, int] = {}
    for place in places:
        values[place] = place[1] if place[1] not in values.values() else next(free)
    return values


def merged(layers: Sequence[np.ndarray], values: Mapping[Place, int]) -> np.ndarray:
    """(K, J, I) labels of layers that do not overlap, renumbered by ``values``, in the smallest type that fits."""
    highest = np.min_scalar_type(max(values.values(), default=0))
    flat = np.zeros(layers[0].shape, np.result_type(*layers, highest))
    for index, layer in enumerate(layers):
        used = layer != 0
        flat[used] = layer[used]
        for (where, label), value in values.items():
            if where == index and value != label:
                flat[layer == label] = value
    return flat


def layered(masks: Mapping[int, np.ndarray]) -> tuple[list[np.ndarray], dict[int, int]]:
    """As few layers as the order of (K, J, I) masks allows such that none overlap, and the layer of each label."""
    dtype = np.uint8 if max(masks, default=0) < 256 else np.uint16
    layers: list[np.ndarray] = []
    where: dict[int, int] = {}
    for label, mask in masks.items():
        free = next((n for n, layer in enumerate(layers) if not layer[mask].any()), len(layers))
        if free == len(layers):
            layers.append(np.zeros(mask.shape, dtype))
        layers[free][mask] = label
        where[label] = free
    return layers, where
