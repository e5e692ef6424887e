"""The review of a finished refinement: table, change map, jumps, opacity, blend, accept, reject and export."""

import qt
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.review.export import addTableNode, writeSuggestions, writeTable
from slicer.i18n import tr as _

from .suggestionControl import SuggestionControl
from .table import ReviewTable, imageSentence
from .views import colourBar, jumpTo

BLEND_DELAY_MS = 150
BAR_WIDTH, BAR_HEIGHT = 300, 32


class ReviewControl:
    """The lower half of the panel.

    :param ui: widgets by name, see ReShapeIT.ui.
    :param scene: vtkMRMLScene.
    :param say: shows a sentence to the user.
    :param askFile: function (title, name, filter) to the file to write, or to nothing; None for Qt's dialog.
    """

    def __init__(self, ui, scene, say, askFile=None):
        self._ui, self._scene, self._say, self._askFile = ui, scene, say, askFile or _askFile
        self._task, self._blends = None, {}
        self._table = ReviewTable(ui.reviewTable, self._onSelection, self.centre)
        self.suggestions = SuggestionControl(ui, scene, say, self._refillTable)
        # Blending makes voxels anew: only when the slider rests.
        self._blendTimer = qt.QTimer()
        self._blendTimer.setSingleShot(True)
        self._blendTimer.setInterval(BLEND_DELAY_MS)
        self._blendTimer.timeout.connect(self.applyBlend)
        ui.blendSlider.valueChanged.connect(lambda value: self._onBlend(value))
        ui.acceptButton.clicked.connect(lambda: self._decide("accept"))
        ui.rejectButton.clicked.connect(lambda: self._decide("reject"))
        ui.acceptAllButton.clicked.connect(lambda: self.acceptAll())
        ui.undoButton.clicked.connect(lambda: self.undo())
        ui.nextChangeButton.clicked.connect(lambda: self.nextChange())
        ui.centreButton.clicked.connect(lambda: self.centre())
        ui.exportTableButton.clicked.connect(lambda: self.exportTable())
        ui.tableNodeButton.clicked.connect(lambda: self.addTableNode())
        ui.changeMapCheckBox.connect("toggled(bool)", lambda checked: self.updateViews())
        for slider in (ui.opacityBeforeSlider, ui.opacityAfterSlider):
            slider.valueChanged.connect(lambda value: self.updateViews())
        self.setTask(None)

    @property
    def isOpen(self) -> bool:
        """True where there are results that are neither accepted nor rejected."""
        return self._task is not None and any(row.state == "pending" for row in self._task.summary())

    def setTask(self, task) -> None:
        """Review a task that is done, or nothing; all segments of the last one look again as before its review."""
        review = getattr(self._task, "review", None)
        if review is not None and task is not self._task:
            review.close()
        self._blendTimer.stop()
        self._task, self._blends = task, {}
        self._ui.reviewCollapsibleButton.setEnabled(task is not None)
        self._ui.changeLabel.setText("")
        self._ui.plausibilityLabel.setText("")
        self._table.fill(task.summary() if task else [])
        self.suggestions.setTask(task, getattr(task, "resultSegmentationNode", None))
        self.updateViews()

    def updateViews(self) -> None:
        """Opacity and change map as the widgets say."""
        if self._task is None:
            self._ui.colorBarLabel.clear()
            return
        self._attempt(self._showInViews)

    def nextChange(self) -> None:
        """Move the views to the next largest change."""
        change = self._attempt(lambda: self._task.nextLargestChange())
        if change is None:
            self._ui.changeLabel.setText(_("nothing moved") if self._task else "")
            return
        self._table.select(change.segmentId)
        direction = _("outwards") if change.changeMm > 0 else _("inwards")
        text = _("{distance:.1f} mm {direction}").format(distance=abs(change.changeMm), direction=direction)
        self._ui.changeLabel.setText(text)
        jumpTo(self._scene, change.positionRas)

    def centre(self) -> None:
        """Move the views to the centre of the selected segment."""
        row = self._table.selected()
        position = self._attempt(lambda: self._task.review.centreOf(row.segmentId)) if row else None
        if position is not None:
            jumpTo(self._scene, position)
        elif row is not None:
            self._say(_("'{name}' is not in the scene or empty.").format(name=row.name))

    def exportTable(self) -> None:
        """Write the table to a file that the user chooses."""
        if self._task is None:
            return
        path = self._askFile(_("Export the review table"), "review.csv", _("Comma-separated values (*.csv)"))
        if path:
            written = self._attempt(lambda: writeTable(path, self._task.summary()))
            found = getattr(self._task, "deciding", None) and self._task.suggestions()
            if written is not None and found:
                names = {row.segmentId: row.name for row in self._task.summary()}
                self._attempt(lambda: writeSuggestions(written, found, names))
            if written is not None:
                self._say(_("The table was written to {path}.").format(path=written))

    def addTableNode(self) -> None:
        """Put the table into the scene."""
        node = self._attempt(lambda: addTableNode(self._scene, self._task.summary()))
        if node is not None:
            self._say(_("The table '{name}' is in the scene.").format(name=node.GetName()))

    def applyBlend(self) -> None:
        """Blend the selected segment as the slider says."""
        row = self._table.selected()
        if row is not None and row.segmentId in self._blends:
            self._attempt(lambda: self._task.blend(row.segmentId, self._blends[row.segmentId]))
            self._refill()

    def acceptAll(self) -> None:
        """Keep all results that are not decided."""
        for row in self._task.summary() if self._task else ():
            if row.state == "pending":
                self._attempt(lambda segmentId=row.segmentId: self._task.accept(segmentId))
        self._refill()
        self.suggestions.refresh()

    def undo(self) -> None:
        """Take everything back and end the review."""
        if self._task is not None:
            self._attempt(lambda: self._task.undo())
            self.setTask(None)
            self._say(_("Everything was taken back; the scene is as it was before."))

    def _decide(self, what: str) -> None:
        row = self._table.selected()
        if row is None:
            return
        if self._blendTimer.active and what == "accept":
            self.applyBlend()
        self._blendTimer.stop()
        self._attempt(lambda: getattr(self._task, what)(row.segmentId))
        self._refill()
        self.suggestions.refresh()

    def _onBlend(self, value: float) -> None:
        row = self._table.selected()
        if row is not None and self._task is not None and value != self._blends.get(row.segmentId, 1.0):
            self._blends[row.segmentId] = value
            self._blendTimer.start()

    def _onSelection(self) -> None:
        row = self._table.selected()
        if self._blendTimer.active:
            self._blendTimer.stop()
        decided = row is None or row.state != "pending"
        for widget in (self._ui.acceptButton, self._ui.rejectButton, self._ui.blendSlider):
            widget.setEnabled(not decided)
        self._ui.blendSlider.setValue(self._blends.get(row.segmentId, 1.0) if row else 1.0)
        self._ui.plausibilityLabel.setText(_detail(row) if row else "")

    def _refill(self) -> None:
        self._refillTable()
        self.updateViews()

    def _refillTable(self) -> None:
        self._table.fill(self._task.summary() if self._task else [])
        self._onSelection()

    def _showInViews(self) -> None:
        # Once all is decided, the segments themselves are what is left to see.
        visible = bool(self._ui.changeMapCheckBox.checked) and self.isOpen
        before, after = (s.value for s in (self._ui.opacityBeforeSlider, self._ui.opacityAfterSlider))
        self._task.setOpacity(before, after, visible)
        modelIds = [row.modelNodeId for row in self._task.summary()] if visible else []
        bar = colourBar(self._scene, modelIds, BAR_WIDTH, BAR_HEIGHT)
        if bar is None:
            self._ui.colorBarLabel.clear()
        else:
            self._ui.colorBarLabel.setPixmap(bar)

    def _attempt(self, action):
        """Result of an action of the task; where its nodes are gone, the reason is told and None returned."""
        if self._task is None:
            return None
        try:
            return action()
        except RefinementError as error:
            self._say(str(error))
            return None


def _askFile(title: str, name: str, fileFilter: str) -> str:
    """The file that the user chose to write, or nothing."""
    chosen = qt.QFileDialog.getSaveFileName(None, title, name, fileFilter)
    return chosen if isinstance(chosen, str) else chosen[0]  # PySide gives the chosen filter, too


def _detail(row) -> str:
    """Plausibility, device and licence of a row in words."""
    parts = [str(row.plausibility), imageSentence(row.image) if row.image else ""]
    parts.append(_("computed on {device}: {reason}").format(device=row.device, reason=row.deviceReason))
    if row.nonCommercial:
        parts.append(_("for non-commercial use only ({licence})").format(licence=row.licence))
    return "; ".join(part for part in parts if part)
