"""One place where given and expected organ contradict each other, as a user sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CLICKED = "clicked"
# What changes where a suggestion of that kind is taken.
KINDS = {
    "missing": "add a missing part",
    "beyond": "add beyond the scan",
    "attached": "remove a leak",
    "apart": "remove a stray piece",
    CLICKED: "as clicked",
}
SHAPE, BOTH, NOT_IMAGE, POINTS = "shape", "both", "shape, not image", "points"


@dataclass(frozen=True)
class Suggestion:
    """A change that the engine found or a click made.

    :param segmentId: of the given segment.
    :param number: of the suggestion about this organ.
    :param kind: see KINDS; others are told as the engine names them.
    :param volumeMl: that would come or go.
    :param centreRas: of its middle, world RAS mm as when it was refined.
    :param probability: of being right, 0 to 1.
    :param evidence: by name, see the report.
    :param taken: it is in the result.
    :param byHand: the user decided it.
    """

    segmentId: str
    number: int
    kind: str
    volumeMl: float
    centreRas: tuple[float, float, float]
    probability: float
    taken: bool
    evidence: Mapping[str, float] = field(default_factory=dict)
    byHand: bool = False

    @property
    def isClicked(self) -> bool:
        """A click made it; it goes with the click alone."""
        return self.kind == CLICKED

    @property
    def doubtfulMl(self) -> float:
        """How many mL are to be expected wrong as it is decided now."""
        return self.volumeMl * ((1.0 - self.probability) if self.taken else self.probability)

    def kindText(self) -> str:
        """What taking it changes, in words."""
        return KINDS.get(self.kind, self.kind.replace("_", " "))

    def evidenceText(self) -> str:
        """Who says so, in a word."""
        if self.isClicked:
            return POINTS
        image = self.evidence.get("image")
        return SHAPE if image is None else BOTH if image > 0.0 else NOT_IMAGE


def suggestionsOf(segmentId: str, entries: Iterable[Mapping]) -> list[Suggestion]:
    """Suggestions about one organ, of its part of the report or of the engine's answer."""
    return [
        Suggestion(
            segmentId,
            int(entry["id"]),
            str(entry["kind"]),
            float(entry["volume_ml"]),
            tuple(float(value) for value in entry["centre_ras"]),
            float(entry["probability"]),
            bool(entry["taken"]),
            {name: float(value) for name, value in (entry.get("evidence") or {}).items() if value is not None},
        )
        for entry in entries
    ]


def inOrder(suggestions: Iterable[Suggestion]) -> list[Suggestion]:
    """What matters first: where most mL are to be expected wrong as the engine decided; the smaller number first."""
    return sorted(suggestions, key=lambda one: (-one.doubtfulMl, one.number))
