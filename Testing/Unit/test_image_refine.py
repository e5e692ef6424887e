"""``--image`` on a real patient: what the command, the report and Python say."""

import json

import numpy as np
import pytest

import ReShapeITLib
from ReShapeITLib.cli.main import main
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.image.band import Image
from ReShapeITLib.image.reading import read_image
from ReShapeITLib.io.volumes import read_labels

PATIENT, SPLEEN = "btcv_0023", 1


@pytest.fixture(scope="module")
def patient(shared_data):
    return shared_data / "ct" / PATIENT


def dice(a, b):
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_the_ct_brings_a_spleen_nearer_to_the_manual_one(patient, tmp_path, capsys):
    given, out, report = patient / "obelisk_ens4.nii.gz", tmp_path / "out.nii.gz", tmp_path / "out.json"
    same = ["--template", "spleen", "--label", "1", "--preset", "draft", "--device", "cpu"]
    asked = ["--image", str(patient / "ct.nii.gz"), "--report", str(report)]
    assert main(["refine", str(given), "--output", str(tmp_path / "shape.nii.gz"), *same]) == 0
    assert main(["refine", str(given), "--output", str(out), *same, *asked]) == 0
    truth = read_labels(patient / "truth.nii.gz").mask(SPLEEN)
    shape, with_ct = (read_labels(file).mask(SPLEEN) for file in (tmp_path / "shape.nii.gz", out))
    assert dice(with_ct, truth) > dice(shape, truth) + 0.01
    said = json.loads(report.read_text())["organs"][0]["image"]
    assert said["status"] == "used" and said["network"] == "ct.safetensors" and said["licence"] == "CC-BY-4.0"
    assert said["added_ml"] + said["removed_ml"] > 0.5 and said["inside"] > 0.6


def test_suggestions_beside_an_image_give_the_same_organ_again(patient, tmp_path):
    given, out, found = str(patient / "obelisk_ens4.nii.gz"), tmp_path / "out.nii.gz", tmp_path / "found.seg.nrrd"
    asked = ["--template", "spleen", "--label", "1", "--preset", "draft", "--device", "cpu", "--boldness", "0.1"]
    asked += ["--image", str(patient / "ct.nii.gz"), "--suggestions", str(found)]
    assert main(["refine", given, "--output", str(out), *asked]) == 0
    again = tmp_path / "again.nii.gz"
    assert main(["decide", given, "--suggestions", str(found), "--output", str(again)]) == 0
    np.testing.assert_array_equal(read_labels(again).layers[0], read_labels(out).layers[0])
    suggestions = read_labels(found)
    own = np.isin(suggestions.layers[0], [s.label for s in suggestions.segments if s.name.endswith("the image")])
    assert own.any()
    np.testing.assert_array_equal(read_labels(again).mask(SPLEEN)[own], ~read_labels(given).mask(SPLEEN)[own])


def test_the_manual_spleen_stays_as_it_is(patient):
    volume = read_labels(patient / "truth.nii.gz").around(SPLEEN)
    mask = volume.mask(SPLEEN)
    shape = ReShapeITLib.refine(
        mask, volume.geometry, "spleen", preset="draft", device="cpu", image=patient / "ct.nii.gz"
    )
    assert dice(shape.mask(volume.geometry), mask) > 0.995


def test_an_image_of_another_place_is_refused_before_the_work(patient, monkeypatch):
    monkeypatch.setattr("ReShapeITLib.job.face.refine_shape", None)  # the work
    image = read_image(patient / "ct.nii.gz")
    matrix = image.geometry.ijk_to_ras.copy()
    matrix[:3, 3] += 2000.0
    volume = read_labels(patient / "truth.nii.gz").around(SPLEEN)
    elsewhere = Image(image.voxels, ImageGeometry(matrix, image.geometry.size_ijk), "elsewhere.nii.gz")
    with pytest.raises(ReShapeITLib.BadInputError, match=r"elsewhere\.nii\.gz does not overlap the spleen"):
        ReShapeITLib.refine(
            volume.mask(SPLEEN), volume.geometry, "spleen", preset="draft", device="cpu", image=elsewhere
        )


def test_labels_in_the_place_of_the_image_are_refused_at_once(patient, tmp_path, capsys):
    given, out = patient / "obelisk_ens4.nii.gz", tmp_path / "out.nii.gz"
    asked = ["--template", "spleen", "--label", "1", "--image", str(patient / "truth.nii.gz")]
    assert main(["refine", str(given), "--output", str(out), *asked]) == 2
    assert "labels, not an image" in capsys.readouterr().err and not out.exists()


def test_what_the_ct_made_stays_with_another_choice_of_the_suggestions(patient):
    volume = read_labels(patient / "obelisk_ens4.nii.gz").around(SPLEEN)
    mask = volume.mask(SPLEEN)
    asked = {"preset": "draft", "device": "cpu"}
    shape = ReShapeITLib.refine(mask, volume.geometry, "spleen", **asked, image=patient / "ct.nii.gz")
    alone = ReShapeITLib.refine(mask, volume.geometry, "spleen", **asked)
    numbers = {entry.number for entry in shape.suggestions.entries}
    assert ReShapeITLib.with_suggestions(shape, shape.taken).distance is shape.distance
    other = ReShapeITLib.with_suggestions(shape, numbers - shape.taken)
    with_ct, again, by_shape = (one.mask(volume.geometry) for one in (shape, other, alone))
    weight = shape.suggestions.weight(numbers)
    places = volume.geometry.ijk_to_ras_points(np.argwhere(with_ct | again)[:, ::-1])
    away = np.zeros_like(mask)
    away[tuple(np.argwhere(with_ct | again)[weight.sdf_mm(places) == 0].T)] = True
    assert np.array_equal(with_ct[away], again[away])
    assert np.count_nonzero((again ^ by_shape)[away]) > 50, "the CT moved the surface elsewhere too"
