"""What all tests share: one compute thread, reproducible hypothesis runs and the way to the development data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

# Before torch is imported anywhere: with more threads than free cores it becomes many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real organ label volumes (development data beside the checkout); skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real label volumes are not beside this checkout (../shared/data)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers with a fixed seed, new for every test."""
    return np.random.default_rng(20240501)


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """Folder that ``make`` fills in the first of the workers to ask; the others wait for it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(f"{name}.part")
            shutil.rmtree(part, ignore_errors=True)  # of a worker in which it failed
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """Folder of a small run on generated organs: labels, samples, config.yaml, run, test_organ.safetensors.

    Trained once; each worker has a copy, because tests write their settings beside the labels.
    """
    from Testing.tiny_template import train_tiny_template

    trained = made_once(tmp_path_factory, "tiny_run", train_tiny_template)
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("tiny") / "run"))


@pytest.fixture(scope="session")
def tiny_template_file(tiny_run) -> Path:
    """A template of generated superellipsoids, trained for these tests."""
    return tiny_run / "test_organ.safetensors"


@pytest.fixture(scope="session")
def sample_patient(tmp_path_factory) -> Path:
    """Folder of the sample patient's files, made by the real program; not to be written to."""
    pytest.importorskip("slicer", reason="sample data is registered in Slicer")
    pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")
    from Testing.Slicer import slicer_python

    slicer_python.install()
    from ReShapeITPanel.sampleData import makeSamplePatient

    return made_once(tmp_path_factory, "sample_patient", makeSamplePatient)


@pytest.fixture(scope="session")
def restoration_file(tiny_template_file, tmp_path_factory) -> Path:
    """A restoration network of that template which is not trained: it gives back what it is given."""
    from ReShapeITLib.restoration.model import RestorationInfo, RestorationModel
    from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork
    from ReShapeITLib.templates.template import read_shape_sha256
    from Testing.tiny_template import ORGAN

    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    network = RestorationNetwork(NetworkOptions(organs=(ORGAN,), channels=(4, 4, 4), blocks=(1, 1, 1)))
    info = RestorationInfo("CC0-1.0", "generated", {ORGAN: []}, {ORGAN: read_shape_sha256(tiny_template_file)})
    RestorationModel(info, network).save(path)
    return path


@pytest.fixture
def application(tmp_path):
    """A Slicer application to test in; at the end it is closed, and nothing may have been raised in a slot.

    A test that expects such an error takes it away: ``pythonqt.slot_errors.clear()``.
    """
    pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
    pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")
    from Testing.Slicer.application import Application

    running = Application(tmp_path)
    yield running
    running.quit()
    assert running.slot_errors() == []


def pytest_terminal_summary(terminalreporter) -> None:
    """Say on which of the two forms of Slicer's Python the Slicer side was tested."""
    from Testing.Slicer.cmake_project import macros_in_use
    from Testing.Slicer.slicer_python import which_form

    terminalreporter.write_line(f"The Slicer side was tested on {which_form()}; {macros_in_use()[1]}.")
