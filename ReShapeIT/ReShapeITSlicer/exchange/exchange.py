"""What goes to the engine and what comes back: segments to a file, refined voxels, surfaces and report from files."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..errors import RefinementError
from ..geometry import Grid, localToWorld, referenceGrid, toGrid
from ..segmentVoxels import segmentGrid, segmentMask, segmentName
from ..templates import TemplateChoice, chosenTemplate
from ..wording import IMAGE_NAME, Told, inWords
from .folders import newFolder, removeFolder
from .image import checkImage, writeImage
from .nrrd import readSegments, writeSegments

INPUT, IMAGE = "input.seg.nrrd", "image.nrrd"
OUTPUT, SURFACE, REPORT = "output.seg.nrrd", "surface.vtp", "report.json"
NO_ROOM = "Temporary files cannot be written ({}: {}); free some space or choose another temporary folder."


@dataclass(frozen=True, eq=False)
class Given:
    """One segment as it was given.

    :param key: its id in the exchanged files.
    :param segmentId: in the segmentation.
    :param name: of the segment, its id where it has none.
    :param template: chosen for it.
    :param grid: box around its voxels.
    :param mask: (K, J, I) bool voxels on that grid.
    """

    key: str
    segmentId: str
    name: str
    template: TemplateChoice
    grid: Grid
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Refined:
    """One refined segment, ready for the scene.

    :param given: what it was.
    :param grid: box around the voxels before and after.
    :param before: (K, J, I) bool voxels as given.
    :param after: (K, J, I) bool voxels as refined.
    :param surface: vtkPolyData in local mm with the point scalars signed_change_mm and confidence.
    :param report: the organ's entry of the engine's report.
    """

    given: Given
    grid: Grid
    before: np.ndarray
    after: np.ndarray
    surface: object
    report: dict


class Exchange:
    """Files of one run in a temporary folder.

    :param segmentationNode: vtkMRMLSegmentationNode.
    :param templates: template name or file by segment id.
    :param referenceVolumeNode: whose grid the results get, None for the segmentation's own.
    :param temporaryFolder: where the folder is made, None for the system's.
    :param imageNode: volume that was segmented, None where none is asked.
    :raises RefinementError: anything is wrong with the input.
    """

    def __init__(self, segmentationNode, templates, referenceVolumeNode=None, temporaryFolder=None, imageNode=None):
        segmentation = segmentationNode.GetSegmentation()
        if not templates:
            raise RefinementError("No segment is chosen; choose at least one.")
        for segmentId in templates:
            if segmentation.GetSegment(segmentId) is None:
                raise RefinementError(f"{segmentationNode.GetName()} has no segment '{segmentId}'; choose another.")
        choices = {segmentId: chosenTemplate(name) for segmentId, name in templates.items()}
        self.localToWorld = localToWorld(segmentationNode)
        grids = [segmentGrid(segmentation, segmentId) for segmentId in templates]
        self.grid = referenceGrid(segmentationNode, referenceVolumeNode, grids)
        self.given = tuple(
            self._given(segmentation, index, segmentId, choice)
            for index, (segmentId, choice) in enumerate(choices.items())
        )
        self._folder, self._parent, self._image = None, temporaryFolder, imageNode
        self._names = {given.key: segmentName(segmentation, given.segmentId) for given in self.given}
        if imageNode is not None:
            checkImage(segmentationNode.GetScene(), imageNode)
            self._names[IMAGE_NAME] = imageNode.GetName()

    def write(self) -> list[str]:
        """Write the input; returns the files as arguments of ``reshapeit refine``.

        :raises RefinementError: the files cannot be written.
        """
        try:
            self._folder = newFolder(self._parent)
            layers, places = self._layers()
            ijkToRas = self.localToWorld @ self.grid.firstVoxelToLocal
            writeSegments(self._folder / INPUT, layers, ijkToRas, places)
            if self._image is not None:
                writeImage(self._folder / IMAGE, self._image)
            pairs = ",".join(f"{given.key}={self._template(given)}" for given in self.given)
        except OSError as error:
            self.remove()
            where = error.filename or self._folder or self._parent or tempfile.gettempdir()
            raise RefinementError(NO_ROOM.format(where, error.strerror or error)) from error
        outputs = {"--output": OUTPUT, "--surface": SURFACE, "--report": REPORT}
        words = [word for option, name in outputs.items() for word in (option, str(self._folder / name))]
        words += ["--image", str(self._folder / IMAGE)] if self._image is not None else []
        # All or nothing: what a user reviews must not lack a segment that was chosen.
        return ["refine", str(self._folder / INPUT), "--template", pairs, "--strict", *words]

    def read(self) -> list[Refined]:
        """The refined segments.

        :raises RefinementError: a file is missing or damaged.
        """
        masks = readSegments(self._folder / OUTPUT)
        try:
            reports = json.loads((self._folder / REPORT).read_text(encoding="utf-8"))["organs"]
        except (OSError, ValueError, KeyError) as error:
            raise RefinementError(f"The report of the refinement cannot be read ({error}).") from error
        byKey = {report["label"]: report for report in reports}
        return [self._refined(given, masks[given.key], byKey[given.key]) for given in self.given]

    def inWords(self, told: Told) -> str:
        """What the engine told, with the names of segments in place of files and keys."""
        return inWords(told, self._names)

    def nameOf(self, given: Given) -> str:
        """What to call a segment in messages, also where several have one name."""
        return self._names[given.key]

    def release(self) -> Path | None:
        """Leave the files to the caller, who removes their folder, which is returned."""
        folder, self._folder = self._folder, None
        return folder

    def remove(self) -> None:
        """Remove the files; what something still holds is tried again for some seconds, in the background."""
        if self._folder:
            folder, self._folder = self._folder, None
            removeFolder(folder)

    def _given(self, segmentation, index: int, segmentId: str, template: TemplateChoice) -> Given:
        name = segmentation.GetSegment(segmentId).GetName() or segmentId
        mask = segmentMask(segmentation, segmentId, self.grid)
        if not mask.any():
            shown = segmentName(segmentation, segmentId)
            raise RefinementError(f"The segment '{shown}' has no voxels on the grid of the reference; choose another.")
        box = self.grid.cropped(mask)
        return Given(f"organ{index + 1}", segmentId, name, template, box, toGrid(mask, self.grid, box))

    def _layers(self) -> tuple[list[np.ndarray], dict[str, tuple[int, int]]]:
        """One layer where segments do not overlap, else one of each, and (layer, value) by key."""
        flat = np.zeros(self.grid.shape, dtype=np.uint8)
        for value, given in enumerate(self.given, 1):
            mask = toGrid(given.mask, given.grid, self.grid)
            if flat[mask].any():
                layers = [toGrid(each.mask, each.grid, self.grid).astype(np.uint8) for each in self.given]
                return layers, {each.key: (layer, 1) for layer, each in enumerate(self.given)}
            flat[mask] = value
        return [flat], {given.key: (0, value) for value, given in enumerate(self.given, 1)}

    def _template(self, given: Given) -> str:
        """Path of a template without the characters that the command's list of templates is split at."""
        path = Path(given.template.file).resolve()
        if not {",", "="} & set(str(path)):
            return str(path)
        copy = self._folder / f"{given.key}.safetensors"
        shutil.copyfile(path, copy)
        return str(copy)

    def _refined(self, given: Given, mask: np.ndarray, report: dict) -> Refined:
        if mask.shape != self.grid.shape:
            raise RefinementError("The refined voxels are on another grid than the segmentation; refine again.")
        box = self.grid.cropped(mask | toGrid(given.mask, given.grid, self.grid), margin=1)
        name = SURFACE if len(self.given) == 1 else SURFACE.replace(".", f"_{given.key}.")
        surface = readSurface(self._folder / name, np.linalg.inv(self.localToWorld))
        after = toGrid(mask, self.grid, box)
        return Refined(given, box, toGrid(given.mask, given.grid, box), after, surface, report)


def readSurface(path: Path, worldToLocal: np.ndarray):
    """vtkPolyData in local mm of a file in LPS, with its change and confidence.

    :raises RefinementError: the file is missing or damaged.
    """
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    surface = vtk.vtkPolyData()
    surface.DeepCopy(reader.GetOutput())
    if not surface.GetNumberOfPoints():
        raise RefinementError("The refined surface cannot be read; is the disk full?")
    world = vtk_to_numpy(surface.GetPoints().GetData()).astype(float) * [-1.0, -1.0, 1.0]
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(world @ worldToLocal[:3, :3].T + worldToLocal[:3, 3], deep=True))
    surface.SetPoints(points)
    data = surface.GetPointData()
    for name in [data.GetArrayName(index) for index in range(data.GetNumberOfArrays())]:
        if name not in ("signed_change_mm", "confidence"):
            data.RemoveArray(name)
    return surface if np.linalg.det(worldToLocal[:3, :3]) > 0 else _turned(surface)


def _turned(surface):
    """The surface with its faces turned round, as a mirrored frame needs."""
    turn = vtk.vtkReverseSense()
    turn.SetInputData(surface)
    turn.Update()
    return turn.GetOutput()
