"""Picture of a drawing on a few slices that the effect *Anatomy* completes, for the user guide.

    python -m Testing.Slicer.sparse_picture

Paints the sample patient's spleen, as it is before the damage, on some slices of a new segment and completes it in the
Segment Editor; writes ``slicer_sparse.png`` into Resources/Screenshots. Needs what ``pictures`` needs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ReShapeITLib.io.volumes import read_labels
from Testing.Slicer.application import Application
from Testing.Slicer.pictures import save_strip
from Testing.Slicer.segment_editor import Editor

ORGAN, N_SLICES = "spleen", 4
VIEW_PIXELS, SLICE_PIXELS, WIDTH_MM = (420, 340), (420, 340), 170.0


def main() -> None:
    """Draw it."""
    with tempfile.TemporaryDirectory() as folder:
        application = Application(folder)
        node, volume, whole = _drawn(application)
        views = _Views(application, node, volume)
        frames = [(views.three_d(), "Painted on four slices"), (views.slice(), "Coronal, painted")]
        dice = _completed(application, node, volume, whole)
        frames += [
            (views.three_d(), "Completed"),
            (views.slice(), f"Coronal, completed: Dice {dice:.1f} %"),
        ]
        save_strip([(Image.fromarray(pixels), caption) for pixels, caption in frames], "slicer_sparse.png")
        application.quit()


def _drawn(application: Application):
    """A segmentation whose only segment is the drawing, the CT, and the organ as it is with its Grid."""
    from ReShapeITPanel.sampleData import loadSamplePatient
    from ReShapeITPanel.samplePatient import TRUTH_FILE
    from ReShapeITSlicer.geometry import Grid
    from ReShapeITSlicer.segmentVoxels import newSegment

    volume, patient = loadSamplePatient()
    (path,) = Path(application.qt.cachePath).rglob(TRUTH_FILE)
    truth = read_labels(path)
    mask = truth.mask(ORGAN)
    grid = Grid(np.array(truth.geometry.ijk_to_ras), (0, 0, 0), mask.shape[::-1])
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    painted = np.zeros_like(mask)
    at = np.round(np.linspace(filled[0] + 1, filled[-1] - 1, N_SLICES)).astype(int)
    painted[at] = mask[at]
    segmentation = patient.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    source = next(segmentation.GetSegment(one) for one in ids if segmentation.GetSegment(one).GetName() == ORGAN)
    node = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawing")
    node.CreateDefaultDisplayNodes()
    newSegment(node.GetSegmentation(), source, ORGAN, painted, grid)
    node.CreateClosedSurfaceRepresentation()
    application.scene.RemoveNode(patient)
    return node, volume, (mask, grid)


def _completed(application: Application, node, volume, whole) -> float:
    """Preview and apply the effect; Dice (%) to the organ as it is."""
    editor = Editor(application, node, volume)
    editor.select(ORGAN)
    effect = editor.choose("Anatomy")
    effect.ui.sparseCheckBox.checked = True
    effect.ui.previewButton.click()
    application.wait(lambda: not effect.anatomy.run.isRunning)
    if not effect.anatomy.hasPreview:
        raise RuntimeError(effect.ui.statusLabel.text)
    effect.ui.applyButton.click()
    editor.close()
    application.work(20)
    mask, grid = whole
    after = application.mask(node, ORGAN, grid)
    return 200.0 * float((after & mask).sum()) / float(after.sum() + mask.sum())


class _Views:
    """A 3D view and a coronal slice through the drawing."""

    def __init__(self, application: Application, node, volume):
        from Testing.Slicer.views import SliceView, ThreeDView

        volume.GetDisplayNode().AutoWindowLevelOff()
        volume.GetDisplayNode().SetWindowLevel(400, 40)
        self._volume, self._centre = volume, node.GetSegmentCenterRAS(ORGAN)
        self._view = ThreeDView(application.world, VIEW_PIXELS)
        self._slice = SliceView(application.world, SLICE_PIXELS, "Coronal")
        self._view.picture()
        self._bounds = np.zeros(6)
        node.GetRASBounds(self._bounds)

    def three_d(self) -> np.ndarray:
        """(height, width, 3) uint8."""
        self._view.picture()
        self._view.look("left", 1.3, self._bounds)
        return self._view.picture()

    def slice(self) -> np.ndarray:
        """(height, width, 3) uint8."""
        self._slice.show(self._volume, self._centre, WIDTH_MM)
        return self._slice.picture()


if __name__ == "__main__":
    main()
