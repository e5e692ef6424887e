"""Steps of the in-application self-test, one function each; docs/EXTENSION.md lists them.

A step gets the running unittest case and the application's scene is empty when it starts. Steps that compute are left
out, saying so in the log, where the Python packages are not installed: a test must not change Slicer's Python.
"""

import logging
import time

import slicer

from .dependencies import missingPackages

LONGEST_S = 900


def stepModulesAreThere(case) -> None:
    """Panel and command-line module are among Slicer's modules"""
    case.assertIsNotNone(slicer.modules.reshapeit)
    case.assertIsNotNone(slicer.modules.reshapeitrefine)
    case.assertEqual(slicer.modules.reshapeitrefine.title, "ReShapeIT Refine")
    names = [source.sampleName for source in slicer.modules.sampleDataSources["ReShapeIT"]]
    case.assertIn("ReShapeITPatient", names)


def stepParametersFollowTheWidgets(case) -> None:
    """Widgets and parameter node are connected both ways, and a saved scene brings the choices back"""
    widget = openPanel()
    parameters = widget.logic.getParameterNode()
    from .choices import Preset

    index = list(Preset).index(Preset.FINE)
    widget.ui.presetComboBox.currentIndex = index
    case.assertEqual(parameters.preset, Preset.FINE)
    parameters.preset = Preset.DRAFT
    case.assertEqual(widget.ui.presetComboBox.currentText, Preset.DRAFT.label())
    parameters.templates = {"Segment_1": "liver"}
    path = slicer.util.tempDirectory() + "/reshapeit.mrml"
    case.assertTrue(slicer.util.saveScene(path))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(path)
    case.assertEqual(dict(widget.logic.getParameterNode().templates), {"Segment_1": "liver"})


def stepOrgansAreProposed(case) -> None:
    """The sample patient is made and loaded, and the organ of every segment is proposed"""
    if not computing():
        return
    _ct, segmentation = samplePatient()
    widget = openPanel(segmentation)
    proposed = sorted(widget.panel.segments.templates().values())
    case.assertEqual(proposed, ["kidney_left", "kidney_right", "liver", "spleen"])


def stepRefineReviewAndUndo(case) -> None:
    """Refine the spleen in the panel, review it, take it back"""
    if not computing():
        return
    _ct, segmentation = samplePatient()
    widget, spleen = chosenSpleen(segmentation)
    before = segmentation.GetSegmentation().GetNumberOfSegments()
    widget.ui.refineButton.click()
    case.assertTrue(widget.panel.run.isRunning, widget.ui.statusLabel.text)
    waitFor(lambda: not widget.panel.run.isRunning)
    case.assertEqual(widget.ui.reviewTable.rowCount, 1, widget.ui.statusLabel.text)
    case.assertEqual(segmentation.GetSegmentation().GetNumberOfSegments(), before + 1)
    model = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLModelNode")
    case.assertIsNotNone(model.GetPolyData().GetPointData().GetArray("signed_change_mm"))
    widget.ui.nextChangeButton.click()
    case.assertIn("mm", widget.ui.changeLabel.text)
    widget.ui.blendSlider.value = 0.5
    waitFor(lambda: False, seconds=1)
    widget.ui.acceptButton.click()
    case.assertFalse(widget.panel.review.isOpen)
    widget.ui.undoButton.click()
    case.assertEqual(segmentation.GetSegmentation().GetNumberOfSegments(), before)
    case.assertIsNotNone(segmentation.GetSegmentation().GetSegment(spleen))


def stepCancelLeavesTheScene(case) -> None:
    """Cancel ends a refinement within a second and leaves the scene as it was"""
    if not computing():
        return
    _ct, segmentation = samplePatient()
    widget, _spleen = chosenSpleen(segmentation)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    segments = segmentation.GetSegmentation().GetNumberOfSegments()
    widget.ui.refineButton.click()
    waitFor(lambda: widget.ui.progressBar.value > 0)
    pressed = time.monotonic()
    widget.ui.cancelButton.click()
    case.assertFalse(widget.panel.run.isRunning)
    case.assertLess(time.monotonic() - pressed, 1.5)
    case.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)
    case.assertEqual(segmentation.GetSegmentation().GetNumberOfSegments(), segments)


def stepConsole(case) -> None:
    """The three lines of the user guide work in the Python console"""
    if not computing():
        return
    _ct, segmentationNode = samplePatient()
    logic = slicer.util.getModuleLogic("ReShapeIT")
    task = logic.refine(segmentationNode, {"spleen": "spleen"}, preset="draft")
    case.assertEqual([row.name for row in task.summary()], ["spleen"])


def stepCommandLineModule(case) -> None:
    """The command-line module refines a label map and writes a model"""
    if not computing():
        return
    _ct, segmentation = samplePatient()
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode(segmentation, labels)
    refined = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "refined")
    surface = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    value = 1 + segmentation.GetSegmentation().GetSegmentIndex(idOf(segmentation, "spleen"))
    parameters = {
        "inputVolume": labels, "outputVolume": refined, "surface": surface, "template": "spleen", "label": value,
        "preset": "draft",
    }  # fmt: skip
    node = slicer.cli.runSync(slicer.modules.reshapeitrefine, None, parameters)
    case.assertEqual(node.GetStatusString(), "Completed", node.GetErrorText())
    case.assertTrue((slicer.util.arrayFromVolume(refined) == value).any())
    case.assertGreater(surface.GetPolyData().GetNumberOfPoints(), 1000)


STEPS = (
    stepModulesAreThere,
    stepParametersFollowTheWidgets,
    stepOrgansAreProposed,
    stepRefineReviewAndUndo,
    stepCancelLeavesTheScene,
    stepConsole,
    stepCommandLineModule,
)


def computing() -> bool:
    """True where the Python packages are there; else says in the log that the step is left out."""
    missing = missingPackages()
    if missing:
        logging.warning(f"ReShapeIT self-test: a step is left out, these are not installed: {missing.described()}")
    return not missing


def openPanel(segmentation=None):
    """The module's widget, shown, with a segmentation selected."""
    slicer.util.selectModule("ReShapeIT")
    widget = slicer.modules.reshapeit.widgetRepresentation().self()
    if segmentation:
        widget.logic.getParameterNode().segmentation = segmentation
    return widget


def samplePatient() -> list:
    """CT and segmentation of the generated patient."""
    from .sampleData import loadSamplePatient

    return loadSamplePatient()


def chosenSpleen(segmentation):
    """The widget with the spleen checked at preset draft, and the id of that segment."""
    from .choices import Preset

    widget, spleen = openPanel(segmentation), idOf(segmentation, "spleen")
    parameters = widget.logic.getParameterNode()
    parameters.preset = Preset.DRAFT
    widget.panel.segments.check([spleen])
    return widget, spleen


def idOf(segmentation, name: str) -> str:
    """Id of the segment of a name."""
    return segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)


def waitFor(condition, seconds: float = LONGEST_S) -> None:
    """Let the application work until a condition holds, or for so long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)
