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

from ..errors import BadInputError
from ..geometry import Similarity
from .maximisation import Estimate, maximise, prior_penalty
from .posterior import Mixture

_LONGEST_LEAP = 16.0  # times an EM step


@dataclass(frozen=True)
class CpdOptions:
    """How similarity CPD runs.

    Args:
        outlier_weight: w in [0, 1): expected share of target points that belong to no source point.
        outlier_volume: V in cubed target units; None takes the box of the target, so that the result does not depend
            on the unit. The number of target points gives the 1/N of the paper and of pycpd.
        max_iterations: upper bound of EM iterations; 0 gives the posterior at the initial transform and variance.
        tolerance: stop when sigma2 changes by less than this fraction and no source point moves by more than this
            fraction of the target's RMS radius.
        accelerate: leap along the last two steps (SQUAREM) where that lowers the objective; False is the plain EM of
            the paper and of pycpd, which needs two to four times the iterations for the same precision.
        chunk_points: most target points worked on at a time; memory is this times M. None chooses by device.
        estimate_scale: False keeps the initial scale.
        estimate_rotation: False keeps the initial rotation.
        scale_range: least and greatest scale, as factors of the initial scale.
        scale_prior: (mean, sd) of log scale, scale in target units per source unit; None for none.
        rotation_prior_degrees: sd of the rotation angle from the identity; None for none.
        max_rotation_degrees: greatest rotation angle from the identity; None for no limit.
        effective_points: how many independent observations the target is worth against the priors. Neighbouring points
            of two organs deviate together, so thousands of points are a few dozen of observations; None counts all.
        concentration: None keeps pi_m = 1/M. A number c lets the weight of a region of the source follow what is
            matched there: M pi_m = (c + share) / (c + 1), with share the mean P1 of the region over the mean of all;
            so a part without any target costs little, and the source need not shrink to use its points up.
        weight_regions: number of regions with a weight of their own.
        initial_sigma2: first variance in squared target units; None takes the mean over all pairs.
        dtype: "float32" or "float64" for P; sums over chunks are always float64.
    """

    outlier_weight: float = 0.1
    outlier_volume: float | None = None
    max_iterations: int = 100
    tolerance: float = 1e-4
    accelerate: bool = True
    chunk_points: int | None = None
    estimate_scale: bool = True
    estimate_rotation: bool = True
    scale_range: tuple[float, float] = (0.5, 2.0)
    scale_prior: tuple[float, float] | None = None
    rotation_prior_degrees: float | None = None
    max_rotation_degrees: float | None = None
    effective_points: float | None = None
    concentration: float | None = None
    weight_regions: int = 32
    initial_sigma2: float | None = None
    dtype: str = "float32"

    def __post_init__(self):
        if not 0 <= self.outlier_weight < 1:
            raise BadInputError(f"The outlier weight must be at least 0 and below 1, not {self.outlier_weight}.")
        if not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise BadInputError(f"The scale range must be two rising positive numbers, not {self.scale_range}.")
        if self.dtype not in ("float32", "float64"):
            raise BadInputError(f"The CPD dtype must be float32 or float64, not {self.dtype!r}.")


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
    mixture = Mixture(
        y, x, options.outlier_weight, options.outlier_volume, options.chunk_points, options.dtype, device
    )
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
        raise BadInputError(f"The {name} points must be an (N, 3) array, not of shape {points.shape}.")
    if len(points) < 4:
        raise BadInputError(f"There are only {len(points)} {name} points; an alignment needs at least 4.")
    if not np.isfinite(points).all():
        raise BadInputError(f"The {name} points hold values that are not finite numbers; check the input surface.")
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] <= 1e-9 * max(spread[0], 1e-300):
        raise BadInputError(f"The {name} points all lie on one line or spot, so no rotation fits; check the input.")
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
        np.concatenate([
            [log(e.state.scale), 0.5 * log(e.sigma2)],
            Rotation.from_matrix(e.state.rotation).as_rotvec(),
            e.state.translation,
        ])
        for e in (first, second, third)
    )  # fmt: skip
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
