"""From the evidence for a suggestion to its probability of being right.

Two witnesses make suggestions: the restoration network, and for a template without one the fitted field. Each has one
logistic model for all organs, fitted by ``reshapeit calibrate`` on patients that no network was trained on. Where there
is an image, it has its say on what the network suggests, by three more numbers. All are in ``calibration.json`` beside
the networks, with the probabilities from which suggestions are taken and with the few other numbers that decide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from ...core.errors import BadInputError
from ...io.atomic import atomic_path
from ...restoration.store import restoration_folders

FILE_NAME = "calibration.json"
IMAGE = "image"  # the evidence of an image
_FORMAT = "reshapeit-calibration-3"


@dataclass(frozen=True)
class Coefficients:
    """The model of one witness.

    Args:
        kinds: log odds of each kind of suggestion where all evidence is 0.
        evidence: by how much each kind of evidence raises the log odds, per unit; see ``suggestions.Suggestion``.
        about: what it was fitted on, for people.
    """

    kinds: Mapping[str, float]
    evidence: Mapping[str, float]
    about: Mapping[str, object] = field(default_factory=dict)

    def log_odds(self, kind: str, evidence: Mapping[str, float]) -> float:
        """Log odds that a suggestion is right; ``evidence`` may hold more than the model weighs."""
        return self.kinds[kind] + sum(slope * evidence[name] for name, slope in self.evidence.items())

    def probability(self, kind: str, evidence: Mapping[str, float]) -> float:
        """Probability (0 to 1) of the same."""
        return probability(self.log_odds(kind, evidence))

    def as_dict(self) -> dict:
        """Plain values."""
        return {"kinds": dict(self.kinds), "evidence": dict(self.evidence), "about": dict(self.about)}


@dataclass(frozen=True)
class BesideImage:
    """How the image changes what the restoration network's evidence says of a suggestion.

    Args:
        offset, shape, image: log odds beside an image are ``offset + shape * log odds without it + image * evidence``.
        about: what it was fitted on, for people.
    """

    offset: float
    shape: float
    image: float
    about: Mapping[str, object] = field(default_factory=dict)

    def log_odds(self, without_image: float, evidence: float) -> float:
        """Log odds that a suggestion is right.

        Args:
            without_image: log odds by the other evidence.
            evidence: "image", see ``suggestions.Suggestion``.
        """
        return self.offset + self.shape * without_image + self.image * evidence


@dataclass(frozen=True)
class Constants:
    """Numbers that decide and that no calibration fits.

    Args:
        reach_cells: connected cells whose given and expected distance differ by more than this are one region.
        transition_cells: width of the smooth transition at the border of what is taken.
        share_of_shape: weight of the fitted shape in what is taken beside the network, whose error is smaller there.
        trust_in_guesses: what a point that a witness put in is worth in a fit, beside one that was seen.
        least_flat_share: of the organ's shadow along the body that a flat end covers, beyond what is flat by nature,
            where the organ was cut off.
    """

    reach_cells: float
    transition_cells: float
    share_of_shape: float
    trust_in_guesses: float
    least_flat_share: float


@dataclass(frozen=True)
class Calibration:
    """What decides about suggestions.

    Args:
        witnesses: the model of each, by name.
        boldness: by name, the probability above which a suggestion is taken.
        constants: all else that decides.
        beside_image: what an image adds; None leaves it out.
    """

    witnesses: Mapping[str, Coefficients]
    boldness: Mapping[str, float]
    constants: Constants
    beside_image: BesideImage | None = None

    def probability(self, witness: str, kind: str, evidence: Mapping[str, float]) -> float:
        """Probability (0 to 1) that a suggestion of a witness is right."""
        odds = self.witnesses[witness].log_odds(kind, evidence)
        if self.beside_image is not None and IMAGE in evidence:
            odds = self.beside_image.log_odds(odds, evidence[IMAGE])
        return probability(odds)

    def least(self, boldness: str) -> float:
        """The probability above which a suggestion is taken: of a name, or a number from 0 to 1 as text.

        Raises:
            BadInputError: it is neither.
        """
        if boldness in self.boldness:
            return self.boldness[boldness]
        try:
            value = float(boldness)
        except ValueError:
            value = -1.0
        if 0.0 <= value <= 1.0:
            return value
        raise BadInputError(
            "boldness is '{boldness}'",
            "use one of {names}, or a probability from 0 to 1 above which changes are made",
            "boldness.unknown",
            boldness=boldness,
            names=", ".join(self.boldness),
        )

    def write(self, path: str | Path) -> None:
        """Write the file by way of a temporary one.

        Raises:
            BadInputError: it cannot be written.
        """
        witnesses = {name: model.as_dict() for name, model in self.witnesses.items()}
        told = {"format": _FORMAT, "witnesses": witnesses, "boldness": dict(self.boldness)}
        told["constants"] = asdict(self.constants)
        told["beside_image"] = asdict(self.beside_image) if self.beside_image else None
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read a file.

        Raises:
            BadInputError: it cannot be read or lacks parts.
        """
        try:
            told = json.loads(Path(path).read_text(encoding="utf-8"))
            if told["format"] != _FORMAT:
                raise ValueError(f"format {told['format']}")
            witnesses = {
                str(name): Coefficients(_numbers(one["kinds"]), _numbers(one["evidence"]), dict(one["about"]))
                for name, one in told["witnesses"].items()
            }
            beside = told["beside_image"]
            if beside is not None:
                beside = BesideImage(about=dict(beside.pop("about")), **_numbers(beside))
            return cls(witnesses, _numbers(told["boldness"]), Constants(**_numbers(told["constants"])), beside)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInputError(
                "{input} cannot be read as a calibration ({reason})",
                "get a fresh copy of it",
                "calibration.unreadable",
                input=path,
                reason=error,
            ) from error


def probability(log_odds: float) -> float:
    """From 0 to 1."""
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -50.0), 50.0)))


def _numbers(told: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(value) for name, value in told.items()}


def calibration() -> Calibration:
    """The calibration of the first folder of networks that has one (see ``restoration.store``).

    Raises:
        BadInputError: no folder has one, or it is damaged.
    """
    for folder in restoration_folders():
        path = folder / FILE_NAME
        if path.is_file():
            return _read(path, path.stat().st_mtime_ns)
    raise BadInputError(
        "{name} is in none of the folders of restoration networks",
        "install the program again",
        "calibration.missing",
        name=FILE_NAME,
    )


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int) -> Calibration:
    return Calibration.read(path)
