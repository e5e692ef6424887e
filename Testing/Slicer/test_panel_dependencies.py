"""Python packages of the panel: what is missing, what the user is told, and the two ways of installing."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.Slicer import slicer_python

slicer_python.install()

from ReShapeITPanel import dependencies
from ReShapeITPanel.dependencies import (
    REQUIREMENTS_FILE,
    InstallError,
    Missing,
    install,
    installedVersions,
    missingPackages,
    packageNames,
    question,
    reinstall,
    reinstallQuestion,
    requirementLines,
    versionsText,
)

INSTALLED = {"torch": "2.13.0+cpu", "safetensors": "0.8.0", "psutil": "7.2.2"}


@pytest.fixture
def environment(monkeypatch):
    """Versions of the installed packages, which a test may change and an installation fills."""
    versions = dict(INSTALLED)
    monkeypatch.setattr(dependencies, "_installedVersion", versions.get)
    monkeypatch.setattr(dependencies, "onlyOldTorch", lambda: False)
    return versions


@pytest.fixture
def intel_mac(environment, monkeypatch):
    """Slicer's macOS build, for which PyTorch 2.2.2 is the last."""
    monkeypatch.setattr(dependencies, "onlyOldTorch", lambda: True)
    return environment


@pytest.fixture
def slicer_before_5_12(environment, monkeypatch):
    """A slicer module whose pip_install installs into ``environment``."""
    monkeypatch.setattr(dependencies, "hasPackaging", lambda: False)
    calls = []

    def pip_install(arguments):
        calls.append(arguments)
        environment.update(fulfilled(arguments))

    return SimpleNamespace(util=SimpleNamespace(pip_install=pip_install), calls=calls)


def packaging_module(calls: list, versions: dict) -> ModuleType:
    """slicer.packaging of Slicer 5.12, as far as it is called; it installs into ``versions``."""
    packaging = ModuleType("slicer.packaging")

    def pip_ensure(requirements, requester=None, prompt_install=True):
        calls.append(("ensure", requirements, requester, prompt_install))
        versions.update(fulfilled(requirements))

    def pip_install(requirements, requester=None):
        calls.append(("install", requirements, requester))
        versions.update(fulfilled(requirements))

    packaging.pip_ensure, packaging.pip_install = pip_ensure, pip_install
    return packaging


@pytest.fixture
def slicer_packaging(environment, monkeypatch):
    """A Slicer with slicer.packaging; its calls."""
    calls = []
    packaging = packaging_module(calls, environment)
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(sys.modules["slicer"], "packaging", packaging, raising=False)
    monkeypatch.setattr(dependencies, "hasPackaging", lambda: True)
    return calls


def fulfilled(arguments) -> dict[str, str]:
    """Versions after pip was called with these arguments."""
    lines = [line for line in arguments if not line.startswith("-")]
    return {line.partition(">=")[0]: "1.26.4" if line.startswith("numpy") else "99.0" for line in lines}


@pytest.fixture
def torch_extension(environment, monkeypatch):
    """The PyTorch extension; its installTorch puts torch into ``environment``."""
    module, calls = ModuleType("PyTorchUtils"), []

    class PyTorchUtilsLogic:
        def installTorch(
            self,
            askConfirmation=False,
            forceComputationBackend=None,
            torchVersionRequirement=None,
            torchvisionVersionRequirement=None,
        ):
            calls.append((askConfirmation, torchVersionRequirement))
            environment["torch"] = "2.2.2" if dependencies.onlyOldTorch() else "2.13.0"
            return object()

        def uninstallTorch(self, askConfirmation=False, forceComputationBackend=None):
            calls.append("uninstalled")
            environment["torch"] = None

    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return calls


def test_the_shipped_requirements_are_lower_bounds_without_torch():
    lines = requirementLines(REQUIREMENTS_FILE)
    assert lines and all(">=" in line and "==" not in line for line in lines)
    assert not [line for line in lines if line.startswith("torch")]


def test_what_is_installed_here_is_enough():
    assert not missingPackages()


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({}, Missing()),
        ({"safetensors": None}, Missing(["safetensors>=0.4"])),
        ({"safetensors": "0.3.9"}, Missing(["safetensors>=0.4"])),
        ({"torch": None}, Missing(torch=True)),
        ({"torch": "2.1.2+cu118"}, Missing(torchTooOld=True)),
        ({"torch": "2.10.0"}, Missing()),
    ],
)
def test_what_is_absent_or_too_old_is_missing(changed, missing):
    versions = {**INSTALLED, **changed}
    assert missingPackages(installedVersion=versions.get) == missing


def test_the_question_says_what_happens_where_to_and_how_large_it_is():
    asked = question(Missing(["psutil>=5.9"], torch=True))
    for part in ("PyTorch", "GB", "psutil>=5.9", "Python Package Index", "Slicer's own Python", "no image leaves"):
        assert part in asked


def test_torch_comes_through_the_extension_and_the_rest_through_pip(environment, slicer_before_5_12, torch_extension):
    environment.update({"torch": None, "psutil": None})
    install(missingPackages(), slicer_before_5_12)
    assert torch_extension == [(False, ">=2.2")]
    assert slicer_before_5_12.calls == [["psutil>=5.9"]]


def test_a_slicer_with_packaging_uses_it(environment, slicer_before_5_12, slicer_packaging):
    environment["psutil"] = None
    install(missingPackages(), slicer_before_5_12)
    assert slicer_packaging == [("ensure", ["psutil>=5.9"], "ReShapeIT", False)] and not slicer_before_5_12.calls


def test_slicers_packaging_takes_the_arguments_that_it_is_given():
    modules = [packaging_module([], {})]
    if slicer_python.slicer_source():
        modules.append(importlib.import_module("slicer.packaging"))
    for packaging in modules:
        inspect.signature(packaging.pip_ensure).bind(["psutil"], requester="ReShapeIT", prompt_install=False)
        inspect.signature(packaging.pip_install).bind(["--no-deps", "psutil"], requester="ReShapeIT")


def test_without_the_torch_extension_the_user_is_told_to_get_it(environment, slicer_before_5_12, monkeypatch):
    environment["torch"] = None
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InstallError, match="PyTorch extension"):
        install(missingPackages(), slicer_before_5_12)
    assert not slicer_before_5_12.calls


def test_a_torch_that_is_too_old_is_replaced_after_a_yes_that_says_so(environment, slicer_before_5_12, torch_extension):
    environment["torch"] = "1.13"
    missing = missingPackages()
    assert missing.action() == "Upgrade"
    assert missing.sentence() == "Python packages are missing or too old: PyTorch >=2.2."
    assert "PyTorch in place of 1.13" in question(missing)
    install(missing, slicer_before_5_12)
    assert torch_extension == ["uninstalled", (False, ">=2.2")]


def test_a_package_that_is_absent_is_installed_and_one_that_is_old_upgraded(environment):
    environment["psutil"] = "5.0"
    assert missingPackages().action() == "Upgrade"
    environment["safetensors"] = None
    assert missingPackages().action() == "Install"


@pytest.mark.parametrize(
    ("torch", "numpy", "clash"),
    [("2.2.2", "2.4.6", True), ("2.2.2", "1.26.4", False), ("2.3.0", "2.4.6", False), ("2.13.0+cpu", "2.0.2", False)],
)
def test_a_torch_from_before_numpy_2_clashes_with_numpy_2(environment, torch, numpy, clash):
    environment.update(torch=torch, numpy=numpy)
    missing = missingPackages()
    assert missing.torchNumpyClash is clash and bool(missing) is clash


def test_on_an_intel_mac_numpy_gives_way(intel_mac, slicer_before_5_12, slicer_packaging, torch_extension):
    intel_mac.update(torch="2.2.2", numpy="2.4.6")
    missing = missingPackages()
    assert missing.sentence() == (
        "PyTorch 2.2.2 was built for NumPy 1 and does not work with NumPy 2.4.6: press Install, which replaces NumPy."
    )
    assert missing.described() == "numpy>=1.26.4,<2"
    for part in ("NumPy 1.26 in place of Slicer's 2.4.6", "no image leaves", "estart Slicer"):
        assert part in question(missing)
    told = install(missing, slicer_before_5_12)
    assert slicer_packaging == [("ensure", ["numpy>=1.26.4,<2"], "ReShapeIT", False)] and torch_extension == []
    assert told == "Restart Slicer to use the new NumPy."


def test_on_an_intel_mac_without_torch_one_question_is_about_both(intel_mac, slicer_before_5_12, torch_extension):
    intel_mac.update(torch=None, numpy="2.4.6")
    missing = missingPackages()
    assert missing.sentence() == "Python packages are missing or too old: PyTorch >=2.2, numpy>=1.26.4,<2."
    assert question(missing).count("\n- ") == 2
    install(missing, slicer_before_5_12)
    assert torch_extension == [(False, ">=2.2")] and slicer_before_5_12.calls == [["numpy>=1.26.4,<2"]]


def test_elsewhere_torch_gives_way_to_a_newer_one(environment, slicer_before_5_12, torch_extension):
    environment.update(torch="2.2.2", numpy="2.4.6")
    missing = missingPackages()
    assert missing.sentence().endswith("press Upgrade, which replaces PyTorch.")
    assert missing.described() == "PyTorch >=2.3" and "PyTorch in place of 2.2.2" in question(missing)
    install(missing, slicer_before_5_12)
    assert torch_extension == ["uninstalled", (False, ">=2.3")] and not slicer_before_5_12.calls


def test_only_the_intel_build_for_macos_has_no_newer_torch(monkeypatch):
    for system, machine, only in (("darwin", "x86_64", True), ("darwin", "arm64", False), ("linux", "x86_64", False)):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert dependencies.onlyOldTorch() is only


def test_versions_are_shown_with_the_build_of_torch(environment, tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    version = tmp_path / "torch" / "version.py"
    version.write_text("__version__ = '2.9.1+cu126'\n")
    (tmp_path / "torch-2.9.1.dist-info").mkdir()
    (tmp_path / "torch-2.9.1.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.9.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    environment.update(torch="2.9.1", psutil=None, numpy="2.4.6")
    assert installedVersions() == [
        ("torch", "2.9.1 (CUDA 12.6)"),
        ("safetensors", "0.8.0"),
        ("psutil", ""),
        ("numpy", "2.4.6"),
    ]
    assert versionsText() == "PyTorch 2.9.1 (CUDA 12.6), safetensors 0.8.0, psutil not installed, NumPy 2.4.6"
    for text, shown in (("2.9.1+cpu", "2.9.1 (CPU)"), ("2.2.2", "2.2.2"), ("2.9.1+rocm6.4", "2.9.1 (rocm6.4)")):
        version.write_text(f"__version__ = '{text}'\n")
        environment["torch"] = text.partition("+")[0]
        assert installedVersions()[0] == ("torch", shown)
    version.unlink()
    assert installedVersions()[0] == ("torch", "2.9.1")
    environment["torch"] = None
    assert installedVersions()[0] == ("torch", "")


def test_the_versions_are_those_of_this_environment():
    import numpy
    import torch

    versions = dict(installedVersions())
    assert versions["numpy"] == numpy.__version__
    assert versions["torch"].startswith(torch.__version__.partition("+")[0])


def test_reinstalling_takes_each_package_its_way(environment, slicer_before_5_12, slicer_packaging, torch_extension):
    asked = reinstallQuestion(["torch", "psutil"])
    assert "PyTorch 2.13.0" in asked and "psutil 7.2.2" in asked and "no image leaves" in asked
    reinstall(["torch", "psutil"], slicer_before_5_12)
    assert torch_extension == ["uninstalled", (False, ">=2.2")]
    assert slicer_packaging == [("install", ["--force-reinstall", "--no-deps", "psutil>=5.9"], "ReShapeIT")]


def test_reinstalling_works_before_slicer_5_12(environment, slicer_before_5_12):
    reinstall(["safetensors"], slicer_before_5_12)
    assert slicer_before_5_12.calls == [["--force-reinstall", "--no-deps", "safetensors>=0.4"]]


def test_a_package_in_use_is_told_before_or_after_by_the_system(environment, slicer_before_5_12, monkeypatch):
    pytest.importorskip("psutil")
    told = reinstall(["psutil"], slicer_before_5_12)
    assert told == "Restart Slicer to use the new psutil."
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InstallError, match="psutil is in use.*restart Slicer"):
        reinstall(["psutil"], slicer_before_5_12)
    assert len(slicer_before_5_12.calls) == 1


def test_slicers_own_numpy_is_not_reinstalled(environment, slicer_before_5_12):
    with pytest.raises(InstallError, match="numpy"):
        reinstall(["numpy"], slicer_before_5_12)
    assert packageNames() == ["torch", "safetensors", "psutil"]


def test_a_package_installed_a_moment_ago_is_found(environment, slicer_before_5_12, tmp_path, monkeypatch):
    """Python remembers what a folder holds as long as the folder's time stays, which some file systems round."""
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("installed_a_moment_ago")
    time = tmp_path.stat().st_mtime_ns

    def pip_install(packages):
        (tmp_path / "installed_a_moment_ago.py").write_text("")
        os.utime(tmp_path, ns=(time, time))
        environment["psutil"] = "7.0"

    slicer_before_5_12.util.pip_install = pip_install
    environment["psutil"] = None
    install(missingPackages(), slicer_before_5_12)
    assert importlib.import_module("installed_a_moment_ago")


def test_a_failing_pip_is_one_sentence(environment, slicer_before_5_12):
    environment["psutil"] = None

    def failing(packages):
        raise RuntimeError("Command failed with exit code 1\nlong log")

    slicer_before_5_12.util.pip_install = failing
    with pytest.raises(InstallError, match="internet connection") as caught:
        install(missingPackages(), slicer_before_5_12)
    assert "long log" not in str(caught.value)


def test_an_installation_that_changes_nothing_is_not_called_done(environment, slicer_before_5_12):
    environment["psutil"] = None
    slicer_before_5_12.util.pip_install = lambda packages: None
    with pytest.raises(InstallError, match="error log"):
        install(missingPackages(), slicer_before_5_12)
