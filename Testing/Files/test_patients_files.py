"""Patients as programs and hospitals leave them: named labels, missing organs (../shared/data/cases)."""

from __future__ import annotations

from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.inputs.by_name import AUTO, files_by_label
from ReShapeITLib.job.job import run_refine_job
from ReShapeITLib.job.licences import tell_licences
from ReShapeITLib.job.request import RefineJob
from ReShapeITLib.templates.store import find_template
from Testing.tiny_template import label_volume

ABDOMEN = {1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver", 7: "pancreas"}
LUNGS = {10: "upper_lobe_left", 11: "lower_lobe_left", 13: "middle_lobe_right", 14: "lower_lobe_right"}


def taken(path, names: str) -> tuple[dict, list[str]]:
    """Organ of each label that --template auto takes, and what it says."""
    notices: list[str] = []
    files = files_by_label(read_labels(path), {None: AUTO}, names, notices.append)
    return {label: file.stem for label, file in files.items()}, notices


def test_the_names_in_totalsegmentators_file_say_which_label_is_which_organ(shared_data):
    found, (told,) = taken(shared_data / "cases" / "06_totalsegmentator_ml_with_names.nii.gz", "file")
    assert found == ABDOMEN
    assert told.endswith("left as they are: 6 stomach, 117 costal_cartilages")


def test_totalsegmentators_example_needs_no_more_than_its_version(shared_data):
    example = shared_data / "ct" / "totalsegmentator_example" / "example_label_totalseg.nii.gz"
    found, _ = taken(example, "totalsegmentator-v2")
    assert found == ABDOMEN | {label: f"lung_{lobe}" for label, lobe in LUNGS.items()}


@pytest.mark.slow
@pytest.mark.computes
def test_totalsegmentators_example_is_refined_by_one_command_and_carries_names(shared_data, tmp_path):
    example = shared_data / "ct" / "totalsegmentator_example" / "example_label_totalseg.nii.gz"
    output = tmp_path / "refined.nii.gz"
    words = ["refine", str(example), "--template", "auto", "--names", "totalsegmentator-v2", "--output", str(output)]
    assert main([*words, "--preset", "draft", "--device", "cpu"]) == 0
    before, after = nibabel.load(example), nibabel.load(output)
    assert np.array_equal(before.affine, after.affine) and before.shape == after.shape
    (extension,) = after.header.extensions
    labels = {int(label.get("Key")): label.text for label in ElementTree.fromstring(extension.content).iter("Label")}
    assert ABDOMEN.items() <= labels.items()
    assert set(np.unique(after.dataobj)) == set(np.unique(before.dataobj))


def test_licences_of_several_lobes_are_told_in_one_sentence():
    told: list[str] = []
    lobes = [find_template("lung_upper_lobe_left"), find_template("lung_lower_lobe_left")]
    tell_licences([find_template("liver"), *lobes], "none", False, told.append)
    (sentence,) = told
    assert sentence.startswith("For non-commercial use only (CC-BY-NC-SA-4.0): ") and "template liver" not in sentence
    assert all(f"template {lobe.stem}" in sentence for lobe in lobes)
    tell_licences([find_template("liver")], "none", False, told.append)
    assert told == [sentence]


@pytest.mark.computes
def test_after_a_splenectomy_the_kidney_is_refined_and_the_spleen_told_as_absent(shared_data, tmp_path):
    whole = read_labels(shared_data / "cases" / "07_cohort" / "p2_splenectomy.nii.gz")
    part = whole.around(2, room=4)
    source, output = tmp_path / "part.nii.gz", tmp_path / "out.nii.gz"
    write_labels(label_volume(part.mask(2), part.geometry, label=2), source)
    templates = {1: "spleen", 2: "kidney_right"}
    report = run_refine_job(RefineJob(source, templates, output, preset="draft", device="cpu")).report
    assert [(one.label, one.organ, one.status) for one in report.not_refined] == [(1, "spleen", "absent")]
    (kidney,) = report.organs
    assert kidney.label == 2 and kidney.dsc_to_input > 0.95
    assert report.summary()[-1] == "1 of 2 organs refined; spleen is absent"
    assert np.array_equal(read_labels(output).geometry.size_ijk, part.geometry.size_ijk)
