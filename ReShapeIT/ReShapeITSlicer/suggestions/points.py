"""Points that say what belongs to an organ and what does not: two markups lists of the scene, and placing them."""

from __future__ import annotations

import slicer

KIND = "vtkMRMLMarkupsFiducialNode"
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
    """A click in a view puts a point into the list, one after the other."""
    selection, interaction = scene.GetNodeByID(SELECTION), scene.GetNodeByID(INTERACTION)
    if selection is None or interaction is None:
        return
    selection.SetReferenceActivePlaceNodeClassName(KIND)
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(1)
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
