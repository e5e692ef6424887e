"""The review of a finished refinement: what changed, where most, accept, reject, blend, undo."""

from __future__ import annotations

import numpy as np

from ..errors import RefinementError
from ..geometry import localToWorld
from ..observers import Observers
from ..segmentVoxels import segmentName
from .changeMap import Change, ChangeMap, largestChanges, statisticsMm
from .display import ReviewDisplay
from .results import Results
from .summary import SummaryRow, rowOf

GONE = "The segmentation with the results is no longer in the scene; refine again."
UNDONE = "Everything was taken back; refine again."
REJECTED = "'{}' was rejected; refine it again to {} it."
ACCEPTED = "'{}' was accepted; its suggestions stay as they are."
DELETED = "The result of '{}' was deleted; refine again."


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
        ids, segmentation = [one.given.segmentId for one in refined], segmentationNode.GetSegmentation()
        self._names = {segmentId: segmentName(segmentation, segmentId) for segmentId in ids}
        self._counts = {}
        self._results = Results(scene, segmentationNode, refined, options, np.linalg.norm(ijkToWorld, axis=0))
        self._map, self._displays, self._look = ChangeMap(scene, segmentationNode), {}, None
        self._changes, self._next, self._undone, self._observers = None, 0, False, Observers()
        try:
            self._results.write()
            self._map.add(refined, self._names)
        except Exception as error:
            self.undo()
            raise RefinementError(f"The results cannot be put into the scene ({error}); it is as it was.") from error
        self._observe()

    @property
    def resultSegmentationNode(self):
        """Node that holds the results."""
        return self._results.node

    def summary(self) -> list[SummaryRow]:
        """One row for each segment, as it is now."""
        return [self._row(item) for item in self._results.items]

    def accept(self, segmentId: str) -> None:
        """Keep a result as it is now; it and the given segment look again as the user chose.

        :raises RefinementError: it was rejected or deleted.
        """
        item = self._present(segmentId, "accept")
        self._results.renew(item)
        item.state = "accepted"
        self._decided(item)

    def reject(self, segmentId: str) -> None:
        """Take one result back; the given segment is and looks as it was.

        :raises RefinementError: the results are gone.
        """
        self._check()
        item = self._item(segmentId)
        item.state = "rejected"
        self._results.update()
        self._changes = None
        self._decided(item)

    def blend(self, segmentId: str, fraction: float) -> None:
        """Make a result a mix of input (0) and refined organ (1).

        :raises RefinementError: it was rejected or deleted.
        """
        self._present(segmentId, "blend").fraction = min(max(float(fraction), 0.0), 1.0)
        self._results.update()

    def redecide(self, segmentId: str, mask: np.ndarray, grid, surface=None) -> None:
        """Put another refined organ into the place of one that is not decided; its blend stays.

        :param mask: (K, J, I) bool voxels on ``grid``, a Grid of the results' lattice.
        :param surface: vtkPolyData of it in local mm with its change; None where it is not known yet.
        :raises RefinementError: it was accepted, rejected or deleted.
        """
        self.checkPending(segmentId)
        item = self._item(segmentId)
        self._results.redecide(item, mask, grid, surface)
        change = statisticsMm(surface) if surface is not None else None
        item.refined.report["signed_change_mm"] = change
        if surface is not None:
            self._map.update(item.refined.given.segmentId, surface)
            self._changes = None
        self._results.update()

    def checkPending(self, segmentId: str) -> None:
        """Complain about a result that is decided.

        :raises RefinementError: it was accepted, rejected or deleted.
        """
        if self._present(segmentId, "change").state == "accepted":
            raise RefinementError(ACCEPTED.format(self._names[segmentId]))

    def reportOf(self, segmentId: str) -> dict:
        """What the engine reported about a result."""
        return self._item(segmentId).refined.report

    def surfaceOf(self, segmentId: str):
        """vtkPolyData (local mm) of a result."""
        return self._item(segmentId).refined.surface

    def isPending(self, segmentId: str) -> bool:
        """True where a result is neither accepted nor rejected and still there."""
        item = self._item(segmentId)
        there = not self._undone and self._scene.IsNodePresent(self._results.node)
        return there and item.state == "pending" and bool(self._results.segmentation.GetSegment(item.resultSegmentId))

    def nextLargestChange(self) -> Change | None:
        """The next place in the order of how far the surface moved; starts again after the last."""
        if self._changes is None:
            places = [
                (item.refined.given.segmentId, point, change)
                for item in self._results.items
                if item.state != "rejected"
                for point, change in largestChanges(item.refined.surface)
            ]
            self._changes, self._next = sorted(places, key=lambda place: -abs(place[2])), 0
        if not self._changes:
            return None
        segmentId, point, change = self._changes[self._next % len(self._changes)]
        self._next += 1
        toWorld = localToWorld(self._source) if self._scene.IsNodePresent(self._source) else self._toWorld
        position = toWorld[:3, :3] @ point + toWorld[:3, 3]
        return Change(segmentId, tuple(map(float, position)), change)

    def centreOf(self, segmentId: str) -> tuple[float, float, float] | None:
        """Centre (world RAS mm) of a result, of the given segment where there is none; None of an empty segment."""
        item = self._item(segmentId)
        for node, ownId in ((self._results.node, item.resultSegmentId), (self._source, item.refined.given.segmentId)):
            if self._scene.IsNodePresent(node) and node.GetSegmentation().GetSegment(ownId) is not None:
                centre = node.GetSegmentCenterRAS(ownId)
                return tuple(centre) if centre else None
        return None

    def setOpacity(self, before: float, after: float, changeMap: bool = False) -> None:
        """How visible given and result segments that are not decided are in all views.

        :param before: opacity (0..1) of the given segments, as a share of what the user chose for them.
        :param after: of the result segments.
        :param changeMap: show the change map: in 3D, where nearly equal surfaces flicker, it stands for both.
        :raises RefinementError: the results are gone.
        """
        self._check()
        if any(item.state == "pending" for item in self._results.items):
            self._observe()
            self._look = float(before), float(after), bool(changeMap)
            self._show()

    def keepChangeMap(self) -> list[str]:
        """Leave the models of the change map, hidden, in the scene when the review ends; returns their ids."""
        return self._map.keep()

    def close(self) -> None:
        """End the review: all segments look as the user chose, the change map is removed; the results stay."""
        self._observers.remove()
        for display in self._displays.values():
            display.close()
        self._displays, self._look = {}, None
        self._map.close()

    def undo(self) -> None:
        """Take everything back that the refinement did to the scene; nothing where that was done before."""
        self.close()
        if self._undone:
            return
        self._undone, self._changes = True, []
        self._results.undo()
        for item in self._results.items:
            item.state = "rejected"

    def __del__(self):
        if getattr(self, "_observers", None):  # nobody is left to decide
            self.close()

    def _observe(self) -> None:
        """End with the scene, and when a node that the review shows is deleted."""
        if not self._observers:
            self._observers.add(self._scene, self._scene.StartCloseEvent, self.close)
            self._observers.add(self._scene, self._scene.NodeRemovedEvent, self._onNodeRemoved)

    def _onNodeRemoved(self) -> None:
        gone = not self._scene.IsNodePresent(self._results.node)
        if gone or any(display.isBroken for display in self._displays.values()):
            self.close()

    def _decided(self, item) -> None:
        self._map.remove(item.refined.given.segmentId)
        if all(item.state != "pending" for item in self._results.items):
            self.close()
        elif self._look is not None:
            self._show()

    def _show(self) -> None:
        """Views as they were chosen by setOpacity."""
        before, after, changeMap = self._look
        nodes = {id(node): node for node in (self._source, self._results.node)}
        factors = {key: {} for key in nodes}
        for item in self._results.items:
            if item.state != "pending":
                continue
            mapped = changeMap and self._map.modelId(item.refined.given.segmentId)
            if not self._results.inPlace:
                factors[id(self._source)][item.refined.given.segmentId] = before, 0.0 if mapped else before
            factors[id(self._results.node)][item.resultSegmentId] = after, 0.0 if mapped else after
        for key, node in nodes.items():
            self._displays.setdefault(key, ReviewDisplay(self._scene, node)).fade(factors[key])
        self._map.show(changeMap, after)

    def _check(self) -> None:
        if self._undone:
            raise RefinementError(UNDONE)
        if not self._scene.IsNodePresent(self._results.node):
            raise RefinementError(GONE)

    def _present(self, segmentId: str, what: str):
        """The item of a result that can still be changed."""
        self._check()
        item = self._item(segmentId)
        name = self._names[item.refined.given.segmentId]
        if item.state == "rejected":
            raise RefinementError(REJECTED.format(name, what))
        if self._results.segmentation.GetSegment(item.resultSegmentId) is None:
            raise RefinementError(DELETED.format(name))
        return item

    def _item(self, segmentId: str):
        for item in self._results.items:
            if segmentId in (item.refined.given.segmentId, item.resultSegmentId):
                return item
        raise RefinementError(f"'{segmentId}' was not refined; choose one of the segments of the summary.")

    def _row(self, item) -> SummaryRow:
        segmentId = item.refined.given.segmentId
        counts = self._voxelCounts(item)
        return rowOf(item, self._names[segmentId], self._map.modelId(segmentId), counts, self._voxelMl)

    def _voxelCounts(self, item) -> tuple[int, int, int]:
        """Voxels of an organ before, after and both; counted again only when the result changed."""
        segmentId, after = item.refined.given.segmentId, self._results.voxelsOf(item)
        known = self._counts.get(segmentId)
        if known is None or known[0] is not after:
            before = item.refined.before
            counts = np.count_nonzero(before), np.count_nonzero(after), np.count_nonzero(before & after)
            known = self._counts[segmentId] = after, tuple(map(int, counts))
        return known[1]
