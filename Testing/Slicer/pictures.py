"""Pictures for README, user guide and Extensions Manager: the panel and Slicer's own views before and after.

    python -m Testing.Slicer.pictures

Makes the sample patient, refines it through the panel as a user would, and writes into Resources/Screenshots
``slicer_panel.png``, ``slicer_review.png``, ``slicer_effect.png`` and the film strip ``slicer_minute.png``, and the
thumbnail of the Sample Data module. Takes a few minutes; needs slicer-core, PySide6-Essentials and OpenGL (EGL will
do, no display).
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ReShapeITLib.pictures.drawing import INK, PAPER, footer, text
from Testing.Slicer.application import Application
from Testing.Slicer.segment_editor import Editor

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
THUMBNAIL = ROOT / "ReShapeIT" / "Resources" / "Icons" / "SampleData.png"
VIEW_PIXELS, SLICE_PIXELS, PANEL_PIXELS = (760, 600), (560, 460), (600, 1400)
EFFECT_PIXELS = (520, 420)
FRAME_PIXELS, TITLE_PIXELS, GAP_PIXELS = (380, 300), 30, 6
# Where the largest change of these segments is: in which slice, and how many mm wide.
PLACES = {"liver": ("Axial", 330.0), "spleen": ("Coronal", 220.0)}


def main() -> None:
    """Draw everything."""
    with tempfile.TemporaryDirectory() as folder:
        application = Application(folder)
        world = _world_with_patient(application)
        frames = [(_three_d(world, "posterior"), "1  Open the sample patient")]
        Image.fromarray(_three_d(world)).resize((260, 205), Image.LANCZOS).save(THUMBNAIL, optimize=True)
        widget = _refined_panel(application, frames)
        places = _largest_changes(widget.panel.review._task)
        after = _views(world, places)
        widget.parent.grab().save(str(SCREENSHOTS / "slicer_panel.png"))
        _film_strip([*frames, *_frames_of_review(application, world, widget)])
        _show(application, widget.ui, before=1.0, after=0.0, change_map=False)
        _review_sheet(_views(world, places), after)
        widget.panel.review.undo()
        _effect(application, world)
        application.quit()


def _effect(application: Application, world) -> None:
    """The Segment Editor's effect with its preview of the spleen."""
    from Testing.Slicer.pythonqt import unwrapped

    editor = Editor(application, world.node, world.ct)
    segmentation = world.node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    editor.select(next(one for one in ids if segmentation.GetSegment(one).GetName() == "spleen"))
    effect, frame = editor.choose("Anatomy"), unwrapped(editor.effect._frame)
    frame.resize(*EFFECT_PIXELS)
    frame.show()
    effect.ui.previewButton.click()
    application.wait(lambda: not effect.anatomy.run.isRunning)
    application.wait(lambda: not effect.anatomy.suggestions.deciding.isBusy)
    effect.ui.suggestionTable.selectRow(0)
    application.work(20)
    frame.grab().save(str(SCREENSHOTS / "slicer_effect.png"))
    editor.close()


def _world_with_patient(application: Application):
    """The application's scene with the sample patient, as the Sample Data module loads it, and views of it."""
    from ReShapeITPanel.sampleData import loadSamplePatient

    from Testing.Slicer.views import SliceView, ThreeDView

    world = application.world
    world.ct, world.node = loadSamplePatient()
    display = world.ct.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(400, 40)
    world.node.CreateClosedSurfaceRepresentation()
    world.view = ThreeDView(world, VIEW_PIXELS)
    world.slices = {name: SliceView(world, SLICE_PIXELS, place[0], name) for name, place in PLACES.items()}
    world.view.picture()
    world.bounds = np.zeros(6)
    world.node.GetRASBounds(world.bounds)
    return world


def _three_d(world, view_from: str = "anterior") -> np.ndarray:
    """Picture of the 3D view."""
    world.view.picture()
    world.view.look(view_from, 1.6, world.bounds)
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


def _show(application: Application, ui, before: float, after: float, change_map: bool) -> None:
    """Move the sliders of the review."""
    ui.opacityBeforeSlider.value, ui.opacityAfterSlider.value = before, after
    ui.changeMapCheckBox.checked = change_map
    application.work(20)


def _refined_panel(application: Application, frames: list):
    """The module's widget after a user checked all segments and pressed Refine; a frame is taken before."""
    widget = application.open()
    node = widget._parameterNode.segmentation
    widget.panel.segments.check([node.GetSegmentation().GetNthSegmentID(index) for index in range(4)])
    widget.parent.resize(*PANEL_PIXELS)
    widget.parent.show()
    application.wait(lambda: widget.ui.deviceReasonLabel.text)
    frames.append((_pixels(widget.ui.inputsCollapsibleButton), "2  Check the organs, press Refine"))
    widget.ui.refineButton.click()
    application.wait(lambda: not widget.panel.run.isRunning)
    if widget.ui.reviewTable.rowCount == 0:
        raise RuntimeError(widget.ui.statusLabel.text)
    widget.ui.nextChangeButton.click()
    application.wait(lambda: not widget.panel.review.suggestions.deciding.isBusy)
    widget.ui.suggestionTable.selectRow(0)
    _show(application, widget.ui, before=0.0, after=1.0, change_map=True)
    return widget


def _frames_of_review(application: Application, world, widget) -> list[tuple[np.ndarray, str]]:
    """What moved, a suggestion in a slice, the decided organs."""
    _show(application, widget.ui, before=0.0, after=1.0, change_map=True)
    frames = [(_three_d(world, "posterior"), "3  See what moved, and how far")]
    deciding = widget.panel.review.suggestions.deciding
    name, found = "spleen", deciding.suggestions()
    names = {row.segmentId: row.name for row in widget.panel.review._task.summary()}
    one = next(index for index, each in enumerate(found) if names[each.segmentId] == name)
    widget.ui.suggestionTable.selectRow(one)
    application.wait(lambda: not deciding.isBusy)
    _show(application, widget.ui, before=1.0, after=0.4, change_map=False)
    world.slices[name].show(world.ct, deciding.centreOf(found[one]), PLACES[name][1])
    frames.append((world.slices[name].picture(), "4  Space takes or leaves a suggestion"))
    widget.ui.suggestionTable.clearSelection()
    _show(application, widget.ui, before=0.0, after=1.0, change_map=False)
    return [*frames, (_three_d(world, "posterior"), "5  Accept")]


def _pixels(widget) -> np.ndarray:
    """(height, width, 3) uint8 of a widget."""
    from PySide6.QtCore import QBuffer

    from Testing.Slicer.pythonqt import unwrapped

    buffer = QBuffer()
    buffer.open(QBuffer.OpenModeFlag.WriteOnly)
    unwrapped(widget).grab().save(buffer, "PNG")
    return np.asarray(Image.open(io.BytesIO(bytes(buffer.data()))).convert("RGB"))


def _film_strip(frames: list[tuple[np.ndarray, str]]) -> None:
    """Frames of one size; of the panel, which is higher than wide, the upper part."""
    fitted = []
    for index, (pixels, caption) in enumerate(frames):
        centring = (0.0, 0.0) if index == 1 else (0.5, 0.5)
        fitted.append((ImageOps.fit(Image.fromarray(pixels), FRAME_PIXELS, Image.LANCZOS, centering=centring), caption))
    save_strip(fitted, "slicer_minute.png")


def save_strip(frames: list[tuple[Image.Image, str]], name: str) -> None:
    """Frames of one size side by side, their captions above, as a file of the screenshots."""
    width, height = frames[0][0].size
    sheet = Image.new("RGB", (len(frames) * (width + GAP_PIXELS) + GAP_PIXELS, height + TITLE_PIXELS + 26), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (picture, caption) in enumerate(frames):
        left = GAP_PIXELS + index * (width + GAP_PIXELS)
        text(draw, (left + 4, TITLE_PIXELS // 2), caption, 17, INK, "lm", width)
        sheet.paste(picture, (left, TITLE_PIXELS))
    footer(draw, sheet.size)
    sheet.save(SCREENSHOTS / name, optimize=True)


def _review_sheet(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """3D views above, slices below, each given and refined, with titles."""
    rows = [
        [(before["3d"], "Given: bites, holes, stray pieces"), (after["3d"], "Refined: colours show what moved")],
        [
            (pictures[name], f"{name.capitalize()}, {word}")
            for name in PLACES
            for word, pictures in (("given", before), ("refined", after))
        ],
    ]
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
