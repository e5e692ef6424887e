"""The M step of coherent point drift with priors: closed-form rotation, scale, translation, variance and weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from ..core.geometry import Similarity
from .posterior import Mixture, Posterior

if TYPE_CHECKING:
    from .options import CpdOptions


@dataclass(frozen=True, eq=False)
class Estimate:
    """What EM improves: similarity, variance and log(M pi_m), between the normalised frames."""

    state: Similarity
    sigma2: float
    log_weights: np.ndarray


def maximise(mixture: Mixture, found: Posterior, last: Estimate, options: CpdOptions) -> Estimate:
    """M step: new similarity and sigma2 (Fig. 2 of the paper), with the priors of the options, and new weights."""
    y, x, total = mixture.y, mixture.x, found.p1.sum()
    mean_x, mean_y = found.px.sum(axis=0) / total, found.p1 @ y / total
    a = found.px.T @ y - total * np.outer(mean_x, mean_y)
    spread_x = found.pt1 @ np.square(x).sum(axis=1) - total * mean_x @ mean_x
    spread_y = found.p1 @ np.square(y).sum(axis=1) - total * mean_y @ mean_y
    trust, scale, rotation = _trust(options, len(x)), last.state.scale, last.state.rotation

    if options.estimate_rotation:
        rotation = _best_rotation(a * scale / last.sigma2, options, trust)
    along = float(np.sum(a * rotation))
    if options.estimate_scale:
        scale = _best_scale(along, spread_y, last.sigma2, options, trust)
    sigma2 = (spread_x - 2.0 * scale * along + scale**2 * spread_y) / (3.0 * total)
    state = Similarity(scale, rotation, mean_x - scale * rotation @ mean_y)
    return Estimate(state, max(sigma2, mixture.lowest_sigma2), _log_weights(found.p1, options))


def _best_rotation(a: np.ndarray, options: CpdOptions, trust: float) -> np.ndarray:
    """Rotation that maximises tr(a^T R) - trust * angle^2 / (2 sd^2), by SVD with the determinant kept at one.

    The prior is taken as kappa tr(R), which is -kappa angle^2 up to fourth order and keeps the closed form.
    """
    if options.rotation_prior_degrees is not None:
        a = a + trust / (2.0 * np.radians(options.rotation_prior_degrees) ** 2) * np.eye(3)
    u, _, vt = np.linalg.svd(a)
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    if options.max_rotation_degrees is None:
        return rotation
    vector, limit = Rotation.from_matrix(rotation).as_rotvec(), np.radians(options.max_rotation_degrees)
    return Rotation.from_rotvec(vector * min(1.0, limit / max(np.linalg.norm(vector), 1e-12))).as_matrix()


def _best_scale(along: float, spread_y: float, sigma2: float, options: CpdOptions, trust: float) -> float:
    """Scale that minimises (s^2 spread_y - 2 s along) / (2 sigma2) + trust (log s - mean)^2 / (2 sd^2), clamped."""
    low, high = options.scale_range
    best = max(along / max(spread_y, 1e-300), low)
    if options.scale_prior is not None:
        mean, weight = options.scale_prior[0], trust / options.scale_prior[1] ** 2

        def slope(u):
            return (np.exp(2 * u) * spread_y - np.exp(u) * along) / sigma2 + weight * (u - mean)

        ends = sorted((log(best), mean))  # the slope changes sign between the likelihood's optimum and the prior's
        best = np.exp(brentq(slope, *ends)) if slope(ends[0]) * slope(ends[1]) < 0 else best
    return float(np.clip(best, low, high))


def _log_weights(p1: np.ndarray, options: CpdOptions) -> np.ndarray:
    """log(M pi_m) of points in compact order: zero for equal weights, else one weight for each region."""
    if options.concentration is None:
        return np.zeros(len(p1))
    regions = min(options.weight_regions, len(p1))
    firsts = np.arange(regions) * len(p1) // regions
    sizes = np.diff(np.append(firsts, len(p1)))
    share = np.repeat(np.add.reduceat(p1, firsts) / sizes, sizes) * (len(p1) / p1.sum())
    return np.log((options.concentration + share) / (1.0 + options.concentration))


def _trust(options: CpdOptions, n: int) -> float:
    """How often the priors count so that n correlated points weigh as ``effective_points`` independent ones."""
    return 1.0 if options.effective_points is None else max(1.0, n / options.effective_points)


def prior_penalty(state: Similarity, options: CpdOptions, n: int) -> float:
    """Negative log of both priors, up to constants, in the likelihood's currency."""
    penalty = 0.0
    if options.scale_prior is not None and options.estimate_scale:
        penalty += 0.5 * ((log(state.scale) - options.scale_prior[0]) / options.scale_prior[1]) ** 2
    if options.rotation_prior_degrees is not None:
        squared_angle = 3.0 - np.trace(state.rotation)  # as the M step has it
        penalty += 0.5 * squared_angle / np.radians(options.rotation_prior_degrees) ** 2
    return float(_trust(options, n) * penalty)
