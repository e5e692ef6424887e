"""What a user decided about the suggestions and points of a refinement, with undo and redo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from .suggestion import Suggestion

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Choice:
    """All that was decided at one time.

    :param byHand: taken or left, by (segment id, number).
    :param least: probability above which all others are taken; None leaves what the engine took.
    :param include: points (world RAS mm) that belong to an organ, by segment id.
    :param exclude: points that do not.
    """

    byHand: Mapping[tuple[str, int], bool] = field(default_factory=lambda: MappingProxyType({}))
    least: float | None = None
    include: Mapping[str, tuple[Point, ...]] = field(default_factory=lambda: MappingProxyType({}))
    exclude: Mapping[str, tuple[Point, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def taken(self, suggestions: list[Suggestion]) -> list[int]:
        """Numbers of the suggestions about one organ that are taken.

        :param suggestions: as the refinement decided them.
        """
        return [one.number for one in suggestions if self._takes(one)]

    def concerns(self, segmentId: str, suggestions: list[Suggestion]) -> tuple:
        """All that matters for one organ; equal where its result is."""
        points = self.include.get(segmentId, ()), self.exclude.get(segmentId, ())
        return tuple(self.taken(suggestions)), *points

    def _takes(self, one: Suggestion) -> bool:
        decided = self.byHand.get((one.segmentId, one.number))
        if decided is not None:
            return decided
        return one.taken if self.least is None else one.probability > self.least


class Choices:
    """The present choice and those before and after it."""

    def __init__(self):
        self.now = Choice()
        self._before, self._after, self._isSliding = [], [], False

    @property
    def canUndo(self) -> bool:
        """There is a choice before this one."""
        return bool(self._before)

    @property
    def canRedo(self) -> bool:
        """An undone choice can come back."""
        return bool(self._after)

    def decide(self, segmentId: str, number: int, take: bool | None) -> None:
        """Take or leave one suggestion; None leaves it to slider and engine again."""
        decided = {key: value for key, value in self.now.byHand.items() if key != (segmentId, number)}
        if take is not None:
            decided[segmentId, number] = bool(take)
        self._next(replace(self.now, byHand=decided))

    def setLeast(self, least: float | None) -> None:
        """Move all that nobody decided; a slider that goes on moving is one step of undo."""
        if least == self.now.least:
            return
        self._next(replace(self.now, least=least), keep=not self._isSliding)
        self._isSliding = True

    def setPoints(self, segmentId: str, include, exclude) -> None:
        """All points of one organ, in place of those before."""
        changed = replace(
            self.now,
            include={**self.now.include, segmentId: tuple(include)},
            exclude={**self.now.exclude, segmentId: tuple(exclude)},
        )
        self._next(changed)

    def setAllPoints(self, points: Mapping[str, tuple]) -> None:
        """Points (include, exclude) of all organs by segment id, in place of all before."""
        include, exclude = ({key: tuple(both[index]) for key, both in points.items()} for index in (0, 1))
        if _filled(include) != _filled(self.now.include) or _filled(exclude) != _filled(self.now.exclude):
            self._next(replace(self.now, include=include, exclude=exclude))

    def undo(self) -> bool:
        """Go back one step; False where there is none."""
        return self._move(self._before, self._after)

    def redo(self) -> bool:
        """Go forward again; False where nothing was undone."""
        return self._move(self._after, self._before)

    def _next(self, choice: Choice, keep: bool = True) -> None:
        if keep:
            self._before.append(self.now)
        self.now, self._after, self._isSliding = choice, [], False

    def _move(self, source: list, target: list) -> bool:
        if not source:
            return False
        target.append(self.now)
        self.now, self._isSliding = source.pop(), False
        return True


def _filled(points: Mapping[str, tuple]) -> dict[str, tuple]:
    return {segmentId: places for segmentId, places in points.items() if places}
