"""The generated patient of the Sample Data module."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("slicer", reason="sample data is registered in Slicer")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.qt_stand_ins import import_qt  # noqa: E402

import_qt()

from ReShapeITPanel import sampleData, samplePatient  # noqa: E402
from ReShapeITPanel.dependencies import Missing  # noqa: E402
from ReShapeITPanel.organProposal import proposedOrgan  # noqa: E402

from ReShapeITLib.volume_io import read_labels  # noqa: E402


@pytest.fixture(scope="module")
def patient_folder(tmp_path_factory) -> Path:
    """The patient, made as Slicer would make it."""
    folder = tmp_path_factory.mktemp("patient")
    sampleData.makeSamplePatient(folder)
    return folder


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_every_organ_is_proposed_and_all_but_one_are_damaged(patient_folder):
    damaged = read_labels(patient_folder / samplePatient.SEGMENTATION_FILE)
    truth = read_labels(patient_folder / samplePatient.TRUTH_FILE)
    for segment in damaged.segments:
        organ = proposedOrgan("anything", segment.tags["TerminologyEntry"])
        assert segment.name == organ.replace("_", " ")
        agreement = dice(damaged.mask(segment.label), truth.mask(segment.label))
        assert agreement == 1 if organ == "kidney_left" else 0.9 < agreement < 0.999
    assert {s.name.replace(" ", "_") for s in damaged.segments} == set(samplePatient.ORGANS)


def test_the_image_shows_the_organs_on_the_grid_of_the_segmentation(patient_folder):
    import SimpleITK as sitk

    truth = read_labels(patient_folder / samplePatient.TRUTH_FILE)
    image = sitk.ReadImage(str(patient_folder / samplePatient.CT_FILE))
    labels = sitk.ReadImage(str(patient_folder / samplePatient.TRUTH_FILE))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(image, get)(), getattr(labels, get)(), atol=1e-9)
    voxels = sitk.GetArrayFromImage(image)
    for segment in truth.segments:
        hu = samplePatient.ORGANS[segment.name.replace(" ", "_")][1]
        assert np.median(voxels[truth.mask(segment.label)]) == pytest.approx(hu, abs=12)
    assert voxels[:, 0, 0].max() < -900


def test_missing_packages_are_told_in_place_of_a_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(sampleData, "missingPackages", lambda: Missing(torch=True))
    with pytest.raises(sampleData.SampleDataError, match="press Install"):
        sampleData.makeSamplePatient(tmp_path)


def test_a_failing_program_is_told_in_one_sentence(tmp_path):
    with pytest.raises(sampleData.SampleDataError, match="could not be made"):
        sampleData.makeSamplePatient(tmp_path / "absent")


def test_the_patient_is_registered_under_the_modules_name(monkeypatch):
    registered, module = [], ModuleType("SampleData")
    module.SampleDataLogic = type("Logic", (), {"registerCustomSampleDataSource": lambda **k: registered.append(k)})
    monkeypatch.setitem(sys.modules, "SampleData", module)
    sampleData.registerSampleData("thumbnail.png")
    (source,) = registered
    assert (source["category"], source["sampleName"]) == ("ReShapeIT", "ReShapeITPatient")
    assert len(source["uris"]) == len(source["fileNames"]) == len(source["nodeNames"])
    assert callable(source["customDownloader"]) and all(uri.startswith("file:") for uri in source["uris"])
