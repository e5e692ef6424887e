"""One organ of a batch in the scene: as given and as refined, with the CT behind. It leaves with the next one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from ..errors import RefinementError
from ..geometry import Grid, toGrid
from ..segmentVoxels import newSegment
from .table import BatchRow

GIVEN, REFINED = "given", "refined"
COLOURS = {GIVEN: (0.95, 0.8, 0.2), REFINED: (0.25, 0.65, 0.95)}
MOST_FILES = 2  # in memory: input and output of a case, which may hold many organs


class ShownOrgan:
    """What the review of a batch has in the scene.

    :param scene: vtkMRMLScene.
    """

    def __init__(self, scene):
        self._scene, self._files = scene, {}
        self._nodeId, self._imageId, self._image = None, None, ""

    @property
    def segmentationNode(self):
        """Node with the segments ``given`` and ``refined``, or None."""
        return self._scene.GetNodeByID(self._nodeId) if self._nodeId else None

    def show(self, row: BatchRow) -> tuple[float, float, float] | None:
        """Put an organ in the place of the one before; world RAS mm of where most changed, None where nothing did.

        :raises RefinementError: its files cannot be read; nothing is shown then.
        """
        self._removeOrgan()
        if row.image != self._image:
            self._showImage(row.image)
        before, after = self._mask(row, row.before), self._mask(row, row.after)
        if before is None and after is None:
            raise RefinementError(f"'{row.organ or row.label}' is in neither file of the case '{row.case}'.")
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{row.case}: {row.organ or row.label}")
        node.SetSaveWithScene(False)
        node.CreateDefaultDisplayNodes()
        self._nodeId, display = node.GetID(), node.GetDisplayNode()
        display.SetSaveWithScene(False)
        for name, organ in ((GIVEN, before), (REFINED, after)):
            if organ is not None:
                _add(node.GetSegmentation(), name, *organ)
        node.CreateClosedSurfaceRepresentation()
        if before is not None:
            display.SetSegmentVisibility2DFill(GIVEN, False)
            display.SetSegmentOpacity3D(GIVEN, 0.3 if after is not None else 1.0)
        display.SetSegmentOpacity2DFill(REFINED, 0.4)
        return _placeOfChange(before, after)

    def close(self) -> None:
        """Take all of it out of the scene."""
        self._removeOrgan()
        self._showImage("")
        self._files = {}

    def _removeOrgan(self) -> None:
        node, self._nodeId = self.segmentationNode, None
        if node is not None:
            display = node.GetDisplayNode()
            self._scene.RemoveNode(node)
            if display is not None:
                self._scene.RemoveNode(display)

    def _showImage(self, path: str) -> None:
        node = self._scene.GetNodeByID(self._imageId) if self._imageId else None
        if node is not None:
            self._scene.RemoveNode(node)
        self._imageId, self._image = None, path
        if not path or not Path(path).is_file():
            return  # an organ can be reviewed without
        loaded = slicer.util.loadVolume(path, properties={"show": False})
        loaded.SetSaveWithScene(False)
        self._imageId = loaded.GetID()
        for index in range(self._scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            composite = self._scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
            composite.SetBackgroundVolumeID(self._imageId)

    def _mask(self, row: BatchRow, path: str):
        """Voxels of an organ in a file and their Grid; None where the file does not have it."""
        from ReShapeITLib.core.errors import BadInputError

        try:
            volume = self._volume(path)
            isOwnFile = Path(path).name.startswith(f"{row.label}.")
            which = volume.single_label() if isOwnFile else int(row.label) if row.label.isdecimal() else row.label
            part = volume.around(which)
            mask, geometry = part.mask(which), part.geometry
        except BadInputError as error:
            if error.code.startswith("label"):
                return None
            raise RefinementError(f"{error}.") from error
        return (mask, Grid(np.asarray(geometry.ijk_to_ras), (0, 0, 0), mask.shape[::-1])) if mask.any() else None

    def _volume(self, path: str):
        from ReShapeITLib.io.volumes import read_labels

        if path not in self._files:
            while len(self._files) >= MOST_FILES:
                self._files.pop(next(iter(self._files)))
            self._files[path] = read_labels(path)
        return self._files[path]


def _add(segmentation, name: str, mask: np.ndarray, grid: Grid) -> None:
    source = slicer.vtkSegment()
    source.SetName(name)
    source.SetColor(*COLOURS[name])
    newSegment(segmentation, source, name, mask, grid)


def _placeOfChange(before, after) -> tuple[float, float, float] | None:
    """A changed voxel in the middle of the slice with most of them; the organ's own middle where nothing changed."""
    grid = (before or after)[1]
    if before is not None and after is not None:
        grid = grid.enlarged(after[1])
    masks = [toGrid(*organ, grid) if organ is not None else np.zeros(grid.shape, bool) for organ in (before, after)]
    changed = masks[0] ^ masks[1]
    changed = changed if changed.any() else masks[0]
    k = int(changed.sum(axis=(1, 2)).argmax())
    places = np.argwhere(changed[k])
    j, i = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()]
    x, y, z = (grid.firstVoxelToLocal @ [i, j, k, 1.0])[:3]
    return float(x), float(y), float(z)
