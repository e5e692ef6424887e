"""Segments that are not refined, where a refined organ reaches into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Grid, toGrid
from ..segmentVoxels import LABELMAP, ownMask, restoreSegment, savedSegment, segmentGrid, segmentMask, writeMask


@dataclass(frozen=True, eq=False)
class _Taken:
    """What a neighbour lost.

    :param saved: the segment before.
    :param voxels, left: (K, J, I) bool what was taken and what stayed, on ``grid``.
    """

    saved: object
    voxels: np.ndarray
    left: np.ndarray
    grid: Grid


class Neighbours:
    """The segments beside the refined ones that border on them, as they were.

    A segment that shares more than half of the smaller of both with a refined one overlaps it on purpose (a whole
    lung around a lobe, an earlier result) and does not count.

    :param segmentation: vtkSegmentation.
    :param refined: list of Refined.
    """

    def __init__(self, segmentation, refined):
        self._segmentation, self._taken = segmentation, {}
        chosen = {one.given.segmentId for one in refined}
        ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        self._ids = [segmentId for segmentId in ids if segmentId not in chosen]
        self._masks = [self._near(one.grid, one.before) for one in refined]
        self._grids = [one.grid for one in refined]
        self._before = [one.before for one in refined]

    def widen(self, index: int, grid: Grid, before: np.ndarray) -> None:
        """Look around a refined organ that has a larger box now."""
        self._masks[index] = self._near(grid, before)
        self._grids[index], self._before[index] = grid, before

    def _near(self, grid, before) -> dict[str, np.ndarray]:
        """(K, J, I) voxels, on the box of one refined organ, of each neighbour as it was given."""
        near = {}
        for segmentId in self._ids:
            if self._segmentation.GetSegment(segmentId) is None:
                continue
            mask = segmentMask(self._segmentation, segmentId, grid)
            if segmentId in self._taken:
                mask = mask | toGrid(self._taken[segmentId].voxels, self._taken[segmentId].grid, grid)
            smaller = min(np.count_nonzero(before), max(np.count_nonzero(mask), 1))
            if mask.any() and np.count_nonzero(mask & before) <= 0.5 * smaller:
                near[segmentId] = mask
        return near

    def kept(self, index: int, after: np.ndarray) -> np.ndarray:
        """What is left of the refined voxels of an organ when neighbours keep theirs."""
        for mask in self._masks[index].values():
            after = after & ~(mask & ~self._before[index])
        return after

    def take(self, masks) -> None:
        """Let neighbours lose what the organs newly cover, and have back what they no longer do.

        :param masks: present voxels of each organ on its box, None for an organ that is not there.
        """
        lost = {}
        for index, present in enumerate(masks):
            for segmentId, mask in self._masks[index].items() if present is not None else ():
                new = present & ~self._before[index] & mask
                if new.any():
                    lost.setdefault(segmentId, []).append((new, self._grids[index]))
        for segmentId in {*lost, *self._taken}:
            if self._segmentation.GetSegment(segmentId) is not None:
                self._write(segmentId, lost.get(segmentId, []))

    def restore(self) -> None:
        """Give all voxels back."""
        for segmentId in self._taken:
            if self._segmentation.GetSegment(segmentId) is not None:
                self._giveBack(segmentId)
        self._taken = {}

    def _write(self, segmentId: str, pieces) -> None:
        segmentation = self._segmentation
        if segmentId in self._taken:
            self._giveBack(segmentId)
            del self._taken[segmentId]
        if not pieces:
            return
        saved = savedSegment(segmentation, segmentId)
        if segmentation.GetSourceRepresentationName() == LABELMAP:
            before, grid = ownMask(segmentation, segmentId)
        else:
            grid = pieces[0][1]
            for _new, other in pieces[1:]:
                grid = grid.enlarged(other)
            before, grid = self._wholeSurface(segmentId, grid)
        left = before.copy()
        for new, own in pieces:
            left &= ~toGrid(new, own, grid)
        writeMask(segmentation, segmentId, left, grid)
        self._taken[segmentId] = _Taken(saved, before & ~left, left, grid)

    def _giveBack(self, segmentId: str) -> None:
        """A segment as it was; where the user drew on it meanwhile, only the voxels that were taken."""
        segmentation, taken = self._segmentation, self._taken[segmentId]
        if segmentation.GetSourceRepresentationName() == LABELMAP:
            mask, own = ownMask(segmentation, segmentId)
            grid = taken.grid.enlarged(own) if mask.size else taken.grid
            now = toGrid(mask, own, grid)
            if not np.array_equal(now, toGrid(taken.left, taken.grid, grid)):
                writeMask(segmentation, segmentId, now | toGrid(taken.voxels, taken.grid, grid), grid)
                return
        restoreSegment(segmentation, segmentId, taken.saved)

    def _wholeSurface(self, segmentId: str, grid):
        grid = grid.enlarged(segmentGrid(self._segmentation, segmentId))
        return segmentMask(self._segmentation, segmentId, grid), grid
