"""Array work on all cores at once by threads, which numpy, scipy and torch let go of the interpreter for.

Nothing here changes a result: whatever runs beside something else computes what it would compute alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

MOST_THREADS = 8


def threads() -> int:
    """How many pieces of work run at once: one for each core that this process may use, or what ``OMP_NUM_THREADS``
    says; at most :data:`MOST_THREADS`, beyond which memory is what all wait for."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list is for nested parallelism
    return max(1, min(MOST_THREADS, int(told) if told.isdigit() else _cores()))


def together(function: Callable, *arguments: Sequence, at_once: int = MOST_THREADS) -> list:
    """What ``map(function, *arguments)`` gives, computed :func:`threads` at a time, ``at_once`` at most."""
    at_once = min(at_once, threads())
    if at_once == 1:
        return list(map(function, *arguments))
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, *arguments))


def gaussian_filter(values: np.ndarray, sigma: Sequence[float], truncate: float) -> np.ndarray:
    """``scipy.ndimage.gaussian_filter`` of a (K, J, I) float array, a part of it on each core."""
    for axis, sd in enumerate(sigma):
        if sd <= 0:
            continue
        smoothed, across = np.empty_like(values), int(axis == 0)
        parts = (np.array_split(array, threads(), axis=across) for array in (values, smoothed))
        together(partial(_smooth_into, sd=sd, axis=axis, truncate=truncate), *parts)
        values = smoothed
    return values


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _smooth_into(values: np.ndarray, out: np.ndarray, sd: float, axis: int, truncate: float) -> None:
    from scipy import ndimage

    ndimage.gaussian_filter1d(values, sd, axis, output=out, truncate=truncate)
