"""Pictures for README, user guide and Extensions Manager: the panel and Slicer's own views before and after.

    python -m Testing.Slicer.pictures

Makes the sample patient, refines it through the panel as a user would, and writes into Resources/Screenshots
``slicer_panel.png`` and ``slicer_review.png``, and the thumbnail of the Sample Data module. Takes a few minutes; needs
slicer-core, PySide6-Essentials and OpenGL (EGL will do, no display).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ReShapeITLib.drawing import INK, PAPER, footer, text
from Testing.qt_stand_ins import default_parameters, fill_choices, import_qt, load_panel

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
THUMBNAIL = ROOT / "ReShapeIT" / "Resources" / "Icons" / "SampleData.png"
VIEW_PIXELS, SLICE_PIXELS, PANEL_PIXELS = (760, 600), (760, 500), (540, 1100)
LIVER_POINT_RAS = (0.0, 0.0, 1118.0)


def main() -> None:
    """Draw everything."""
    sys.path.insert(0, str(ROOT / "ReShapeIT"))
    qt = import_qt()
    with tempfile.TemporaryDirectory() as folder:
        world = _world_with_patient(Path(folder))
        before = _views(world)
        _save(Image.fromarray(before["3d"]).resize((260, 205), Image.LANCZOS), THUMBNAIL)
        panel = _refined_panel(world, qt)
        after = _views(world)
        panel.ui.keptAlive[-1].grab().save(str(SCREENSHOTS / "slicer_panel.png"))
        _review_sheet(before, after)
        panel.close()


def _world_with_patient(folder: Path):
    """A scene with the sample patient loaded as the Sample Data module would load it."""
    import slicer
    from ReShapeITPanel import sampleData

    from Testing.Slicer.scene import new_scene
    from Testing.Slicer.views import SliceView, ThreeDView

    world = new_scene(str(folder))
    sampleData.makeSamplePatient(folder)
    world.ct = _loaded(world.scene, "vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", folder, 0)
    display = world.ct.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(400, 40)
    world.node = _loaded(world.scene, "vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", folder, 1)
    world.node.SetReferenceImageGeometryParameterFromVolumeNode(world.ct)
    world.node.CreateClosedSurfaceRepresentation()
    world.view = ThreeDView(world, VIEW_PIXELS)
    world.slices = [SliceView(world, SLICE_PIXELS, orientation) for orientation in ("Axial",)]
    world.slicer = slicer
    world.view.picture()
    world.bounds = None
    return world


def _loaded(scene, kind: str, storage_kind: str, folder: Path, index: int):
    from ReShapeITPanel.sampleData import FILES, NODE_NAMES

    storage, node = scene.AddNewNodeByClass(storage_kind), scene.AddNewNodeByClass(kind, NODE_NAMES[index])
    storage.SetFileName(str(folder / FILES[index]))
    if not storage.ReadData(node):
        raise RuntimeError(f"{FILES[index]} cannot be read")
    node.CreateDefaultDisplayNodes()
    return node


def _views(world) -> dict[str, np.ndarray]:
    """Pictures of the 3D view and of both slices."""
    bounds = np.zeros(6)
    world.node.GetRASBounds(bounds)
    world.bounds = bounds if world.bounds is None else world.bounds
    world.view.picture()
    world.view.look("anterior", 1.6, world.bounds)
    pictures = {"3d": world.view.picture()}
    for view in world.slices:
        view.show(world.ct, LIVER_POINT_RAS, 380.0)
        pictures[view.node.GetOrientation()] = view.picture()
    return pictures


def _refined_panel(world, qt):
    """The panel after a user checked all segments and pressed Refine."""
    from ReShapeITPanel.dependencies import missingPackages
    from ReShapeITPanel.deviceProbe import DeviceProbe
    from ReShapeITPanel.panel import Panel, PanelEnvironment
    from ReShapeITSlicer.refinement import RefinementTask
    from ReShapeITSlicer.templates import availableTemplates

    top, ui = load_panel()
    fill_choices(ui)
    ui.segmentationSelector.addItem(world.node.GetName())
    for slider, value in ((ui.opacityBeforeSlider, 0.0), (ui.opacityAfterSlider, 1.0)):
        slider.setValue(value)
    ui.changeMapCheckBox.setChecked(True)

    def create(node, templates, options):
        logic = world.logics["Segmentations"]
        return RefinementTask(world.scene, node, templates, options, segmentationsLogic=logic)

    environment = PanelEnvironment(availableTemplates, create, missingPackages, None, lambda text: True, DeviceProbe)
    panel = Panel(ui, world.scene, environment)
    panel.setParameters(default_parameters(segmentation=world.node))
    panel.segments.check([world.node.GetSegmentation().GetNthSegmentID(index) for index in range(4)])
    top.resize(*PANEL_PIXELS)
    top.show()
    ui.refineButton.click()
    while panel.run.isRunning or not ui.deviceReasonLabel.text():
        qt.application.processEvents()
        time.sleep(0.02)
    if panel.ui.reviewTable.rowCount() == 0:
        raise RuntimeError(ui.statusLabel.text())
    ui.nextChangeButton.click()
    for _ in range(20):
        qt.application.processEvents()
    return panel


def _review_sheet(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """3D views and slices side by side, with titles."""
    rows = [
        [("3d", before, "Given: bites, holes, a stray piece"), ("3d", after, "Refined: colours show what moved")],
        [("Axial", before, "Given"), ("Axial", after, "Refined")],
    ]
    gap, title = 8, 34
    width = 2 * VIEW_PIXELS[0] + 3 * gap
    slice_height = round(SLICE_PIXELS[1] * VIEW_PIXELS[0] / SLICE_PIXELS[0])
    height = VIEW_PIXELS[1] + slice_height + 2 * title + 3 * gap + 20
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, top = ImageDraw.Draw(sheet), 0
    for row, tall in zip(rows, (VIEW_PIXELS[1], slice_height), strict=True):
        for column, (name, pictures, caption) in enumerate(row):
            left = gap + column * (VIEW_PIXELS[0] + gap)
            text(draw, (left + VIEW_PIXELS[0] // 2, top + title // 2 + 3), caption, 18, INK, "mm")
            picture = Image.fromarray(pictures[name]).resize((VIEW_PIXELS[0], tall), Image.LANCZOS)
            sheet.paste(picture, (left, top + title))
        top += title + tall + gap
    footer(draw, sheet.size)
    _save(sheet, SCREENSHOTS / "slicer_review.png")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)


if __name__ == "__main__":
    main()
