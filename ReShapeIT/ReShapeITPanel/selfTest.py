"""A person's first ten minutes, as docs/SLICER.md tells them: the steps of the in-application self-test.

One function a step, in their order, each going on with the scene that the last one left; the headings of the guide are
their names. A step gets the running unittest case. Steps that compute are left out, saying so in the log, where the
Python packages are not installed: a test must not change Slicer's Python.
"""

import logging
import time

import slicer

from .dependencies import missingPackages

LONGEST_S = 900


def openTheModule(case) -> None:
    """Open the module: panel, command-line module and sample are there, and the panel says what to do"""
    case.assertEqual(slicer.modules.reshapeitrefine.title, "ReShapeIT Refine")
    names = [source.sampleName for source in slicer.modules.sampleDataSources["ReShapeIT"]]
    case.assertIn("ReShapeITPatient", names)
    widget = openPanel()
    case.assertTrue(widget.panel.problem())
    case.assertFalse(widget.ui.refineButton.enabled)


def getTheSamplePatient(case) -> None:
    """Get the sample patient: it is made once, loaded, and the organ of every segment is proposed"""
    if not computing():
        return
    import SampleData

    case.assertEqual(SampleData.downloadSample("ReShapeITPatient").GetName(), "SamplePatientCT")
    widget = openPanel(patient())
    proposed = sorted(widget.panel.segments.templates().values())
    case.assertEqual(proposed, ["kidney_left", "kidney_right", "liver", "spleen"])


def chooseSegmentsAndOrgans(case) -> None:
    """Choose segments and organs: widgets and parameter node are connected both ways"""
    from .choices import Preset

    widget = openPanel()
    parameters = widget.logic.getParameterNode()
    widget.ui.presetComboBox.currentIndex = list(Preset).index(Preset.FINE)
    case.assertEqual(parameters.preset, Preset.FINE)
    parameters.preset = Preset.DRAFT
    case.assertEqual(widget.ui.presetComboBox.currentText, Preset.DRAFT.label())
    if computing():
        widget.panel.segments.check([spleen()])
        case.assertEqual(list(parameters.selected), [spleen()])
        case.assertEqual(widget.panel.problem(), "")


def cancelARefinement(case) -> None:
    """Cancel a refinement: it ends at once and leaves the scene as it was"""
    if not computing():
        return
    widget = openPanel(patient())
    nodes, segments = slicer.mrmlScene.GetNumberOfNodes(), patient().GetSegmentation().GetNumberOfSegments()
    widget.ui.refineButton.click()
    waitFor(lambda: widget.ui.progressBar.value > 0)
    pressed = time.monotonic()
    widget.ui.cancelButton.click()
    case.assertFalse(widget.panel.run.isRunning)
    case.assertLess(time.monotonic() - pressed, 5.0)
    case.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)
    case.assertEqual(patient().GetSegmentation().GetNumberOfSegments(), segments)


def refineTheSpleen(case) -> None:
    """Refine the spleen: a new segment beside the given one, and a row in the review"""
    if not computing():
        return
    widget, before = openPanel(patient()), patient().GetSegmentation().GetNumberOfSegments()
    widget.ui.refineButton.click()
    case.assertTrue(widget.panel.run.isRunning, widget.ui.statusLabel.text)
    waitFor(lambda: not widget.panel.run.isRunning)
    case.assertEqual(widget.ui.reviewTable.rowCount, 1, widget.ui.statusLabel.text)
    case.assertEqual(patient().GetSegmentation().GetNumberOfSegments(), before + 1)


def lookAtWhatChanged(case) -> None:
    """Look at what changed: change map, the next largest change, the table as a file's rows"""
    if not computing():
        return
    widget = openPanel()
    model = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLModelNode")
    case.assertIsNotNone(model.GetPolyData().GetPointData().GetArray("signed_change_mm"))
    widget.ui.nextChangeButton.click()
    case.assertIn("mm", widget.ui.changeLabel.text)
    widget.ui.changeMapCheckBox.checked = False
    widget.ui.changeMapCheckBox.checked = True
    widget.ui.tableNodeButton.click()
    table = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode")
    case.assertEqual(table.GetNumberOfRows(), 1)
    slicer.mrmlScene.RemoveNode(table)


def decideAboutSuggestions(case) -> None:
    """Decide about suggestions: one goes the other way, and back by undo"""
    if not computing():
        return
    widget = openPanel()
    deciding = widget.panel.review.suggestions.deciding
    case.assertGreater(widget.ui.suggestionTable.rowCount, 0)
    before = [one.taken for one in deciding.suggestions()]
    widget.ui.suggestionTable.selectRow(0)
    widget.ui.takeButton.click()
    waitFor(lambda: not deciding.isBusy, seconds=60)
    case.assertEqual([one.taken for one in deciding.suggestions()], [not before[0], *before[1:]])
    widget.ui.undoDecisionButton.click()
    waitFor(lambda: not deciding.isBusy, seconds=60)
    case.assertEqual([one.taken for one in deciding.suggestions()], before)


def blendAcceptOrReject(case) -> None:
    """Blend, accept or reject: the given segment stays until you decide"""
    if not computing():
        return
    widget = openPanel()
    widget.ui.blendSlider.value = 0.5
    waitFor(lambda: False, seconds=1)
    widget.ui.acceptButton.click()
    case.assertFalse(widget.panel.review.isOpen)


def undo(case) -> None:
    """Undo: everything is as before, in the scene and in the views"""
    if not computing():
        return
    widget = openPanel()
    widget.ui.undoButton.click()
    case.assertEqual(patient().GetSegmentation().GetNumberOfSegments(), 4)
    case.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLModelNode"))
    case.assertEqual(widget.ui.reviewTable.rowCount, 0)


def saveAndLoadTheScene(case) -> None:
    """Save and load the scene: the choices come back"""
    from .choices import Preset

    widget = openPanel()
    parameters = widget.logic.getParameterNode()
    parameters.preset = Preset.FINE
    path = slicer.util.tempDirectory() + "/reshapeit.mrml"
    case.assertTrue(slicer.util.saveScene(path))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(path)
    case.assertEqual(openPanel().logic.getParameterNode().preset, Preset.FINE)
    slicer.mrmlScene.Clear()


def useThePythonConsole(case) -> None:
    """Use the Python console: the three lines of the guide"""
    if not computing():
        return
    logic = slicer.util.getModuleLogic("ReShapeIT")
    task = logic.refine(patient(), {"spleen": "spleen"}, preset="draft")
    case.assertEqual([row.name for row in task.summary()], ["spleen"])
    task.undo()


def runTheCommandLineModule(case) -> None:
    """Run the command-line module: a label map in, a label map and a model out"""
    if not computing():
        return
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode(patient(), labels)
    refined = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "refined")
    surface = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    value = 1 + patient().GetSegmentation().GetSegmentIndex(spleen())
    parameters = {
        "inputVolume": labels,
        "outputVolume": refined,
        "surface": surface,
        "template": "spleen",
        "label": value,
        "preset": "draft",
    }
    node = slicer.cli.runSync(slicer.modules.reshapeitrefine, None, parameters)
    case.assertEqual(node.GetStatusString(), "Completed", node.GetErrorText())
    case.assertTrue((slicer.util.arrayFromVolume(refined) == value).any())
    case.assertGreater(surface.GetPolyData().GetNumberOfPoints(), 1000)


def copyTheLog(case) -> None:
    """Copy the log: what the last refinement wrote, for a report"""
    if not computing():
        return
    widget = openPanel()
    widget.ui.copyLogButton.click()
    case.assertEqual(slicer.app.clipboard().text(), widget.ui.logTextEdit.toPlainText())


STEPS = (
    openTheModule,
    getTheSamplePatient,
    chooseSegmentsAndOrgans,
    cancelARefinement,
    refineTheSpleen,
    lookAtWhatChanged,
    decideAboutSuggestions,
    blendAcceptOrReject,
    undo,
    saveAndLoadTheScene,
    useThePythonConsole,
    runTheCommandLineModule,
    copyTheLog,
)


def titleOf(step) -> str:
    """Heading of a step in the guide: "Open the module"."""
    return step.__doc__.partition(":")[0]


def computing() -> bool:
    """True where the Python packages are there; else says in the log that the step is left out."""
    missing = missingPackages()
    if missing:
        logging.warning("ReShapeIT self-test: a step is left out, these are not installed: %s", missing.described())
    return not missing


def openPanel(segmentation=None):
    """The module's widget, shown, with a segmentation selected."""
    slicer.util.selectModule("ReShapeIT")
    widget = slicer.modules.reshapeit.widgetRepresentation().self()
    if segmentation:
        widget.logic.getParameterNode().segmentation = segmentation
    return widget


def patient():
    """Segmentation of the sample patient; loaded where it is not in the scene."""
    from .sampleData import NODE_NAMES, loadSamplePatient

    known = slicer.mrmlScene.GetFirstNodeByName(NODE_NAMES[1])
    return known if known is not None else loadSamplePatient()[1]


def spleen() -> str:
    """Id of the patient's spleen."""
    return patient().GetSegmentation().GetSegmentIdBySegmentName("spleen")


def waitFor(condition, seconds: float = LONGEST_S) -> None:
    """Let the application work until a condition holds, or for so long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)
