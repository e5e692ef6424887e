"""The review of a finished refinement: what changed, where most, accept, reject, blend, undo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .changeMap import Change, addChangeModel, addColours, commonRangeMm, largestChanges
from .errors import RefinementError
from .geometry import localToWorld
from .results import Results

GONE = "The segmentation with the results is no longer in the scene; refine again."


@dataclass(frozen=True)
class SummaryRow:
    """What the refinement did to one segment; see the package's documentation."""

    segmentId: str
    resultSegmentId: str
    modelNodeId: str
    name: str
    organ: str
    volumeBeforeMl: float
    volumeAfterMl: float
    largestMoveMm: float
    meanMoveMm: float
    dscToInput: float
    plausibility: str
    isPlausible: bool
    licence: str
    nonCommercial: bool
    device: str
    deviceReason: str
    state: str


class Review:
    """Results in the scene and what the user decides about them.

    :param scene: vtkMRMLScene.
    :param segmentationNode: the given segmentation.
    :param refined: list of Refined.
    :param options: RefinementOptions.
    :param toWorld: (4, 4) from local mm to world when the refinement started.
    :raises RefinementError: the scene does not take the results; it is as it was.
    """

    def __init__(self, scene, segmentationNode, refined, options, toWorld):
        self._scene, self._source, self._toWorld = scene, segmentationNode, toWorld
        ijkToWorld = (toWorld @ refined[0].grid.ijkToLocal)[:3, :3]
        self._voxelMl = abs(np.linalg.det(ijkToWorld)) / 1000.0
        self._results = Results(scene, segmentationNode, refined, options, np.linalg.norm(ijkToWorld, axis=0))
        self._models, self._colours, self._opacities = {}, None, []
        self._changes, self._next = None, 0
        try:
            self._results.write()
            self._addModels(refined)
        except Exception as error:
            self.undo()
            raise RefinementError(f"The results cannot be put into the scene ({error}); it is as it was.") from error

    @property
    def resultSegmentationNode(self):
        """Node that holds the results."""
        return self._results.node

    def summary(self) -> list[SummaryRow]:
        """One row for each segment, as it is now."""
        return [self._row(item) for item in self._results.items]

    def accept(self, segmentId: str) -> None:
        """Keep a result as it is now."""
        self._item(segmentId).state = "accepted"

    def reject(self, segmentId: str) -> None:
        """Take one result back; the given segment is as it was."""
        self._check()
        item = self._item(segmentId)
        item.state = "rejected"
        self._results.update()
        self._removeModel(segmentId)
        self._changes = None

    def blend(self, segmentId: str, fraction: float) -> None:
        """Make a result a mix of input (0) and refined organ (1)."""
        self._check()
        item = self._item(segmentId)
        if item.state == "rejected":
            raise RefinementError(f"'{item.refined.given.name}' was rejected; refine it again to blend it.")
        item.fraction = min(max(float(fraction), 0.0), 1.0)
        self._results.update()

    def nextLargestChange(self) -> Change | None:
        """The next place in the order of how far the surface moved; starts again after the last."""
        if self._changes is None:
            places = [
                (item.refined.given.segmentId, point, change)
                for item in self._results.items if item.state != "rejected"
                for point, change in largestChanges(item.refined.surface)
            ]  # fmt: skip
            self._changes, self._next = sorted(places, key=lambda place: -abs(place[2])), 0
        if not self._changes:
            return None
        segmentId, point, change = self._changes[self._next % len(self._changes)]
        self._next += 1
        toWorld = localToWorld(self._source) if self._scene.IsNodePresent(self._source) else self._toWorld
        position = toWorld[:3, :3] @ point + toWorld[:3, 3]
        return Change(segmentId, tuple(map(float, position)), change)

    def setOpacity(self, before: float, after: float, changeMap: bool = False) -> None:
        """Opacity (0..1) of the given and of the result segments in all views.

        :param changeMap: show the change map: in 3D, where nearly equal surfaces flicker, it stands for both.
        """
        self._check()
        for item in self._results.items:
            if not self._results.inPlace:
                self._fade(self._source, item.refined.given.segmentId, before, 0.0 if changeMap else before)
            if item.state != "rejected":
                self._fade(self._results.node, item.resultSegmentId, after, 0.0 if changeMap else after)
            model = self._models.get(item.refined.given.segmentId)
            if model is not None and self._scene.IsNodePresent(model):
                model.GetDisplayNode().SetOpacity(float(after))
                model.GetDisplayNode().SetVisibility(changeMap)

    def undo(self) -> None:
        """Take everything back that the refinement did to the scene."""
        for segmentId in list(self._models):
            self._removeModel(segmentId)
        if self._colours is not None and self._scene.IsNodePresent(self._colours):
            self._scene.RemoveNode(self._colours)
        for display, segmentId, values in self._opacities:
            if self._scene.IsNodePresent(display):
                display.SetSegmentOpacity3D(segmentId, values[0])
                display.SetSegmentOpacity2DFill(segmentId, values[1])
                display.SetSegmentOpacity2DOutline(segmentId, values[2])
        self._results.undo()
        self._colours, self._opacities, self._changes = None, [], []
        for item in self._results.items:
            item.state = "rejected"

    def _check(self) -> None:
        if not self._scene.IsNodePresent(self._results.node):
            raise RefinementError(GONE)

    def _item(self, segmentId: str):
        for item in self._results.items:
            if segmentId in (item.refined.given.segmentId, item.resultSegmentId):
                return item
        raise RefinementError(f"'{segmentId}' was not refined; choose one of the segments of the summary.")

    def _addModels(self, refined) -> None:
        self._colours = addColours(self._scene)
        rangeMm = commonRangeMm([one.surface for one in refined])
        for one in refined:
            name, transform = f"{one.given.name} (change)", self._source.GetTransformNodeID()
            model = addChangeModel(self._scene, name, one.surface, transform, self._colours, rangeMm)
            self._models[one.given.segmentId] = model

    def _removeModel(self, segmentId: str) -> None:
        model = self._models.pop(segmentId, None)
        if model is None or not self._scene.IsNodePresent(model):
            return
        display = model.GetDisplayNode()
        self._scene.RemoveNode(model)
        if display is not None and self._scene.IsNodePresent(display):
            self._scene.RemoveNode(display)

    def _fade(self, node, segmentId: str, opacity: float, opacity3D: float | None = None) -> None:
        display = node.GetDisplayNode() if self._scene.IsNodePresent(node) else None
        if display is None or node.GetSegmentation().GetSegment(segmentId) is None:
            return
        if not any(known is display and faded == segmentId for known, faded, _values in self._opacities):
            values = (
                display.GetSegmentOpacity3D(segmentId), display.GetSegmentOpacity2DFill(segmentId),
                display.GetSegmentOpacity2DOutline(segmentId),
            )  # fmt: skip
            self._opacities.append((display, segmentId, values))
        display.SetSegmentOpacity(segmentId, float(opacity))
        if opacity3D is not None:
            display.SetSegmentOpacity3D(segmentId, float(opacity3D))

    def _row(self, item) -> SummaryRow:
        given, report = item.refined.given, item.refined.report
        before, after = item.refined.before, self._results.voxelsOf(item)
        both, total = np.count_nonzero(before & after), np.count_nonzero(before) + np.count_nonzero(after)
        change, fraction = report["signed_change_mm"], 0.0 if item.state == "rejected" else item.fraction
        model, plausibility = self._models.get(given.segmentId), report["plausibility"]
        return SummaryRow(
            given.segmentId, item.resultSegmentId, (model.GetID() if model else None) or "", given.name,
            report["organ"], np.count_nonzero(before) * self._voxelMl, np.count_nonzero(after) * self._voxelMl,
            fraction * max(change["max_out"], change["max_in"]), fraction * change["mean_abs"],
            2.0 * both / max(total, 1), _inWords(plausibility), not plausibility["problems"], report["licence"],
            report["non_commercial"], report["device"], report["device_reason"], item.state,
        )  # fmt: skip


def _inWords(plausibility: dict) -> str:
    """How a given organ compares with the training cases."""
    if plausibility["problems"]:
        return "; ".join(plausibility["problems"])
    return f"as in the training cases (volume {plausibility['volume_z']:+.1f} SD)"
