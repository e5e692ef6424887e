"""Points that say what belongs to an organ and what does not: two markups lists of the scene, and placing them."""

from __future__ import annotations

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

KIND, STROKE_KIND = "vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsCurveNode"
STROKE_MM = 4.0
Position = tuple[float, float, float]
SELECTION, INTERACTION = "vtkMRMLSelectionNodeSingleton", "vtkMRMLInteractionNodeSingleton"
BELONGS, BELONGS_NOT = "This belongs", "This does not"
COLOURS = {BELONGS: (0.2, 0.8, 0.2), BELONGS_NOT: (0.9, 0.2, 0.2)}


def newList(scene, name: str):
    """An empty list of points that is saved with the scene.

    :param name: BELONGS or BELONGS_NOT.
    """
    node = scene.AddNewNodeByClass(KIND, name)
    node.SetControlPointLabelFormat("+%d" if name == BELONGS else "-%d")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*COLOURS[name])
    display.SetSelectedColor(*COLOURS[name])
    display.SetSnapMode(slicer.vtkMRMLMarkupsDisplayNode.SnapModeToVisibleSurface)
    display.SetTextScale(0)
    return node


def newStroke(scene, name: str):
    """A curve to be drawn, which becomes points of a list.

    :param name: BELONGS or BELONGS_NOT.
    """
    node = scene.AddNewNodeByClass(STROKE_KIND, f"{name}: stroke")
    node.SetSaveWithScene(False)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetColor(*COLOURS[name])
    display.SetSelectedColor(*COLOURS[name])
    display.SetPropertiesLabelVisibility(False)
    return node


def strokePoints(curve, every_mm: float = STROKE_MM) -> list[Position]:
    """World RAS mm of points along a curve from its first to its last, about ``every_mm`` apart; none of an empty one.

    :param curve: vtkMRMLMarkupsCurveNode or another markups node that has a curve.
    """
    drawn = curve.GetCurvePointsWorld()
    if drawn is None or drawn.GetNumberOfPoints() == 0:
        return [position for position, _about in pointsOf(curve)]
    line = vtk_to_numpy(drawn.GetData()).astype(float)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0.0, way[-1], 1 + max(1, round(way[-1] / every_mm))) if way[-1] > 0.0 else np.zeros(1)
    return [tuple(map(float, point)) for point in np.stack([np.interp(at, way, axis) for axis in line.T], axis=1)]


def pointsOf(node) -> list[tuple[Position, str]]:
    """World RAS mm of the points that are placed, and what each is about (empty: nobody said); none without a list."""
    if node is None:
        return []
    placed = [
        index
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined
    ]
    return [
        (
            tuple(float(value) for value in node.GetNthControlPointPositionWorld(index)),
            node.GetNthControlPointDescription(index) or "",
        )
        for index in placed
    ]


def setPoints(node, points: list[tuple[Position, str]]) -> None:
    """Let a list have these points, as of ``pointsOf``; one that has them is left alone."""
    if node is None or _rounded(pointsOf(node)) == _rounded(points):
        return
    with slicer.util.NodeModify(node):
        node.RemoveAllControlPoints()
        for position, about in points:
            node.SetNthControlPointDescription(node.AddControlPointWorld(*position), about)


def sayAbout(node, about) -> None:
    """Say of each point that nobody said it of what it is about; it stays so in the saved scene.

    :param about: function of world RAS mm to a text.
    """
    for index in range(node.GetNumberOfControlPoints() if node is not None else 0):
        isPlaced = node.GetNthControlPointPositionStatus(index) == node.PositionDefined
        if isPlaced and not node.GetNthControlPointDescription(index):
            node.SetNthControlPointDescription(index, about(node.GetNthControlPointPositionWorld(index)))


def startPlacing(scene, node) -> None:
    """A click in a view puts a point into the list, one after the other, or into a stroke until it ends."""
    selection, interaction = scene.GetNodeByID(SELECTION), scene.GetNodeByID(INTERACTION)
    if selection is None or interaction is None:
        return
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(0 if node.IsA(STROKE_KIND) else 1)
    interaction.SetCurrentInteractionMode(interaction.Place)


def stopPlacing(scene) -> None:
    """A click in a view places nothing any more."""
    interaction = scene.GetNodeByID(INTERACTION)
    if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def placedInto(scene):
    """The list that a click in a view puts a point into, or None."""
    selection, interaction = scene.GetNodeByID(SELECTION), scene.GetNodeByID(INTERACTION)
    if selection is None or interaction is None or interaction.GetCurrentInteractionMode() != interaction.Place:
        return None
    return scene.GetNodeByID(selection.GetActivePlaceNodeID() or "")


def _rounded(points) -> list[tuple]:
    return sorted((*(round(value, 4) for value in position), about) for position, about in points)
