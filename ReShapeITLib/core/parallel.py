"""Array work on two cores at once by threads, which numpy, scipy and torch let go of the interpreter for.

Nothing here changes a result: whatever runs beside something else computes what it would compute alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np


def threads() -> int:
    """How many pieces of work run at once: two, or one on one core and where ``OMP_NUM_THREADS`` says so."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list is for nested parallelism
    return max(1, min(2, int(told) if told.isdigit() else os.cpu_count() or 1))


def together(function: Callable, *arguments: Sequence) -> list:
    """What ``map(function, *arguments)`` gives, computed :func:`threads` at a time."""
    if threads() == 1:
        return list(map(function, *arguments))
    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(function, *arguments))


def gaussian_filter(values: np.ndarray, sigma: Sequence[float], truncate: float) -> np.ndarray:
    """``scipy.ndimage.gaussian_filter`` of a (K, J, I) float array, each half of it on a core."""
    for axis, sd in enumerate(sigma):
        if sd <= 0:
            continue
        smoothed, across = np.empty_like(values), int(axis == 0)
        halves = (np.array_split(array, 2, axis=across) for array in (values, smoothed))
        together(partial(_smooth_into, sd=sd, axis=axis, truncate=truncate), *halves)
        values = smoothed
    return values


def _smooth_into(values: np.ndarray, out: np.ndarray, sd: float, axis: int, truncate: float) -> None:
    from scipy import ndimage

    ndimage.gaussian_filter1d(values, sd, axis, output=out, truncate=truncate)
