"""Decide about suggestions: table, keys, the slider from cautious to bold, undo and redo, the outline in the views."""

import qt
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.suggestions.outline import SuggestionOutline
from slicer.i18n import tr as _

from .pointsControl import PointsControl
from .suggestionTable import SuggestionTable
from .views import jumpTo

POLL_MS = 15
# The slider says 100 minus the probability in percent that a suggestion must exceed.
BALANCED, STEPS = 40, 100


class SuggestionControl:
    """The middle of the review.

    :param ui: widgets by name, see ReShapeIT.ui.
    :param scene: vtkMRMLScene.
    :param say: shows a sentence to the user.
    :param changed: called without arguments when the scene shows another decision.
    """

    def __init__(self, ui, scene, say, changed):
        self._ui, self._scene, self._say, self._changed = ui, scene, say, changed
        self._task, self._deciding, self._outline, self._shown = None, None, None, None
        self.points = PointsControl(ui, scene, say, self.decided)
        self._table = SuggestionTable(ui.suggestionTable, self._onSelected, self._onToggled)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        ui.boldnessSlider.connect("valueChanged(int)", self._onSlider)
        ui.takeButton.connect("clicked()", self._table.toggleSelected)
        ui.undoDecisionButton.connect("clicked()", lambda: self._step("undo"))
        ui.redoDecisionButton.connect("clicked()", lambda: self._step("redo"))
        self._keys = [
            self._key("Space", self._table.toggleSelected),
            self._key("Ctrl+Z", lambda: self._step("undo")),
            self._key("Ctrl+Y", lambda: self._step("redo")),
        ]
        self.setTask(None)

    def setTask(self, task, segmentationNode=None) -> None:
        """Show the suggestions of a task that is done, or none."""
        if self._deciding is not None and getattr(task, "deciding", None) is not self._deciding:
            self._deciding.close()
        if self._outline is not None:
            self._outline.close()
        self._task, self._deciding = task, getattr(task, "deciding", None)
        self._outline = SuggestionOutline(self._scene, segmentationNode) if segmentationNode is not None else None
        self._shown = None
        self._timer.stop()
        self.points.setDeciding(self._deciding)
        self.refresh()
        if self._deciding is not None:
            self._timer.start()

    @property
    def deciding(self):
        """What takes decisions, or None."""
        return self._deciding

    def refresh(self) -> None:
        """Show what is decided now."""
        deciding = self._deciding
        found = deciding.suggestions() if deciding is not None else []
        names = {row.segmentId: row.name for row in self._task.summary()} if found else {}
        self._table.fill(found, names)
        open_ = deciding is not None and deciding.canDecide and self._isOpen()
        for widget in (self._ui.suggestionTable, self._ui.takeButton, self._ui.boldnessSlider):
            widget.setEnabled(open_ and bool(found))
        self._ui.undoDecisionButton.setEnabled(open_ and deciding.choices.canUndo)
        self._ui.redoDecisionButton.setEnabled(open_ and deciding.choices.canRedo)
        self._showSlider(deciding.choices.now.least if deciding is not None else None)
        self._ui.suggestionLabel.setText(_summary(found))
        self.points.refresh()

    def decided(self) -> None:
        """Something was decided: show it, and ask the engine from now on."""
        self.refresh()
        if self._deciding is not None:
            self._timer.start()
            self.poll()

    def poll(self) -> None:
        """Take in what the engine answered."""
        if self._deciding is None:
            self._timer.stop()
            return
        try:
            changed = self._deciding.poll()
        except RefinementError as error:
            self._say(str(error))
            changed = True
        if changed:
            self.refresh()
            self._changed()
        self._showOutline()
        if not self._deciding.isBusy:
            self._timer.stop()

    def _isOpen(self) -> bool:
        return any(row.state == "pending" for row in self._task.summary())

    def _onSelected(self) -> None:
        one = self._table.selected()
        if self._deciding is None:
            return
        if one is not None:
            jumpTo(self._scene, self._deciding.centreOf(one))
        self._showOutline()

    def _showOutline(self) -> None:
        """Outline the selected suggestion as soon as its voxels are known."""
        one = self._table.selected()
        key = (one.segmentId, one.number) if one is not None else None
        if self._outline is None or key == self._shown:
            return
        region = self._deciding.regionOf(one) if one is not None else None
        if region is not None:
            self._outline.show(*region)
            self._shown = key
        elif one is None:
            self._outline.close()
            self._shown = None

    def _onToggled(self, one) -> None:
        self._attempt(lambda: self._deciding.decide(one.segmentId, one.number, not one.taken))

    def _onSlider(self, value: int) -> None:
        self._attempt(lambda: self._deciding.setLeast(1.0 - value / STEPS))

    def _step(self, what: str) -> None:
        if self._deciding is not None and self._deciding.canDecide:
            self._attempt(lambda: getattr(self._deciding, what)())
            self.points.show()

    def _attempt(self, action) -> None:
        if self._deciding is None:
            return
        try:
            action()
        except RefinementError as error:
            self._say(str(error))
        self.decided()

    def _showSlider(self, least) -> None:
        slider = self._ui.boldnessSlider
        blocked = slider.blockSignals(True)
        slider.setValue(BALANCED if least is None else round(STEPS * (1.0 - least)))
        slider.blockSignals(blocked)

    def _key(self, keys: str, action):
        """A key that works while the table has the focus, also where the window has it for something else."""
        shortcut = qt.QShortcut(qt.QKeySequence(keys), self._ui.suggestionTable)
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.connect("activated()", action)
        shortcut.connect("activatedAmbiguously()", action)
        return shortcut


def _summary(found) -> str:
    """How many there are and how many are taken."""
    if not found:
        return _("no suggestions")
    taken = sum(one.taken for one in found)
    return _("{taken} of {count} taken").format(taken=taken, count=len(found))
