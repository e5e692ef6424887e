"""ReShapeIT: repairs organ segmentations with learned anatomy. The module class, its widget, logic and self-test."""

import os
import sys

import slicer
import vtk
from ReShapeITSlicer.library import addLibraryToPath
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

PACKAGES = ("ReShapeITPanel", "ReShapeITSlicer", "ReShapeITLib")


class ReShapeIT(ScriptedLoadableModule):
    """What Slicer's module list knows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("ReShapeIT")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations"]
        self.parent.contributors = ["ReShapeIT contributors"]
        self.parent.helpText = _("""
Repairs segmentations of the liver, pancreas, spleen, kidneys and lung lobes with learned anatomy and shows what moved
and how far. Research software, not a medical device. See the
<a href="https://github.com/ReShapeIT/SlicerReShapeIT/blob/main/docs/SLICER.md">user guide</a>.
""")
        self.parent.acknowledgementText = _("""
Method: M. Zhang, H. Zheng, Y. Huang, L. Shao, Y. Gu: ReShapeIT: Reliable Shape Interaction with Implicit Template for
Anatomical Structure Reconstruction. This is an independent implementation. The lung lobe templates are for
non-commercial use only (CC BY-NC-SA 4.0).
""")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerEffect)


def registerSampleData() -> None:
    """Add the generated patient to the Sample Data module."""
    from ReShapeITPanel import sampleData

    sampleData.registerSampleData(os.path.join(os.path.dirname(__file__), "Resources", "Icons", "SampleData.png"))


def registerEffect() -> None:
    """Add the effect *Anatomy* to the Segment Editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    folder = os.path.dirname(__file__).replace("\\", "/")
    effect.setPythonSource(f"{folder}/ReShapeITEffect/SegmentEditorAnatomyEffect.py")
    effect.self().register()


class ReShapeITWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in the application: scene events, parameter node, questions to the user."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic, self.panel = None, None
        self._parameterNode, self._parameterNodeGuiTag, self._segmentation = None, None, None

    def setup(self) -> None:
        """Build the panel when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        addLibraryToPath()
        from ReShapeITPanel.panel import Panel
        from ReShapeITSlicer.exchange.folders import removeLeftovers

        removeLeftovers(slicer.app.temporaryPath)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ReShapeIT.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ReShapeITLogic()
        self.panel = Panel(self.ui, slicer.mrmlScene, self._environment())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The application closes or the module is reloaded: nothing goes on in the background."""
        if self.panel:
            self.panel.unload()
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self) -> None:
        """Load the module anew with all that it imports; Slicer itself reads this file only."""
        ReShapeITLogic.closeEngine()
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """The user opens the module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """The user opens another module; a running refinement goes on."""
        self._disconnect()

    def onSceneStartClose(self, caller, event) -> None:
        """The scene closes: a refinement has nowhere to go."""
        if self.panel:
            self.panel.close()
        self.setParameterNode(None)

    def onSceneStartImport(self, caller, event) -> None:
        """A scene is loaded: its parameters come before its segments, and must not be taken for choices about none."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event) -> None:
        """A scene was loaded; one that was saved during a review has an empty folder of its change map."""
        from ReShapeITSlicer.review.changeMap import removeEmptyFolders

        removeEmptyFolders(slicer.mrmlScene)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndClose(self, caller, event) -> None:
        """Start anew where the module is shown."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameter node; the first segmentation is selected where none is."""
        if self.panel is None:  # setup() failed; Slicer opens the module all the same
            return
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.segmentation:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            if first:
                self._parameterNode.segmentation = first

    def setParameterNode(self, parameterNode) -> None:
        """Connect widgets and panel to a parameter node, or to none."""
        self._disconnect()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._observeSegments()
        if self.panel:
            self.panel.setParameters(parameterNode)

    def _disconnect(self) -> None:
        """Connect widgets and parameter node no longer, where they are connected."""
        if self._parameterNodeGuiTag is None:
            return
        self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
        self._parameterNodeGuiTag = None
        self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)

    def onParametersModified(self, caller=None, event=None) -> None:
        """The user or a loaded scene changed a parameter."""
        self._observeSegments()
        self.panel.refresh()

    def onSegmentsModified(self, caller=None, event=None) -> None:
        """Segments were added, removed or renamed."""
        self.panel.refresh()

    def _observeSegments(self) -> None:
        node = self._parameterNode.segmentation if self._parameterNode else None
        segmentation = node.GetSegmentation() if node else None
        if segmentation is self._segmentation:
            return
        events = (
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.SegmentModified,
        )
        for event in events:
            if self._segmentation:
                self.removeObserver(self._segmentation, event, self.onSegmentsModified)
            if segmentation:
                self.addObserver(segmentation, event, self.onSegmentsModified)
        self._segmentation = segmentation

    def _environment(self):
        from ReShapeITPanel import dependencies
        from ReShapeITPanel.batch.control import BatchEnvironment
        from ReShapeITPanel.deviceProbe import DeviceProbe
        from ReShapeITPanel.panel import PanelEnvironment
        from ReShapeITPanel.userSettings import UserSettings
        from ReShapeITSlicer.templates import availableTemplates

        def withBusyCursor(action):
            import qt

            slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
            try:
                return action()
            finally:
                slicer.app.restoreOverrideCursor()

        return PanelEnvironment(
            templates=availableTemplates,
            createTask=lambda *arguments: self.logic.createTask(*arguments),
            missing=dependencies.missingPackages,
            install=lambda missing: withBusyCursor(lambda: dependencies.install(missing, slicer)),
            reinstall=lambda names: withBusyCursor(lambda: dependencies.reinstall(names, slicer)),
            versions=dependencies.versionsText,
            confirm=lambda text: slicer.util.confirmOkCancelDisplay(text, _("ReShapeIT")),
            userSettings=UserSettings(slicer.app.userSettings),
            clipboard=slicer.app.clipboard,
            deviceProbe=DeviceProbe,
            batch=BatchEnvironment(self.logic.createBatch, dependencies.missingForBatch),
        )


class ReShapeITLogic(ScriptedLoadableModuleLogic):
    """What Python scripts call::

    logic = slicer.util.getModuleLogic("ReShapeIT")
    task = logic.refine(segmentationNode, {"liver": "liver"})
    print(task.summary())
    """

    _resident = None  # one for all logics: it holds templates and networks

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        addLibraryToPath()

    @classmethod
    def engine(cls):
        """The engine that stays: started at the first refinement, ended with the application.

        ``engine().memory()`` tells what it holds, ``engine().free()`` lets it go.
        """
        if cls._resident is None:
            from ReShapeITSlicer.residentEngine import ResidentEngine

            cls._resident = ResidentEngine(cls._engineSettings())
            slicer.app.connect("aboutToQuit()", cls.closeEngine)
        return cls._resident

    @classmethod
    def closeEngine(cls) -> None:
        """End the engine's process; the next refinement starts another one."""
        if cls._resident is not None:
            cls._resident.close()
            cls._resident = None

    def getParameterNode(self):
        """The scene's ReShapeITParameterNode."""
        from ReShapeITPanel.parameterNode import ReShapeITParameterNode

        return ReShapeITParameterNode(super().getParameterNode())

    def refine(self, segmentationNode, templates, **options):
        """Refine and wait; see ``ReShapeITSlicer.console.ReShapeITLogic.refine``.

        :param templates: template name by segment id or name.
        :returns: the finished RefinementTask: ``summary()``, ``accept``, ``reject``, ``blend``, ``undo``,
            ``suggestions()``, ``take``, ``leave``, ``setLeast``, ``include``, ``exclude``, ``undoDecision``.
        :raises RefinementError: one sentence says what is wrong; the scene is as it was.
        """
        from ReShapeITSlicer.console import ReShapeITLogic as ConsoleLogic

        options.setdefault("engineSettings", self._engineSettings())
        return ConsoleLogic(slicer.mrmlScene, resident=self.engine()).refine(segmentationNode, templates, **options)

    def createTask(self, segmentationNode, templates, options, volumeNode=None):
        """A RefinementTask that is not started; the panel polls it."""
        from ReShapeITSlicer.refinement import RefinementTask

        return RefinementTask(
            slicer.mrmlScene,
            segmentationNode,
            templates,
            options,
            engineSettings=self._engineSettings(),
            imageNode=volumeNode,
            resident=self.engine(),
        )

    def createBatch(self):
        """A BatchRun that is not started."""
        from ReShapeITSlicer.batch.run import BatchRun

        return BatchRun(self._engineSettings())

    def effectEnvironment(self):
        """What the Segment Editor's effect *Anatomy* needs."""
        from ReShapeITPanel import dependencies
        from ReShapeITPanel.effect.anatomy import EffectEnvironment
        from ReShapeITPanel.userSettings import UserSettings
        from ReShapeITSlicer.templates import availableTemplates

        def problem():
            return _("Install the packages in the module ReShapeIT.") if dependencies.missingPackages() else ""

        settings = UserSettings(slicer.app.userSettings)
        return EffectEnvironment(
            templates=availableTemplates,
            createTask=self.createTask,
            problem=problem,
            nonCommercial=lambda: settings.nonCommercialUseConfirmed,
            parameters=self.getParameterNode,
        )

    @staticmethod
    def _engineSettings():
        """Temporary files go where the user wants those of the application."""
        from ReShapeITSlicer.engine import EngineSettings

        return EngineSettings(temporaryFolder=slicer.app.temporaryPath)


class ReShapeITTest(ScriptedLoadableModuleTest):
    """The self-test: a person's first ten minutes, as docs/SLICER.md tells them."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all steps in their order."""
        from ReShapeITPanel.selfTest import STEPS

        self.setUp()
        for step in STEPS:
            self.delayDisplay(step.__doc__.splitlines()[0])
            with self.subTest(step=step.__name__):
                step(self)
        self.delayDisplay(_("ReShapeIT self-test passed"))
