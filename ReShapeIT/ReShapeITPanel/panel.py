"""The panel: what the user chooses, when it can be refined, and the way to a running task and its review.

Nothing here asks for the application: scene, parameters, the making of tasks and the questions to the user are given,
so that the panel runs under any Qt with any scene.
"""

from dataclasses import dataclass

from ReShapeITSlicer.exchange.image import proposedImage
from ReShapeITSlicer.options import RefinementOptions
from slicer.i18n import tr as _

from .batch.control import BatchControl
from .logBox import LogBox
from .packagesControl import PackagesControl
from .review.control import ReviewControl
from .review.views import centreOn
from .runControl import RunControl
from .segmentTable import SegmentTable, titleOf
from .show3D import Show3D


@dataclass(frozen=True)
class PanelEnvironment:
    """What the panel needs of the world around it.

    :param templates: function to the list of TemplateChoice.
    :param createTask: function (segmentationNode, templates, options, volumeNode) to a RefinementTask.
    :param missing: function to what is not installed, see ``dependencies.Missing``.
    :param install: function of that to a sentence, or ""; raises an Exception with a sentence for the user.
    :param reinstall: the same, of names of packages.
    :param versions: function to the installed versions in one line.
    :param confirm: function (text) to the user's yes or no.
    :param userSettings: UserSettings.
    :param clipboard: function to the QClipboard.
    :param askFile: function (title, name, filter) to the file to write, or to nothing.
    :param deviceProbe: function to a DeviceProbe, or None where nobody asks.
    :param batch: BatchEnvironment.
    """

    templates: object
    createTask: object
    missing: object
    install: object
    reinstall: object
    versions: object
    confirm: object
    userSettings: object
    clipboard: object
    askFile: object = None
    deviceProbe: object = None
    batch: object = None


class Panel:
    """Connects the widgets of ReShapeIT.ui.

    :param ui: widgets by name.
    :param scene: vtkMRMLScene.
    :param environment: see PanelEnvironment.
    """

    def __init__(self, ui, scene, environment: PanelEnvironment):
        self.ui, self._scene, self._environment = ui, scene, environment
        self._parameters, self._shown, self._segmentation = None, None, None
        self._entries = environment.templates()
        self.log = LogBox(ui, environment.clipboard)
        self.segments = SegmentTable(ui.segmentTable, self._onTable, self._centre)
        self.run = RunControl(ui, self._onFinished, self.log)
        self.packages = PackagesControl(ui, environment, self.refresh, self.run.say, self.log)
        self.review = ReviewControl(ui, scene, self.run.say, environment.askFile)
        self.show3D = Show3D(ui.show3DButton, self.run.say)
        batch = environment.batch, environment, self.options, lambda: self.packages.problem, self.log
        self.batch = BatchControl(ui, scene, *batch)
        ui.refineButton.connect("clicked()", self.refine)
        ui.nonCommercialCheckBox.checked = environment.userSettings.nonCommercialUseConfirmed
        ui.nonCommercialCheckBox.connect("toggled(bool)", self._onNonCommercial)
        self.refresh()

    def setParameters(self, parameters) -> None:
        """Take another parameter node (see ReShapeITParameterNode), or None while the scene is closed."""
        self._parameters, self._shown, self._segmentation = parameters, None, None
        self.review.suggestions.points.setParameters(parameters)
        self.refresh()

    def refresh(self) -> None:
        """Show the parameters; called whenever they or the segments change."""
        self._showSegments()
        self._showLicence()
        problem = self.problem()
        self.ui.refineButton.enabled = not problem
        self.ui.refineButton.toolTip = problem or _("Refine the checked segments.")
        for widget in (self.ui.segmentationSelector, self.ui.volumeSelector, self.ui.optionsCollapsibleButton):
            widget.enabled = not self.run.isRunning
        self.segments.setEnabled(not self.run.isRunning)

    def problem(self) -> str:
        """Why it cannot be refined now and what to do; empty where it can."""
        if self.run.isRunning:
            return _("A refinement is running.")
        if self.packages.problem:
            return self.packages.problem
        if self._parameters is None or not self._parameters.segmentation:
            return _("Select a segmentation.")
        if not self.segments.selected():
            return _("Check at least one segment.")
        templates = self.segments.templates()
        if not all(templates[segmentId] for segmentId in self.segments.selected()):
            return _("Choose the organ of each checked segment.")
        if self.segments.notInstalled():
            names = ", ".join(map(titleOf, self.segments.notInstalled()))
            return _("The template {names} is not installed; choose another.").format(names=names)
        if self._restricted() and not self._environment.userSettings.nonCommercialUseConfirmed:
            return _("Confirm that you use the lung lobe templates non-commercially.")
        return ""

    def refine(self) -> None:
        """Start refining the checked segments."""
        if self.problem():
            self.run.say(self.problem())
            return
        if self.review.isOpen and not self._environment.confirm(
            _("Results of the last refinement are not decided yet. Keep them all and refine again?")
        ):
            return
        self.review.acceptAll()
        self.review.setTask(None)
        templates = self.segments.templates()
        chosen = {segmentId: templates[segmentId] for segmentId in self.segments.selected()}
        segmentation, options, volume = self._parameters.segmentation, self.options(), self._parameters.volume
        self.run.start(lambda: self._environment.createTask(segmentation, chosen, options, volume))
        self.refresh()

    def options(self) -> RefinementOptions:
        """The options that the parameters say."""
        parameters = self._parameters
        if parameters is None:
            return RefinementOptions(nonCommercial=self._environment.userSettings.nonCommercialUseConfirmed)
        return RefinementOptions(
            preset=parameters.preset.value,
            device=parameters.device.value,
            resultMode=parameters.resultMode.value,
            overlapPolicy=parameters.overlapPolicy.value,
            keepUnion=parameters.keepUnion,
            sparse=parameters.sparse,
            force=parameters.force,
            nonCommercial=self._environment.userSettings.nonCommercialUseConfirmed,
        )

    def close(self) -> None:
        """End what is about the scene, which is closing; a batch goes on."""
        self.run.cancel()
        self.review.setTask(None)
        self.show3D.setSegmentation(None)
        self.packages.close()
        self.batch.leaveScene()

    def unload(self) -> None:
        """Stop all that runs; the module is unloaded."""
        self.close()
        self.batch.close()

    def _showSegments(self) -> None:
        """Fill the table where it shows something else than segmentation and parameters say."""
        node = self._parameters.segmentation if self._parameters else None
        if node is not self._segmentation:
            self._segmentation = node
            self.show3D.setSegmentation(node)
            self._proposeVolume(node)
        wanted = self._wanted(node)
        if wanted == self._shown and node is not None:
            return
        if node is None:
            self.segments.fill(None, self._entries, {}, [])
        elif (self._shown and self._shown[0] != wanted[0]) or not self._belongsTo(node):
            self.segments.fill(node, self._entries, {}, None)
        else:
            templates, selected = dict(self._parameters.templates), list(self._parameters.selected)
            self.segments.fill(node, self._entries, templates, selected)
        self._shown = wanted
        if node is not None:
            self._store()

    def _proposeVolume(self, node) -> None:
        """Choose the volume that a segmentation was made on; once, then the user's choice stays."""
        if node is None or self._parameters.volumeProposedFor is node:
            return
        proposed = proposedImage(self._scene, node)
        wasModified = self._parameters.StartModify()
        self._parameters.volumeProposedFor, self._parameters.volume = node, proposed
        self._parameters.EndModify(wasModified)

    def _wanted(self, node) -> tuple:
        """What the table should show of a segmentation: its id, its segments, the choices."""
        if node is None:
            return ()
        segmentation = node.GetSegmentation()
        ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        names = tuple((segmentId, segmentation.GetSegment(segmentId).GetName()) for segmentId in ids)
        return node.GetID(), names, tuple(self._parameters.selected), tuple(self._parameters.templates.items())

    def _belongsTo(self, node) -> bool:
        """True where the stored choices are about segments of this node."""
        return any(node.GetSegmentation().GetSegment(segmentId) for segmentId in self._parameters.templates)

    def _store(self) -> None:
        """Keep in the parameters what the table says; both at once, so that nobody sees a half."""
        selected, templates = self.segments.selected(), self.segments.templates()
        wasModified = self._parameters.StartModify()
        if list(self._parameters.selected) != selected:
            self._parameters.selected = selected
        if dict(self._parameters.templates) != templates:
            self._parameters.templates = templates
        # Before observers are told: they would fill the table again.
        self._shown = self._wanted(self._parameters.segmentation)
        self._parameters.EndModify(wasModified)

    def _restricted(self) -> list:
        """Templates of the checked segments that must not be used commercially."""
        return [entry for entry in self.segments.chosenEntries() if entry.nonCommercial]

    def _showLicence(self) -> None:
        restricted = self._restricted()
        self.ui.nonCommercialCheckBox.visible = bool(restricted)
        self.ui.licenceLabel.visible = bool(restricted)
        if restricted:
            names = ", ".join(titleOf(entry.name) for entry in restricted)
            licences = ", ".join(sorted({entry.licence for entry in restricted}))
            self.ui.licenceLabel.text = _("<b>Non-commercial use only</b> ({licences}): {names}.").format(
                licences=licences, names=names
            )

    def _onNonCommercial(self, confirmed: bool) -> None:
        self._environment.userSettings.nonCommercialUseConfirmed = confirmed
        self.refresh()

    def _onTable(self) -> None:
        if self._parameters is not None:
            self._store()
        self.refresh()

    def _centre(self, segmentId: str) -> None:
        if self._parameters is not None and self._parameters.segmentation:
            centreOn(self._scene, self._parameters.segmentation, segmentId)

    def _onFinished(self, task) -> None:
        self.review.setTask(task if task.status.state == "done" else None)
        self.refresh()
