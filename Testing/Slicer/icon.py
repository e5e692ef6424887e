"""The icon: a liver, half bricky as a network left it, half refined.

    python -m Testing.Slicer.icon

Writes ReShapeIT.png and ReShapeIT/Resources/Icons/ReShapeIT.png.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

ROOT = Path(__file__).resolve().parents[2]
TARGETS = (ROOT / "ReShapeIT.png", ROOT / "ReShapeIT" / "Resources" / "Icons" / "ReShapeIT.png")
SIZE_PIXELS, DRAWN_PIXELS = 128, 1024
BRICK_UNIT = 0.1
BRICKY_RGB, SMOOTH_RGB = (1.0, 0.70, 0.30), (0.80, 0.36, 0.30)


def main() -> None:
    """Draw the icon and write it to both places."""
    from PIL import Image

    rgba = _rendered([(_bricky_half(), BRICKY_RGB, False), (_smooth_half(), SMOOTH_RGB, True)])
    image = Image.fromarray(rgba, "RGBA")
    image = image.crop(image.getbbox())
    edge = round(1.06 * max(image.size))
    square = Image.new("RGBA", (edge, edge))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    icon = square.resize((SIZE_PIXELS, SIZE_PIXELS), Image.LANCZOS)
    for target in TARGETS:
        target.parent.mkdir(parents=True, exist_ok=True)
        icon.save(target, optimize=True)


def _liver():
    """Surface of the liver template in its unit frame."""
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate
    from ReShapeITLib.training.export import template_surface

    return template_surface(OrganTemplate.load(find_template("liver")).model)


def _split_x(vertices: np.ndarray) -> float:
    """Where the icon changes from bricks to smooth: near the middle of the organ's width."""
    return float(0.5 * (vertices[:, 0].min() + vertices[:, 0].max()) + 0.12)


def _smooth_half() -> vtk.vtkPolyData:
    surface = _liver()
    return _right_of(surface.to_vtk(), _split_x(surface.vertices_ras))


def _bricky_half() -> vtk.vtkPolyData:
    """Boxes of the template's voxels on a coarse grid, drawn with crisp faces."""
    surface = _liver()
    lower, upper = surface.vertices_ras.min(axis=0), surface.vertices_ras.max(axis=0)
    split = _split_x(surface.vertices_ras)
    axes = [np.arange(low, high + BRICK_UNIT, BRICK_UNIT) for low, high in zip(lower, upper, strict=True)]
    axes[0] += (split - axes[0][0] - 0.5 * BRICK_UNIT) % BRICK_UNIT  # the last bricks end at the split
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(centres, deep=True))
    cloud = vtk.vtkPolyData()
    cloud.SetPoints(points)
    inside = vtk.vtkSelectEnclosedPoints()
    inside.SetInputData(cloud)
    inside.SetSurfaceData(surface.to_vtk())
    inside.Update()
    kept = vtk_to_numpy(inside.GetOutput().GetPointData().GetArray("SelectedPoints")).astype(bool)
    boxes = vtk.vtkAppendPolyData()
    for centre in centres[kept & (centres[:, 0] < split - 0.5 * BRICK_UNIT)]:
        box = vtk.vtkCubeSource()
        box.SetCenter(*centre)
        for set_length in (box.SetXLength, box.SetYLength, box.SetZLength):
            set_length(BRICK_UNIT)
        box.Update()
        boxes.AddInputData(box.GetOutput())
    boxes.Update()
    return boxes.GetOutput()


def _right_of(surface: vtk.vtkPolyData, split_x: float) -> vtk.vtkPolyData:
    plane = vtk.vtkPlane()
    plane.SetOrigin(split_x, 0.0, 0.0)
    plane.SetNormal(1.0, 0.0, 0.0)
    clip = vtk.vtkClipPolyData()
    clip.SetInputData(surface)
    clip.SetClipFunction(plane)
    clip.Update()
    return clip.GetOutput()


def _rendered(parts) -> np.ndarray:
    """(N, N, 4) picture of surfaces with colours, seen from the front, on nothing."""
    renderer, window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetAlphaBitPlanes(True)
    window.SetMultiSamples(0)
    window.SetSize(DRAWN_PIXELS, DRAWN_PIXELS)
    window.AddRenderer(renderer)
    for surface, colour, smooth in parts:
        renderer.AddActor(_actor(surface, colour, smooth))
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetPosition(-0.9, 4.0, 1.3)  # from the front: the patient's right is on the left
    camera.SetFocalPoint(0.0, 0.0, 0.0)
    camera.SetViewUp(0.0, 0.0, 1.0)
    renderer.ResetCamera()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    grab.Update()
    picture = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
    return picture.reshape(DRAWN_PIXELS, DRAWN_PIXELS, 4)[::-1].copy()


def _actor(surface: vtk.vtkPolyData, colour, smooth: bool) -> vtk.vtkActor:
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(surface)
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetColor(*colour)
    look.SetAmbient(0.25)
    look.SetDiffuse(0.8)
    if smooth:
        look.SetSpecular(0.25)
        look.SetSpecularPower(25)
    else:
        look.SetInterpolationToFlat()
        look.EdgeVisibilityOn()
        look.SetEdgeColor(0.62, 0.38, 0.10)
        look.SetLineWidth(5.0)
    return actor


if __name__ == "__main__":
    main()
