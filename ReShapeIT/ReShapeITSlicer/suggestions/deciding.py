"""Puts what the user decides about suggestions into effect: asks the engine that stays, changes the scene's results.

Nothing here waits: ``poll`` is called from a timer and by ``settle``. One request is on its way at a time. What is
decided meanwhile is asked for when its answer is there, so that a slider is never ahead of the scene by more than one
answer. Voxels come first; the surface with its change follows when nothing was decided for a moment.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

import numpy as np

from ..errors import RefinementError
from ..exchange.exchange import readSurface
from ..exchange.folders import newFolder, removeFolder
from ..exchange.nrrd import readVoxels
from ..geometry import Grid
from .asked import Frames, Organ, Request, partOf, placesOf
from .choices import Choices
from .suggestion import CLICKED, Suggestion, inOrder, suggestionsOf

REST_S = 1.0
WAIT_S = 60.0
NO_ANSWER = "The engine does not answer; refine again to decide about suggestions."
UNKNOWN = "There is no suggestion {} about '{}'; choose one of the list."


class Deciding:
    """Suggestions of one finished refinement.

    :param review: Review of its results.
    :param given: the Given of each organ.
    :param grid: Grid of the file that the engine got.
    :param segmentationNode: the given segmentation.
    :param toWorld: (4, 4) from local mm to world when the refinement started.
    :param ask: function (do, **fields) to an answer of the engine that stays, with ``isFinished``, ``result`` and
        ``error`` (one sentence); raises RefinementError where it cannot be asked. None where the engine is gone.
    :param folder: with the files of the refinement, for those of its decisions; it is removed with ``close``.
    """

    def __init__(self, review, given, grid: Grid, segmentationNode, toWorld, ask, folder=None):
        self._review, self._grid, self._node, self._toWorld = review, grid, segmentationNode, toWorld
        self._frames = Frames(segmentationNode, toWorld)
        self._ask, self._folder = ask, folder
        self.choices, self._request, self._changed = Choices(), None, 0.0
        self.secondsOfLast: float | None = None
        self.wantsSurface = True
        self._organs = {}
        for one in given:
            found = inOrder(suggestionsOf(one.segmentId, review.reportOf(one.segmentId).get("suggestions", ())))
            put = self.choices.now.concerns(one.segmentId, found)
            places = placesOf(review.surfaceOf(one.segmentId), toWorld)
            self._organs[one.segmentId] = Organ(one.key, found, found, put, places=places)

    @property
    def canDecide(self) -> bool:
        """There is an engine to ask."""
        return self._ask is not None

    @property
    def segmentIds(self) -> tuple[str, ...]:
        """Of the given segments that are reviewed."""
        return tuple(self._organs)

    @property
    def nameOfNode(self) -> str:
        """Name of the given segmentation."""
        return self._node.GetName() or ""

    @property
    def isBusy(self) -> bool:
        """Something that was decided is not in the scene yet."""
        return self._request is not None or self._next(hasRested=True) is not None

    def suggestions(self) -> list[Suggestion]:
        """All, organ by organ, what matters first; their order stays as they are decided."""
        return [one for organ in self._organs.values() for one in organ.now]

    def find(self, segmentId: str, number: int) -> Suggestion:
        """One suggestion.

        :raises RefinementError: there is none.
        """
        for one in self._organs[segmentId].now if segmentId in self._organs else ():
            if one.number == number:
                return one
        raise RefinementError(UNKNOWN.format(number, segmentId))

    def decide(self, segmentId: str, number: int, take: bool | None) -> None:
        """Take or leave a suggestion; None: as slider and engine say.

        :raises RefinementError: there is no such suggestion, or its organ is decided.
        """
        self._check(segmentId)
        if self.find(segmentId, number).isClicked:
            raise RefinementError("A click made this change; move or delete the point to take it back.")
        self.choices.decide(segmentId, number, take)
        self._update()

    def setLeast(self, probability: float | None) -> None:
        """Take all that are likelier than this and that nobody decided; None: what the engine took."""
        self.choices.setLeast(probability)
        self._update()

    def setPoints(self, segmentId: str, include, exclude) -> None:
        """Points (world RAS mm) that belong to an organ and that do not, in place of those before.

        :raises RefinementError: the organ is decided.
        """
        self._check(segmentId)
        then = self._frames.then
        self.choices.setPoints(segmentId, *([then(point) for point in points] for points in (include, exclude)))
        self._update()

    def setAllPoints(self, include, exclude) -> None:
        """All points of the scene, in place of those before.

        :param include, exclude: (world RAS mm, segment id) of each point; one about a segment that is not open here
            does not count.
        :raises RefinementError: there is no organ left to decide about.
        """
        if self._ask is None or not self.isOpen:
            raise RefinementError(NO_ANSWER if self._ask is None else "All organs are decided; refine again.")
        about = {key: ([], []) for key in self._organs if self._review.isPending(key)}
        for index, points in enumerate((include, exclude)):
            for position, segmentId in points:
                if segmentId in about:
                    about[segmentId][index].append(self._frames.then(position))
        self.choices.setAllPoints(about)
        self._update()

    def allPoints(self) -> tuple[list, list]:
        """(World RAS mm now, segment id) of the points that belong and of those that do not."""
        now, lists = self._frames.now, (self.choices.now.include, self.choices.now.exclude)
        return tuple([(now(p), key) for key, points in each.items() for p in points] for each in lists)

    def nearestOrgan(self, position) -> str:
        """Id of the segment that a point (world RAS mm) is about: the open one with the nearest surface, or none."""
        there = self._frames.then(position)
        open_ = {key: organ.places for key, organ in self._organs.items() if self._review.isPending(key)}
        distances = {key: float(np.square(places - there).sum(axis=1).min()) for key, places in open_.items()}
        return min(distances, key=distances.get) if distances else ""

    @property
    def isOpen(self) -> bool:
        """There is an organ that is neither accepted nor rejected."""
        return any(self._review.isPending(segmentId) for segmentId in self._organs)

    def addPoints(self, segmentId: str, include=(), exclude=()) -> None:
        """Further points (world RAS mm) about an organ; see setPoints."""
        lists = (self.choices.now.include, self.choices.now.exclude)
        known = [[self._frames.now(point) for point in points.get(segmentId, ())] for points in lists]
        self.setPoints(segmentId, [*known[0], *include], [*known[1], *exclude])

    def undo(self) -> bool:
        """Take the last decision back; False where there is none."""
        return self.choices.undo() and self._update()

    def redo(self) -> bool:
        """Decide again what was taken back; False where there is nothing."""
        return self.choices.redo() and self._update()

    def centreOf(self, one: Suggestion) -> tuple[float, float, float]:
        """World RAS mm of a suggestion, wherever the segmentation is now."""
        return self._frames.now(one.centreRas)

    def regionOf(self, one: Suggestion) -> tuple[np.ndarray, Grid] | None:
        """(K, J, I) bool voxels that a suggestion would change and their Grid; None where they are not known (yet)."""
        organ = self._organs.get(one.segmentId)
        if organ is None or organ.regions is None:
            return None
        numbers, grid = organ.regions
        return numbers == one.number, grid

    def poll(self) -> bool:
        """Take an answer in and send the next request; True where something changed.

        :raises RefinementError: the engine or the scene cannot do what was decided; it is as before then.
        """
        changed = False
        if self._request is not None and self._request.answer.isFinished:
            request, self._request = self._request, None
            changed = self._take(request)
        if self._request is None:
            self._send()
        return changed

    def settle(self, seconds: float = WAIT_S) -> None:
        """Wait until all that was decided is in the scene, with its surfaces.

        :raises RefinementError: it cannot be done, or takes too long.
        """
        end = time.monotonic() + seconds
        while self.isBusy:
            self._changed = 0.0  # nobody decides meanwhile
            self.poll()
            if time.monotonic() > end:
                raise RefinementError(NO_ANSWER)
            time.sleep(0.005)

    def close(self) -> None:
        """Ask no more; files go."""
        self._ask, self._request = None, None
        if self._folder is not None:
            folder, self._folder = self._folder, None
            removeFolder(folder)

    def _check(self, segmentId: str) -> None:
        if self._ask is None:
            raise RefinementError(NO_ANSWER)
        if segmentId not in self._organs:
            raise RefinementError(f"'{segmentId}' was not refined; choose one of the segments of the summary.")
        self._review.checkPending(segmentId)

    def _update(self) -> bool:
        """Show at once what was decided; the scene follows."""
        choice, self._changed = self.choices.now, time.monotonic()
        for segmentId, organ in self._organs.items():
            isPut = organ.told is not None and organ.put == choice.concerns(segmentId, organ.found)
            taken = organ.told if isPut else set(choice.taken(organ.found))
            clicked = [one for one in organ.now if one.isClicked]
            organ.now = [
                replace(one, taken=one.number in taken, byHand=(segmentId, one.number) in choice.byHand)
                for one in organ.found
            ] + clicked
        return True

    def _next(self, hasRested: bool) -> tuple[str, str] | None:
        """Segment id of the organ to ask about next, and what for; surfaces only when nothing was decided lately."""
        if self._ask is None:
            return None
        pending = {key: organ for key, organ in self._organs.items() if self._review.isPending(key)}
        for key, organ in pending.items():
            if organ.put != self.choices.now.concerns(key, organ.found):
                return key, "voxels"
        for key, organ in pending.items():
            if organ.regions is None and organ.found:
                return key, "regions"
        for key, organ in pending.items():
            if hasRested and self.wantsSurface and not organ.hasSurface:
                return key, "surface"
        return None

    def _send(self) -> None:
        wanted = self._next(hasRested=time.monotonic() - self._changed >= REST_S)
        if wanted is None:
            return
        (segmentId, what), now = wanted, self.choices.now
        organ, folder = self._organs[segmentId], self._theFolder()
        files = {"output": folder / f"{organ.key}_{what}.nrrd"}
        state = None
        if what == "regions":
            fields = {"do": "suggestions"}
        else:
            state = now.concerns(segmentId, organ.found)
            taken, include, exclude = state
            fields = {"do": "decide", "taken": list(taken), "include": list(include), "exclude": list(exclude)}
            if what == "surface":
                files["surface"] = folder / f"{organ.key}.vtp"
        fields |= {"organ": organ.key, **{name: str(path) for name, path in files.items()}}
        try:
            self._request = Request(self._ask(**fields), segmentId, state, files, time.monotonic())
        except RefinementError:
            self._ask = None  # the engine is gone, and with it what it knew
            self._goBack(segmentId)
            raise

    def _take(self, request: Request) -> bool:
        organ, answer = self._organs[request.segmentId], request.answer
        if answer.error:
            self._giveUp(request)
            raise RefinementError(answer.error)
        box = answer.result["box"]
        grid = partOf(self._grid, box)
        voxels = readVoxels(request.files["output"])
        if request.wanted is None:
            organ.regions = voxels, grid
            return False
        if not self._review.isPending(request.segmentId):
            return False
        surface = None
        if "surface" in request.files:
            surface = readSurface(request.files["surface"], np.linalg.inv(self._toWorld))
        self._review.redecide(request.segmentId, voxels > 0, grid, surface)
        organ.put, organ.hasSurface = request.wanted, surface is not None
        told = suggestionsOf(request.segmentId, answer.result["suggestions"])
        organ.now = [one for one in organ.now if not one.isClicked] + [one for one in told if one.kind == CLICKED]
        organ.told = frozenset(one.number for one in told if one.taken)
        if request.wanted == self.choices.now.concerns(request.segmentId, organ.found):
            organ.now = [one if one.isClicked else replace(one, taken=one.number in organ.told) for one in organ.now]
        self.secondsOfLast = time.monotonic() - request.sent
        return True

    def _giveUp(self, request: Request) -> None:
        """The scene keeps what it shows: go back to the choice before, as far as there is one."""
        organ = self._organs[request.segmentId]
        if request.wanted is None:
            organ.regions = np.zeros((0, 0, 0), dtype=np.uint8), Grid(np.eye(4), (0, 0, 0), (0, 0, 0))
            return
        if "surface" in request.files:
            organ.hasSurface = True
            return
        self._goBack(request.segmentId)

    def _goBack(self, segmentId: str) -> None:
        organ = self._organs[segmentId]
        while organ.put != self.choices.now.concerns(segmentId, organ.found):
            if not self.choices.undo():
                organ.put = self.choices.now.concerns(segmentId, organ.found)
        self._update()

    def _theFolder(self):
        if self._folder is None:
            try:
                self._folder = newFolder(None)
            except OSError as error:
                raise RefinementError(f"Temporary files cannot be written ({error.strerror or error}).") from error
        return self._folder

    def __del__(self):
        with contextlib.suppress(Exception):  # while Python ends
            self.close()
