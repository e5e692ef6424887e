"""Wall time, processor time and peak memory of whole ``reshapeit refine`` processes; prints JSON.

    python -m Testing.Benchmarks.bench_refine [--rounds 5] [--only liver_standard,...] [--output FILE]

Inputs are label volumes of 512 x 512 x 500 voxels. One organ, and ten in one file: patients drawn from the shipped
templates and damaged (a bite, a leak, an island, holes). Where the development data is there: a network's prediction of
a liver, the five lobes of a patient, and a liver with its CT (``with_ct``) and without (``by_shape``), on 512 x 512 x
304 voxels, where each slice of 3 mm is three. ``start`` is ``reshapeit --version``; ``import`` is everything a
refinement imports. Every process is one of its own; wall times include whatever else the machine does, processor times
do not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.damage.shapes import combined
from ReShapeITLib.image.reading import read_image
from ReShapeITLib.io.volumes import read_labels, write_image, write_labels
from ReShapeITLib.job.demo import draw_patient
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate
from Testing.Benchmarks.measuring import DATA, machine, rounded

SHAPE_KJI = (500, 512, 512)
LOBES = ("upper_lobe_right", "middle_lobe_right", "lower_lobe_right", "upper_lobe_left", "lower_lobe_left")
TEN = ("liver", "pancreas", "spleen", "kidney_left", "kidney_right", *(f"lung_{lobe}" for lobe in LOBES))
LOBE_CASE = "lobes_23"  # 481 slices of 0.6 mm
CT_CASE = "btcv_0005"  # 102 slices of 3 mm
# A process of its own, because the peak of a new process starts at the size of the one that made it.
LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
IMPORTS = "import ReShapeITLib.job.job, ReShapeITLib.refinement.refine"


def placed(volume: LabelVolume, file: Path) -> Path:
    """Write a volume into the middle of one of the target's size."""
    room = [n - m for n, m in zip(SHAPE_KJI, volume.geometry.shape_kji, strict=True)]
    if min(room) < 0:
        raise ValueError(f"{volume.source} is larger than {SHAPE_KJI}")
    start = [n // 2 for n in room]
    whole = np.zeros(SHAPE_KJI, dtype=volume.layers[0].dtype)
    whole[tuple(slice(s, s + n) for s, n in zip(start, volume.geometry.shape_kji, strict=True))] = volume.layers[0]
    geometry = volume.geometry.cropped([-s for s in start[::-1]], SHAPE_KJI[::-1])
    write_labels(LabelVolume.from_array(whole, geometry), file)
    return file


def drawn(organ: str, seed: int = 1) -> LabelVolume:
    """A patient drawn from the template of an organ and damaged, on a grid of its own."""
    truth, geometry = draw_patient(OrganTemplate.load(find_template(organ)), seed)
    return LabelVolume.from_array(combined(truth, geometry, np.random.default_rng([seed, 1])), geometry)


def drawn_apart(organs: Sequence[str], first_label: int) -> LabelVolume:
    """Damaged organs, each drawn from its own template, above each other on a grid of SHAPE_KJI: right ones and the
    liver to the right, the others to the left. Labels count on from ``first_label`` in their order."""
    labels, top = np.zeros(SHAPE_KJI, dtype=np.uint8), {"right": 0, "left": 0}
    for label, organ in enumerate(organs, first_label):
        volume, side = drawn(organ), "right" if organ.endswith("right") or organ == "liver" else "left"
        (box,) = ndimage.find_objects((volume.layers[0] > 0).astype(np.uint8))
        part = volume.layers[0][box] > 0
        middle = SHAPE_KJI[2] // 2
        start = top[side] + 8, 20, middle - part.shape[2] - 8 if side == "right" else middle + 8
        labels[tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True))][part] = label
        top[side] = start[0] + part.shape[0]
    shift = [-(n // 2) for n in SHAPE_KJI[::-1]]
    return LabelVolume.from_array(labels, volume.geometry.cropped(shift, SHAPE_KJI[::-1]))


def real_lobes() -> LabelVolume | None:
    """The lobes of a patient of the development data, 4 to 8 in the order of LOBES; None where the data is absent."""
    file = DATA / "lung_lobes" / f"{LOBE_CASE}.nrrd"
    if not file.is_file():
        return None
    volume = read_labels(file)
    labels = (volume.layers[0] % 512).astype(np.uint8)
    labels[(labels < 4) | (labels > 8)] = 0
    return LabelVolume.from_array(labels, volume.geometry)


def with_ct(folder: Path) -> tuple[Path, Path] | None:
    """A network's labels (5: liver) and their CT in slices a third as thick; None where the data is absent."""
    files = [DATA / "ct" / CT_CASE / f"{name}.nii.gz" for name in ("obelisk_ens4", "ct")]
    if not all(file.is_file() for file in files):
        return None
    labels, image = read_labels(files[0]), read_image(files[1])
    matrix = labels.geometry.ijk_to_ras @ np.diag([1.0, 1.0, 1.0 / 3.0, 1.0])
    slices = np.arange(0.0, len(image.voxels) - 0.99, 1.0 / 3.0)
    below, share = slices.astype(int), (slices % 1.0)[:, None, None]
    above = np.minimum(below + 1, len(image.voxels) - 1)
    fine = ((1.0 - share) * image.voxels[below] + share * image.voxels[above]).round().astype(np.int16)
    n_k, n_j, n_i = fine.shape
    size = (n_k, *SHAPE_KJI[1:])
    grid = ImageGeometry(matrix, (n_i, n_j, n_k)).cropped([0, 0, 0], size[::-1])
    room = [(0, n - m) for n, m in zip(size, fine.shape, strict=True)]
    given = np.pad(labels.layers[0][np.rint(slices).astype(int)], room)
    write_labels(LabelVolume.from_array(given, grid), folder / "on_ct.nii.gz")
    write_image(np.pad(fine, room, constant_values=-1000), grid, folder / "ct.nii.gz")
    return folder / "on_ct.nii.gz", folder / "ct.nii.gz"


def inputs(folder: Path) -> dict[str, tuple[str, ...]]:
    """File, --template and further arguments of each input that can be made here."""
    made = {organ: _of(placed(drawn(organ), folder / f"{organ}.nii.gz"), organ) for organ in ("pancreas", "liver")}
    prediction = DATA / "predictions" / "liver" / "t3_7" / "Lovasz.nii.gz"
    if prediction.is_file():
        made["liver_prediction"] = _of(placed(read_labels(prediction), folder / "prediction.nii.gz"), "liver")
    on_ct = with_ct(folder)
    if on_ct is not None:
        made["liver_by_shape"] = _of(on_ct[0], "5=liver")
        made["liver_with_ct"] = *_of(on_ct[0], "5=liver"), "--image", str(on_ct[1])
    chosen = ",".join(f"{label}={organ}" for label, organ in enumerate(TEN, 1))
    write_labels(drawn_apart(TEN, 1), folder / "ten_organs.nii.gz")
    made["ten_organs"] = _of(folder / "ten_organs.nii.gz", chosen)
    lobes = real_lobes()
    if lobes is not None:
        chosen = ",".join(f"{4 + index}=lung_{lobe}" for index, lobe in enumerate(LOBES))
        made["lobes"] = _of(placed(lobes, folder / "lobes.nii.gz"), chosen)
    return made


def _of(file: Path, template: str) -> tuple[str, ...]:
    return str(file), "--template", template


def run(command: list[str]) -> dict[str, float]:
    """Wall and processor seconds and peak memory (MB) of a process."""
    process = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {process.stderr[-500:]}")
    wall, processor, peak = map(float, process.stdout.split())
    return {"wall_s": wall, "processor_s": processor, "peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}


def measure(rounds: int, only: set[str]) -> dict:
    """Medians of all processes."""
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        refine = [sys.executable, "-m", "ReShapeITLib.cli.main", "refine"]
        commands = {
            "start": [sys.executable, "-m", "ReShapeITLib.cli.main", "--version"],
            "import": [sys.executable, "-c", IMPORTS],
        }
        for name, told in inputs(folder).items():
            for preset in ("standard", "draft"):
                output = str(folder / "out.nii.gz")
                settings = ["--output", output, "--preset", preset, "--force", "--non-commercial"]
                commands[f"{name}_{preset}"] = [*refine, *told, *settings]
        for name, command in commands.items():
            if only and name not in only:
                continue
            runs = [run(command) for _ in range(rounds)]
            medians = {key: rounded(statistics.median(r[key] for r in runs)) for key in runs[0]}
            results[name] = medians | {"load_average": round(os.getloadavg()[0], 2), "runs": rounds}
            print(name, results[name], file=sys.stderr, flush=True)
    return {"benchmark": "refine", "machine": machine(), "processes": results}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names of processes, separated by commas")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.rounds, set(filter(None, arguments.only.split(",")))), indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
