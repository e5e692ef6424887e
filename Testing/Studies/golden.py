"""Whether a change of the code leaves every result as it was: a dozen inputs of all organs and modes, bit for bit.

    python -m Testing.Studies.golden make golden.json       # before the change
    python -m Testing.Studies.golden compare golden.json    # after it; exit 1 where anything differs

Runs ``reshapeit refine`` as a user would, on the real label volumes beside the checkout (../shared/data), and keeps the
SHA-256 of the voxels and of the surface with its point data. Takes some minutes on two cores. Both runs need the same
number of BLAS threads (``OMP_NUM_THREADS``, or unset in both): the last bits of sums depend on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ReShapeITLib.io.surfaces import read_surface
from ReShapeITLib.io.volumes import read_labels

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
LOBES = "4=lung_upper_lobe_right,5=lung_middle_lobe_right,6=lung_lower_lobe_right,7=lung_upper_lobe_left"
LOBES += ",8=lung_lower_lobe_left"
# Name, input, arguments; {work} is the folder of inputs that are made here.
RUNS = (
    ("pancreas", "predictions/pancreas/t2_092/SS.nii.gz", ["--template", "pancreas"]),
    ("pancreas draft", "predictions/pancreas/t2_092/SS.nii.gz", ["--template", "pancreas", "--preset", "draft"]),
    ("liver fine", "predictions/liver/t3_50/DiceCE.nii.gz", ["--template", "liver", "--preset", "fine"]),
    ("liver without a network", "predictions/liver/t3_55/SS.nii.gz", ["--template", "liver", "--restoration", "none"]),
    ("spleen of another network", "ct/btcv_0024/obelisk_ens4.nii.gz", ["--template", "spleen", "--label", "1"]),
    (
        "abdomen together",
        "ct/btcv_0034/obelisk_visc5.nii.gz",
        ["--template", "1=spleen,2=kidney_right,3=kidney_left,5=liver", "--force", "--preset", "draft"],
    ),
    ("left kidney, coarse", "{work}/kidney_coarse.nii.gz", ["--template", "kidney_left"]),
    ("right kidney, sparse", "{work}/kidney_sparse.nii.gz", ["--template", "kidney_right", "--sparse"]),
    ("liver, sparse", "{work}/liver_sparse.nii.gz", ["--template", "liver", "--sparse", "--preset", "draft"]),
    ("five lobes", "{work}/lobes.nii.gz", ["--template", LOBES, "--preset", "draft", "--non-commercial"]),
    (
        "middle lobe, coarse",
        "{work}/lobe_coarse.nii.gz",
        ["--template", "5=lung_middle_lobe_right", "--non-commercial"],
    ),
    (
        "two lobes, union kept",
        "{work}/lobes_small.nii.gz",
        [
            "--template",
            "7=lung_upper_lobe_left,8=lung_lower_lobe_left",
            "--keep-union",
            "--preset",
            "draft",
            "--non-commercial",
        ],
    ),
    ("spleen, cut by the border", "{work}/spleen_cut.nii.gz", ["--template", "spleen", "--force"]),
)


def main(argv: list[str] | None = None) -> int:
    """Make or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("make", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", help="names of runs, comma-separated")
    arguments = parser.parse_args(argv)
    wanted = arguments.only.split(",") if arguments.only else [name for name, _input, _words in RUNS]
    with tempfile.TemporaryDirectory() as work:
        make_inputs(Path(work))
        found = {run[0]: result_of(run, Path(work)) for run in RUNS if run[0] in wanted}
    if arguments.action == "make":
        arguments.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    known = json.loads(arguments.file.read_text(encoding="utf-8"))
    differ = [name for name in found if found[name] != known.get(name)]
    for name in differ:
        print(f"{name}: {json.dumps(known.get(name))} -> {json.dumps(found[name])}")
    print(f"{len(found) - len(differ)} of {len(found)} as they were")
    return 1 if differ else 0


def result_of(run, work: Path) -> dict[str, object]:
    """Checksums of one refinement."""
    name, source, words = run
    source = Path(source.format(work=work)) if "{work}" in source else DATA / source
    output, surface, report = work / "out.nii.gz", work / "out.vtp", work / "out.json"
    for path in work.glob("out*"):
        path.unlink()
    command = [sys.executable, "-m", "ReShapeITLib.cli.main", "refine", str(source), "--output", str(output)]
    command += ["--surface", str(surface), "--report", str(report), "--device", "cpu", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{name}: exit {done.returncode}", flush=True)
    if done.returncode:
        return {"exit": done.returncode, "said": done.stderr.strip().splitlines()[-1].replace(str(work), "")}
    found = {"voxels": _digest(*read_labels(output).layers)}
    for path in sorted(work.glob("out*.vtp")):
        read = read_surface(path)
        found[path.stem] = _digest(read.vertices_ras, read.faces, *(v for _n, v in sorted(read.point_data.items())))
    return found


def make_inputs(work: Path) -> None:
    """Inputs of modes that no file of the data has: coarse, sparse, cut, part of a volume."""
    import SimpleITK as sitk

    def load(path):
        return sitk.Cast(sitk.ReadImage(str(DATA / path)), sitk.sitkInt32)

    def save(image, name):
        sitk.WriteImage(sitk.Cast(image, sitk.sitkUInt8), str(work / name))

    def sparse(image, step):
        array = sitk.GetArrayFromImage(image)
        kept, used = np.zeros_like(array), np.flatnonzero(array.any(axis=(1, 2)))
        kept[used[1::step]] = array[used[1::step]]
        drawn = sitk.GetImageFromArray(kept)
        drawn.CopyInformation(image)
        return drawn

    save(load("kidney_left/btcv_0039.nii.gz")[::6, ::6, :] > 0, "kidney_coarse.nii.gz")
    save(sparse(load("kidney_right/btcv_0039.nii.gz") > 0, 8), "kidney_sparse.nii.gz")
    save(sparse(load("liver/t3_50.nii.gz") > 0, 12), "liver_sparse.nii.gz")
    lobes = sitk.Modulus(load("lung_lobes/lobes_44.nrrd"), 512)
    lobes = sitk.Mask(lobes, sitk.BinaryThreshold(lobes, 4, 8))
    save(lobes, "lobes.nii.gz")
    save(lobes[::2, ::2, :], "lobes_small.nii.gz")
    save((lobes == 5)[::8, ::8, :] * 5, "lobe_coarse.nii.gz")
    spleen = load("spleen/btcv_0040.nii.gz") > 0
    used = np.flatnonzero(sitk.GetArrayFromImage(spleen).any(axis=(1, 2)))
    save(spleen[:, :, : int(used[0] + 0.7 * len(used))], "spleen_cut.nii.gz")


def _digest(*arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
