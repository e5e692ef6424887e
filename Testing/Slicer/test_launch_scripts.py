"""Calls from a shell, as the documentation gives them, through Slicer's launchers."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.Slicer.installation import Installation, Settings
from Testing.tiny_template import label_volume, patient

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "bin/PythonSlicer"
WHERE = "import ReShapeITLib; print(ReShapeITLib.__file__)"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the launchers of this test are shell scripts")


@pytest.fixture(scope="module")
def slicer(tmp_path_factory) -> Installation:
    """A Slicer with the extension in a folder with a blank, and the packages that the library needs."""
    return Installation(tmp_path_factory.mktemp("with") / "3D Slicer 5.12", ROOT)


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Installation:
    """A Slicer whose Python has no packages, so that nothing of this checkout can be imported either."""
    return Installation(tmp_path_factory.mktemp("bare") / "Slicer", ROOT, site=False)


@pytest.fixture
def organ(tmp_path) -> Path:
    """A label map of a patient of the test template."""
    path = tmp_path / "the input.nrrd"
    write_labels(label_volume(*patient(np.random.default_rng(5))), path)
    return path


def test_pythonslicer_runs_the_module_by_its_path(slicer, organ, tiny_template_file, tmp_path):
    options = ["--template", tiny_template_file, "--preset", "draft", "--device", "cpu"]
    done = slicer.run(PYTHON, slicer.script, *options, organ, tmp_path / "out.nrrd")
    assert done.returncode == 0, done.stderr
    assert read_labels(tmp_path / "out.nrrd").label_values() == (1,) and "<filter-end>" in done.stdout


def test_the_exit_code_comes_through_the_launcher(slicer, organ, tmp_path):
    done = slicer.run(PYTHON, slicer.script, "--template", "nobody", organ, tmp_path / "out.nrrd")
    assert done.returncode == 2 and "nobody" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_module_takes_the_library_of_its_own_extension(bare):
    code = f"import sys; sys.path.insert(0, {str(bare.modules)!r}); import ReShapeITRefine as m; m.addLibraryToPath()"
    done = bare.run(PYTHON, "-c", f"{code}; {WHERE}")
    assert Path(done.stdout.strip()).is_relative_to(bare.scripted), done.stderr


def test_the_whole_command_runs_with_the_folder_of_the_extension_on_the_path(slicer):
    words = "-m", "ReShapeITLib.cli.main", "refine", "--help"
    done = slicer.run(PYTHON, *words, env={"PYTHONPATH": str(slicer.scripted)})
    assert done.returncode == 0 and "--non-commercial" in done.stdout, done.stderr


def test_pythonslicer_alone_does_not_know_the_extensions_folder(bare):
    # Extensions are written to settings in Slicer's folder, which PythonSlicer looks for in its own folder, bin.
    assert "No module named 'ReShapeITLib'" in bare.run(PYTHON, "-c", WHERE).stderr
    done = bare.run(PYTHON, "-c", WHERE, env={"PYTHONPATH": str(bare.scripted)})
    assert Path(done.stdout.strip()).is_relative_to(bare.scripted), done.stderr


def test_slicers_launcher_hands_the_extensions_folder_to_pythonslicer(bare):
    done = bare.run("Slicer", "--launch", "PythonSlicer", "-c", WHERE)
    assert Path(done.stdout.strip()).is_relative_to(bare.scripted), done.stderr


@pytest.mark.parametrize("name", ["ReShapeITRefine", "ReShapeITRefine.py"])
def test_launch_with_the_name_of_the_module_cannot_work(name, bare):
    done = bare.run("Slicer", "--launch", name, "in.nrrd", "out.nrrd")
    assert done.returncode == 1 and f"Application does NOT exist [{name}]" in done.stderr


def test_on_windows_launch_wants_an_exe(bare):
    settings = Settings(bare.folder, "Slicer")
    (bare.folder / "bin" / "PythonSlicer.exe").write_bytes((bare.folder / PYTHON).read_bytes())
    (bare.folder / "bin" / "PythonSlicer.exe").chmod(0o755)
    assert settings.found("PythonSlicer", windows=True).endswith("bin/PythonSlicer.exe")
    assert settings.found("ReShapeITRefine", windows=True) == "ReShapeITRefine.exe"


def test_a_killed_python_is_told_as_abnormal(bare):
    done = bare.run(PYTHON, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == 1 and "exit abnormally" in done.stderr


def documented_calls() -> list[str]:
    """Command lines of the section on command line and batches."""
    text = (ROOT / "docs" / "SLICER.md").read_text(encoding="utf-8")
    section = text.partition("## Command line and batches")[2].partition("\n## ")[0]
    call = r"^    ((?:PYTHONPATH=\S+ )?\S*(?:PythonSlicer\S* |Slicer\S* --launch ).*)$"
    return re.findall(call, section, re.MULTILINE)


def test_every_documented_call_is_one_that_works():
    calls = documented_calls()
    assert len(calls) >= 3 and not any("--launch ReShapeITRefine" in call for call in calls)
    spec = importlib.util.spec_from_file_location(
        "ReShapeITRefine", ROOT / "ReShapeIT" / "ReShapeITRefine" / "ReShapeITRefine.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from ReShapeITLib.cli.main import build_parser

    for call in calls:
        words = shlex.split(call)
        program = next(index for index, word in enumerate(words) if word == "-m" or word.endswith("ReShapeITRefine.py"))
        if words[program] == "-m":
            assert words[program + 1] == "ReShapeITLib.cli.main"
            build_parser().parse_args(words[program + 2 :])
        else:
            module.parser().parse_args(words[program + 1 :])
