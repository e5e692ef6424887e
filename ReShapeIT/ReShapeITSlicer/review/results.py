"""Refined organs in the scene: written into segments as the user chose, changed by the review, taken back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import vtk

from ..exchange.exchange import Refined
from ..geometry import Grid, toGrid
from ..options import IN_PLACE, KEEP_NEIGHBOURS, NEW_SEGMENTATION, TAKE_FROM_NEIGHBOURS
from ..segmentVoxels import newSegment, renewSurface, restoreSegment, savedSegment, shareLabelmaps, writeMask
from .blending import Blend
from .neighbours import Neighbours


@dataclass(eq=False)
class Result:
    """One organ under review.

    :param refined: before and after.
    :param resultSegmentId: of the segment that holds it.
    :param after: (K, J, I) voxels at blend 1, after the overlap policy.
    :param blend: between input and ``after``.
    :param saved: the segment as it was, where the result is in its place.
    :param fraction: 0 input .. 1 refined.
    :param state: "pending", "accepted" or "rejected".
    :param written: voxels that the segment holds now.
    :param hasSurface: ``refined.surface`` is that of ``refined.after``; otherwise it is on its way.
    :param isStale: the segment's closed surface is not that of its voxels.
    """

    refined: Refined
    resultSegmentId: str
    after: np.ndarray
    blend: Blend
    saved: object = None
    fraction: float = 1.0
    state: str = "pending"
    written: np.ndarray | None = None
    hasSurface: bool = True
    isStale: bool = False


class Results:
    """The segments of a finished refinement.

    :param scene: vtkMRMLScene.
    :param segmentationNode: the given segmentation.
    :param refined: list of Refined.
    :param options: RefinementOptions.
    :param spacing_mm: (3,) world voxel edges along i, j, k.
    """

    def __init__(self, scene, segmentationNode, refined, options, spacing_mm):
        self._scene, self._options, self._source = scene, options, segmentationNode
        self._neighbours = Neighbours(segmentationNode.GetSegmentation(), refined)
        self.node, self.items, self._spacing_mm = segmentationNode, [], spacing_mm
        for index, one in enumerate(refined):
            keep = options.overlapPolicy == KEEP_NEIGHBOURS
            after = self._neighbours.kept(index, one.after) if keep else one.after
            self.items.append(Result(one, "", after, Blend(one.before, after, spacing_mm)))

    def write(self) -> None:
        """Put all results into the scene."""
        if self._options.resultMode == NEW_SEGMENTATION:
            self.node = _emptyLike(self._scene, self._source)
        for item in self.items:
            self._add(item)
        self.update()
        shareLabelmaps(self.segmentation)

    @property
    def segmentation(self):
        """vtkSegmentation that holds the results."""
        return self.node.GetSegmentation()

    @property
    def inPlace(self) -> bool:
        """True where results are in the place of the given segments."""
        return self._options.resultMode == IN_PLACE

    def update(self) -> None:
        """Write what changed since the last time: blends, rejections, what neighbours lose."""
        masks = self._present()
        for item, mask in zip(self.items, masks, strict=True):
            if self.segmentation.GetSegment(item.resultSegmentId) is None:
                continue
            if mask is None:
                self._takeOut(item)
            elif item.written is None or not np.array_equal(mask, item.written):
                surface = _surfaceFor(item, mask)
                later = not item.hasSurface
                writeMask(self.segmentation, item.resultSegmentId, mask, item.refined.grid, surface, later)
                item.written, item.isStale = mask, later
            elif item.isStale and item.hasSurface:
                self.renew(item)
        if self._options.overlapPolicy == TAKE_FROM_NEIGHBOURS and self._options.resultMode != NEW_SEGMENTATION:
            self._neighbours.take(masks)

    def renew(self, item: Result) -> None:
        """Let a closed surface that was left behind follow the voxels."""
        if item.isStale and item.written is not None:
            renewSurface(self.segmentation, item.resultSegmentId, _surfaceFor(item, item.written))
        item.isStale = False

    def redecide(self, item: Result, mask: np.ndarray, grid: Grid, surface=None) -> None:
        """Another refined organ in the place of one; blend and state stay as they are.

        :param mask: (K, J, I) bool voxels on ``grid``, a part of the lattice of the results.
        :param surface: vtkPolyData of the mask as in Refined; None keeps the old one for what it says about changes.
        """
        index, refined = self.items.index(item), item.refined
        box, before = refined.grid.enlarged(grid.cropped(mask)) if mask.any() else refined.grid, refined.before
        if box.size != refined.grid.size:
            before = toGrid(before, refined.grid, box)
            if item.written is not None:
                item.written = toGrid(item.written, refined.grid, box)
            self._neighbours.widen(index, box, before)
        after = toGrid(mask, grid, box)
        item.refined = replace(refined, grid=box, before=before, after=after, surface=surface or refined.surface)
        keep = self._options.overlapPolicy == KEEP_NEIGHBOURS
        item.after = self._neighbours.kept(index, after) if keep else after
        item.blend, item.hasSurface = Blend(before, item.after, self._spacing_mm), surface is not None

    def undo(self) -> None:
        """Take all segments back."""
        if self._scene.IsNodePresent(self._source):
            self._neighbours.restore()
        if self.node is self._source or not self._scene.IsNodePresent(self.node):
            for item in self.items if self._scene.IsNodePresent(self._source) else ():
                if self.segmentation.GetSegment(item.resultSegmentId) is not None:
                    self._takeOut(item)
            shareLabelmaps(self.segmentation)
        else:
            display = self.node.GetDisplayNode()
            self._scene.RemoveNode(self.node)
            if display is not None:
                self._scene.RemoveNode(display)

    def voxelsOf(self, item: Result) -> np.ndarray:
        """(K, J, I) what a result is now; of a rejected one what was given."""
        return item.refined.before if item.state == "rejected" or item.written is None else item.written

    def _add(self, item: Result) -> None:
        """Make the segment of a result, or save the one it takes the place of."""
        given, source = item.refined.given, self._source.GetSegmentation()
        if self.inPlace:
            item.resultSegmentId, item.saved = given.segmentId, savedSegment(source, given.segmentId)
            return
        segment = source.GetSegment(given.segmentId)
        segmentId, before = given.segmentId, ""
        if self.node is self._source:
            index = source.GetSegmentIndex(given.segmentId) + 1
            before = source.GetNthSegmentID(index) if index < source.GetNumberOfSegments() else ""
            segmentId = source.GenerateUniqueSegmentID(f"{given.segmentId}_refined")
        mask, grid = item.after, item.refined.grid
        added = newSegment(self.segmentation, segment, segmentId, mask, grid, before, _surfaceFor(item, mask))
        name = segment.GetName() or given.segmentId
        added.SetName(name if self.node is not self._source else f"{name} (refined)")
        item.resultSegmentId, item.written = segmentId, mask

    def _takeOut(self, item: Result) -> None:
        if item.saved is not None:
            restoreSegment(self.segmentation, item.resultSegmentId, item.saved)
        else:
            self.segmentation.RemoveSegment(item.resultSegmentId)
        item.written = None

    def _present(self) -> list[np.ndarray | None]:
        """Voxels of each result on its box, None where it is rejected.

        No two claim a voxel that was not in both inputs: what is back as given goes first, then what is fully
        refined, then blends.
        """
        order = sorted(range(len(self.items)), key=lambda index: self._rank(self.items[index]))
        masks, placed = [None] * len(self.items), []
        for index in order:
            item = self.items[index]
            if item.state == "rejected" and not self.inPlace:
                continue
            rejected = item.state == "rejected"
            mask = item.refined.before if rejected else item.blend.at(item.fraction)
            for other, otherMask in placed if not rejected else ():
                grid = item.refined.grid
                overlap = mask & toGrid(otherMask, other.refined.grid, grid)
                overlap &= ~(item.refined.before & toGrid(other.refined.before, other.refined.grid, grid))
                mask = mask & ~overlap if overlap.any() else mask
            placed.append((item, mask))
            masks[index] = None if rejected else mask
        self._giveBack(masks)
        return masks

    def _giveBack(self, masks) -> None:
        """What one organ ceded to another that does not take it now stays, in place, with the first: no new gap."""
        if len(self.items) < 2:
            return
        claims = [item.refined.before if mask is None else mask for item, mask in zip(self.items, masks, strict=True)]
        for index, item in enumerate(self.items):
            left = None if masks[index] is None else item.refined.before & ~masks[index]
            if left is None or not left.any():
                continue
            ceded, taken = np.zeros_like(left), np.zeros_like(left)
            for other, claimed in zip(self.items, claims, strict=True):
                if other is not item:
                    ceded |= toGrid(other.after, other.refined.grid, item.refined.grid)
                    taken |= toGrid(claimed, other.refined.grid, item.refined.grid)
            back = left & ceded & ~taken
            if back.any():
                masks[index] = claims[index] = masks[index] | back

    @staticmethod
    def _rank(item: Result) -> int:
        return 0 if item.state == "rejected" else 1 if item.fraction == 1.0 else 2


def _surfaceFor(item: Result, mask: np.ndarray):
    """A copy of the refined surface where it is that of the mask, else None; finer than what voxels give."""
    isRefined = mask is item.refined.after or np.array_equal(mask, item.refined.after)
    if not item.hasSurface or not isRefined:
        return None
    surface = vtk.vtkPolyData()
    surface.DeepCopy(item.refined.surface)
    return surface


def _emptyLike(scene, source):
    """A segmentation node without segments that lies as another does and has its geometry."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{source.GetName()} (refined)")
    node.CreateDefaultDisplayNodes()
    role = node.GetReferenceImageGeometryReferenceRole()
    node.GetSegmentation().SetSourceRepresentationName(source.GetSegmentation().GetSourceRepresentationName())
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    node.SetNodeReferenceID(role, source.GetNodeReferenceID(role))
    name = "Reference image geometry"
    node.GetSegmentation().SetConversionParameter(name, source.GetSegmentation().GetConversionParameter(name))
    return node
