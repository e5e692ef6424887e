"""Segments that are not refined, where a refined organ reaches into them."""

from __future__ import annotations

import numpy as np

from .geometry import toGrid
from .segmentVoxels import LABELMAP, ownMask, restoreSegment, savedSegment, segmentGrid, segmentMask, writeMask


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
        self._masks = [
            self._near(one.grid, [segmentId for segmentId in ids if segmentId not in chosen], one.before)
            for one in refined
        ]
        self._grids = [one.grid for one in refined]
        self._before = [one.before for one in refined]

    def _near(self, grid, ids, before) -> dict[str, np.ndarray]:
        """(K, J, I) voxels, on the box of one refined organ, of each neighbour."""
        near = {}
        for segmentId in ids:
            mask = segmentMask(self._segmentation, segmentId, grid)
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
        for segmentId, saved in self._taken.items():
            if self._segmentation.GetSegment(segmentId) is not None:
                restoreSegment(self._segmentation, segmentId, saved)
        self._taken = {}

    def _write(self, segmentId: str, pieces) -> None:
        segmentation = self._segmentation
        if segmentId in self._taken:
            restoreSegment(segmentation, segmentId, self._taken[segmentId])
        else:
            self._taken[segmentId] = savedSegment(segmentation, segmentId)
        if not pieces:
            return
        if segmentation.GetSourceRepresentationName() == LABELMAP:
            mask, grid = ownMask(segmentation, segmentId)
        else:
            grid = pieces[0][1]
            for _new, other in pieces[1:]:
                grid = grid.enlarged(other)
            mask, grid = self._wholeSurface(segmentId, grid)
        mask = mask.copy()
        for new, own in pieces:
            mask &= ~toGrid(new, own, grid)
        writeMask(segmentation, segmentId, mask, grid)

    def _wholeSurface(self, segmentId: str, grid):
        grid = grid.enlarged(segmentGrid(self._segmentation, segmentId))
        return segmentMask(self._segmentation, segmentId, grid), grid
