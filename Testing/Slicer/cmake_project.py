"""The extension configured, built and installed by CMake: with Slicer's own macros, or with stand-ins for them.

Slicer's macros come from checkouts of Slicer, CTK and its launcher, see :func:`sources`. Compiled parts that a scripted
extension never touches (ITK, VTK, Qt, CLI libraries) are packages that only say that they were found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .slicer_python import CACHE, STAND_INS, VARIABLE

ROOT = Path(__file__).resolve().parents[2]
VERSION = "5.12"
# What of each checkout the macros read.
NEEDED = {
    "Slicer": (
        "CMake/UseSlicer.cmake.in",
        "CMake/SlicerConfig.cmake.in",
        "Extensions/CMake/SlicerExtensionDescriptionSpec.cmake",
        "Base/QTCore/Testing/Python/qSlicerModuleGenericTest.py.in",
        "Utilities/Templates/Extensions/extension_description.s4ext.in",
    ),
    "CTK": ("CMake/ctkMacroCompilePythonScript.cmake",),
    "AppLauncher": ("CMake/ctkAppLauncher.cmake", "CTKAppLauncherSettings.ini.in"),
}
_LEAST_CMAKE = (3, 28)
# As Slicer's own CMakeLists.txt does before it writes what extensions include.
_MAKE_CONFIG = """
function(mark_as_superbuild)
endfunction()
set(Slicer_SOURCE_DIR @Slicer@)
set(Slicer_BINARY_DIR @folder@)
set(Slicer_MAIN_PROJECT SlicerApp)
set(SlicerApp_APPLICATION_NAME Slicer)
set(Slicer_VERSION_MAJOR @major@)
set(Slicer_VERSION_MINOR @minor@)
set(Slicer_CMAKE_DIR ${Slicer_SOURCE_DIR}/CMake)
set(Slicer_EXTENSIONS_CMAKE_DIR ${Slicer_SOURCE_DIR}/Extensions/CMake)
set(vtkAddon_CMAKE_DIR @packages@)
include(${Slicer_CMAKE_DIR}/SlicerDirectories.cmake)
include(${Slicer_CMAKE_DIR}/SlicerBlockOperatingSystemNames.cmake)
set(Slicer_OS ${Slicer_OS_LINUX_NAME})
set(Slicer_ARCHITECTURE amd64)
set(Slicer_REVISION 33366)
set(Slicer_WC_ROOT https://github.com/Slicer/Slicer)
set(Slicer_ORGANIZATION_NAME slicer.org)
set(Slicer_EXTENSIONS_DIRBASENAME Extensions)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_USE_CTKAPPLAUNCHER ON)
set(Slicer_REQUIRED_QT_VERSION 5.15)
set(Slicer_REQUIRED_QT_MODULES Core)
set(Slicer_DEFAULT_BUILD_TYPE Release)
set(Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR ${Slicer_SOURCE_DIR}/Base/QTCore/Testing/Python)
set(Slicer_LAUNCHER_EXECUTABLE ${Slicer_BINARY_DIR}/Slicer)
set(Slicer_LAUNCH_COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --launch)
set(Slicer_ExternalData_DATA_MANAGEMENT_TARGET SlicerData)
set(CMAKE_SIZEOF_VOID_P @pointer@)
set(Slicer_EP_LABEL_FIND_PACKAGE PYTHON_EXECUTABLE PYTHON_INCLUDE_DIR PYTHON_LIBRARY)
set(GIT_EXECUTABLE @git@)
set(PYTHON_EXECUTABLE @python@)
set(PYTHON_INCLUDE_DIR @include@)
set(PYTHON_LIBRARY @library@)
set(Slicer_EXTENSION_GENERATE_CONFIG ${Slicer_CMAKE_DIR}/SlicerExtensionGenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${Slicer_CMAKE_DIR}/SlicerExtensionCPack.cmake)
set(Slicer_USE_FILE ${Slicer_BINARY_DIR}/UseSlicer.cmake)
configure_file(${Slicer_CMAKE_DIR}/UseSlicer.cmake.in ${Slicer_USE_FILE} COPYONLY)
include(${Slicer_CMAKE_DIR}/SlicerGenerateSlicerConfig.cmake)
"""
# CTK and the launcher bring macros; of the rest only their being there is asked. PyTorch is the extension that this one
# depends on.
_PACKAGES = {
    "CTK": """
set(CTK_CMAKE_DIR @CTK@/CMake)
set(CTK_USE_FILE @packages@/empty.cmake)
include(${CTK_CMAKE_DIR}/ctkFunctionExtractOptimizedLibrary.cmake)
""",
    "CTKAppLauncher": """
set(CTK_INSTALL_BIN_DIR .)
set(CTK_INSTALL_CMAKE_DIR CMake)
set(CTKAppLauncher_EXECUTABLE @packages@/CTKAppLauncher)
set(CTKAppLauncher_SETTINGS_TEMPLATE @packages@/CTKAppLauncherSettings.ini.in)
include(@packages@/CMake/ctkAppLauncher.cmake)
""",
    "Qt5": """
set(Qt5_VERSION_MAJOR 5)
set(Qt5_VERSION_MINOR 15)
set(Qt5_VERSION_PATCH 2)
set(Qt5Core_FOUND TRUE)
add_executable(Qt5::qmake IMPORTED)
set_target_properties(Qt5::qmake PROPERTIES IMPORTED_LOCATION @packages@/qmake)
""",
    "SlicerExecutionModel": "set(SlicerExecutionModel_USE_FILE @packages@/empty.cmake)\n",
    "PyTorch": "",
    **dict.fromkeys(("CTKAppLauncherLib", "ITK", "CURL", "Teem", "VTK", "RapidJSON", "PythonQt"), ""),
}
# What Slicer's and CTK's macros do with what they are given, without compiling Python.
_STAND_INS = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/cpack.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-@VERSION@/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
set(Slicer_INSTALL_CLIMODULES_BIN_DIR lib/Slicer-@VERSION@/cli-modules)
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
  if(BUILD_TESTING AND MY_WITH_GENERIC_TESTS)
    add_test(NAME py_nomainwindow_qSlicer${MY_NAME}ModuleGenericTest COMMAND Slicer)
  endif()
endmacro()
macro(SlicerMacroBuildScriptedCLI)
  cmake_parse_arguments(MY "" "NAME" "" ${ARGN})
  install(FILES ${MY_NAME}.py ${MY_NAME}.xml DESTINATION ${Slicer_INSTALL_CLIMODULES_BIN_DIR})
endmacro()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  add_test(NAME py_${name} COMMAND Slicer)
endmacro()
"""
# Licence and read-me are Slicer's where the extension names none; a text ends at its first semicolon, as arguments do.
_STAND_IN_USE = """
include(CTest)
foreach(name LICENSE README)
  if(NOT DEFINED EXTENSION_${name}_FILE)
    set(EXTENSION_${name}_FILE Slicer)
  endif()
endforeach()
if(NOT DEFINED EXTENSION_TIER)
  set(EXTENSION_TIER 1)
endif()
"""
_STAND_IN_CPACK = """
set(description)
foreach(field @FIELDS@)
  string(TOUPPER ${field} name)
  cmake_parse_arguments(MY "" "${name}" "" ${name} ${EXTENSION_${name}})
  string(APPEND description "${field} ${MY_${name}}\\n")
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext "${description}")
install(FILES ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext DESTINATION share/Slicer-@VERSION@)
file(WRITE ${CMAKE_BINARY_DIR}/CPackConfig.cmake "set(CPACK_RESOURCE_FILE_LICENSE \\"${EXTENSION_LICENSE_FILE}\\")
set(CPACK_PACKAGE_DESCRIPTION_FILE \\"${EXTENSION_README_FILE}\\")
")
"""
# What of the extension's description the tests ask for.
FIELDS = ("depends", "category", "homepage", "iconurl", "screenshoturls", "description", "tier", "contributors")


@dataclass(frozen=True)
class Installed:
    """The extension as a user has it.

    Args:
        tree: what the package unpacks to.
        build: the build tree.
        log: what CMake said.
    """

    tree: Path
    build: Path
    log: str

    @property
    def library(self) -> Path:
        """``lib/Slicer-x.y`` of the tree, which holds ``qt-scripted-modules`` and ``cli-modules``."""
        return self.tree / "lib" / f"Slicer-{VERSION}"

    def files(self) -> set[str]:
        """Every file of the tree but compiled Python, relative to it."""
        paths = (path.relative_to(self.tree) for path in self.tree.rglob("*") if path.is_file())
        return {path.as_posix() for path in paths if path.suffix != ".pyc"}

    def description(self) -> dict[str, str]:
        """What Slicer's catalogue is told, by keyword."""
        text = (self.build / "ReShapeIT.s4ext").read_text(encoding="utf-8")
        lines = dict(line.partition(" ")[::2] for line in text.splitlines() if line and not line.startswith("#"))
        return {field: lines[field] for field in FIELDS}

    def package_files(self) -> dict[str, str]:
        """Licence and read-me that the package shows, as CPack was told."""
        text = (self.build / "CPackConfig.cmake").read_text(encoding="utf-8")
        names = {"licence": "CPACK_RESOURCE_FILE_LICENSE", "read-me": "CPACK_PACKAGE_DESCRIPTION_FILE"}
        return {key: re.search(rf'set\({name} "(.*)"\)', text).group(1) for key, name in names.items()}

    def tests(self) -> list[str]:
        """Names of the tests that CTest would run in Slicer."""
        ctest = Path(cmake()[0]).with_name("ctest")
        told = subprocess.run([ctest, "-N"], cwd=self.build, capture_output=True, text=True, check=True).stdout
        return re.findall(r"Test +#\d+: (\S+)", told)

    def size_mb(self) -> float:
        """Size of the tree in MB."""
        return sum(path.stat().st_size for path in self.tree.rglob("*") if path.is_file()) / 1e6


def sources() -> dict[str, Path] | str:
    """Checkouts with Slicer's macros by name, or why there are none.

    ``RESHAPEIT_SLICER_SOURCE`` names the checkout of Slicer; the others lie beside it. Without it all lie in the user's
    cache folder, where ``make slicer-source`` puts them.
    """
    named = os.environ.get(VARIABLE)
    if named == STAND_INS:
        return f"{VARIABLE} asks for them"
    slicer = Path(named or CACHE)
    found = {"Slicer": slicer, **{name: slicer.parent / name for name in NEEDED if name != "Slicer"}}
    missing = [str(found[name] / file) for name, files in NEEDED.items() for file in files]
    missing = [path for path in missing if not Path(path).is_file()]
    return f"{missing[0]} is missing" if missing else found


@cache
def cmake() -> tuple[str | None, tuple[int, ...]]:
    """The newest CMake beside this Python or on the path, and its version."""
    beside = Path(sys.executable).with_name("cmake")
    found = [str(beside)] if beside.is_file() else []
    found += [path for path in (shutil.which("cmake"),) if path]
    versions = {}
    for path in found:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        versions[path] = tuple(int(number) for number in re.search(r"(\d+)\.(\d+)", told).groups())
    return max(versions.items(), key=lambda item: item[1], default=(None, ()))


def macros_in_use() -> tuple[dict[str, Path] | None, str]:
    """Slicer's checkouts (None for the stand-ins), and a sentence for the summary of the tests."""
    found, (_, version) = sources(), cmake()
    if isinstance(found, str):
        return None, f"CMake rules: stand-ins for Slicer's macros, since {found} (make slicer-source)"
    if version < _LEAST_CMAKE:
        return None, "CMake rules: stand-ins for Slicer's macros, since those need CMake 3.28 or newer"
    return found, f"CMake rules: Slicer's own macros of {found['Slicer']}"


def build_and_install(work: Path, checkouts: dict[str, Path] | None, source: Path = ROOT) -> Installed:
    """Configure, build and install the extension.

    Args:
        work: an empty folder.
        checkouts: see :func:`sources`; None for the stand-ins.
        source: the tree with the CMakeLists.txt.

    Raises:
        AssertionError: CMake failed, with what it said.
    """
    config, build, tree = work / "config", work / "build", work / "tree"
    write_slicer_config(config, checkouts) if checkouts else write_stand_ins(config)
    log = _run_cmake("-S", source, "-B", build, f"-DSlicer_DIR={config}", f"-DCMAKE_INSTALL_PREFIX={tree}")
    log += _run_cmake("--build", build)
    log += _run_cmake("--install", build)
    return Installed(tree, build, log)


def write_stand_ins(folder: Path) -> None:
    """A SlicerConfig.cmake whose macros only install."""
    folder.mkdir()
    values = {"VERSION": VERSION, "FIELDS": " ".join(FIELDS)}
    files = {"SlicerConfig": _STAND_INS, "use": _STAND_IN_USE, "cpack": _STAND_IN_CPACK, "empty": ""}
    for name, text in files.items():
        (folder / f"{name}.cmake").write_text(_filled(text, values))


def write_slicer_config(folder: Path, checkouts: dict[str, Path]) -> None:
    """Slicer's own SlicerConfig.cmake and UseSlicer.cmake, as its build tree has them."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    major, minor = VERSION.split(".")
    values = {name: str(path) for name, path in checkouts.items()}
    values |= {"folder": str(folder), "packages": str(packages), "major": major, "minor": minor}
    values["git"] = shutil.which("git") or "git"
    values |= {"python": sys.executable, "include": sysconfig.get_path("include"), "pointer": "8"}
    values["library"] = str(Path(sysconfig.get_config_var("LIBDIR")) / "libpython.so")
    for name, text in _PACKAGES.items():
        (packages / f"{name}Config.cmake").write_text(_filled(text, values))
    for name in ("empty", "vtkMacroKitPythonWrap"):
        (packages / f"{name}.cmake").write_text("")
    shutil.copytree(checkouts["AppLauncher"] / "CMake", packages / "CMake")
    shutil.copy(checkouts["AppLauncher"] / "CTKAppLauncherSettings.ini.in", packages)
    # Asked for a folder that exists, and copied as the launcher of the build tree.
    for name in ("qmake", "CTKAppLauncher"):
        (packages / name).write_text(f"#!/bin/sh\nprintf %s '{packages}'\n")
        (packages / name).chmod(0o755)
    script = folder / "make_config.cmake"
    script.write_text(_filled(_MAKE_CONFIG, values))
    _run_cmake("-P", script)
    found = "".join(f'set({name}_DIR "{packages}")\n' for name in _PACKAGES)
    config = folder / "SlicerConfig.cmake"
    skip = "set(Slicer_SKIP_EXTERNAL_PROJECTS_USEFILE TRUE)\n"
    config.write_text(found + skip + config.read_text(encoding="utf-8"), encoding="utf-8")


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _run_cmake(*words) -> str:
    program, _ = cmake()
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr
