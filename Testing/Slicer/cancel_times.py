"""How long Cancel takes at each stage of a refinement in a scene, until the engine and all its children are gone.

    python -m Testing.Slicer.cancel_times

Needs slicer-core. Refines the liver of the sample patient and cancels at the beginning of each stage; prints
the seconds as JSON and fails where a process, a file or a change of the scene is left.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("", "read", "surface", "align", "restore", "fit", "blend", "voxels", "mesh")


def main() -> None:
    """Measure."""
    sys.path.insert(0, str(ROOT / "ReShapeIT"))
    from Testing.Slicer import slicer_python

    slicer_python.install()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({stage or "start": round(cancelled_at(stage, Path(folder)), 2) for stage in STAGES}))


def cancelled_at(stage: str, folder: Path) -> float:
    """Seconds from Cancel to the end of all processes, at the beginning of a stage."""
    from ReShapeITSlicer.engine import EngineSettings
    from ReShapeITSlicer.options import RefinementOptions
    from ReShapeITSlicer.refinement import RefinementTask

    world, node = scene_with_patient(folder)
    nodes, segments = world.scene.GetNumberOfNodes(), node.GetSegmentation().GetNumberOfSegments()
    (folder / "exchange").mkdir(exist_ok=True)
    settings, options = EngineSettings(temporaryFolder=str(folder / "exchange")), RefinementOptions(device="cpu")
    liver = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
    task = RefinementTask(world.scene, node, {liver: "liver"}, options, engineSettings=settings)
    task.start()
    while stage and task.poll().stage != stage:
        if task.status.isFinished:
            raise SystemExit(f"there is no stage '{stage}': {task.status}")
        time.sleep(0.002)
    processes = psutil.Process().children(recursive=True)
    pressed = time.perf_counter()
    task.cancel()
    _, left = psutil.wait_procs(processes, timeout=10)
    seconds = time.perf_counter() - pressed
    same = (world.scene.GetNumberOfNodes(), node.GetSegmentation().GetNumberOfSegments()) == (nodes, segments)
    if left or not same or list((folder / "exchange").iterdir()) or task.poll().state != "cancelled":
        raise SystemExit(f"cancelled at '{stage}', something is left: {left}, the scene is the same: {same}")
    return seconds


def scene_with_patient(folder: Path):
    """A scene with the segmentation of the sample patient, which is made once, and its node."""
    from ReShapeITPanel.sampleData import FILES, makeSamplePatient

    from Testing.Slicer.scene import new_scene

    if not (folder / FILES[1]).exists():
        makeSamplePatient(folder)
    world = new_scene(str(folder))
    storage = world.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(folder / FILES[1]))
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "SamplePatient")
    if not storage.ReadData(node):
        raise SystemExit(f"{FILES[1]} cannot be read")
    return world, node


if __name__ == "__main__":
    main()
