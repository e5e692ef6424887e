"""Coherent point drift for similarities (Myronenko & Song, IEEE TPAMI 32(12), 2010; arXiv 0905.2635), with priors.

The source points, moved by scale s, rotation R and translation t, are the centres of M equal Gaussians of variance
sigma2; a target point comes from one of them or, with probability w, from a uniform distribution over a volume V::

    p(x) = w / V + (1 - w) sum_m pi_m N(x; s R y_m + t, sigma2 I)

EM alternates the posteriors P (E step) and the closed-form R, t, s and sigma2 (M step, Fig. 2 of the paper). Priors on
log s and on the rotation angle make it a MAP estimate. P is never stored: the target is cut into compact chunks, and
pairs too far apart to matter are left out, by a bound and not by a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import log, pi, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from ReShapeITLib.errors import BadInputError
from ReShapeITLib.geometry import Similarity

_SKIP_ERROR = 1e-6  # share of a target point's density that left-out source points may hold
_LOWEST_EXPONENT = -80.0  # keeps float32 out of denormals, which are slow; exp(-80) adds nothing
_NOTHING = 1e-30  # a sum of Gaussians below this counts as none


@dataclass(frozen=True)
class CpdOptions:
    """How similarity CPD runs.

    Args:
        outlier_weight: w in [0, 1): expected share of target points that belong to no source point.
        outlier_volume: V in cubed target units; None takes the box of the target, so that the result does not depend
            on the unit. The number of target points gives the 1/N of the paper and of pycpd.
        max_iterations: upper bound of EM iterations.
        tolerance: stop when sigma2 changes by less than this fraction and no source point moves by more than this
            fraction of the target's RMS radius.
        chunk_points: most target points worked on at a time; memory is this times M. None chooses by device.
        estimate_scale: False keeps the initial scale.
        estimate_rotation: False keeps the initial rotation.
        scale_range: least and greatest scale, as factors of the initial scale.
        scale_prior: (mean, sd) of log scale, scale in target units per source unit; None for none.
        rotation_prior_degrees: sd of the rotation angle from the identity; None for none.
        max_rotation_degrees: greatest rotation angle from the identity; None for no limit.
        effective_points: how many independent observations the target is worth against the priors. Neighbouring points
            of two organs deviate together, so thousands of points are a few dozen of observations; None counts all.
        concentration: None keeps pi_m = 1/M. A number c lets pi_m follow the points: pi_m ~ c / M + P1_m / sum(P1), so
            that a part of the source without any target costs little (missing parts).
        initial_sigma2: first variance in squared target units; None takes the mean over all pairs.
        dtype: "float32" or "float64" for P; sums over chunks are always float64.
    """

    outlier_weight: float = 0.1
    outlier_volume: float | None = None
    max_iterations: int = 100
    tolerance: float = 1e-4
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
    problem = _Problem(y, x, _in_work_units(options, start, from_source, from_target, target), device)

    state, sigma2 = start, problem.options.initial_sigma2 or _mean_square_distance(start.apply(y), x) / 3.0
    log_weights, converged, iterations = np.zeros(len(y)), False, 0
    while iterations < options.max_iterations and not converged:
        p1, pt1, px, _ = problem.expect(state, sigma2, log_weights)
        if p1.sum() < 1e-12 * len(x):
            break  # every target point is an outlier: there is nothing to move towards
        previous, previous_sigma2 = state, sigma2
        state, sigma2 = _maximise(problem, p1, pt1, px, state, sigma2)
        log_weights = _log_weights(p1, options)
        converged = _moved_less_than(options.tolerance, previous, state, previous_sigma2, sigma2)
        iterations += 1

    compact_p1, compact_pt1, _, objective = problem.expect(state, sigma2, log_weights)
    p1, pt1 = np.empty(len(y)), np.empty(len(x))
    p1[problem.y_order], pt1[problem.x_order] = compact_p1, compact_pt1
    objective += _prior_penalty(state, problem.options, len(x)) - 3.0 * len(x) * log(from_target.scale)
    transform = from_target.inverse().after(state).after(from_source)
    return CpdResult(transform, sigma2 / from_target.scale**2, p1, pt1, iterations, objective, converged)


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


def _normalisation(points: np.ndarray) -> Similarity:
    """Map to zero mean and unit RMS radius: the frame in which float32 is good enough."""
    centre = points.mean(axis=0)
    radius = sqrt(np.square(points - centre).sum(axis=1).mean())
    return Similarity(1.0 / radius, np.eye(3), -centre / radius)


def _in_work_units(options, start, from_source, from_target, target):
    """The options with volume, sigma2, scale range and prior expressed between the two normalised frames."""
    volume = options.outlier_volume
    if volume is None:
        edges = np.ptp(target, axis=0)
        volume = float(np.prod(np.maximum(edges, 0.05 * edges.max())))
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


class _Problem:
    """Both normalised point sets in compact order, and the E step over them (``y`` source, ``x`` target)."""

    def __init__(self, y, x, options, device):
        import torch

        self.options, self.device, self.dtype = options, torch.device(device), getattr(torch, options.dtype)
        self.chunk_points = options.chunk_points or (512 if self.device.type == "cpu" else 2048)
        self.y_order, self.y_bounds = compact_order(y, 128)
        self.x_order, self.x_bounds = compact_order(x, self.chunk_points)
        self.y, self.x = y[self.y_order], x[self.x_order]
        self.y_spheres, self.x_spheres = _spheres(self.y, self.y_bounds), _spheres(self.x, self.x_bounds)
        self.lowest_sigma2 = 1e-6 if options.dtype == "float32" else 1e-14

    def expect(self, state, sigma2, log_weights):
        """E step, in compact order: p1 (M,), pt1 (N,), P X (M, 3) in float64, and the negative log-likelihood."""
        import torch

        w, n, m = self.options.outlier_weight, len(self.x), len(self.y)
        constant = (2.0 * pi * sigma2) ** 1.5 * w / (1.0 - w) * m / self.options.outlier_volume
        unit = 1.0 / sqrt(2.0 * sigma2)
        x, y, bias = (self._tensor(v) for v in (self.x * unit, state.apply(self.y) * unit, log_weights))
        sums = torch.zeros((m, 4), dtype=torch.float64, device=self.device)
        totals = torch.empty(n, dtype=torch.float64, device=self.device)
        for (first, last), sources in self._pairs(state, sigma2, constant, log_weights):
            centre = x[first:last].mean(dim=0)
            chunk = x[first:last] - centre
            kernel = _kernel(chunk, y[sources] - centre, bias[sources])
            total = totals[first:last] = kernel.sum(dim=1).double()
            inverse = torch.where(total > _NOTHING, 1.0 / (total + constant), 0.0).to(self.dtype)
            part = (kernel.T @ torch.cat([inverse[:, None], chunk * inverse[:, None]], dim=1)).double()
            part[:, 1:] += part[:, :1] * centre
            sums[sources] += part
        sums, totals = sums.cpu().numpy(), totals.cpu().numpy()
        totals[totals <= _NOTHING] = 0.0
        density = np.maximum(totals + constant, _NOTHING)
        likelihood = np.log(density).sum() - n * (log(m) + 1.5 * log(2.0 * pi * sigma2) - log(1.0 - w))
        return sums[:, 0], totals / density, sums[:, 1:] / unit, -float(likelihood)

    def _tensor(self, values):
        import torch

        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def _pairs(self, state, sigma2, constant, log_weights):
        """Chunks of the target with the source points that matter to them.

        Left out is what cannot hold more than _SKIP_ERROR of the outliers' density; without outliers even the
        farthest target point is shared out among the source, so nothing is.
        """
        import torch

        centres, radii = self.y_spheres
        sizes = np.diff(self.y_bounds)
        near = np.ones((len(self.x_bounds) - 1, len(sizes)), dtype=bool)
        if constant > 0.0:
            exponent = log(len(self.y) / (_SKIP_ERROR * constant)) + max(0.0, float(log_weights.max()))
            gaps = np.linalg.norm(self.x_spheres[0][:, None] - state.apply(centres)[None], axis=2)
            gaps -= self.x_spheres[1][:, None] + state.scale * radii[None]
            near = gaps <= sqrt(2.0 * sigma2 * max(exponent, 0.0))
        gather = near.mean() < 0.5  # above, picking points costs more than it saves
        for row, (first, last) in zip(near, pairwise(self.x_bounds), strict=True):
            picked = np.flatnonzero(np.repeat(row, sizes)) if gather else None
            yield (first, last), torch.from_numpy(picked).to(self.device) if gather else slice(None)


def _kernel(x, y, bias):
    """exp(bias_m - |x_n - y_m|^2), (n, m), for points already divided by sqrt(2) sigma."""
    import torch

    reach = float(x.square().sum(1).max())
    if reach * torch.finfo(x.dtype).eps < 1e-4:  # one matrix product: -|x|^2 + 2 x y - |y|^2
        ones = torch.ones_like(bias)
        left = torch.cat([x, -x.square().sum(1, keepdim=True), torch.ones_like(x[:, :1])], dim=1)
        right = torch.stack([2 * y[:, 0], 2 * y[:, 1], 2 * y[:, 2], ones, bias - y.square().sum(1)])
        exponent = left @ right
    else:  # differences first, where the product would cancel
        exponent = bias.expand(len(x), len(y)).clone()
        for axis in range(3):
            exponent -= (x[:, axis, None] - y[None, :, axis]).square_()
    return exponent.clamp_(min=_LOWEST_EXPONENT).exp_()


def _maximise(problem, p1, pt1, px, state, sigma2):
    """M step: new similarity and sigma2 (Fig. 2 of the paper), with the priors of the options."""
    options, y, x = problem.options, problem.y, problem.x
    total = p1.sum()
    mean_x, mean_y = px.sum(axis=0) / total, p1 @ y / total
    a = px.T @ y - total * np.outer(mean_x, mean_y)
    spread_x = pt1 @ np.square(x).sum(1) - total * mean_x @ mean_x
    spread_y = p1 @ np.square(y).sum(1) - total * mean_y @ mean_y
    trust = 1.0 if options.effective_points is None else max(1.0, len(x) / options.effective_points)

    rotation = _best_rotation(a * state.scale / sigma2, options, trust) if options.estimate_rotation else state.rotation
    along = float(np.sum(a * rotation))
    scale = _best_scale(along, spread_y, sigma2, options, trust) if options.estimate_scale else state.scale
    new_sigma2 = (spread_x - 2.0 * scale * along + scale**2 * spread_y) / (3.0 * total)
    new = Similarity(scale, rotation, mean_x - scale * rotation @ mean_y)
    return new, max(new_sigma2, problem.lowest_sigma2)


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


def _moved_less_than(tolerance, previous, state, previous_sigma2, sigma2) -> bool:
    """True where sigma2 and every source point (within about one unit of the origin) have come to rest."""
    motion = np.linalg.norm(state.scale * state.rotation - previous.scale * previous.rotation)
    motion += np.linalg.norm(state.translation - previous.translation)
    return bool(motion < tolerance and abs(sigma2 - previous_sigma2) < tolerance * previous_sigma2)


def _prior_penalty(state: Similarity, options: CpdOptions, n: int) -> float:
    """Negative log of both priors, up to constants, in the likelihood's currency."""
    trust = 1.0 if options.effective_points is None else max(1.0, n / options.effective_points)
    penalty = 0.0
    if options.scale_prior is not None and options.estimate_scale:
        penalty += 0.5 * ((log(state.scale) - options.scale_prior[0]) / options.scale_prior[1]) ** 2
    if options.rotation_prior_degrees is not None:
        angle = Rotation.from_matrix(state.rotation).magnitude()
        penalty += 0.5 * (angle / np.radians(options.rotation_prior_degrees)) ** 2
    return float(trust * penalty)


def compact_order(points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of (N, 3) points that makes pieces of at most ``most`` compact, and the bounds of the pieces."""
    pieces, waiting = [], [np.arange(len(points))]
    while waiting:
        piece = waiting.pop()
        if len(piece) <= most:
            pieces.append(piece)
            continue
        axis = int(np.ptp(points[piece], axis=0).argmax())
        order, half = np.argsort(points[piece, axis], kind="stable"), len(piece) // 2
        waiting += [piece[order[half:]], piece[order[:half]]]
    return np.concatenate(pieces), np.cumsum([0] + [len(piece) for piece in pieces])


def _spheres(points: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (B, 3) and radii (B,) of spheres around the pieces between the bounds."""
    pieces = [points[first:last] for first, last in pairwise(bounds)]
    centres = np.array([piece.mean(axis=0) for piece in pieces])
    radii = np.array([sqrt(np.square(p - c).sum(axis=1).max()) for p, c in zip(pieces, centres, strict=True)])
    return centres, radii
