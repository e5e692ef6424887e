"""A refinement of segments of a scene from start to review."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .engine import CANCELLED, Engine, EngineSettings, EngineStatus
from .errors import RefinementError
from .exchange.exchange import Exchange
from .geometry import toGrid
from .options import RefinementOptions
from .review.review import Review
from .review.summary import SummaryRow
from .segmentVoxels import segmentGrid, segmentMask
from .suggestions.deciding import Deciding
from .suggestions.suggestion import Suggestion
from .templates import chosenTemplate
from .wording import Told, inWords

__all__ = ["RefinementOptions", "RefinementTask", "Review", "SummaryRow", "TaskStatus"]

TaskStatus = EngineStatus
DELETED = "{} was deleted while it was being refined; nothing was changed."
CHANGED = "The segment '{}' was changed while it was being refined; nothing was written, refine it again."
RESTRICTED = "For non-commercial use only ({licences}): {models}"
NO_MEMORY = "There is too little free memory for the results; close other programs and refine again."
NOT_IMPORTED = "The results cannot be put into the scene, nothing was changed; the log has the details."


class RefinementTask:
    """Refines segments in the background and puts the results into the scene.

    :param scene: vtkMRMLScene.
    :param segmentationNode: vtkMRMLSegmentationNode of that scene.
    :param templates: template name or file by segment id.
    :param options: RefinementOptions.
    :param referenceVolumeNode: volume whose grid the results get; None for the segmentation's own geometry.
    :param engineSettings: EngineSettings.
    :param segmentationsLogic: vtkSlicerSegmentationsModuleLogic; accepted for callers that have one, not needed.
    :param imageNode: volume that was segmented, which is asked where the organ ends; None for shape alone.
    :param resident: ResidentEngine that refines and stays for what is decided afterwards; None starts a process for
        this refinement alone, whose suggestions stay as it decided them.
    """

    def __init__(
        self,
        scene,
        segmentationNode,
        templates,
        options=None,
        referenceVolumeNode=None,
        engineSettings=None,
        segmentationsLogic=None,
        imageNode=None,
        resident=None,
    ):
        self._scene, self._node, self._templates = scene, segmentationNode, dict(templates)
        self._nodeId = segmentationNode.GetID() if segmentationNode is not None else None
        self._options, self._volume = options or RefinementOptions(), referenceVolumeNode
        self._image, self._resident = imageNode, resident
        self._settings = engineSettings or EngineSettings()
        self._engine, self._exchange, self._trace = None, None, ""
        self.review: Review | None = None
        self.deciding: Deciding | None = None
        self.status = TaskStatus()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that the user should read: licences, changes of device, fall-backs."""
        told = self._engine.toldNotices if self._engine else ()
        return tuple(dict.fromkeys(map(self._exchange.inWords, told)))

    @property
    def log(self) -> str:
        """What happened, for a report of a fault: commands, versions, all that the engine wrote, tracebacks."""
        return "\n".join([*(self._engine.log if self._engine else ()), *self._trace.splitlines()])

    @property
    def resultSegmentationNode(self):
        """Node that holds the results, None before there are any."""
        return self.review.resultSegmentationNode if self.review else None

    def start(self) -> None:
        """Check the input, write it to a file and start the engine.

        :raises RefinementError: anything is wrong; nothing was started and the scene is unchanged.
        """
        if self.status.state != "idle":
            raise RefinementError("This refinement was started already; make a new one.")
        if self._node is None or not self._scene.IsNodePresent(self._node):
            raise RefinementError("The segmentation is not in the scene; choose another.")
        if self._volume is not None and not self._scene.IsNodePresent(self._volume):
            raise RefinementError("The reference volume is not in the scene; choose another.")
        self._checkLicences()
        self._exchange = Exchange(
            self._node, self._templates, self._volume, self._settings.temporaryFolder, self._image
        )
        try:
            arguments = [*self._exchange.write(), *self._options.arguments()]
            self._engine = self._resident.engine(self._settings) if self._resident else Engine(self._settings)
            self._engine.start(arguments)
        except RefinementError:
            self._exchange.remove()
            raise
        self.status = self._engine.status

    def poll(self) -> TaskStatus:
        """Where the refinement is; when the engine is done this also puts the results into the scene."""
        if self.status.state != "running":
            return self.status
        status = self._engine.poll()
        if status.state == "done":
            self.status = self._import()
        elif status.state == "failed":
            self.status = replace(status, message=self._exchange.inWords(self._engine.error))
        else:
            self.status = status
        if self.status.isFinished:
            self._exchange.remove()
        return self.status

    def wait(self, callback: Callable[[TaskStatus], None] | None = None) -> TaskStatus:
        """Poll until the end; ``callback(status)`` is called about ten times a second."""
        while not self.poll().isFinished:
            if callback:
                callback(self.status)
            time.sleep(0.1)
        return self.status

    def cancel(self) -> None:
        """Stop; the engine is gone within a second and the scene is as it was."""
        if self.status.isFinished:
            return
        if self._engine:
            self._engine.cancel()
        if self._exchange:
            self._exchange.remove()
        self.status = TaskStatus("cancelled", self.status.stage, self.status.fraction, None, CANCELLED)

    def summary(self) -> list[SummaryRow]:
        """What changed, one row for each segment; empty where the refinement is not done."""
        return self.review.summary() if self.review else []

    def accept(self, segmentId: str) -> None:
        """See Review.accept."""
        self._reviewed().accept(segmentId)

    def reject(self, segmentId: str) -> None:
        """See Review.reject."""
        self._reviewed().reject(segmentId)

    def blend(self, segmentId: str, fraction: float) -> None:
        """See Review.blend."""
        self._reviewed().blend(segmentId, fraction)

    def nextLargestChange(self):
        """See Review.nextLargestChange."""
        return self._reviewed().nextLargestChange()

    def setOpacity(self, before: float, after: float, changeMap: bool = False) -> None:
        """See Review.setOpacity."""
        self._reviewed().setOpacity(before, after, changeMap)

    def undo(self) -> None:
        """See Review.undo."""
        self._reviewed().undo()
        if self.deciding is not None:
            self.deciding.close()

    def suggestions(self) -> list[Suggestion]:
        """What the engine found, organ by organ, what matters first; empty where the refinement is not done."""
        return self.deciding.suggestions() if self.deciding else []

    def take(self, segmentId: str, number: int) -> None:
        """Take a suggestion and wait until the scene shows it; see Deciding.decide."""
        self._decided(lambda deciding: deciding.decide(segmentId, number, True))

    def leave(self, segmentId: str, number: int) -> None:
        """Leave a suggestion and wait until the scene shows it; see Deciding.decide."""
        self._decided(lambda deciding: deciding.decide(segmentId, number, False))

    def setLeast(self, probability: float | None) -> None:
        """Take all likelier suggestions that nobody decided, and wait; see Deciding.setLeast."""
        self._decided(lambda deciding: deciding.setLeast(probability))

    def include(self, points, segmentId: str = "") -> None:
        """Points (world RAS mm) that belong to an organ; it can be left out where one was refined."""
        self._decided(lambda deciding: deciding.addPoints(self._theOrgan(segmentId), include=points))

    def exclude(self, points, segmentId: str = "") -> None:
        """Points (world RAS mm) that do not belong to an organ; it can be left out where one was refined."""
        self._decided(lambda deciding: deciding.addPoints(self._theOrgan(segmentId), exclude=points))

    def undoDecision(self) -> None:
        """Take the last decision about suggestions and points back."""
        self._decided(lambda deciding: deciding.undo())

    def checkUnchanged(self) -> None:
        """The results are about the segments as they were exported.

        :raises RefinementError: a segment was changed or deleted since.
        """
        if self._scene.GetNodeByID(self._nodeId) is not self._node:
            raise RefinementError(DELETED.format("The segmentation"))
        segmentation = self._node.GetSegmentation()
        for given in self._exchange.given:
            if segmentation.GetSegment(given.segmentId) is None:
                raise RefinementError(DELETED.format(f"The segment '{self._exchange.nameOf(given)}'"))
            if not _isAsGiven(segmentation, given):
                raise RefinementError(CHANGED.format(self._exchange.nameOf(given)))

    def _decided(self, decide: Callable[[Deciding], object]) -> None:
        self._reviewed()
        decide(self.deciding)
        self.deciding.settle()

    def _theOrgan(self, segmentId: str) -> str:
        rows = self.summary()
        if segmentId or len(rows) == 1:
            return segmentId or rows[0].segmentId
        raise RefinementError("Several organs were refined; say which one the points are about.")

    def _reviewed(self) -> Review:
        if self.review is None:
            raise RefinementError("There is no result to review; the refinement is not done.")
        return self.review

    def _import(self) -> TaskStatus:
        try:
            self.checkUnchanged()
            refined = self._exchange.read()
            toWorld = self._exchange.localToWorld
            self.review = Review(self._scene, self._node, refined, self._options, toWorld)
            ask = self._engine.ask if self._resident else None
            # The engine reads the image again when a point is set.
            folder = self._exchange.release() if self._resident else None
            given, grid = self._exchange.given, self._exchange.grid
            self.deciding = Deciding(self.review, given, grid, self._node, toWorld, ask, folder)
        except Exception as error:  # noqa: BLE001 - becomes the task's status
            self._trace = traceback.format_exc()
            text = NO_MEMORY if isinstance(error, MemoryError) else NOT_IMPORTED
            text = str(error) if isinstance(error, RefinementError) else text
            return TaskStatus("failed", "import", 1.0, None, text, "import")
        return TaskStatus("done", "done", 1.0, 0.0, "")

    def _checkLicences(self) -> None:
        """The engine asks for the same word, and for the networks as well; here no time is lost."""
        if self._options.nonCommercial:
            return
        chosen = dict.fromkeys(chosenTemplate(name) for name in self._templates.values())
        restricted = [choice for choice in chosen if choice.nonCommercial]
        if restricted:
            fields = {"models": ", ".join(f"template {choice.name}" for choice in restricted)}
            fields["licences"] = ", ".join(sorted({choice.licence for choice in restricted}))
            told = Told("licence.non_commercial", RESTRICTED, template=RESTRICTED, fields=fields)
            raise RefinementError(inWords(told), told.code)


def _isAsGiven(segmentation, given) -> bool:
    """True where a segment has exactly the voxels that it had, also outside of the box that held them."""
    try:
        grid = given.grid.enlarged(segmentGrid(segmentation, given.segmentId))
    except RefinementError:  # it is empty now
        return False
    return np.array_equal(segmentMask(segmentation, given.segmentId, grid), toGrid(given.mask, given.grid, grid))
