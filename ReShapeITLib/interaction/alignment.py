"""Align a given organ with the template, and say how far each of its points can be trusted (section 3.2, CPD and P1).

The template's points are the Gaussians of coherent point drift and the given points are the data, so a missing part of
the given organ leaves template points without a match and a false part becomes outliers. One run from one start drifts
where a part is missing (the template shrinks into what is left), hence: starts that expect a missing part, a prior on
the scale known from training, a prior on the rotation (patients lie alike in RAS), and a choice by posterior density.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import log, sqrt

import numpy as np
from scipy.spatial import cKDTree

from ..core.errors import MISSING_PACKAGE, BadInputError
from ..core.geometry import Similarity
from .cpd import CpdOptions, CpdResult, box_volume, checked_points, similarity_cpd
from .posterior import compact_order

BACKENDS = ("cpd", "pycpd")
STARTS = ("centroid", "box", "expected", "missing")
_COARSE = {"tolerance": 1e-2, "max_iterations": 20}  # enough to tell good starts from bad ones
_FIRST_SIGMA = 0.3  # of the template's RMS radius: smaller than "all pairs" as the orientation is known
_MISSING = 1.0 / 3.0  # share of the template that a "missing" start leaves out


def check_backend(name: str) -> None:
    """Nothing for a known backend.

    Raises:
        BadInputError: there is no backend of that name.
    """
    if name not in BACKENDS:
        words, hint, backends = "Unknown alignment backend {name!r}", "choose {backends}", " or ".join(BACKENDS)
        raise BadInputError(words, hint, "alignment.backend", name=name, backends=backends)


@dataclass(frozen=True)
class AlignmentOptions:
    """How a given organ is aligned.

    Args:
        n_points: most points of either side in the final registration.
        coarse_points: most points of either side while starts compete.
        starts: which starts compete: "centroid" (centroid and RMS radius), "box" (centre and size of the robust
            bounding box), "expected" (centroid and ``expected_scale_mm``), "missing" (six starts, each as if a third
            of the organ was cut off at one end of an axis).
        finalists: how many starts are followed to the end on the coarse points.
        seed: of the choice of points.
        backend: "cpd" (this library) or "pycpd" (the pycpd package: slower, no priors).
        cpd: options of the registration; its priors, scale range and first variance are set here.
        max_rotation_degrees: greatest rotation from the RAS axes; None for no limit.
        rotation_sd_degrees: sd of the rotation prior; None for none.
        expected_scale_mm: typical mm per template unit, from training; None takes the size of the given points and
            uses no scale prior.
        scale_log_sd: sd of the log of mm per unit among the training organs.
        effective_points: see :class:`CpdOptions`.
        scale_range: least and greatest mm per unit, as factors of the expected (or measured) one.
    """

    n_points: int = 1500
    coarse_points: int = 300
    starts: tuple[str, ...] = STARTS
    finalists: int = 2
    seed: int = 0
    backend: str = "cpd"
    cpd: CpdOptions = field(
        default_factory=lambda: CpdOptions(tolerance=1e-3, max_iterations=60, concentration=0.2, weight_regions=24)
    )
    max_rotation_degrees: float | None = 45.0
    rotation_sd_degrees: float | None = 15.0
    expected_scale_mm: float | None = None
    scale_log_sd: float = 0.12
    effective_points: float = 20.0
    scale_range: tuple[float, float] = (0.5, 2.0)

    def __post_init__(self):
        unknown = [name for name in self.starts if name not in STARTS]
        if unknown or not self.starts:
            words, hint, starts = "There are no alignment starts {unknown}", "choose among {starts}", ", ".join(STARTS)
            raise BadInputError(words, hint, "alignment.starts", unknown=unknown, starts=starts)
        check_backend(self.backend)
        if self.expected_scale_mm is not None and not self.expected_scale_mm > 0:
            raise BadInputError(
                "The expected scale must be positive mm per unit, not {scale_mm}",
                "leave it out",
                "alignment.scale",
                scale_mm=self.expected_scale_mm,
            )
        if min(self.n_points, self.coarse_points) < 4:
            raise BadInputError(
                "An alignment needs at least 4 points", "raise n_points and coarse_points", "alignment.points"
            )


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the given organ lies in the template's frame.

    Args:
        ras_to_unit: similarity from the given organ's RAS mm to the template's unit frame.
        points_ras: (N, 3) the given points, RAS mm.
        distances_mm: (N,) distance of each to the nearest template point, in mm.
        sigma_mm: standard deviation of the Gaussians at the end, in mm.
        p1_template: (M,) given points matched to each template point, over the average N / M: about 1 where matched
            as expected, near 0 where the given organ has nothing (missing parts).
        confidence: (N,) posterior probability in [0, 1] that a given point belongs to the template (column sum of P).
        start_used: name of the start that won.
        backend: "cpd" or "pycpd".
        objective: negative log of the posterior density of the coarse registration that won.
        converged: False where the iterations ran out first.
    """

    ras_to_unit: Similarity
    points_ras: np.ndarray
    distances_mm: np.ndarray
    sigma_mm: float
    p1_template: np.ndarray
    confidence: np.ndarray
    start_used: str
    backend: str
    objective: float
    converged: bool

    @property
    def residual_mm(self) -> float:
        """Median distance of the given points to the template."""
        return float(np.median(self.distances_mm))

    @property
    def mean_residual_mm(self) -> float:
        """Mean distance of the given points to the template."""
        return float(self.distances_mm.mean())


def align_to_template(
    points_ras: np.ndarray,
    template_points_unit: np.ndarray,
    options: AlignmentOptions | None = None,
    device: str = "cpu",
) -> Alignment:
    """Alignment of ``points_ras`` (N, 3), surface points of the given organ in RAS mm, to the template's (M, 3) points.

    The template's frame must have the axes of RAS (organs do not turn freely in patients).

    Raises:
        BadInputError: fewer than 4 points, non-finite coordinates, points on one line, or pycpd asked for but missing.
    """
    options = options or AlignmentOptions()
    given = checked_points(points_ras, "given organ's")
    template = checked_points(template_points_unit, "template's")
    register = _register_with_pycpd if options.backend == "pycpd" else similarity_cpd
    reference = options.expected_scale_mm or _radius(given) / _radius(template)

    def run(source, target, start, sigma2, **changes) -> CpdResult:
        cpd = _cpd_options(options, start, reference, sigma2)
        return register(source, target, replace(cpd, **changes), start, device)

    name, coarse = _best_start(given, template, options, reference, run)
    few_template, few_given = (_spread_sample(points, options.n_points, options.seed) for points in (template, given))
    fine = run(few_template, few_given, coarse.transform, coarse.sigma2)

    # The E step alone, for all points of one side at a time.
    p1 = run(template, few_given, fine.transform, fine.sigma2, max_iterations=0).p1
    confidence = run(few_template, given, fine.transform, fine.sigma2, max_iterations=0).pt1
    ras_to_unit = fine.transform.inverse()
    distances_mm = cKDTree(template).query(ras_to_unit.apply(given))[0] * fine.transform.scale
    return Alignment(
        ras_to_unit=ras_to_unit,
        points_ras=given,
        distances_mm=distances_mm,
        sigma_mm=sqrt(fine.sigma2),
        p1_template=p1 * (len(template) / len(few_given)),
        confidence=confidence,
        start_used=name,
        backend=options.backend,
        objective=coarse.objective,
        converged=fine.converged,
    )


def _best_start(given, template, options: AlignmentOptions, reference: float, run) -> tuple[str, CpdResult]:
    """Name and coarse registration of the start that ends at the highest posterior density."""
    few_template, few_given = (
        _spread_sample(points, options.coarse_points, options.seed) for points in (template, given)
    )
    sigma2 = (_FIRST_SIGMA * _radius(template) * reference) ** 2
    tried = {
        name: run(few_template, few_given, start, sigma2, **_COARSE)
        for name, start in _starts(few_given, few_template, options).items()
    }
    finalists = sorted(tried, key=lambda name: tried[name].objective)[: max(1, options.finalists)]
    ended = {name: run(few_template, few_given, tried[name].transform, tried[name].sigma2) for name in finalists}
    best = min(ended, key=lambda name: ended[name].objective)
    return best, ended[best]


def _cpd_options(options: AlignmentOptions, start: Similarity, reference: float, sigma2: float) -> CpdOptions:
    """The registration's options with priors and bounds that are the same whatever ``start`` (unit -> RAS) it has."""
    low, high = options.scale_range
    prior = None if options.expected_scale_mm is None else (log(options.expected_scale_mm), options.scale_log_sd)
    return replace(
        options.cpd,
        scale_range=(low * reference / start.scale, high * reference / start.scale),
        scale_prior=prior,
        rotation_prior_degrees=options.rotation_sd_degrees,
        max_rotation_degrees=options.max_rotation_degrees,
        effective_points=options.effective_points,
        initial_sigma2=sigma2,
    )


def _starts(given: np.ndarray, template: np.ndarray, options: AlignmentOptions) -> dict[str, Similarity]:
    """Similarities unit -> RAS to start from, by name, all without rotation."""
    starts = {}
    if "centroid" in options.starts:
        starts["centroid"] = _onto(template, given, _radius(given) / _radius(template))
    if "box" in options.starts:
        corners = [np.quantile(points, (0.02, 0.98), axis=0) for points in (template, given)]
        edges = [np.ptp(box, axis=0).prod() ** (1.0 / 3.0) for box in corners]
        if edges[0] > 0 and edges[1] > 0:
            starts["box"] = _onto(corners[0], corners[1], edges[1] / edges[0])
    if "expected" in options.starts and options.expected_scale_mm is not None:
        starts["expected"] = _onto(template, given, options.expected_scale_mm)
    if "missing" in options.starts:
        for axis, name in enumerate("RAS"):
            for side, share in (("-", _MISSING), ("+", 1.0 - _MISSING)):
                cut = np.quantile(template[:, axis], share)
                left = template[template[:, axis] > cut] if side == "-" else template[template[:, axis] < cut]
                if len(left) >= 4:
                    scale = options.expected_scale_mm or _radius(given) / _radius(left)
                    starts[f"missing {name}{side}"] = _onto(left, given, scale)
    if not starts:
        raise BadInputError(
            "No alignment start is usable", "give expected_scale_mm or allow the start 'centroid'", "alignment.no_start"
        )
    return starts


def _onto(template: np.ndarray, given: np.ndarray, scale: float) -> Similarity:
    """Similarity of this scale that carries the mean of ``template`` onto the mean of ``given``."""
    return Similarity(scale, np.eye(3), given.mean(axis=0) - scale * template.mean(axis=0))


def _radius(points: np.ndarray) -> float:
    """RMS distance from the mean."""
    return sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())


def _spread_sample(points: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most ``most`` points, spread as the points are: one at random from each stretch of a compact order."""
    if len(points) <= most:
        return points
    offsets = np.random.default_rng(seed).random(most)
    picked = ((np.arange(most) + offsets) * (len(points) / most)).astype(int)
    return points[compact_order(points, 64)[0][picked]]


def _register_with_pycpd(source, target, options: CpdOptions, initial: Similarity, device: str) -> CpdResult:
    """As :func:`similarity_cpd`, by pycpd's RigidRegistration; it knows no priors, bounds or chunks.

    pycpd spreads the outliers over a volume of N (in cubed units), so the target is scaled until its box has that.
    P is then evaluated at pycpd's solution by the shared E step, which agrees with pycpd's own to rounding.
    """
    frozen = replace(options, max_iterations=0, dtype="float64")
    if options.max_iterations == 0:
        return similarity_cpd(source, target, frozen, initial, device)
    try:
        from pycpd import RigidRegistration
    except ImportError as error:
        words, hint = "the alignment 'pycpd' needs the package {package}", "install it, or choose the alignment 'cpd'"
        raise BadInputError(words, hint, MISSING_PACKAGE, package="pycpd") from error
    unit = (len(target) / (options.outlier_volume or box_volume(target))) ** (1.0 / 3.0)
    centre = target.mean(axis=0)
    registration = RigidRegistration(
        X=(target - centre) * unit,
        Y=(initial.apply(source) - centre) * unit,
        sigma2=options.initial_sigma2 * unit**2,
        w=options.outlier_weight,
        max_iterations=options.max_iterations,
        tolerance=options.tolerance * len(target),
    )
    registration.register()
    found = Similarity(registration.s, registration.R.T, np.ravel(registration.t))
    frame = Similarity(unit, np.eye(3), -centre * unit)
    transform = frame.inverse().after(found).after(frame).after(initial)
    frozen = replace(frozen, initial_sigma2=registration.sigma2 / unit**2)
    result = similarity_cpd(source, target, frozen, transform, device)
    ended = registration.iteration < options.max_iterations
    return replace(result, iterations=registration.iteration, converged=ended)
