"""Five lobes of a whole CT grid refined together in a Slicer scene: is it right, how long, how much memory?

    python -m Testing.Slicer.five_lobes --case lobes_44

Needs slicer-core and the development data beside the repository (``../shared/data``). The lobes are damaged at the
middle level, loaded as five segments on the CT's grid, refined in place by ``RefinementTask`` with its engine process,
and compared with the truth; so is how the lobes shared out voxels that two of them claimed and the gaps between them.
One JSON object is printed.
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
import psutil

from Testing.Studies.wrong_organs import DATA, LOBES

ROOT = Path(__file__).resolve().parents[2]
PALETTE = np.zeros((9, 3), dtype=np.uint8)
PALETTE[list(LOBES.values())] = [(230, 120, 90), (240, 200, 90), (120, 180, 90), (90, 150, 220), (170, 110, 200)]


# The engine's Python: as it is, but it keeps what the lobes claim before they agree, to be judged against the truth.
WATCHED = """#!{python}
import runpy, sys
import numpy as np
from ReShapeITLib.refinement import agreement, joint

close, combine, kept = joint._close, agreement.combine, {{}}

def counted(masks):
    return np.sum(list(masks.values()), axis=0, dtype=np.uint8)

def watched_close(masks, *others):
    kept.setdefault("filled", counted(masks))
    close(masks, *others)

def watched_combine(volume, refined, keep_union, wholes, masks):
    kept["claims"] = counted(masks)
    after = combine(volume, refined, keep_union, wholes, masks)
    np.savez({claims!r}, origin=volume.geometry.origin_ras, **kept)
    return after

joint._close, agreement.combine = watched_close, watched_combine
sys.argv = ["reshapeit", *sys.argv[3:]]
runpy.run_module("ReShapeITLib.cli.main", run_name="__main__")
"""


class Watch(threading.Thread):
    """Largest resident memory (bytes) and processor time (s) of this process and of all processes below it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.own, self.engine, self._over, self._spent = 0, 0, threading.Event(), {}
        self._start_s = sum(psutil.Process().cpu_times()[:2])

    @property
    def own_s(self) -> float:
        """Processor time of this process since the start."""
        return sum(psutil.Process().cpu_times()[:2]) - self._start_s

    @property
    def engine_s(self) -> float:
        """Processor time of the processes below, up to the last look."""
        return sum(self._spent.values())

    def run(self) -> None:
        """Look ten times a second until :meth:`stop`."""
        own = psutil.Process()
        while not self._over.wait(0.1):
            self.own, below = max(self.own, own.memory_info().rss), 0
            for process in own.children(recursive=True):
                try:
                    below += process.memory_info().rss
                    self._spent[process.pid] = sum(process.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
            self.engine = max(self.engine, below)

    def stop(self) -> None:
        """End looking."""
        self._over.set()
        self.join()


def damaged_lobes(case: str):
    """Truth and damaged (K, J, I) uint8 labels of a case, 4 to 8 as in the data set, and their geometry."""
    from ReShapeITLib.damage.levels import damage_input
    from ReShapeITLib.io.volumes import read_labels
    from Testing.Studies.evaluation.families import label_file

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


def measured(case: str, picture: Path | None) -> dict:
    """Refine the case; what came out. ``picture``: file for a picture of it, or None."""
    from ReShapeITSlicer.engine import EngineSettings
    from ReShapeITSlicer.options import IN_PLACE, RefinementOptions
    from ReShapeITSlicer.refinement import RefinementTask
    from ReShapeITSlicer.segmentVoxels import segmentMask

    from Testing.Slicer.scene import new_scene

    truth, given, geometry = damaged_lobes(case)
    with tempfile.TemporaryDirectory() as folder:
        world = new_scene(folder)
        node, grid = scene_with(world, given, geometry)
        program, claims = Path(folder, "python"), str(Path(folder, "claims.npz"))
        program.write_text(WATCHED.format(python=sys.executable, claims=claims))
        program.chmod(0o755)
        watch = Watch()
        watch.start()
        started = time.perf_counter()
        options = RefinementOptions(device="cpu", resultMode=IN_PLACE, force=True, nonCommercial=True)
        settings, templates = EngineSettings(str(program)), {organ: organ for organ in LOBES}
        task = RefinementTask(world.scene, node, templates, options, engineSettings=settings)
        task.start()
        exported = time.perf_counter()
        status = task.wait()
        ended = time.perf_counter()
        watch.stop()
        if status.state != "done":
            raise SystemExit(status.message)
        after = {organ: segmentMask(node.GetSegmentation(), organ, grid) for organ in LOBES}
        labels = np.sum([after[organ] * np.uint8(value) for organ, value in LOBES.items()], axis=0, dtype=np.uint8)
        settled = settlements(claims, truth, given, labels, geometry)
        if picture:
            draw(world, node, given, labels, truth, geometry, picture)
    return {
        "case": case,
        "grid": list(geometry.size_ijk),
        "export_s": round(exported - started, 1),
        "wall_s": round(ended - started, 1),
        "scene_processor_s": round(watch.own_s, 1),
        "engine_processor_s": round(watch.engine_s, 1),
        "scene_process_gb": round(watch.own / 1e9, 2),
        "engine_gb": round(watch.engine / 1e9, 2),
        **compared(truth, given, after),
        **settled,
    }


def compared(truth: np.ndarray, given: np.ndarray, after: dict[str, np.ndarray]) -> dict:
    """Dice (%) of each lobe before and after, and voxels that two lobes share."""
    lobes = {
        organ: {"before": _dice(given == value, truth == value), "after": _dice(after[organ], truth == value)}
        for organ, value in LOBES.items()
    }
    return {"dice": lobes, "shared_voxels": int((np.sum(list(after.values()), axis=0, dtype=np.uint8) > 1).sum())}


def settlements(file: str, truth, given, after, geometry) -> dict:
    """How voxels were shared out between lobes, and how many of each kind went to the right one (or to none, rightly).

    Args:
        file: what the engine kept: on a part of the grid, how many lobes claimed a voxel before and after small gaps
            were filled.
        truth, given, after: (K, J, I) labels.
        geometry: theirs.
    """
    kept = np.load(file)
    start_kji = np.rint(geometry.ras_to_ijk_points(kept["origin"][None])[0]).astype(int)[::-1]
    part = tuple(slice(start, start + n) for start, n in zip(start_kji, kept["claims"].shape, strict=True))
    truth, given, after = truth[part], given[part], after[part]
    claims, filled = kept["claims"], kept["filled"]
    cases = {
        "contested": (claims > 1) & (after > 0),
        "gaps_up_to_two_voxels_closed": (given > 0) & (claims == 0) & (filled > 0),
        "wider_gaps_closed": (filled == 0) & (after > 0),
        "given_up": (given > 0) & (after == 0),
    }
    return {
        name: {"voxels": int(where.sum()), "right": round(float((after[where] == truth[where]).mean()), 3)}
        for name, where in cases.items()
        if where.any()
    }


def draw(world, node, given, after, truth, geometry, file: Path) -> None:
    """Coronal slices through given, refined and true lobes, and the refined ones in Slicer's 3D view."""
    from PIL import Image

    from Testing.Slicer.views import ThreeDView

    node.CreateDefaultDisplayNodes()
    for organ, value in LOBES.items():
        node.GetSegmentation().GetSegment(organ).SetColor(*(PALETTE[value] / 255.0))
    row = int(np.median(np.flatnonzero(truth.any(axis=(0, 2)))))
    across, parts = geometry.spacing_mm[2] / geometry.spacing_mm[0], []
    for labels in (given, after, truth):
        shown = Image.fromarray(PALETTE[labels[::-1, row]])
        parts.append(shown.resize((shown.width, round(shown.height * across)), Image.NEAREST))
    node.CreateClosedSurfaceRepresentation()
    view = ThreeDView(world, (parts[0].width, parts[0].height))
    view.picture()
    view.look("anterior", 1.3)
    parts.append(Image.fromarray(view.picture()))
    Image.fromarray(np.concatenate([np.asarray(part) for part in parts], axis=1)).save(file)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return round(200.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)), 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", default="lobes_44")
    parser.add_argument("--picture", type=Path, help="file for a picture of given, refined and true lobes")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "ReShapeIT"))
    print(json.dumps(measured(arguments.case, arguments.picture), indent=2))


if __name__ == "__main__":
    main()
