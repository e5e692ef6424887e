"""Five lobes of a whole CT grid refined together in a Slicer scene: is it right, how long, how much memory?

    python -m Testing.Slicer.five_lobes --case lobes_44

Needs slicer-core and the development data beside the repository (``../shared/data``). The lobes are damaged at the
middle level, loaded as five segments on the CT's grid, refined in place by ``RefinementTask`` with its engine process,
and compared with the truth. One JSON object is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from Testing.Evaluation.wrong_organs import DATA, LOBES

ROOT = Path(__file__).resolve().parents[2]


class PeakMemory(threading.Thread):
    """Largest resident memory (bytes) of this process and of all processes below it, each for itself."""

    def __init__(self):
        super().__init__(daemon=True)
        self.own, self.engine, self._over = 0, 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second until :meth:`stop`."""
        import psutil

        own = psutil.Process()
        while not self._over.wait(0.1):
            self.own = max(self.own, own.memory_info().rss)
            below = 0
            for process in own.children(recursive=True):
                try:
                    below += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.engine = max(self.engine, below)

    def stop(self) -> None:
        """End looking."""
        self._over.set()
        self.join()


def damaged_lobes(case: str):
    """Truth and damaged (K, J, I) uint8 labels of a case, 4 to 8 as in the data set, and their geometry."""
    from ReShapeITLib.evaluation.damage_levels import damage_input
    from ReShapeITLib.evaluation.families import label_file
    from ReShapeITLib.volume_io import read_labels

    volume = read_labels(label_file(DATA / "lung_lobes", case))
    truth = (volume.flattened() % 512).astype(np.uint8)
    truth[~np.isin(truth, list(LOBES.values()))] = 0
    given = np.zeros_like(truth)
    for organ, value in LOBES.items():
        others = [truth == other for other in LOBES.values() if other != value]
        rng = np.random.default_rng([value, *case.encode()])
        mask = damage_input(truth == value, volume.geometry, "combined", "middle", rng, others, organ)
        given[mask & (given == 0)] = value
    return truth, given, volume.geometry


def scene_with(world, labels: np.ndarray, geometry):
    """A segmentation node with a segment for each lobe, on the grid of the labels, and that grid."""
    import slicer
    from ReShapeITSlicer.geometry import Grid
    from ReShapeITSlicer.segmentVoxels import newSegment

    grid = Grid(np.asarray(geometry.ijk_to_ras), (0, 0, 0), geometry.size_ijk)
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lobes")
    for organ, value in LOBES.items():
        source = slicer.vtkSegment()
        source.SetName(organ)
        newSegment(node.GetSegmentation(), source, organ, labels == value, grid)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return node, grid


def measured(case: str) -> dict:
    """Refine the case; what came out."""
    from ReShapeITSlicer.options import IN_PLACE, RefinementOptions
    from ReShapeITSlicer.refinement import RefinementTask
    from ReShapeITSlicer.segmentVoxels import segmentMask

    from Testing.Slicer.scene import new_scene

    truth, given, geometry = damaged_lobes(case)
    with tempfile.TemporaryDirectory() as folder:
        world = new_scene(folder)
        node, grid = scene_with(world, given, geometry)
        memory = PeakMemory()
        memory.start()
        started = time.perf_counter()
        options = RefinementOptions(device="cpu", resultMode=IN_PLACE, force=True)
        task = RefinementTask(world.scene, node, {organ: organ for organ in LOBES}, options)
        task.start()
        exported = time.perf_counter()
        status = task.wait()
        ended = time.perf_counter()
        memory.stop()
        if status.state != "done":
            raise SystemExit(status.message)
        after = {organ: segmentMask(node.GetSegmentation(), organ, grid) for organ in LOBES}
    return {
        "case": case, "grid": list(geometry.size_ijk), "export_s": round(exported - started, 1),
        "wall_s": round(ended - started, 1), "scene_process_gb": round(memory.own / 1e9, 2),
        "engine_gb": round(memory.engine / 1e9, 2), **compared(truth, given, after),
    }  # fmt: skip


def compared(truth: np.ndarray, given: np.ndarray, after: dict[str, np.ndarray]) -> dict:
    """Dice (%) of each lobe before and after, voxels that two lobes share, and gaps that closed or opened."""
    lobes = {
        organ: {"before": _dice(given == value, truth == value), "after": _dice(after[organ], truth == value)}
        for organ, value in LOBES.items()
    }
    count = np.sum(list(after.values()), axis=0, dtype=np.uint8)
    lost = (given > 0) & (count == 0)
    return {
        "dice": lobes, "shared_voxels": int((count > 1).sum()), "voxels_no_longer_in_any_lobe": int(lost.sum()),
        "of_them_in_no_true_lobe": round(float((truth[lost] == 0).mean()), 3) if lost.any() else None,
    }  # fmt: skip


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return round(200.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)), 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", default="lobes_44")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "ReShapeIT"))
    print(json.dumps(measured(arguments.case), indent=2))


if __name__ == "__main__":
    main()
