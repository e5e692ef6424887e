"""The look of a result that is only a preview."""

from __future__ import annotations

NAME = "ReShapeIT preview"
FILL = 0.25


def showAsPreview(node) -> None:
    """Keep a segmentation out of saved scenes and lists, and show its outline stronger than its inside."""
    node.SetName(NAME)
    node.SaveWithSceneOff()
    node.HideFromEditorsOn()
    display = node.GetDisplayNode()
    if display is not None:
        display.SaveWithSceneOff()
        display.SetAllSegmentsOpacity2DFill(FILL)
        display.SetSliceIntersectionThickness(3)
