"""The Segment Editor's effect *Anatomy*: repairs the selected segment with what is known about the organ.

Slicer loads this file by its path and takes the class of the file's name; all that it does is in ReShapeITPanel.effect.
It is no auto-complete effect of Slicer's: those work on all visible segments at once and hold the application while
they compute.
"""

import os

import qt
import slicer
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

MODULE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VOLUME, SPARSE = "AskVolume", "Sparse"


class SegmentEditorAnatomyEffect(AbstractScriptedSegmentEditorEffect):
    """What the editor asks of an effect."""

    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Anatomy"  # the editor and scripts find effects by name: not translated
        scriptedEffect.title = _("Anatomy")
        scriptedEffect.perSegment = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.anatomy = None

    def clone(self):
        """A new instance for another editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(__file__.replace("\\", "/"))
        return cloned

    def icon(self):
        """Shown on the effect's button."""
        return qt.QIcon(os.path.join(MODULE, "Resources", "Icons", "ReShapeIT.png"))

    def helpText(self):
        """Shown in the help box."""
        return "<html>" + _(
            "Repair an organ with learned anatomy<br>.<p>The selected segment is compared with what is known about the "
            "organ, and with the source volume. <b>Preview</b> shows what would change as a list of suggestions: "
            "select one to see it, Space takes or leaves it, the slider goes from cautious to bold. Clicks say what "
            "belongs to the organ. <b>Apply</b> changes the segment within the editable area. "
            "<i>Drawn on a few slices only</i> completes what was painted on some parallel slices. "
            "Research software, not a medical device."
        )

    def setupOptionsFrame(self):
        """Make the widgets."""
        from ReShapeITPanel.effect.anatomy import Anatomy, Editor

        from ReShapeIT import ReShapeITLogic

        widget = slicer.util.loadUI(os.path.join(MODULE, "Resources", "UI", "Anatomy.ui"))
        self.scriptedEffect.addOptionsWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        editor = Editor(self._segmentation, self._segmentId, self._volume, self._apply)
        self.anatomy = Anatomy(self.ui, slicer.mrmlScene, editor, ReShapeITLogic().effectEnvironment())
        self.ui.useVolumeCheckBox.connect("toggled(bool)", lambda checked: self.updateMRMLFromGUI())
        self.ui.sparseCheckBox.connect("toggled(bool)", lambda checked: self.updateMRMLFromGUI())

    def createCursor(self, widget):
        """The usual one."""
        return slicer.util.mainWindow().cursor

    def setMRMLDefaults(self):
        """Parameters of a new editor."""
        self.scriptedEffect.setParameterDefault(VOLUME, 1)
        self.scriptedEffect.setParameterDefault(SPARSE, 0)

    def activate(self):
        """The effect is chosen."""
        self.updateGUIFromMRML()

    def deactivate(self):
        """Another effect is chosen: nothing stays behind."""
        if self.anatomy is not None:
            self.anatomy.close()

    def cleanup(self):
        """The editor goes."""
        if self.anatomy is not None:
            self.anatomy.close()

    def interactionNodeModified(self, interactionNode):
        """Placing points does not leave the effect."""

    def sourceVolumeNodeChanged(self):
        """The preview was made with another volume."""
        if self.anatomy is not None and self.anatomy.hasPreview:
            self.anatomy.cancel()

    def updateGUIFromMRML(self):
        """Another segment or segmentation, or other parameters."""
        if self.anatomy is None:
            return
        for box, name in ((self.ui.useVolumeCheckBox, VOLUME), (self.ui.sparseCheckBox, SPARSE)):
            blocked = box.blockSignals(True)
            box.checked = self.scriptedEffect.integerParameter(name) != 0
            box.blockSignals(blocked)
        self.anatomy.refresh()

    def updateMRMLFromGUI(self):
        """Keep the choices with the editor."""
        self.scriptedEffect.setParameter(VOLUME, int(self.ui.useVolumeCheckBox.checked))
        self.scriptedEffect.setParameter(SPARSE, int(self.ui.sparseCheckBox.checked))

    def _segmentation(self):
        node = self.scriptedEffect.parameterSetNode()
        return node.GetSegmentationNode() if node is not None else None

    def _segmentId(self):
        node = self.scriptedEffect.parameterSetNode()
        return node.GetSelectedSegmentID() if node is not None else None

    def _volume(self):
        node = self.scriptedEffect.parameterSetNode()
        return node.GetSourceVolumeNode() if node is not None else None

    def _apply(self, segmentationNode, segmentId: str) -> None:
        """Put the voxels of another segmentation's segment into the selected one, as far as the editor's mask lets."""
        from ReShapeITSlicer.errors import RefinementError
        from ReShapeITSlicer.segmentVoxels import fillFrom

        self.scriptedEffect.saveStateForUndo()
        labelmap = self.scriptedEffect.defaultModifierLabelmap()
        if labelmap is None:
            raise RefinementError(_("The editor has no voxel grid; choose a source volume."))
        fillFrom(labelmap, segmentationNode.GetSegmentation(), segmentId)
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet
        self.scriptedEffect.modifySelectedSegmentByLabelmap(labelmap, mode)
