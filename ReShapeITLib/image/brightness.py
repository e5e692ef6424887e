"""Organ or surroundings, by the brightness of each cell alone.

Intensities count in robust standard deviations of this patient's own organ, so units, contrast phase and window of the
image do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_CORE_MM, _CORE_SHARE, _FEWEST_CORE_CELLS = 4.0, 0.4, 60
_RING_MM = (6.0, 18.0)
_BINS, _MOST_SDS, _MOST_LOG_RATIO = 64, 8.0, 4.0


@dataclass(frozen=True, eq=False)
class Brightness:
    """The cells of an image against an organ and its surroundings.

    Args:
        sds: (K, J, I) float32 robust standard deviations of the organ from its middle, limited.
        ratio: (K, J, I) float32 log likelihood ratio organ : surroundings, limited.
        core, ring: (K, J, I) bool cells that surely are the organ, and surroundings.
        middle: of the organ, in the image's units.
        separability: share of pairs of an organ's and a surrounding cell that the ratio tells apart.
    """

    sds: np.ndarray
    ratio: np.ndarray
    core: np.ndarray
    ring: np.ndarray
    middle: float
    separability: float


def compared(
    image: np.ndarray, covered: np.ndarray, deepest_mm: np.ndarray, outermost_mm: np.ndarray
) -> Brightness | None:
    """The cells against the organ and its surroundings; None where the image tells nothing of the organ (no core, or
    all of one value).

    Args:
        image: (K, J, I) float32 values.
        covered: (K, J, I) bool, which cells the image covers.
        deepest_mm, outermost_mm: (K, J, I) signed distances of what is the organ in both of two opinions, and in
            either; the surroundings are in neither.
    """
    core = _core(deepest_mm, covered)
    ring = covered & (outermost_mm > _RING_MM[0]) & (outermost_mm < _RING_MM[1])
    if core is None or not ring.any():
        return None
    middle = float(np.median(image[core]))
    sd = 1.4826 * float(np.median(np.abs(image[core] - middle)))
    if not sd > 0:
        return None
    sds = np.clip((image - np.float32(middle)) / np.float32(sd), -_MOST_SDS, _MOST_SDS)
    ratio, separability = _log_ratio(sds, core, ring)
    return Brightness(sds, ratio, core, ring, middle, separability)


def _core(deepest: np.ndarray, covered: np.ndarray) -> np.ndarray | None:
    """Cells that surely are the organ: deep inside both surfaces, of thin organs the deepest ones."""
    inside = covered & (deepest < 0)
    if np.count_nonzero(inside) < _FEWEST_CORE_CELLS:
        return None
    return inside & (deepest <= max(-_CORE_MM, float(np.quantile(deepest[inside], _CORE_SHARE))))


def _log_ratio(sds: np.ndarray, core: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, float]:
    """Log likelihood ratio organ : surroundings of each cell's value, and how well it tells the two apart."""
    places = np.clip(((sds + _MOST_SDS) * (_BINS / (2.0 * _MOST_SDS))).astype(np.int16), 0, _BINS - 1)
    shares = []
    for part in (core, ring):
        counts = np.bincount(places[part], minlength=_BINS).astype(np.float64)
        smooth = ndimage.gaussian_filter1d(counts / counts.sum(), 1.5, mode="constant") + 1e-3
        shares.append(smooth / smooth.sum())
    table = np.clip(np.log(shares[0] / shares[1]), -_MOST_LOG_RATIO, _MOST_LOG_RATIO).astype(np.float32)
    order = np.argsort(table)
    organ, around = shares[0][order], shares[1][order]
    return table[places], float(organ @ (np.cumsum(around) - 0.5 * around))
