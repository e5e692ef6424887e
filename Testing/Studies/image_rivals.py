"""What users have without a learnt shape: rivals that read the same CT around the same given organ.

Each takes cells deep inside the given organ for the organ and cells far outside for the rest, and decides about those
between by the image: Slicer's *Grow from seeds* (the seed with the cheapest path of small steps in brightness), the
random walker (Grady 2006), and a minimum cut (Boykov and Jolly 2001).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from ReShapeITLib.image.band import sampled_image

from .image_cases import Case, ct_of

# Seeds: so deep inside the given organ, or in its deepest part where it is thin; so far outside.
_SEED_INSIDE_MM, _SEED_SHARE, _SEED_OUTSIDE_MM = 5.0, 0.6, 10.0
_WALKER_BETA = 130.0
_CUT_STEP_SDS, _CUT_SMOOTH, _CUT_SCALE = 1.0, 3.0, 100.0
_BINS, _MOST_SDS = 48, 8.0


def grow_from_seeds(values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: cells whose cheapest path to a seed leads to the organ.

    Args:
        values: (K, J, I) brightness in standard deviations of the organ.
        inside, outside: (K, J, I) bool seeds.
    """
    first, second = _neighbours(values.shape)
    flat = values.ravel()
    steps = np.abs(flat[first] - flat[second]) + 1e-3  # a path in one brightness still has a length
    graph = sparse.coo_matrix((steps, (first, second)), shape=(flat.size, flat.size)).tocsr()
    costs = [
        csgraph.dijkstra(graph, directed=False, indices=np.flatnonzero(seeds), min_only=True)
        for seeds in (inside, outside)
    ]
    return (costs[0] < costs[1]).reshape(values.shape)


def random_walker(values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: cells from which a random walk, slow across edges, meets the organ's seeds first."""
    from skimage.segmentation import random_walker as walker

    labels = np.where(inside, 1, np.where(outside, 2, 0))
    found = walker(values, labels, beta=_WALKER_BETA, mode="cg_j", tol=1e-3)
    return found == 1


def minimum_cut(values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: the cut of least cost between the seeds; the brightness of both tells each cell's own cost."""
    cells, n = np.arange(values.size).reshape(values.shape), values.size
    bins = np.clip(((values + _MOST_SDS) * _BINS / (2 * _MOST_SDS)).astype(int), 0, _BINS - 1)
    organ, rest = (
        np.log(ndimage.gaussian_filter1d(np.bincount(bins[seeds], minlength=_BINS).astype(float), 1.0) + 1.0)
        - np.log(seeds.sum() + _BINS)
        for seeds in (inside, outside)
    )
    likelier = (organ - rest)[bins].ravel()
    likelier[inside.ravel()], likelier[outside.ravel()] = 1e4, -1e4
    first, second = _neighbours(values.shape)
    flat = values.ravel()
    same = _CUT_SMOOTH * np.exp(-0.5 * ((flat[first] - flat[second]) / _CUT_STEP_SDS) ** 2)
    source, sink, own = n, n + 1, cells.ravel()
    rows = np.concatenate([first, second, np.full(n, source), own])
    columns = np.concatenate([second, first, own, np.full(n, sink)])
    costs = np.concatenate([same, same, np.maximum(likelier, 0), np.maximum(-likelier, 0)])
    capacity = np.rint(_CUT_SCALE * costs).astype(np.int32)
    graph = sparse.coo_matrix((capacity, (rows, columns)), shape=(n + 2, n + 2)).tocsr()
    left = graph - csgraph.maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = csgraph.breadth_first_order(left, source, return_predecessors=False)
    mask = np.zeros(n + 2, dtype=bool)
    mask[reached] = True
    return mask[:n].reshape(values.shape)


BY_IMAGE: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "grow from seeds": grow_from_seeds,
    "random walker": random_walker,
    "minimum cut": minimum_cut,
}


def by_image(case: Case, name: str) -> np.ndarray:
    """(K, J, I) bool on the case's grid: the given organ, decided anew between the seeds by one of ``BY_IMAGE``.

    The given organ stays where it leaves no seed or the image tells nothing.
    """
    given = case.given_mm < 0
    depth = min(_SEED_INSIDE_MM, _SEED_SHARE * max(0.0, -float(case.given_mm.min())))
    inside, outside = case.given_mm < -depth, case.given_mm > _SEED_OUTSIDE_MM
    image, _ = sampled_image(ct_of(case.patient), case.grid)
    if not inside.any():
        return given
    middle = np.median(image[inside])
    sd = 1.4826 * float(np.median(np.abs(image[inside] - middle)))
    if not sd > 0:
        return given
    values = np.clip((image - middle) / sd, -_MOST_SDS, _MOST_SDS).astype(np.float64)
    near = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects((~outside).astype(np.int8))[0])
    mask = np.zeros(given.shape, dtype=bool)
    mask[near] = BY_IMAGE[name](values[near], inside[near], outside[near])
    return mask


def _neighbours(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Index of either cell of each pair that shares a face."""
    cells = np.arange(int(np.prod(shape))).reshape(shape)
    pairs = [(np.delete(cells, -1, axis), np.delete(cells, 0, axis)) for axis in range(3)]
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in range(2))
    return first, second
