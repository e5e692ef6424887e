"""The effect *Anatomy* without the editor: choose the organ, preview, decide about suggestions, apply, cancel.

The preview is a refinement whose result is a segmentation of its own; the selected segment changes when it is applied.
"""

import logging
from dataclasses import dataclass

from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.options import ALLOW_OVERLAP, NEW_SEGMENTATION, RefinementOptions
from ReShapeITSlicer.suggestions.preview import showAsPreview
from slicer.i18n import tr as _

from ..review.suggestionControl import SuggestionControl
from ..runControl import RunControl
from ..segmentTable import NO_TEMPLATE, proposedTemplate, titleOf


@dataclass(frozen=True)
class Editor:
    """What the effect asks of the Segment Editor.

    :param segmentation: function to the vtkMRMLSegmentationNode, or None.
    :param segmentId: function to the id of the selected segment, or nothing.
    :param volume: function to the source volume, or None.
    :param apply: function of (segmentation node, segment id) that puts that segment's voxels into the selected one.
    """

    segmentation: object
    segmentId: object
    volume: object
    apply: object


@dataclass(frozen=True)
class EffectEnvironment:
    """What the effect needs of the world around it.

    :param templates: function to the list of TemplateChoice.
    :param createTask: function (segmentationNode, templates, options, volumeNode) to a RefinementTask.
    :param problem: function to a sentence where packages are missing, or nothing.
    :param nonCommercial: function to whether the user confirmed non-commercial use.
    :param parameters: function to the scene's ReShapeITParameterNode, which knows the points.
    """

    templates: object
    createTask: object
    problem: object
    nonCommercial: object
    parameters: object


class Anatomy:
    """Connects the widgets of Anatomy.ui.

    :param ui: widgets by name.
    :param scene: vtkMRMLScene.
    :param editor: see Editor.
    :param environment: see EffectEnvironment.
    """

    def __init__(self, ui, scene, editor: Editor, environment: EffectEnvironment):
        self._ui, self._scene, self._editor, self._environment = ui, scene, editor, environment
        self._entries, self._task, self._about, self._shown = environment.templates(), None, None, None
        for text, name in ((_("choose the organ"), NO_TEMPLATE), *((titleOf(e.name), e.name) for e in self._entries)):
            ui.organComboBox.addItem(text, name)
        self.run = RunControl(ui, self._onFinished, _Log())
        self.suggestions = SuggestionControl(ui, scene, self.run.say, self.refresh)
        ui.useVolumeCheckBox.checked = True
        ui.organComboBox.connect("currentIndexChanged(int)", lambda index: self.refresh())
        ui.previewButton.connect("clicked()", self.preview)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.applyButton.connect("clicked()", self.apply)
        self.refresh()

    @property
    def hasPreview(self) -> bool:
        """There is something to apply."""
        return self._task is not None

    def refresh(self) -> None:
        """Follow the editor: another segment ends the preview and gets a proposal of its own."""
        node, segmentId = self._editor.segmentation(), self._editor.segmentId()
        now = (node.GetID(), segmentId) if node is not None and segmentId else None
        if self._about is not None and now != self._about:
            self.cancel()
        if now != self._shown:
            self._shown = now
            self._propose(node, segmentId)
        problem = self.problem()
        busy = self.run.isRunning
        self._ui.previewButton.setEnabled(not problem and not busy)
        self._ui.previewButton.toolTip = problem or _("Looks for what is wrong with the selected segment.")
        self._ui.cancelButton.setEnabled(busy or self.hasPreview)
        self._ui.applyButton.setEnabled(self.hasPreview)
        for widget in (self._ui.organComboBox, self._ui.sparseCheckBox, self._ui.useVolumeCheckBox):
            widget.setEnabled(not busy)

    def problem(self) -> str:
        """Why there can be no preview now and what to do; empty where there can."""
        node, segmentId = self._editor.segmentation(), self._editor.segmentId()
        if node is None or not segmentId or node.GetSegmentation().GetSegment(segmentId) is None:
            return _("Select a segment.")
        missing = self._environment.problem()
        if missing:
            return missing
        entry = self._entry()
        if entry is None:
            return _("Choose the organ.")
        if entry.nonCommercial and not self._environment.nonCommercial():
            return _("Confirm in the module ReShapeIT that you use the lung lobe templates non-commercially.")
        return ""

    def preview(self) -> None:
        """Look for what is wrong; the segment stays as it is."""
        if self.problem() or self.run.isRunning:
            self.run.say(self.problem())
            return
        self._discard()
        node, segmentId = self._editor.segmentation(), self._editor.segmentId()
        volume = self._editor.volume() if self._ui.useVolumeCheckBox.checked else None
        options = RefinementOptions(
            resultMode=NEW_SEGMENTATION,
            overlapPolicy=ALLOW_OVERLAP,  # the editor masks
            sparse=bool(self._ui.sparseCheckBox.checked),
            nonCommercial=bool(self._environment.nonCommercial()),
        )
        self._about = node.GetID(), segmentId
        templates = {segmentId: self._entry().name}
        self.run.start(lambda: self._environment.createTask(node, templates, options, volume))
        self.refresh()

    def apply(self) -> None:
        """Put the preview into the segment, where the editor lets it."""
        if self._task is None:
            return
        try:
            self._task.checkUnchanged()
            self._task.deciding.settle()
            row = self._task.summary()[0]
            self._editor.apply(self._task.resultSegmentationNode, row.resultSegmentId)
        except RefinementError as error:
            self.run.say(str(error))
            return
        self._discard()
        self.run.say(_("Applied."))
        self.refresh()

    def cancel(self) -> None:
        """Stop what runs and throw the preview away."""
        self._about = None
        if self.run.isRunning:
            self.run.cancel()
        if self._task is not None:
            self._discard()
            self.run.say(_("Cancelled; the segment is as it was."))
        self.refresh()

    def close(self) -> None:
        """The effect is left or the editor closes."""
        self.cancel()
        self.run.say("")

    def _entry(self):
        box = self._ui.organComboBox
        name = box.itemData(box.currentIndex)
        return next((entry for entry in self._entries if entry.name == name), None)

    def _propose(self, node, segmentId) -> None:
        segment = node.GetSegmentation().GetSegment(segmentId) if node is not None and segmentId else None
        name = proposedTemplate(segment, self._entries) if segment is not None else NO_TEMPLATE
        box = self._ui.organComboBox
        blocked = box.blockSignals(True)
        box.currentIndex = max(box.findData(name), 0)
        box.blockSignals(blocked)

    def _onFinished(self, task) -> None:
        if task.status.state != "done":
            self._about = None
            self.refresh()
            return
        self._task = task
        task.deciding.wantsSurface = False
        showAsPreview(task.resultSegmentationNode)
        self.suggestions.points.setParameters(self._environment.parameters())
        self.suggestions.setTask(task, task.resultSegmentationNode)
        self.run.say("\n".join([_("This is a preview: apply it or cancel."), *task.notices]))
        self.refresh()

    def _discard(self) -> None:
        """Take everything out of the scene that the preview put there."""
        task, self._task = self._task, None
        self.suggestions.setTask(None)
        if task is not None:
            try:
                task.undo()
            except RefinementError as error:
                self.run.say(str(error))


class _Log:
    """The effect has no room for a log: it goes to the application's."""

    def show(self, text: str) -> None:
        """What a run wrote."""
        logging.info("ReShapeIT:\n%s", text)

    def add(self, text: str) -> None:
        """What went wrong."""
        logging.error("ReShapeIT:\n%s", text)
