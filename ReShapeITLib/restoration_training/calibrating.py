"""Fitting the calibration: suggestions about patients whose truth is known, and a logistic model of them.

The model of a witness is small on purpose: a number for each kind of suggestion and one for each kind of evidence, for
all organs alike, held towards 0. What it is worth is measured on patients left out, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..refinement.decision.calibration import IMAGE, BesideImage, Calibration, Coefficients, probability
from ..refinement.decision.suggestions import KINDS
from ..restoration.model import FIELD, NETWORK

EVIDENCE = {NETWORK: ("network", "spread", "depth", "unlike"), FIELD: ("field",)}
BOLD, CAUTIOUS = 0.4, 0.8
_RIDGE = 5.0  # against standardised evidence; with 1 and 20 the log loss on patients left out is the same to 0.01
_KIND_RIDGE = 0.1
_BALANCED = np.arange(0.45, 0.76, 0.05)


@dataclass(frozen=True)
class Judged:
    """A suggestion about a patient whose truth is known.

    Args:
        patient: what must not be on both sides when something is left out.
        kind: of the suggestion.
        evidence: by name.
        right: share (0 to 1) of the cells that the suggestion would change rightly.
        cells: how many it would change.
    """

    patient: str
    kind: str
    evidence: dict[str, float]
    right: float
    cells: int

    @property
    def won_cells(self) -> float:
        """Cells that are right after it is taken and were not before, less those the other way round."""
        return self.cells * (2.0 * self.right - 1.0)


@dataclass(frozen=True)
class Reliability:
    """What a calibration is worth on patients left out.

    Args:
        probabilities: (n,) of each suggestion, by a model without its patient.
        log_loss, brier: means over suggestions.
        calibration_error: expected calibration error over ten equal bins.
        log_loss_by: the same with less evidence, by its name.
        probabilities_by: (n,) of each suggestion with that evidence.
    """

    probabilities: np.ndarray
    log_loss: float
    brier: float
    calibration_error: float
    log_loss_by: dict[str, float]
    probabilities_by: Mapping[str, np.ndarray]


def calibrated(
    judged: Mapping[str, Sequence[Judged]], known: Calibration, beside_image: Sequence[Judged] = ()
) -> tuple[Calibration, dict[str, Reliability]]:
    """The calibration of some judged suggestions, and how far each witness can be relied on.

    Args:
        judged: the suggestions of each witness, by its name.
        known: what stays as it is: other witnesses, constants, and the boldness, which the network's suggestions alone
            change.
        beside_image: the network's suggestions with the evidence of an image; without them what an image adds stays as
            known. Reliability "image" is theirs.
    """
    witnesses, found = dict(known.witnesses), {}
    for name, rows in judged.items():
        found[name] = reliability(rows, EVIDENCE[name])
        about = {
            "suggestions": len(rows),
            "patients": len({row.patient for row in rows}),
            **_about(found[name]),
        }
        witnesses[name] = replace(fit_coefficients(rows, EVIDENCE[name]), about=about)
    boldness = known.boldness
    if NETWORK in judged:
        boldness = names_for_boldness(judged[NETWORK], found[NETWORK].probabilities)
    beside = known.beside_image
    if beside_image:
        found[IMAGE] = reliability_beside_image(beside_image, judged[NETWORK])
        beside = fit_beside_image(beside_image, witnesses[NETWORK])
        beside = replace(beside, about={**beside.about, **_about(found[IMAGE])})
    return replace(known, witnesses=witnesses, boldness=boldness, beside_image=beside), found


def _about(found: Reliability) -> dict[str, float]:
    return {
        "log_loss_left_out": round(found.log_loss, 3),
        "expected_calibration_error_left_out": round(found.calibration_error, 3),
    }


def fit_coefficients(judged: Sequence[Judged], names: Sequence[str]) -> Coefficients:
    """The model of some judged suggestions.

    Args:
        judged: at least one.
        names: of the evidence that counts.
    """
    kinds = np.array([[row.kind == kind for kind in KINDS] for row in judged], dtype=float)
    of_kinds, slopes = _logistic(kinds, _design(judged, names), judged)
    by_kind = {kind: _short(w) for kind, w in zip(KINDS, of_kinds, strict=True)}
    return Coefficients(by_kind, {name: _short(s) for name, s in zip(names, slopes, strict=True)})


def fit_beside_image(judged: Sequence[Judged], network: Coefficients) -> BesideImage:
    """What the image adds to the network's suggestions.

    Args:
        judged: suggestions with the evidence of an image; their patients may have been seen by the restoration
            network, whose own model they do not touch.
        network: that model.
    """
    design = np.array([[network.log_odds(row.kind, row.evidence), row.evidence[IMAGE]] for row in judged])
    (offset,), (shape, image) = _logistic(np.ones((len(judged), 1)), design, judged)
    about = {"suggestions": len(judged), "patients": len({row.patient for row in judged})}
    return BesideImage(_short(offset), _short(shape), _short(image), about)


def _logistic(free: np.ndarray, evidence: np.ndarray, judged: Sequence[Judged]) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the columns (n, f) that add up to 1 in each row, and of the evidence (n, m), which is held to 0."""
    from scipy.optimize import minimize

    mean, spread = evidence.mean(axis=0), np.maximum(evidence.std(axis=0), 1e-9)
    columns = np.column_stack([free, (evidence - mean) / spread])
    right = np.array([row.right for row in judged])
    ridge = np.repeat([_KIND_RIDGE, _RIDGE], [free.shape[1], evidence.shape[1]])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = columns @ weights
        gradient = columns.T @ (1.0 / (1.0 + np.exp(-odds)) - right) + ridge * weights
        return float((np.logaddexp(0.0, odds) - right * odds).sum() + 0.5 * ridge @ weights**2), gradient

    weights = minimize(loss, np.zeros(columns.shape[1]), jac=True).x
    slopes = weights[free.shape[1] :] / spread
    return weights[: free.shape[1]] - float(slopes @ mean), slopes


def left_out(judged: Sequence[Judged], names: Sequence[str]) -> np.ndarray:
    """(n,) probability of each suggestion by a model of all other patients' suggestions; ``names`` of the evidence."""
    patients = np.array([row.patient for row in judged])
    found = np.zeros(len(judged))
    for patient in np.unique(patients):
        own = patients == patient
        model = fit_coefficients([row for row, out in zip(judged, own, strict=True) if not out], names)
        found[own] = [model.probability(judged[i].kind, judged[i].evidence) for i in np.flatnonzero(own)]
    return found


def reliability(judged: Sequence[Judged], names: Sequence[str]) -> Reliability:
    """How far the probabilities can be relied on, see :class:`Reliability`; the first of ``names`` is the answer."""
    right = np.array([row.right for row in judged])
    less = {"its answer alone": left_out(judged, names[:1]), "kind alone": left_out(judged, ())}
    return _reliability(left_out(judged, names), right, less)


def reliability_beside_image(judged: Sequence[Judged], network: Sequence[Judged]) -> Reliability:
    """The same of suggestions beside an image; a patient is left out of both models.

    Args:
        judged: suggestions with the evidence of an image.
        network: those without, which the network's own model is fitted to.
    """
    patients = np.array([row.patient for row in judged])
    found, without = np.zeros((2, len(judged)))
    for patient in np.unique(patients):
        own = np.flatnonzero(patients == patient)
        model = fit_coefficients([row for row in network if row.patient != patient], EVIDENCE[NETWORK])
        beside = fit_beside_image([row for row in judged if row.patient != patient], model)
        for i in own:
            odds = model.log_odds(judged[i].kind, judged[i].evidence)
            found[i], without[i] = probability(beside.log_odds(odds, judged[i].evidence[IMAGE])), probability(odds)
    return _reliability(found, np.array([row.right for row in judged]), {"shape alone": without})


def _reliability(found: np.ndarray, right: np.ndarray, less: Mapping[str, np.ndarray]) -> Reliability:
    bins = np.minimum((found * 10).astype(int), 9)
    error = sum(abs(float((found - right)[bins == b].sum())) for b in range(10)) / len(found)
    brier = float(((found - right) ** 2).mean())
    losses = {name: _log_loss(values, right) for name, values in less.items()}
    return Reliability(found, _log_loss(found, right), brier, error, losses, less)


def names_for_boldness(judged: Sequence[Judged], found: np.ndarray) -> dict[str, float]:
    """Probabilities by name. "balanced" is the choice that wins most on patients left out, where a cell that was right
    before and is not after it counts twice; of equal choices the most cautious.

    Args:
        judged: suggestions.
        found: (n,) probability of each, by a model without its patient.
    """
    won = np.array([row.won_cells for row in judged])
    worth = np.where(won < 0, 2.0 * won, won)
    won_by = np.array([worth[found > least].sum() for least in _BALANCED])
    balanced = round(float(_BALANCED[won_by == won_by.max()].max()), 2)
    return {"cautious": CAUTIOUS, "balanced": balanced, "bold": BOLD}


def _design(judged: Sequence[Judged], names: Sequence[str]) -> np.ndarray:
    return np.array([[row.evidence[name] for name in names] for row in judged]).reshape(len(judged), len(names))


def _log_loss(found: np.ndarray, right: np.ndarray) -> float:
    found = np.clip(found, 1e-4, 1 - 1e-4)
    return float(-(right * np.log(found) + (1 - right) * np.log(1 - found)).mean())


def _short(value: float) -> float:
    return float(f"{value:.4g}")
