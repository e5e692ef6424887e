"""Model nodes that show how far a surface moved, their colours, and where it moved most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

CHANGE = "signed_change_mm"
LEAST_RANGE_MM = 1.0
OUTLINE_PIXELS = 3
APART_MM = 15.0
MOST_CHANGES = 20
LEAST_CHANGE_MM = 0.5
INWARDS, STILL, OUTWARDS = (0.13, 0.40, 0.67), (0.97, 0.97, 0.97), (0.70, 0.09, 0.17)


@dataclass(frozen=True)
class Change:
    """A place where the surface moved.

    :param segmentId: of the given segment.
    :param positionRas: in world RAS mm.
    :param changeMm: outward positive.
    """

    segmentId: str
    positionRas: tuple[float, float, float]
    changeMm: float


def addColours(scene):
    """A user-type color table from inwards (blue) over still (white) to outwards (red)."""
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "ReShapeIT change")
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for index, share in enumerate(np.linspace(-1.0, 1.0, 256)):
        end = OUTWARDS if share > 0 else INWARDS
        colour = [still + abs(share) * (full - still) for still, full in zip(STILL, end, strict=True)]
        node.SetColor(index, f"{share:+.2f}", *colour, 1.0)
    return node


def addChangeModel(scene, name: str, surface, transformNodeId: str | None, colours, rangeMm: float):
    """A model node of a surface in local mm, coloured by its signed change from -rangeMm to rangeMm."""
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    surface.GetPointData().SetActiveScalars(CHANGE)
    model.SetAndObservePolyData(surface)
    model.SetAndObserveTransformNodeID(transformNodeId)
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetActiveScalar(CHANGE, vtk.vtkAssignAttribute.POINT_DATA)
    display.SetAndObserveColorNodeID(colours.GetID())
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(-rangeMm, rangeMm)
    display.SetScalarVisibility(True)
    # In slice views the cut through the surface, in the same colours.
    display.SetVisibility2D(True)
    display.SetSliceDisplayModeToIntersection()
    display.SetSliceIntersectionThickness(OUTLINE_PIXELS)
    return model


def commonRangeMm(surfaces) -> float:
    """End of the colour scale: what 99 of 100 points do not exceed on any surface."""
    return max([LEAST_RANGE_MM, *(float(np.percentile(np.abs(changes(surface)), 99)) for surface in surfaces)])


def changes(surface) -> np.ndarray:
    """(N,) signed change in mm of a surface's points."""
    return vtk_to_numpy(surface.GetPointData().GetArray(CHANGE)).astype(float)


def largestChanges(surface) -> list[tuple[np.ndarray, float]]:
    """Points (local mm) with the largest changes, one for each place, largest first."""
    moved, points = changes(surface), vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    open_, found = np.abs(moved) >= LEAST_CHANGE_MM, []
    while open_.any() and len(found) < MOST_CHANGES:
        index = int(np.argmax(np.where(open_, np.abs(moved), -1.0)))
        found.append((points[index], float(moved[index])))
        open_ &= np.linalg.norm(points - points[index], axis=1) > APART_MM
    return found
