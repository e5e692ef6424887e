"""Model nodes that show how far a surface moved, their colours and legend, and where it moved most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

CHANGE = "signed_change_mm"
FOLDER = "ReShapeIT change"
MARK = "ReShapeIT.change"  # attribute of the colour table and of the folder in the subject hierarchy
LEAST_RANGE_MM = 1.0
OUTLINE_PIXELS = 3
APART_MM = 15.0
MOST_CHANGES = 20
LEAST_CHANGE_MM = 0.5
AT_ONCE = 8192  # points, largest changes first
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


class ChangeMap:
    """The models of one review in a folder beside their segmentation; none of their nodes is saved with the scene.

    :param scene: vtkMRMLScene.
    :param segmentationNode: whose organs moved.
    """

    def __init__(self, scene, segmentationNode):
        self._scene, self._source = scene, segmentationNode
        self._models, self._legend = {}, None

    def add(self, refined, names: dict[str, str]) -> None:
        """Add a model for each organ, not shown yet.

        :param refined: list of Refined.
        :param names: of the organs by segment id.
        """
        removeEmptyFolders(self._scene)
        colours, rangeMm = changeColours(self._scene), commonRangeMm([one.surface for one in refined])
        for one in refined:
            segmentId = one.given.segmentId
            model = _addModel(self._scene, f"{names[segmentId]} (change)", one.surface, colours, rangeMm)
            model.SetAndObserveTransformNodeID(self._source.GetTransformNodeID())
            self._models[segmentId] = model, model.GetDisplayNode()
            _putInFolder(self._scene, model, self._source)

    def update(self, segmentId: str, surface) -> None:
        """Show another surface of an organ; the colours keep their meaning."""
        if self.modelId(segmentId):
            surface.GetPointData().SetActiveScalars(CHANGE)
            self._models[segmentId][0].SetAndObservePolyData(surface)

    def modelId(self, segmentId: str) -> str:
        """Id of the model of an organ; empty where it is not in the scene."""
        model, _display = self._models.get(segmentId, (None, None))
        return model.GetID() if model is not None and self._scene.IsNodePresent(model) else ""

    def show(self, visible: bool, opacity: float) -> None:
        """Show or hide all models with one legend, under the transform that the segmentation has now."""
        transformId = self._source.GetTransformNodeID() if self._scene.IsNodePresent(self._source) else None
        shown = [pair for pair in self._models.values() if all(self._scene.IsNodePresent(node) for node in pair)]
        for model, display in shown:
            model.SetAndObserveTransformNodeID(transformId)
            display.SetOpacity(float(opacity))
            display.SetVisibility(visible)
        self._showLegend(shown[0][1] if shown else None, visible)

    def remove(self, segmentId: str) -> None:
        """Remove the model of an organ and what belongs to it alone."""
        model, display = self._models.pop(segmentId, (None, None))
        if model is None:
            return
        if self._legend is not None and self._legend.GetPrimaryDisplayNode() in (display, None):
            self._removeNodes(self._legend)
            self._legend = None
        _removeItem(self._scene, model)
        self._removeNodes(model, display)
        removeEmptyFolders(self._scene)
        _removeUnusedColours(self._scene)

    def close(self) -> None:
        """Remove all models, colours, legend and folder."""
        for segmentId in list(self._models):
            self.remove(segmentId)

    def keep(self) -> list[str]:
        """Leave the models, hidden, to the user and to the saved scene; returns their ids."""
        kept = [segmentId for segmentId in self._models if self.modelId(segmentId)]
        self.show(False, 1.0)
        self._removeNodes(self._legend)
        for node in [node for segmentId in kept for node in self._models[segmentId]]:
            node.SaveWithSceneOn()
        if kept:
            changeColours(self._scene).SaveWithSceneOn()
        ids = [self.modelId(segmentId) for segmentId in kept]
        self._models, self._legend = {}, None
        return ids

    def _showLegend(self, display, visible: bool) -> None:
        """All models have the same colours: the first one carries the legend."""
        if self._legend is not None and (
            not self._scene.IsNodePresent(self._legend) or self._legend.GetPrimaryDisplayNode() is not display
        ):
            self._removeNodes(self._legend)
            self._legend = None
        if self._legend is None and visible and display is not None:
            self._legend = _addLegend(self._scene, display)
        if self._legend is not None:
            self._legend.SetVisibility(visible)

    def _removeNodes(self, *nodes) -> None:
        for node in nodes:
            if node is not None and self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)


def changeColours(scene):
    """The user-type color table from inwards (blue) over still (white) to outwards (red) that all reviews share."""
    for node in _nodes(scene, "vtkMRMLColorTableNode"):
        if node.GetAttribute(MARK) is not None:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", FOLDER)
    node.SetAttribute(MARK, "1")
    node.SaveWithSceneOff()
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for index, share in enumerate(np.linspace(-1.0, 1.0, 256)):
        end = OUTWARDS if share > 0 else INWARDS
        colour = [still + abs(share) * (full - still) for still, full in zip(STILL, end, strict=True)]
        node.SetColor(index, f"{share:+.2f}", *colour, 1.0)
    return node


def removeEmptyFolders(scene) -> None:
    """Remove folders of change maps without nodes from the subject hierarchy.

    A saved scene has them where it was saved during a review: the subject hierarchy writes an item for each node that
    is itself not saved.
    """
    hierarchy = _hierarchy(scene)
    for folder in _folders(hierarchy):
        inside = _items(hierarchy, folder, True)
        if not any(hierarchy.GetItemDataNode(item) is not None for item in inside):
            hierarchy.RemoveItem(folder, False, True)


def commonRangeMm(surfaces) -> float:
    """End of the colour scale: what 99 of 100 points do not exceed on any surface."""
    return max([LEAST_RANGE_MM, *(float(np.percentile(np.abs(changes(surface)), 99)) for surface in surfaces)])


def changes(surface) -> np.ndarray:
    """(N,) signed change in mm of a surface's points."""
    return vtk_to_numpy(surface.GetPointData().GetArray(CHANGE)).astype(float)


def statisticsMm(surface) -> dict[str, float]:
    """Largest change outwards and inwards and the mean of all, by area, under the names of the engine's report."""
    moved = changes(surface)
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    a, b, c = (vtk_to_numpy(surface.GetPoints().GetData()).astype(float)[triangles[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    mean = float(areas @ np.abs(moved)[triangles].mean(axis=1) / max(areas.sum(), 1e-12))
    return {"max_out": float(max(moved.max(), 0.0)), "max_in": float(max(-moved.min(), 0.0)), "mean_abs": mean}


def largestChanges(surface) -> list[tuple[np.ndarray, float]]:
    """Points (local mm) with the largest changes, one for each place, largest first."""
    moved, points = changes(surface), vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    order, found = np.argsort(-np.abs(moved), kind="stable"), []
    order = order[np.abs(moved[order]) >= LEAST_CHANGE_MM]
    for start in range(0, len(order), AT_ONCE):
        left = order[start : start + AT_ONCE]
        for place in found:
            left = _apart(points, left, place)
        while len(left) and len(found) < MOST_CHANGES:
            found.append(left[0])
            left = _apart(points, left, left[0])
        if len(found) == MOST_CHANGES:
            break
    return [(points[place], float(moved[place])) for place in found]


def _apart(points: np.ndarray, left: np.ndarray, place: int) -> np.ndarray:
    """Of some points, by number, those that are not near another."""
    return left[((points[left] - points[place]) ** 2).sum(axis=1) > APART_MM**2]


def _addModel(scene, name: str, surface, colours, rangeMm: float):
    """A model node of a surface in local mm, coloured by its signed change from -rangeMm to rangeMm; not shown yet."""
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    surface.GetPointData().SetActiveScalars(CHANGE)
    model.SetAndObservePolyData(surface)
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    for node in (model, display):
        node.SaveWithSceneOff()
    display.SetName(f"{name} display")
    display.SetActiveScalar(CHANGE, vtk.vtkAssignAttribute.POINT_DATA)
    display.SetAndObserveColorNodeID(colours.GetID())
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(-rangeMm, rangeMm)
    display.SetScalarVisibility(True)
    display.SetVisibility(False)
    # In slice views the cut through the surface, in the same colours.
    display.SetVisibility2D(True)
    display.SetSliceDisplayModeToIntersection()
    display.SetSliceIntersectionThickness(OUTLINE_PIXELS)
    return model


def _addLegend(scene, display):
    """A legend of the colours in mm in all 3D views; in slice views it would cover the image."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(display)
    if legend is not None:
        legend.SaveWithSceneOff()
        legend.SetTitleText("moved, mm")
        legend.SetLabelFormat("%+.1f")
        for view in _nodes(scene, "vtkMRMLViewNode"):
            legend.AddViewNodeID(view.GetID())
    return legend


def _removeUnusedColours(scene) -> None:
    colours = changeColours(scene)
    displays = _nodes(scene, "vtkMRMLDisplayNode")
    if not any(display.GetColorNodeID() == colours.GetID() for display in displays):
        scene.RemoveNode(colours)


def _nodes(scene, className: str) -> list:
    """All nodes of a class; slicer.util's function asks the application's scene whatever scene it is given."""
    found = scene.GetNodesByClass(className)
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def _hierarchy(scene):
    """The scene's subject hierarchy, or None; asking the scene itself would create one."""
    return scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")


def _items(hierarchy, parent: int, recursive: bool) -> list[int]:
    """Items below another."""
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(parent, found, recursive)
    return [found.GetId(index) for index in range(found.GetNumberOfIds())]


def _folders(hierarchy) -> list[int]:
    """Items that are folders of change maps."""
    if hierarchy is None:
        return []
    items = _items(hierarchy, hierarchy.GetSceneItemID(), True)
    return [item for item in items if hierarchy.HasItemAttribute(item, MARK)]


def _putInFolder(scene, model, beside) -> None:
    """Put a model into the folder that lies beside a segmentation in the subject hierarchy."""
    hierarchy = _hierarchy(scene)
    if hierarchy is None:
        return
    item = hierarchy.GetItemByDataNode(beside)
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    folder = next((item for item in _folders(hierarchy) if hierarchy.GetItemParent(item) == parent), None)
    if folder is None:
        folder = hierarchy.CreateFolderItem(parent, FOLDER)
        hierarchy.SetItemAttribute(folder, MARK, "1")
    # The application makes an item for each new model by itself, the core does not.
    own = hierarchy.GetItemByDataNode(model) or hierarchy.CreateItem(folder, model)
    hierarchy.SetItemParent(own, folder)


def _removeItem(scene, model) -> None:
    hierarchy = _hierarchy(scene)
    item = hierarchy.GetItemByDataNode(model) if hierarchy is not None else 0
    if item:
        hierarchy.RemoveItem(item, False, True)
