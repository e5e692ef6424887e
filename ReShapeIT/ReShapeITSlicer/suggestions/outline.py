"""Shows in all views what one suggestion would change: a segmentation node of its own that is not saved."""

from __future__ import annotations

import numpy as np

from ..geometry import Grid
from ..segmentVoxels import SURFACE, newSegment, writeMask

NAME, SEGMENT = "ReShapeIT suggestion", "suggestion"
COLOUR = (1.0, 0.9, 0.1)


class SuggestionOutline:
    """The outline of the selected suggestion.

    :param scene: vtkMRMLScene.
    :param segmentationNode: under whose transform it lies.
    """

    def __init__(self, scene, segmentationNode):
        self._scene, self._source, self._node = scene, segmentationNode, None

    def show(self, mask: np.ndarray, grid: Grid) -> None:
        """Outline the voxels of a mask; nothing where there are none."""
        if not mask.any() or not self._scene.IsNodePresent(self._source):
            self.close()
            return
        if self._node is None or not self._scene.IsNodePresent(self._node):
            self._node = self._newNode(mask, grid)
        else:
            writeMask(self._node.GetSegmentation(), SEGMENT, mask, grid)
        self._node.SetAndObserveTransformNodeID(self._source.GetTransformNodeID())
        if self._isShown3D():
            self._node.CreateClosedSurfaceRepresentation()

    def close(self) -> None:
        """Show nothing."""
        node, self._node = self._node, None
        if node is not None and self._scene.IsNodePresent(node):
            display = node.GetDisplayNode()
            self._scene.RemoveNode(node)
            if display is not None and self._scene.IsNodePresent(display):
                self._scene.RemoveNode(display)

    def _newNode(self, mask: np.ndarray, grid: Grid):
        import slicer

        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(NAME)
        for switch in (node.SaveWithSceneOff, node.HideFromEditorsOn):
            switch()
        self._scene.AddNode(node)
        source = slicer.vtkSegment()
        source.SetName(SEGMENT)
        source.SetColor(*COLOUR)
        newSegment(node.GetSegmentation(), source, SEGMENT, mask, grid)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SaveWithSceneOff()
        display.SetAllSegmentsOpacity2DFill(0.15)
        display.SetSliceIntersectionThickness(2)
        display.SetOpacity3D(0.5)
        return node

    def _isShown3D(self) -> bool:
        return self._source.GetSegmentation().ContainsRepresentation(SURFACE)
