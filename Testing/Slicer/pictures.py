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
VIEW_PIXELS, SLICE_PIXELS, PANEL_PIXELS = (760, 600), (560, 460), (540, 1100)
# Where the largest change of these segments is: in which slice, and how many mm wide.
PLACES = {"liver": ("Axial", 330.0), "spleen": ("Coronal", 220.0)}


def main() -> None:
    """Draw everything."""
    sys.path.insert(0, str(ROOT / "ReShapeIT"))
    qt = import_qt()
    with tempfile.TemporaryDirectory() as folder:
        world = _world_with_patient(Path(folder))
        Image.fromarray(_three_d(world)).resize((260, 205), Image.LANCZOS).save(THUMBNAIL, optimize=True)
        panel = _refined_panel(world, qt)
        places = _largest_changes(world.task)
        after = _views(world, places)
        panel.ui.keptAlive[-1].grab().save(str(SCREENSHOTS / "slicer_panel.png"))
        _show(panel, qt, before=1.0, after=0.0, change_map=False)
        _review_sheet(_views(world, places), after)
        panel.close()


def _world_with_patient(folder: Path):
    """A scene with the sample patient loaded as the Sample Data module would load it."""
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
    world.slices = {name: SliceView(world, SLICE_PIXELS, place[0], name) for name, place in PLACES.items()}
    world.view.picture()
    world.bounds = np.zeros(6)
    world.node.GetRASBounds(world.bounds)
    return world


def _loaded(scene, kind: str, storage_kind: str, folder: Path, index: int):
    from ReShapeITPanel.sampleData import FILES, NODE_NAMES

    storage, node = scene.AddNewNodeByClass(storage_kind), scene.AddNewNodeByClass(kind, NODE_NAMES[index])
    storage.SetFileName(str(folder / FILES[index]))
    if not storage.ReadData(node):
        raise RuntimeError(f"{FILES[index]} cannot be read")
    node.CreateDefaultDisplayNodes()
    return node


def _three_d(world) -> np.ndarray:
    """Picture of the 3D view."""
    world.view.picture()
    world.view.look("anterior", 1.6, world.bounds)
    return world.view.picture()


def _views(world, places: dict[str, tuple]) -> dict[str, np.ndarray]:
    """Pictures of the 3D view and of the slices through the places."""
    pictures = {"3d": _three_d(world)}
    for name, place in places.items():
        world.slices[name].show(world.ct, place, PLACES[name][1])
        pictures[name] = world.slices[name].picture()
    return pictures


def _largest_changes(task) -> dict[str, tuple]:
    """World RAS mm of the largest change of each segment of PLACES."""
    found = {}
    names = {row.segmentId: row.name for row in task.summary()}
    first = change = task.nextLargestChange()
    while len(found) < len(PLACES):
        name = names[change.segmentId]
        if name in PLACES:
            found.setdefault(name, change.positionRas)
        change = task.nextLargestChange()
        if change == first and len(found) < len(PLACES):
            still = ", ".join(PLACES.keys() - found)
            raise RuntimeError(f"nothing moved in {still}: give the sample patient another seed")
    return found


def _show(panel, qt, before: float, after: float, change_map: bool) -> None:
    """Move the sliders of the review."""
    panel.ui.opacityBeforeSlider.setValue(before)
    panel.ui.opacityAfterSlider.setValue(after)
    panel.ui.changeMapCheckBox.setChecked(change_map)
    for _ in range(20):
        qt.application.processEvents()


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

    def create(node, templates, options):
        logic = world.logics["Segmentations"]
        world.task = RefinementTask(world.scene, node, templates, options, segmentationsLogic=logic)
        return world.task

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
    _show(panel, qt, before=0.0, after=1.0, change_map=True)
    return panel


def _review_sheet(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """3D views above, slices below, each given and refined, with titles."""
    rows = [
        [(before["3d"], "Given: bites, holes, stray pieces"), (after["3d"], "Refined: colours show what moved")],
        [
            (pictures[name], f"{name.capitalize()}, {word}")
            for name in PLACES for word, pictures in (("given", before), ("refined", after))
        ],
    ]  # fmt: skip
    gap, title, width = 8, 34, 2 * VIEW_PIXELS[0] + 24
    tall = [round((width - gap) / len(row) - gap) * row[0][0].shape[0] // row[0][0].shape[1] for row in rows]
    sheet = Image.new("RGB", (width, sum(tall) + 2 * title + 3 * gap + 20), PAPER)
    draw, top = ImageDraw.Draw(sheet), 0
    for row, height in zip(rows, tall, strict=True):
        each = (width - gap) // len(row)
        for column, (picture, caption) in enumerate(row):
            left = gap + column * each
            text(draw, (left + each // 2, top + title // 2 + 3), caption, 18, INK, "mm")
            sheet.paste(Image.fromarray(picture).resize((each - gap, height), Image.LANCZOS), (left, top + title))
        top += title + height + gap
    footer(draw, sheet.size)
    sheet.save(SCREENSHOTS / "slicer_review.png", optimize=True)


if __name__ == "__main__":
    main()
