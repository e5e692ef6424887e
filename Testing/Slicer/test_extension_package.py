"""The extension as a package: metadata, and what Slicer's CMake macros make of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.Slicer import cmake_project
from Testing.Slicer.cmake_project import Installed
from Testing.tiny_template import label_volume, patient

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "ReShapeIT"
# Runs a script as a program, then says where the library came from.
RUN_SCRIPT = """
import runpy, sys
try:
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
import ReShapeITLib
print(ReShapeITLib.__file__)
sys.exit(code)
"""


def variable(name: str) -> str:
    """A variable that CMakeLists.txt sets."""
    return re.search(rf'set\({name} "(.*?)"\)', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")).group(1)


def installed_by(checkouts, folder: Path) -> Installed:
    """The extension, built in ``folder``; what the build tree has twice is removed."""
    if not cmake_project.cmake()[0] or not shutil.which("c++"):
        pytest.skip("the rules of the package are run with cmake and a C++ compiler, which are not installed")
    made = cmake_project.build_and_install(folder, checkouts)
    shutil.rmtree(made.build / "lib", ignore_errors=True)
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    """What Slicer's own macros install, or the stand-ins for them."""
    checkouts, which = cmake_project.macros_in_use()
    made = installed_by(checkouts, tmp_path_factory.mktemp("package"))
    print(f"{which}; the installed extension has {made.size_mb():.0f} MB.")
    return made


def test_all_packages_and_trained_files_are_installed(installed):
    modules = installed.library / "qt-scripted-modules"
    for package, root in (("ReShapeITLib", ROOT), ("ReShapeITPanel", MODULE), ("ReShapeITSlicer", MODULE)):
        for path in (root / package).rglob("*.py"):
            assert (modules / path.relative_to(root)).is_file(), path.relative_to(root)
    for folder in ("Templates", "Restoration", "Image"):
        shipped = {path.name for path in (ROOT / "Resources" / folder).glob("*.safetensors")}
        shipped |= {path.name for path in (ROOT / "Resources" / folder).glob("*.json")}
        assert shipped == {path.name for path in (modules / "Resources" / folder).iterdir()}
    for file in ("ReShapeIT.py", "Resources/UI/ReShapeIT.ui", "Resources/requirements.txt", "LICENSE.txt"):
        assert (modules / file).is_file()
    names = {path.name for path in (installed.library / "cli-modules").iterdir()}
    assert names == {"ReShapeITRefine.py", "ReShapeITRefine.xml"}


def test_nothing_else_is_installed(installed):
    modules = installed.library / "qt-scripted-modules"
    names = {path.name for path in modules.iterdir() if path.suffix != ".pyc"}
    packages = {"ReShapeIT.py", "ReShapeITEffect", "ReShapeITLib", "ReShapeITPanel", "ReShapeITSlicer"}
    assert names == packages | {"Resources", "LICENSE.txt"}
    resources = {path.name for path in (modules / "Resources").iterdir()}
    assert resources == {
        "Templates",
        "Restoration",
        "Image",
        "UI",
        "Icons",
        "requirements.txt",
        "requirements-batch.txt",
    }
    strays = [file for file in installed.files() if re.search(r"Testing|Studies|\btest_|/docs/|Screenshots", file)]
    assert not strays
    megabytes = installed.size_mb()
    shipped = sum(path.stat().st_size for path in (ROOT / "Resources").rglob("*.safetensors")) / 1e6
    assert shipped < megabytes < shipped + 10


def test_the_installed_python_compiles(installed, tmp_path):
    command = [sys.executable, "-m", "compileall", "-q", "-f", str(installed.library)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list(tmp_path.rglob("*.pyc"))) == len(list(installed.library.rglob("*.py")))


def test_slicer_tells_the_command_line_module_from_the_panel_by_the_first_line(installed):
    commands = {path.name for path in installed.library.glob("*/*.py") if path.read_bytes().startswith(b"#!")}
    assert commands == {"ReShapeITRefine.py"}


def test_slicer_gets_a_generic_test_and_the_self_test(installed):
    assert installed.tests() == ["py_nomainwindow_qSlicerReShapeITModuleGenericTest", "py_ReShapeIT"]


def test_the_catalogue_shows_the_whole_description(installed):
    entry = json.loads((ROOT / "docs" / "ReShapeIT.json").read_text(encoding="utf-8"))
    told = installed.description()
    for field in ("description", "category", "homepage", "iconurl", "screenshoturls", "depends", "contributors"):
        assert told[field] == variable(f"EXTENSION_{field.upper()}"), field
    assert "CC BY-NC-SA" in told["description"] and "not a medical device" in told["description"]
    assert told["tier"] == str(entry["tier"]) and told["depends"].split() == entry["build_dependencies"]


def test_the_package_shows_its_own_licence_and_read_me(installed):
    files = {key: Path(path) for key, path in installed.package_files().items()}
    assert files == {"licence": ROOT / "LICENSE.txt", "read-me": ROOT / "README.md"}


def test_the_stand_ins_do_what_slicers_macros_do(installed, tmp_path):
    checkouts, which = cmake_project.macros_in_use()
    twin = installed_by(None, tmp_path) if checkouts else installed
    assert twin.files() == installed.files(), which
    assert twin.description() == installed.description() and twin.tests() == installed.tests()
    assert twin.package_files() == installed.package_files()


def test_the_installed_library_finds_its_templates(installed):
    code = "import ReShapeITLib.templates.store as store; print(store.find_template('liver'))"
    command, modules = [sys.executable, "-S", "-c", code], installed.library / "qt-scripted-modules"
    told = subprocess.run(command, cwd=modules, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()) == modules / "Resources" / "Templates" / "liver.safetensors"


def test_the_installed_command_line_module_runs_with_the_library_beside_it(installed, tiny_template_file, tmp_path):
    script = installed.library / "cli-modules" / "ReShapeITRefine.py"
    write_labels(label_volume(*patient(np.random.default_rng(5))), tmp_path / "in.nrrd")
    options = ["--template", str(tiny_template_file), "--preset", "draft", "--device", "cpu"]
    command = [sys.executable, "-c", RUN_SCRIPT, str(script), *options, "in.nrrd", "out.nrrd"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert read_labels(tmp_path / "out.nrrd").label_values() == (1,)
    library = Path(done.stdout.splitlines()[-1])
    assert library == installed.library / "qt-scripted-modules" / "ReShapeITLib" / "__init__.py"


def test_make_slicer_source_brings_all_that_the_tests_read():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    folders = dict(re.findall(r"^(\w+)_FOLDERS := (.*)$", text, re.MULTILINE))
    assert set(folders) == set(cmake_project.NEEDED)
    for name, files in cmake_project.NEEDED.items():
        for file in (*files, *(("Base/Python/slicer/util.py", "Modules/Scripted/SampleData/x") * (name == "Slicer"))):
            top = "/" not in file  # files of the top folder always come along
            assert top or any(file.startswith(f"{folder}/") for folder in folders[name].split()), (name, file)


def test_the_index_entry_agrees_with_the_metadata():
    entry = json.loads((ROOT / "docs" / "ReShapeIT.json").read_text(encoding="utf-8"))
    assert entry["build_dependencies"] == variable("EXTENSION_DEPENDS").split()
    assert entry["category"] == variable("EXTENSION_CATEGORY")
    assert entry["scm_url"].rstrip("/") == variable("EXTENSION_HOMEPAGE").rstrip("/")
    assert entry["tier"] in (1, 3, 5) and "\r" not in (ROOT / "docs" / "ReShapeIT.json").read_text(encoding="utf-8")


def test_icon_and_screenshots_are_where_the_metadata_says():
    from PIL import Image

    prefix = variable("EXTENSION_HOMEPAGE").replace("github.com", "raw.githubusercontent.com") + "/main/"
    pictures = [variable("EXTENSION_ICONURL"), *variable("EXTENSION_SCREENSHOTURLS").split()]
    for address in pictures:
        assert address.startswith(prefix) and (ROOT / address.removeprefix(prefix)).is_file(), address
    for path in (ROOT / "ReShapeIT.png", MODULE / "Resources" / "Icons" / "ReShapeIT.png"):
        assert Image.open(path).size == (128, 128)


def test_the_name_of_the_project_is_that_of_the_extension_and_says_nothing_of_slicer():
    name = re.search(r"project\((\w+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")).group(1)
    assert name == (ROOT / "docs" / "ReShapeIT.json").stem and not name.startswith("Slicer")


def test_every_file_that_answers_a_rule_exists_and_every_step_of_the_self_test_is_described():
    text = (ROOT / "docs" / "EXTENSION.md").read_text(encoding="utf-8")
    file_name = re.compile(r"[\w./*-]+\.(py|md|ui|xml|json|txt|png)")
    named = [word for word in re.findall(r"`([^`\n]+)`", text) if file_name.fullmatch(word)]
    folders = (ROOT, MODULE, MODULE / "ReShapeITPanel", MODULE / "ReShapeITRefine")
    missing = [name for name in named if not any(any(folder.glob(name)) for folder in folders)]
    assert len(named) > 30 and not missing
    source = (MODULE / "ReShapeITPanel" / "selfTest.py").read_text(encoding="utf-8")
    steps = re.findall(r"\w+", source.partition("STEPS = (")[2].partition(")")[0])
    assert len(steps) > 10 and [word for word in re.findall(r"`(\w+)`", text) if word in steps] == steps
