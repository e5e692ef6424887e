"""The packages that the extension installs are enough: refining works with nothing else but what Slicer brings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import write_labels
from Testing.tiny_template import patient

ROOT = Path(__file__).resolve().parents[2]
IN_SLICER = {"numpy", "scipy", "vtk", "vtkmodules", "SimpleITK"}
# What the named packages need themselves and import.
OF_TORCH = {
    "torch",
    "torchgen",
    "functorch",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "markupsafe",
    "fsspec",
    "filelock",
    "typing_extensions",
    "triton",
    "nvidia",
    "optree",
    "setuptools",
    "packaging",
}
ONLY_ALLOWED = """
import sys
from importlib.machinery import PathFinder
allowed, standard = set(sys.argv[1].split(",")), set(sys.stdlib_module_names)
class OnlyAllowed:
    # As if nothing else were installed.
    @staticmethod
    def find_spec(name, path=None, target=None):
        root = name.partition(".")[0]
        known = root in allowed or root in standard or root.startswith("_")
        return PathFinder.find_spec(name, path, target) if known else None
sys.meta_path[:] = [OnlyAllowed if finder is PathFinder else finder for finder in sys.meta_path]
from ReShapeITLib.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def test_refining_imports_nothing_that_is_not_installed_with_the_extension(tiny_template_file, tmp_path):
    lines = (ROOT / "ReShapeIT" / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {line.partition(">=")[0].strip() for line in lines if line and not line.startswith("#")}
    mask, geometry = patient(np.random.default_rng(11))
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), tmp_path / "case.seg.nrrd")
    allowed = ",".join({"ReShapeITLib", *IN_SLICER, *OF_TORCH, *required})
    job = ["refine", tmp_path / "case.seg.nrrd", "--template", tiny_template_file, "--output", tmp_path / "o.seg.nrrd"]
    outputs = ["--surface", tmp_path / "o.vtp", "--report", tmp_path / "o.json", "--progress", "json"]
    command = [sys.executable, "-c", ONLY_ALLOWED, allowed, *job, *outputs, "--preset", "draft", "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.vtp").is_file()


def test_the_extension_asks_for_the_versions_that_the_library_asks_for():
    """Lower bounds of both files of requirements, and of PyTorch in the panel, are those of pyproject.toml."""
    project = dict(re.findall(r'"([A-Za-z0-9_-]+)>=([0-9.]+)', (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    text = (ROOT / "ReShapeIT" / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    required = dict(re.findall(r"^([A-Za-z0-9_-]+)>=([0-9.]+)$", text, re.MULTILINE))
    panel = (ROOT / "ReShapeIT" / "ReShapeITPanel" / "dependencies.py").read_text(encoding="utf-8")
    required["torch"] = re.search(r'TORCH_VERSION = ">=([0-9.]+)"', panel)[1]
    batch = (ROOT / "ReShapeIT" / "Resources" / "requirements-batch.txt").read_text(encoding="utf-8")
    required |= dict(re.findall(r"^([A-Za-z0-9_-]+)>=([0-9.]+)$", batch, re.MULTILINE))
    assert len(required) == 6
    assert required == {name: project[name] for name in required}
