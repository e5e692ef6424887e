"""The moments of an organ about its axes: a few numbers that tell one organ, lying as it does, from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.mesh import TriangleSurface

MIXED = ((0, 0, 1), (0, 0, 2), (1, 1, 0), (1, 1, 2), (2, 2, 0), (2, 2, 1), (0, 1, 2))
PAIRS = ((0, 1), (0, 2), (1, 2))
N_MOMENTS = 4 + len(PAIRS) + len(MIXED)

# Spread that a few training cases may hide: of log volume, log extents, and of the correlations and third moments.
_LEAST_SD = np.concatenate([[0.15], np.full(3, 0.05), np.full(len(PAIRS) + len(MIXED), 0.1)])
_SHRINKAGE = 0.3  # of the covariance towards its diagonal: there are hardly more cases than moments


def shape_moments(surface: TriangleSurface) -> np.ndarray:
    """Moments (14,) of the solid inside a closed surface in RAS mm, about its centroid.

    In this order: log of the volume (mm^3); log of the standard deviations along R, A and S (mm); the correlations of
    :data:`PAIRS`; the third moments of :data:`MIXED` over the standard deviations. Pure third moments are left out: a
    leak or a bite at one end changes those most.
    """
    # The solid is the signed sum of the tetrahedra from the first vertex to every triangle; the integrals of products
    # of their barycentric coordinates are rational numbers (Dirichlet's integral).
    corners = surface.vertices_ras[surface.faces] - surface.vertices_ras[0]
    six_volumes = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    volume = six_volumes.sum() / 6.0
    mean = six_volumes @ corners.sum(1) / (24.0 * volume)
    corners = corners - mean
    # With the common corner off the origin it counts as a fourth vertex.
    corners = np.concatenate([corners, np.broadcast_to(-mean, (len(corners), 1, 3))], axis=1)
    sums = corners.sum(1)
    weights = six_volumes / six_volumes.sum()

    def second(i: int, j: int) -> float:
        products = np.einsum("fv,fv->f", corners[..., i], corners[..., j])
        return float(weights @ (sums[:, i] * sums[:, j] + products)) / 20.0

    def third(i: int, j: int, k: int) -> float:
        x, y, z = corners[..., i], corners[..., j], corners[..., k]
        cubic = np.einsum("fv,fv,fv->f", x, y, z)
        mixed = sum(
            sums[:, c] * np.einsum("fv,fv->f", corners[..., a], corners[..., b])
            for a, b, c in ((i, j, k), (i, k, j), (j, k, i))
        )
        return float(weights @ (sums[:, i] * sums[:, j] * sums[:, k] + mixed + 2.0 * cubic)) / 120.0

    sd = np.sqrt([second(i, i) for i in range(3)])
    correlations = [second(i, j) / (sd[i] * sd[j]) for i, j in PAIRS]
    thirds = [third(i, j, k) / (sd[i] * sd[j] * sd[k]) for i, j, k in MIXED]
    return np.concatenate([[np.log(volume)], np.log(sd), correlations, thirds])


@dataclass(frozen=True, eq=False)
class ShapeDistribution:
    """Normal distribution of the moments of an organ's training cases.

    Args:
        mean: (14,).
        precision: (14, 14) inverse covariance.
    """

    mean: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, moments: Sequence[Sequence[float]]) -> ShapeDistribution:
        """The distribution of (n, 14) moments, wider than n cases alone would say."""
        cases = np.asarray(moments, dtype=np.float64)
        variances = cases.var(axis=0)
        centred = cases - cases.mean(axis=0)
        covariance = (1.0 - _SHRINKAGE) * centred.T @ centred / max(1, len(cases) - 1)
        covariance += np.diag(_SHRINKAGE * variances + _LEAST_SD**2)
        return cls(cases.mean(axis=0), np.linalg.inv(covariance))

    def distance(self, moments: np.ndarray) -> float:
        """Mahalanobis distance over the square root of the number of moments: about 1 for a typical case."""
        away = moments - self.mean
        return float(np.sqrt(away @ self.precision @ away / len(away)))
