"""The generated patient of the Sample Data module."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="sample data is registered in Slicer")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.Slicer import slicer_python

slicer_python.install()

from ReShapeITPanel import sampleData, samplePatient
from ReShapeITPanel.dependencies import Missing
from ReShapeITPanel.organProposal import proposedOrgan

from ReShapeITLib.io.volumes import read_labels

VOXELS = {
    samplePatient.TRUTH_FILE: {"liver": 248540, "kidney right": 23164, "kidney left": 23304, "spleen": 36455},
    samplePatient.SEGMENTATION_FILE: {"liver": 233192, "kidney right": 23330, "kidney left": 23304, "spleen": 34734},
}


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_every_organ_is_proposed_and_all_but_one_are_damaged(sample_patient):
    damaged = read_labels(sample_patient / samplePatient.SEGMENTATION_FILE)
    truth = read_labels(sample_patient / samplePatient.TRUTH_FILE)
    for segment in damaged.segments:
        organ = proposedOrgan("anything", segment.tags["TerminologyEntry"])
        assert segment.name == organ.replace("_", " ")
        agreement = dice(damaged.mask(segment.label), truth.mask(segment.label))
        assert agreement == 1 if organ == "kidney_left" else 0.9 < agreement < 0.999
    assert {s.name.replace(" ", "_") for s in damaged.segments} == set(samplePatient.ORGANS)


def test_the_image_shows_the_organs_on_the_grid_of_the_segmentation(sample_patient):
    import SimpleITK as sitk

    truth = read_labels(sample_patient / samplePatient.TRUTH_FILE)
    image = sitk.ReadImage(str(sample_patient / samplePatient.CT_FILE))
    labels = sitk.ReadImage(str(sample_patient / samplePatient.TRUTH_FILE))
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


def test_a_python_that_is_not_there_is_told_in_one_sentence(tmp_path):
    with pytest.raises(sampleData.SampleDataError, match="no-python cannot be started"):
        sampleData.makeSamplePatient(tmp_path, python="no-python")


def test_the_patient_is_the_same_everywhere(sample_patient):
    """Voxels of each organ, drawn and damaged; single voxels may differ with the processor."""
    for name, counts in VOXELS.items():
        volume = read_labels(sample_patient / name)
        found = {segment.name: int(volume.mask(segment.label).sum()) for segment in volume.segments}
        assert found == pytest.approx(counts, rel=1e-4)
