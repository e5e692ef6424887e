"""The extension as a package: metadata, and what the CMake rules install where."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "ReShapeIT"
# What Slicer's and CTK's macros do with the files they are given, without compiling Python and generating tests.
SLICER_CONFIG = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${Slicer_USE_FILE})
set(Slicer_EXTENSION_CPACK ${Slicer_USE_FILE})
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
set(Slicer_INSTALL_CLIMODULES_BIN_DIR lib/Slicer-5.12/cli-modules)
function(install_relative)
  foreach(file ${ARGN})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "there is no ${file}")
    endif()
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder})
  endforeach()
endfunction()
macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  install_relative(${MY_SCRIPTS} ${MY_RESOURCES})
endmacro()
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  install_relative(${MY_SCRIPTS} ${MY_RESOURCES})
endmacro()
macro(SlicerMacroBuildScriptedCLI)
  cmake_parse_arguments(MY "" "NAME" "" ${ARGN})
  install(FILES ${MY_NAME}.py ${MY_NAME}.xml DESTINATION ${Slicer_INSTALL_CLIMODULES_BIN_DIR})
endmacro()
"""


def variable(name: str) -> str:
    """A variable that CMakeLists.txt sets."""
    return re.search(rf'set\({name} "(.*?)"\)', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")).group(1)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The tree that ``cmake --install`` makes."""
    cmake = shutil.which("cmake")
    if not cmake or not shutil.which("c++"):
        pytest.skip("the rules of the package are run with cmake and a C++ compiler, which are not installed")
    work = tmp_path_factory.mktemp("package")
    (work / "config").mkdir()
    (work / "config" / "SlicerConfig.cmake").write_text(SLICER_CONFIG)
    (work / "config" / "empty.cmake").write_text("")
    configure = [cmake, "-S", ROOT, "-B", work / "build", f"-DSlicer_DIR={work / 'config'}"]
    configure.append(f"-DCMAKE_INSTALL_PREFIX={work / 'tree'}")
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run([cmake, "--install", work / "build"], check=True, capture_output=True)
    return work / "tree" / "lib" / "Slicer-5.12"


def test_all_packages_and_trained_files_are_installed(installed):
    modules = installed / "qt-scripted-modules"
    for package, root in (("ReShapeITLib", ROOT), ("ReShapeITPanel", MODULE), ("ReShapeITSlicer", MODULE)):
        for path in (root / package).rglob("*.py"):
            assert (modules / path.relative_to(root)).is_file(), path.relative_to(root)
    for folder in ("Templates", "Restoration"):
        shipped = {path.name for path in (ROOT / "Resources" / folder).glob("*.safetensors")}
        assert shipped == {path.name for path in (modules / "Resources" / folder).iterdir()}
    for file in ("ReShapeIT.py", "Resources/UI/ReShapeIT.ui", "Resources/requirements.txt", "LICENSE.txt"):
        assert (modules / file).is_file()
    names = {path.name for path in (installed / "cli-modules").iterdir()}
    assert names == {"ReShapeITRefine.py", "ReShapeITRefine.xml"}


def test_the_installed_library_finds_its_templates(installed):
    code = "import ReShapeITLib.template_store as store; print(store.find_template('liver'))"
    command, modules = [sys.executable, "-S", "-c", code], installed / "qt-scripted-modules"
    told = subprocess.run(command, cwd=modules, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()) == modules / "Resources" / "Templates" / "liver.safetensors"


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
    steps = re.findall(r"\bstep\w+", source.partition("STEPS = (")[2].partition(")")[0])
    assert steps and re.findall(r"`(step\w+)`", text) == steps
