"""Slicer's own 3D and slice views, drawn off-screen by its displayable managers."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

THREE_D_MANAGERS = (
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
SLICE_MANAGERS = (
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)


class ThreeDView:
    """A 3D view of a scene.

    Args:
        world: of ``scene.new_scene``.
        size_pixels: width and height.
        name: of the view node.
    """

    def __init__(self, world, size_pixels: tuple[int, int], name: str = "View1"):
        self.node = world.scene.AddNewNodeByClass("vtkMRMLViewNode", name)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetBackgroundColor(0.757, 0.765, 0.910)
        self.node.SetBackgroundColor2(0.455, 0.471, 0.745)
        self.camera_node = world.scene.AddNewNodeByClass("vtkMRMLCameraNode")
        self.camera_node.SetLayoutName(self.node.GetLayoutName())
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._renderer, self._window = _renderer_and_window(size_pixels)
        self._renderer.GradientBackgroundOn()
        self._managed = _managed(factory, THREE_D_MANAGERS, world, self._renderer, self.node)

    def look(self, view_from: str = "anterior", zoom: float = 1.0, bounds_ras=None) -> None:
        """Look at everything, or at a box, from a side."""
        directions = {
            "anterior": ((0.25, 1.0, 0.22), (0, 0, 1)),
            "right": ((1.0, 0.35, 0.2), (0, 0, 1)),
            "left": ((-1.0, 0.35, 0.2), (0, 0, 1)),
            "posterior": ((-0.3, -1.0, 0.25), (0, 0, 1)),
        }
        direction, up = directions[view_from]
        bounds = bounds_ras if bounds_ras is not None else self._renderer.ComputeVisiblePropBounds()
        centre = [0.5 * (bounds[2 * axis] + bounds[2 * axis + 1]) for axis in range(3)]
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(centre)
        camera.SetPosition(*(c + 1000.0 * d for c, d in zip(centre, direction, strict=True)))
        camera.SetViewUp(*up)
        self._renderer.ResetCamera(bounds)
        camera.Zoom(zoom)
        self._renderer.ResetCameraClippingRange()

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8."""
        return _grab(self._window)


class SliceView:
    """A slice view of a scene; arguments as ThreeDView.

    Args:
        orientation: "Axial", "Coronal" or "Sagittal".
        name: of the slice node; each view has its own.
    """

    def __init__(self, world, size_pixels: tuple[int, int], orientation: str, name: str = "Red"):
        if world.app.GetSliceLogics() is None:
            world.app.SetSliceLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(world.scene)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(world.app)
        self.logic.SetMRMLScene(world.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(*size_pixels, 1)
        world.app.GetSliceLogics().AddItem(self.logic)
        self._renderer, self._window = _renderer_and_window(size_pixels)
        self._renderer.SetBackground(0, 0, 0)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        # Before the managers add theirs: what is drawn first lies behind, and translucent fills show it.
        self._renderer.AddActor2D(self._image)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._managed = _managed(factory, SLICE_MANAGERS, world, self._renderer, self.node)

    def show(self, volume_node, position_ras, width_mm: float) -> None:
        """Show a volume at a point, so many mm wide."""
        composite = self.logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(volume_node.GetID())
        columns, rows, _ = self.node.GetDimensions()
        self.node.SetFieldOfView(width_mm, width_mm * rows / columns, 1.0)
        self.node.JumpSliceByCentering(*position_ras)
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8."""
        return _grab(self._window)


def _renderer_and_window(size_pixels):
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(8)
    window.SetSize(*size_pixels)
    window.AddRenderer(renderer)
    return renderer, window


def _managed(factory, names, world, renderer, node):
    """Interactor and group of displayable managers that draw the scene into a renderer; keep both."""
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(renderer.GetRenderWindow())
    factory.SetMRMLApplicationLogic(world.app)
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = factory.InstantiateDisplayableManagers(renderer)
    group.SetMRMLDisplayableNode(node)
    return interactor, group


def _grab(window) -> np.ndarray:
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    width, height, _ = grab.GetOutput().GetDimensions()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)
    return pixels[::-1, :, :3].copy()
