"""How a segmentation looks while some of its segments are under review.

Slicer tells nobody that it is about to save a scene: whatever a display node holds at that time is saved. A review
therefore never writes to a segmentation's own display node. It adds a second one, which is not saved, copies the first
one and fades the segments under review. No view draws the first one meanwhile.
"""

from __future__ import annotations

import slicer
import vtk

from ..observers import Observers

REVIEW = "ReShapeIT.review"
# Copied one by one: CopyContent() of a display node leaves them out.
NOT_COPIED = (
    "Representation",
    "PointSize",
    "LineWidth",
    "Lighting",
    "Shading",
    "FrontfaceCulling",
    "EdgeVisibility",
    "EdgeColor",
)


class ReviewDisplay:
    """The look of one segmentation under review.

    :param scene: vtkMRMLScene.
    :param segmentationNode: vtkMRMLSegmentationNode of that scene.
    """

    def __init__(self, scene, segmentationNode):
        self._scene, self._node = scene, segmentationNode
        self._original, self._display, self._observers = None, None, Observers()
        self._factors, self._updating = {}, False

    @property
    def isBroken(self) -> bool:
        """True where somebody deleted a display node that is in use."""
        used = [display for display in (self._original, self._display) if display is not None]
        return not all(self._scene.IsNodePresent(display) for display in used)

    def fade(self, factors: dict[str, tuple[float, float]]) -> None:
        """Draw segments fainter than the segmentation's own display node says; no segments end the fading.

        :param factors: of the opacities in slices and in 3D, 0..1, by segment id.
        """
        self._factors = dict(factors)
        if not factors or self.isBroken or not self._scene.IsNodePresent(self._node):
            self.close()
        elif self._display is not None or self._open():
            self._update()

    def close(self) -> None:
        """Draw the segmentation with its own display node again."""
        self._observers.remove()
        original, display = self._original, self._display
        self._original, self._display = None, None
        if display is not None and self._scene.IsNodePresent(display):
            _keepAsLongAs(self._node, display)
            self._scene.RemoveNode(display)
        if original is not None and not any(_isOfReview(other) for other in _displays(self._node)):
            _setViews(original, _views(original))

    def _open(self) -> bool:
        """Add the display node of the review; False where the segmentation has none of its own."""
        self._original = next((display for display in _displays(self._node) if not _isOfReview(display)), None)
        if self._original is None:
            return False
        self._display = slicer.vtkMRMLSegmentationDisplayNode()
        self._display.SetName(f"{self._node.GetName()} (review)")
        self._display.SetHideFromEditors(True)
        self._display.SaveWithSceneOff()
        self._scene.AddNode(self._display)
        self._update()
        self._node.AddAndObserveDisplayNodeID(self._display.GetID())
        self._observers.add(self._original, vtk.vtkCommand.ModifiedEvent, self._update)
        return True

    def _update(self) -> None:
        """Take over what the user changed at the segmentation's own display node, and fade."""
        if self._updating or self.isBroken:
            return
        self._updating = True
        original, display = self._original, self._display
        try:
            views = _views(original)
            # One id with blanks is that of no view. It is saved as it is and read as the ids between the blanks.
            _setViews(original, [f" {' '.join(views)}"])
            with slicer.util.NodeModify(display):
                display.CopyReferences(original)
                display.CopyContent(original)
                display.SetAttribute(REVIEW, "1")
                for name in NOT_COPIED:
                    getattr(display, f"Set{name}")(getattr(original, f"Get{name}")())
                _setViews(display, views)
                for segmentId, (inSlices, in3D) in self._factors.items():
                    self._fadeSegment(segmentId, inSlices, in3D)
        finally:
            self._updating = False

    def _fadeSegment(self, segmentId: str, inSlices: float, in3D: float) -> None:
        if self._node.GetSegmentation().GetSegment(segmentId) is None:
            return
        for kind, factor in (("3D", in3D), ("2DFill", inSlices), ("2DOutline", inSlices)):
            own = getattr(self._original, f"GetSegmentOpacity{kind}")(segmentId)
            getattr(self._display, f"SetSegmentOpacity{kind}")(segmentId, float(factor) * own)


def _keepAsLongAs(node, display) -> None:
    """Let a display node that leaves the scene live on with its segmentation.

    Slicer's displayable managers keep its address until they forget the segmentation, and go there whenever a segment
    is added, changed or removed. To a node that lives but is in no scene nothing happens.
    """
    node.AddObserver(vtk.vtkCommand.DeleteEvent, lambda caller, event, kept=display: None)


def _displays(node) -> list:
    """Display nodes of a segmentation that are in the scene."""
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    return [display for display in displays if display is not None]


def _isOfReview(display) -> bool:
    return display.GetAttribute(REVIEW) is not None


def _views(display) -> list[str]:
    """Ids of the views that a display node is to be drawn in, whether a review hides it or not; none for all views."""
    return [viewId for words in display.GetViewNodeIDs() for viewId in words.split()]


def _setViews(display, viewIds: list[str]) -> None:
    if list(display.GetViewNodeIDs()) == viewIds:
        return
    with slicer.util.NodeModify(display):
        display.RemoveAllViewNodeIDs()
        for viewId in viewIds:
            display.AddViewNodeID(viewId)
