"""The button that shows a segmentation in 3D."""

import slicer
from ReShapeITSlicer.observers import Observers
from slicer.i18n import tr as _

SURFACE = "Closed surface"


class Show3D:
    """Keeps a checkable button and the 3D visibility of a segmentation the same.

    :param button: the widget.
    :param say: shows a sentence to the user.
    """

    def __init__(self, button, say=None):
        self._button, self._say, self._node, self._observers = button, say, None, Observers()
        button.connect("toggled(bool)", self._onToggled)
        self.setSegmentation(None)

    def setSegmentation(self, node) -> None:
        """Follow another vtkMRMLSegmentationNode, or none; nothing is shown or hidden by that."""
        self._observers.remove()
        self._node = node
        if node is not None:
            kinds = slicer.vtkSegmentation
            for event in (
                slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
                kinds.SegmentAdded,
                kinds.SegmentRemoved,
                kinds.ContainedRepresentationNamesModified,
            ):
                self._observers.add(node, event, self._update)
        self._update()

    def _update(self) -> None:
        self._button.setEnabled(self._node is not None and self._node.GetSegmentation().GetNumberOfSegments() > 0)
        blocked = self._button.blockSignals(True)
        self._button.setChecked(self._node is not None and isShown3D(self._node))
        self._button.blockSignals(blocked)

    def _onToggled(self, shown: bool) -> None:
        if self._node is not None and not show3D(self._node, shown) and self._say:
            self._say(_("No surfaces can be made of {name}.").format(name=self._node.GetName()))
        self._update()


def isShown3D(node) -> bool:
    """True where a segmentation's surfaces are shown in 3D views."""
    display = node.GetDisplayNode()
    if display is None or not node.GetSegmentation().ContainsRepresentation(SURFACE):
        return False
    return bool(display.GetVisibility() and display.GetVisibility3D())


def show3D(node, shown: bool) -> bool:
    """Show a segmentation's surfaces in 3D views, made where there are none, or hide them.

    :returns: False where no surfaces can be made; nothing is changed.
    """
    if not shown:
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility3D(False)
        return True
    if not node.GetSegmentation().ContainsRepresentation(SURFACE) and not node.CreateClosedSurfaceRepresentation():
        return False
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetPreferredDisplayRepresentationName3D(SURFACE)
    display.SetVisibility(True)
    display.SetVisibility3D(True)
    return True
