"""Coherent point drift for similarities (Myronenko & Song, IEEE TPAMI 32(12), 2010; arXiv 0905.2635), with priors.

The source points, moved by scale s, rotation R and translation t, are the centres of M Gaussians of variance sigma2; a
target point comes from one of them or, with probability w, from a uniform distribution over a volume V::

    p(x) = w / V + (1 - w) sum_m pi_m N(x; s R y_m + t, sigma2 I)

EM alternates the posteriors P (E step, ``posterior.py``) and the closed-form R, t, s and sigma2 (M step, Fig. 2 of the
paper, ``maximisation.py``). Priors on log s and on the rotation angle make it a MAP estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from scipy.spatial.transform import Rotation

from ..core.errors import BadInputError
from ..core.geometry import Similarity
from .maximisation import Estimate, maximise, prior_penalty
from .options import CpdOptions
from .posterior import Mixture

_LONGEST_LEAP = 16.0  # times an EM step


@dataclass(frozen=True, eq=False)
class CpdResult:
    """What CPD found.

    Args:
        transform: similarity from the source's frame to the target's.
        sigma2: variance of the Gaussians in squared target units.
        p1: (M,) expected number of target points matched to each source point: row sums of P.
        pt1: (N,) probability in [0, 1] that a target point is matched at all: column sums of P.
        iterations: EM iterations run.
        objective: negative log of posterior density (likelihood and priors, target units); lower is better.
        converged: False where ``max_iterations`` came first.
    """

    transform: Similarity
    sigma2: float
    p1: np.ndarray
    pt1: np.ndarray
    iterations: int
    objective: float
    converged: bool


def similarity_cpd(
    source: np.ndarray,
    target: np.ndarray,
    options: CpdOptions | None = None,
    initial: Similarity | None = None,
    device: str = "cpu",
) -> CpdResult:
    """Similarity that carries ``source`` (M, 3) onto ``target`` (N, 3), each in its own frame and unit.

    Args:
        source: (M, 3) points that become the Gaussians (the template).
        target: (N, 3) points to explain (the given organ); may be a part of the whole and hold false points.
        options: see :class:`CpdOptions`.
        initial: source -> target to start from; None is the identity, as in the paper.
        device: torch device of the E step.

    Raises:
        BadInputError: fewer than 4 points, non-finite coordinates, or points on one line.
    """
    options = options or CpdOptions()
    initial = initial or Similarity.identity()
    source, target = checked_points(source, "source"), checked_points(target, "target")
    from_source, from_target = _normalisation(source), _normalisation(target)
    y, x = from_source.apply(source), from_target.apply(target)
    start = from_target.after(initial).after(from_source.inverse())
    options = _in_work_units(options, start, from_source, from_target, target)
    mixture = Mixture(y, x, options.outlier_weight, options.outlier_volume, options.chunk_points, options.dtype, device)
    sigma2 = options.initial_sigma2 or _mean_square_distance(start.apply(y), x) / 3.0
    estimate, iterations, converged = _iterate(mixture, Estimate(start, sigma2, np.zeros(len(y))), options)

    found = mixture.expect(estimate.state, estimate.sigma2, estimate.log_weights)
    p1, pt1 = np.empty(len(y)), np.empty(len(x))
    p1[mixture.y_order], pt1[mixture.x_order] = found.p1, found.pt1
    objective = found.minus_log_likelihood + prior_penalty(estimate.state, options, len(x))
    objective -= 3.0 * len(x) * log(from_target.scale)
    transform = from_target.inverse().after(estimate.state).after(from_source)
    return CpdResult(transform, estimate.sigma2 / from_target.scale**2, p1, pt1, iterations, objective, converged)


def checked_points(points: np.ndarray, name: str) -> np.ndarray:
    """The (N, 3) points as float64; ``name`` tells the user which are wrong.

    Raises:
        BadInputError: not (N, 3), fewer than 4, non-finite, or on one line (a rotation is then undetermined).
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise BadInputError(
            "The {name} points must be an (N, 3) array, not of shape {shape}",
            "give one row a point",
            "points.shape",
            name=name,
            shape=points.shape,
        )
    if len(points) < 4:
        raise BadInputError(
            "There are only {count} {name} points", "give at least 4", "points.few", count=len(points), name=name
        )
    if not np.isfinite(points).all():
        raise BadInputError(
            "The {name} points hold values that are not finite numbers",
            "check the input surface",
            "points.not_finite",
            name=name,
        )
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] <= 1e-9 * max(spread[0], 1e-300):
        raise BadInputError(
            "The {name} points all lie on one line or spot, so no rotation fits",
            "check the input",
            "points.flat",
            name=name,
        )
    return points


def box_volume(points: np.ndarray) -> float:
    """Volume of the box around (N, 3) points; a flat box counts as a twentieth of its longest edge thick."""
    edges = np.ptp(points, axis=0)
    return float(np.prod(np.maximum(edges, 0.05 * edges.max())))


def _normalisation(points: np.ndarray) -> Similarity:
    """Map to zero mean and unit RMS radius: the frame in which float32 is good enough."""
    centre = points.mean(axis=0)
    radius = sqrt(np.square(points - centre).sum(axis=1).mean())
    return Similarity(1.0 / radius, np.eye(3), -centre / radius)


def _in_work_units(options, start, from_source, from_target, target):
    """The options with volume, sigma2, scale range and prior expressed between the two normalised frames."""
    volume = options.outlier_volume or box_volume(target)
    ratio = from_target.scale / from_source.scale
    return replace(
        options,
        outlier_volume=volume * from_target.scale**3,
        initial_sigma2=options.initial_sigma2 and options.initial_sigma2 * from_target.scale**2,
        scale_range=tuple(start.scale * factor for factor in options.scale_range),
        scale_prior=options.scale_prior and (options.scale_prior[0] + log(ratio), options.scale_prior[1]),
    )


def _mean_square_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of squared distances over all pairs of (M, 3) and (N, 3), without forming them."""
    return np.square(a).sum(1).mean() + np.square(b).sum(1).mean() - 2.0 * a.mean(0) @ b.mean(0)


def _iterate(mixture: Mixture, estimate: Estimate, options: CpdOptions) -> tuple[Estimate, int, bool]:
    """EM from ``estimate`` to rest: the last estimate, the number of iterations and whether it came to rest.

    After two EM steps it leaps along them (squared extrapolation, Varadhan & Roland 2008, scheme S3); where the
    objective then is worse than before the leap, it goes back to the estimate before it, the refuge.
    """
    path, refuge, bar = [], None, 0.0
    for iteration in range(1, options.max_iterations + 1):
        found = mixture.expect(estimate.state, estimate.sigma2, estimate.log_weights)
        objective = found.minus_log_likelihood + prior_penalty(estimate.state, options, len(mixture.x))
        if refuge is not None and not objective <= bar:
            estimate, path, refuge = refuge, [], None
            continue
        if found.p1.sum() < 1e-12 * len(mixture.x):
            return refuge or estimate, iteration, False  # all are outliers: there is nothing to move towards
        refuge, previous = None, estimate
        estimate = maximise(mixture, found, previous, options)
        if _at_rest(options.tolerance, previous, estimate):
            return estimate, iteration, True
        path.append(previous)
        if options.accelerate and len(path) == 2:
            refuge, bar = estimate, objective + 1e-5 * len(mixture.x)  # the slack is float32's noise
            estimate, path = _leap(*path, estimate), []
    return refuge or estimate, options.max_iterations, False


def _leap(first: Estimate, second: Estimate, third: Estimate) -> Estimate:
    """Squared extrapolation of three successive EM estimates; the weights are those of the last."""
    a, b, c = (
        np.concatenate(
            [
                [log(e.state.scale), 0.5 * log(e.sigma2)],
                Rotation.from_matrix(e.state.rotation).as_rotvec(),
                e.state.translation,
            ]
        )
        for e in (first, second, third)
    )
    step, change = b - a, (c - b) - (b - a)
    length = np.linalg.norm(step) / max(np.linalg.norm(change), 1e-12)
    length = min(max(length, 1.0), _LONGEST_LEAP)
    end = a + 2.0 * length * step + length**2 * change
    state = Similarity(np.exp(end[0]), Rotation.from_rotvec(end[2:5]).as_matrix(), end[5:])
    return Estimate(state, float(np.exp(2.0 * end[1])), third.log_weights)


def _at_rest(tolerance: float, previous: Estimate, estimate: Estimate) -> bool:
    """True where neither sigma2 nor any source point (about one unit from the origin) moves any more."""
    old, new = previous.state, estimate.state
    motion = np.linalg.norm(new.scale * new.rotation - old.scale * old.rotation)
    motion += np.linalg.norm(new.translation - old.translation)
    return bool(motion < tolerance and abs(estimate.sigma2 - previous.sigma2) < tolerance * previous.sigma2)
