"""A MRML scene with the logics that the application would have, on the slicer-core wheel."""

from __future__ import annotations

from types import SimpleNamespace

LOGICS = {
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "ColorLegends": "vtkSlicerColorLogic",
}


def new_scene(temporary_folder: str) -> SimpleNamespace:
    """A scene ready for use.

    Args:
        temporary_folder: where logics may leave files.

    Returns:
        ``scene``, ``app`` (the application logic) and ``logics`` by name; keep it as long as the scene.
    """
    import slicer
    import vtk

    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    _register_conversions(slicer)
    scene, app = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    app.SetMRMLScene(scene)
    app.SetTemporaryPath(str(temporary_folder))
    colours = app.GetColorLogic()
    colours.SetMRMLScene(scene)
    colours.AddDefaultColorNodes()
    app.SetModuleLogic("Colors", colours)
    logics = {}
    for name, kind in LOGICS.items():
        logic = getattr(slicer, kind)()
        logic.SetMRMLApplicationLogic(app)
        logic.SetMRMLScene(scene)
        app.SetModuleLogic(name, logic)
        logics[name] = logic
    return SimpleNamespace(scene=scene, app=app, logics=logics)


def _register_conversions(slicer) -> None:
    """In the application the segmentations module does this."""
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    for rule in ("vtkBinaryLabelmapToClosedSurfaceConversionRule", "vtkClosedSurfaceToBinaryLabelmapConversionRule"):
        factory.RegisterConverterRule(getattr(slicer, rule)())
