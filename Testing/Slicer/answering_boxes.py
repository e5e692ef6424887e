"""An engine that stays, for boxes: each suggestion is a box whose voxels are known, so are all answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import vtk
from ReShapeITSlicer.exchange.nrrd import writeVolume
from ReShapeITSlicer.options import ALLOW_OVERLAP
from ReShapeITSlicer.review.changeMap import CHANGE
from ReShapeITSlicer.segmentVoxels import surfaceOf
from ReShapeITSlicer.suggestions.deciding import Deciding
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from Testing.Slicer.refined_boxes import GRID, ORGANS, box, refined, review

# Of organ a, which lies between 3 and 10 along i: a box to add, one to take away, one far beyond the organ's box.
ADDED, REMOVED, FAR = box((10, 13)), box((3, 5)), box((24, 28), (20, 24))
PROBABILITIES = {1: 0.7, 2: 0.55, 3: 0.3}
VOXELS = {1: ADDED, 2: REMOVED, 3: FAR}
KINDS = {1: "missing", 2: "attached", 3: "missing"}


def entries(taken=(1,)) -> list[dict]:
    """The suggestions as the engine reports them; those likelier than 0.6 are taken at first."""
    return [
        {
            "id": number,
            "kind": KINDS[number],
            "volume_ml": float(mask.sum()) / 1000.0,
            "centre_ras": list((GRID.ijkToLocal @ [*np.argwhere(mask).mean(axis=0)[::-1], 1.0])[:3]),
            "extent_mm": 10.0,
            "evidence": {"network": 1.0, "spread": 0.2, "depth": 0.5, "unlike": 0.8},
            "probability": PROBABILITIES[number],
            "taken": number in taken,
        }
        for number, mask in VOXELS.items()
    ]


def organ_with(taken) -> np.ndarray:
    """(K, J, I) voxels of organ a with these suggestions taken."""
    mask = ORGANS["a"].copy()
    for number in taken:
        mask = mask ^ VOXELS[number]
    return mask


class BoxEngine:
    """Answers as ``reshapeit serve`` does.

    Args:
        to_world: (4, 4) from local mm to the engine's world.
    """

    def __init__(self, to_world=None):
        self._to_world = np.eye(4) if to_world is None else to_world
        self.asked, self.error, self.gone, self.held = [], "", False, False

    def ask(self, **fields):
        """An answer that is there at once, or when ``held`` is false again."""
        from ReShapeITSlicer.errors import RefinementError

        if self.gone:
            raise RefinementError("The engine is gone; refine again.")
        self.asked.append(fields)
        engine, error = self, self.error

        class Answer:
            isFinished = property(lambda self: not engine.held)
            result = None if error else engine._answer(fields)

        Answer.error = error
        return Answer()

    def _answer(self, fields) -> dict:
        start, size = (1, 2, 0), (29, 24, 20)
        part = tuple(slice(s, s + n) for s, n in zip(start[::-1], size[::-1], strict=True))
        told = {"box": {"start_ijk": list(start), "size_ijk": list(size)}}
        if fields["do"] == "suggestions":
            numbers = sum(np.where(mask, number, 0) for number, mask in VOXELS.items())
            writeVolume(fields["output"], numbers[part].astype(np.uint16), np.eye(4))
            return told | {"suggestions": entries()}
        taken, clicked = set(fields["taken"]), []
        for name, wanted in (("include", True), ("exclude", False)):
            for point in fields[name]:
                self._click(point, wanted, taken, clicked)
        mask = organ_with(taken)
        for entry, voxels in clicked:
            mask = mask | voxels if entry["evidence"]["points"] > 0 else mask & ~voxels
        writeVolume(fields["output"], mask[part].astype(np.uint8), np.eye(4))
        if "surface" in fields:
            self._write_surface(fields["surface"], mask)
        found = [{**one, "taken": one["id"] in taken} for one in entries()] + [entry for entry, _voxels in clicked]
        return told | {"taken": sorted(taken), "suggestions": found}

    def _click(self, point, wanted: bool, taken: set, clicked: list) -> None:
        local = np.linalg.inv(self._to_world) @ [*point, 1.0]
        i, j, k = (int(n) for n in np.rint(np.linalg.inv(GRID.ijkToLocal) @ local)[:3])
        for number, mask in VOXELS.items():
            if mask[k, j, i]:
                adds = KINDS[number] == "missing"
                (taken.add if adds == wanted else taken.discard)(number)
                return
        voxels = np.zeros(GRID.shape, dtype=bool)
        voxels[k, j, i] = True
        entry = {"id": 4 + len(clicked), "kind": "clicked", "volume_ml": 0.001, "centre_ras": list(point)}
        entry |= {"evidence": {"points": 1.0 if wanted else -1.0}, "probability": 1.0, "taken": True}
        clicked.append((entry, voxels))

    def _write_surface(self, path, mask) -> None:
        surface = surfaceOf(mask, GRID)
        points = vtk_to_numpy(surface.GetPoints().GetData()) @ self._to_world[:3, :3].T + self._to_world[:3, 3]
        moved = vtk.vtkPoints()
        moved.SetData(numpy_to_vtk(points * [-1.0, -1.0, 1.0], deep=True))
        surface.SetPoints(moved)
        values = numpy_to_vtk(np.full(len(points), 2.0, dtype=np.float32), deep=True)
        values.SetName(CHANGE)
        surface.GetPointData().AddArray(values)
        writer = vtk.vtkXMLPolyDataWriter()
        writer.SetFileName(path)
        writer.SetInputData(surface)
        writer.Write()


def reviewed(world, to_world=None, folder=None, **options) -> SimpleNamespace:
    """A review of organ a, whose first suggestion is taken, and what takes decisions about it.

    Returns:
        ``review``, ``deciding`` and ``engine``.
    """
    result = refined("a", organ_with([1]))
    result.report["suggestions"] = entries()
    engine = BoxEngine(to_world)
    of = review(world, result, **{"overlapPolicy": ALLOW_OVERLAP, **options})
    to_world = np.eye(4) if to_world is None else to_world
    deciding = Deciding(of, [result.given], GRID, world.node, to_world, engine.ask, folder)
    return SimpleNamespace(review=of, deciding=deciding, engine=engine)
