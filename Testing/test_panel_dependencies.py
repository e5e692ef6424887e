"""Python packages of the panel: what is missing, what the user is told, and the two ways of installing."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.qt_stand_ins import import_qt  # noqa: E402

import_qt()

from ReShapeITPanel import dependencies  # noqa: E402
from ReShapeITPanel.dependencies import (  # noqa: E402
    REQUIREMENTS_FILE,
    InstallError,
    Missing,
    install,
    missingPackages,
    question,
    requirementLines,
)

INSTALLED = {"torch": "2.13.0+cpu", "safetensors": "0.8.0", "psutil": "7.2.2"}


@pytest.fixture
def environment(monkeypatch):
    """Versions of the installed packages, which a test may change and an installation fills."""
    versions = dict(INSTALLED)
    monkeypatch.setattr(dependencies, "_installedVersion", versions.get)
    return versions


@pytest.fixture
def slicer_before_5_12(environment, monkeypatch):
    """A slicer module whose pip_install installs into ``environment``."""
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    calls = []

    def pip_install(packages):
        calls.append(packages)
        environment.update(dict.fromkeys((line.partition(">=")[0] for line in packages), "99.0"))

    return SimpleNamespace(util=SimpleNamespace(pip_install=pip_install), calls=calls)


@pytest.fixture
def torch_extension(environment, monkeypatch):
    """The PyTorch extension; its installTorch puts torch into ``environment``."""
    module, calls = ModuleType("PyTorchUtils"), []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append((askConfirmation, torchVersionRequirement))
            environment["torch"] = "2.13.0"
            return object()

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


def test_a_slicer_with_packaging_uses_it(environment, slicer_before_5_12, monkeypatch):
    environment["psutil"] = None
    calls, packaging = [], ModuleType("slicer.packaging")
    packaging.__spec__ = SimpleNamespace()

    def pip_ensure(packages, requester, prompt_install):
        calls.append((packages, requester, prompt_install))
        environment["psutil"] = "7.0"

    packaging.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(sys.modules["slicer"], "packaging", packaging, raising=False)
    install(missingPackages(), slicer_before_5_12)
    assert calls == [(["psutil>=5.9"], "ReShapeIT", False)] and not slicer_before_5_12.calls


def test_without_the_torch_extension_the_user_is_told_to_get_it(environment, slicer_before_5_12, monkeypatch):
    environment["torch"] = None
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InstallError, match="PyTorch extension"):
        install(missingPackages(), slicer_before_5_12)
    assert not slicer_before_5_12.calls


def test_a_torch_that_is_too_old_is_not_replaced_behind_the_users_back(environment, slicer_before_5_12):
    environment["torch"] = "1.13"
    with pytest.raises(InstallError, match="too old"):
        install(missingPackages(), slicer_before_5_12)


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
