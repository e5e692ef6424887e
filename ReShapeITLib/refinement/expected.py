"""The fourth stage: what belongs where the given organ is not believed, from the fitted shape and the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..core.geometry import Similarity
from ..core.progress import Progress
from ..distance.between_slices import SparseAnnotation
from ..distance.combinators import WeightedMean
from ..distance.protocol import SignedDistance
from ..interaction.candidates import CandidateOptions, Candidates
from ..interaction.fitting import FittedField, PendingFit, fit_field
from ..interaction.options import FitOptions
from ..restoration.model import Restoration
from ..templates.template import OrganTemplate
from .completion import in_shape_space, likeliest_between, trusting_contours
from .decision.calibration import calibration
from .decision.field_witness import restored_by_field
from .healing import Healed, Rule, heal_by, healed_candidates
from .options import RefineOptions
from .restored import CandidatesOf, Restored

_STAGE = "fit"


@dataclass(frozen=True, eq=False)
class Expected:
    """The organ beside what is expected in its place.

    Args:
        restored: the organ.
        healed: the given organ with the suggestions that are taken, the network's or the fitted field's; None for a
            sparse annotation without a network.
        expected: what belongs where the given organ is not believed.
        fit: of the patient's field (Eq. 8).
    """

    restored: Restored
    healed: Healed | None
    expected: SignedDistance
    fit: PendingFit


@dataclass(frozen=True, eq=False)
class _Fitting:
    """What all fits of one patient share: the generator is this stage's own, and fits draw from it one by one."""

    template: OrganTemplate
    options: RefineOptions
    rng: np.random.Generator
    progress: Progress

    def fit(
        self,
        start: Similarity | FittedField,
        candidates: CandidatesOf,
        options: FitOptions,
        span: tuple[float, float] = (0.3, 0.5),
    ) -> FittedField:
        """The field from an alignment, or from another field on; ``span`` is its begin and length in the progress."""
        begin, length = span
        self.progress.stage(_STAGE, begin)
        from_field = isinstance(start, FittedField)
        ras_to_unit = start.ras_to_unit if from_field else start
        return fit_field(
            self.template,
            candidates(ras_to_unit, self.options.candidates, self.rng),
            ras_to_unit,
            replace(options, seed=self.options.seed),
            lambda done: self.progress.stage(_STAGE, begin + length * done),
            start if from_field else None,
        )

    def fit_on(self, shape: PendingFit, candidates: CandidatesOf) -> FittedField:
        """The patient's own weights, from a pending fit of the shape space on."""
        return self.fit(shape.field, candidates, self.options.fit)


def expect(
    restored: Restored,
    template: OrganTemplate,
    options: RefineOptions,
    progress: Progress,
    rule: Rule | None = None,
) -> Expected:
    """Fit the field to the candidates and say what belongs where the given organ is not believed.

    With a network the fits wait until somebody asks for them: where nothing is doubted no field is needed. Without one
    the field itself says what is doubted.

    Args:
        rule: which of the field's suggestions are taken; None is that of the options.
    """
    fitting = _Fitting(template, options, restored.stream.generator(), progress)
    if restored.given.annotation is not None:
        return _between_slices(restored, fitting)
    frame, within = restored.aligned.alignment.ras_to_unit, in_shape_space(options.fit)
    shape = PendingFit(partial(fitting.fit, frame, restored.given_candidates, within))
    if restored.healed is None:
        healed = _healed_by(shape, restored, template, rule or Rule.of(options.boldness))
        expected: SignedDistance = healed.restoration.limited(shape)
    else:
        healed = restored.healed
        expected = _likeliest(shape, healed.restoration)
    fit = PendingFit(partial(fitting.fit_on, shape, partial(healed_candidates, healed)))
    return Expected(restored, healed, expected, fit)


def _healed_by(shape: PendingFit, restored: Restored, template: OrganTemplate, rule: Rule) -> Healed:
    """The given organ with what the fitted field says of it; the fit is made now."""
    grid, frame, truncation = restored.given.grid, restored.alignment.ras_to_unit, restored.truncation
    answer = restored_by_field(shape, template, grid, frame, truncation)
    unlike = restored.aligned.plausibility.shape_distance
    return heal_by(answer, grid, rule, truncation, unlike)


def _likeliest(shape: SignedDistance, answer: Restoration) -> SignedDistance:
    """What is expected in the place of the given organ: the network's, and in part the fitted shape's."""
    share = calibration().constants.share_of_shape
    return WeightedMean(((share, answer.limited(shape)), (1.0 - share, answer.restored)))


def _between_slices(restored: Restored, fitting: _Fitting) -> Expected:
    """The organ between the slices of a sparse annotation: two fits within the shape space, see :mod:`completion`."""
    annotation, start = restored.given.annotation, restored.alignment.ras_to_unit
    within = in_shape_space(fitting.options.fit)
    trusting = partial(_trusting, restored.candidates, annotation)
    fits = []
    for candidates, begin in ((restored.candidates, 0.3), (trusting, 0.55)):
        fits.append(PendingFit(partial(fitting.fit, start, candidates, within, (begin, 0.25))))
        fits[-1].finish()
    likeliest = likeliest_between(fits, annotation, restored.healed)
    return Expected(restored, restored.healed, likeliest, fits[1])


def _trusting(
    candidates: CandidatesOf,
    annotation: SparseAnnotation,
    ras_to_unit: Similarity,
    options: CandidateOptions,
    rng: np.random.Generator,
) -> Candidates:
    return trusting_contours(candidates(ras_to_unit, options, rng), annotation, ras_to_unit, rng)
