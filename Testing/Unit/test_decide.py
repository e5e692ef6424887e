"""``refine --suggestions`` and ``decide``: another choice gives the organ at once, voxel for voxel."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.pieces.suggested import decided_volume
from ReShapeITLib.templates.store import find_template
from Testing.tiny_template import patient


@pytest.fixture(scope="module")
def bitten(tmp_path_factory):
    """Folder of a spleen drawn from the shipped template with a bite and a ball beside it, and what refine wrote."""
    from ReShapeITLib.templates.template import OrganTemplate

    folder = tmp_path_factory.mktemp("decide")
    template = OrganTemplate.load(find_template("spleen"))
    given, geometry = bitten_mask(template)
    inside = _inside(template, geometry)
    write_labels(LabelVolume.from_array(given, geometry), folder / "given.nii.gz")
    write_labels(LabelVolume.from_array(inside, geometry), folder / "truth.nii.gz")
    words = ["refine", str(folder / "given.nii.gz"), "--template", "spleen", "--preset", "draft", "--device", "cpu"]
    words += ["--output", str(folder / "refined.nii.gz"), "--suggestions", str(folder / "found.seg.nrrd")]
    assert main([*words, "--report", str(folder / "report.json"), "--force"]) == 0
    return folder


def bitten_mask(template) -> tuple[np.ndarray, ImageGeometry]:
    """(K, J, I) bool mask of the template with a bite and a ball beside it, and its geometry."""
    points = template.points_unit * float(np.median(template.info.scales_mm))
    lower = points.min(axis=0) - 25.0
    size = np.ceil((np.ptp(points, axis=0) + 50.0) / 2.0).astype(int)
    geometry = ImageGeometry.from_parts(size, (2.0, 2.0, 2.0), lower)
    tip = points[np.argmax(points[:, 0])]
    far = points[np.argmin(points[:, 2])] - (0.0, 0.0, 12.0)
    return (_inside(template, geometry) & (_way(geometry, tip) > 20.0)) | (_way(geometry, far) < 6.0), geometry


def _inside(template, geometry) -> np.ndarray:
    import torch

    scale = float(np.median(template.info.scales_mm))
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    unit = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1)) / scale
    with torch.no_grad():
        parts = torch.as_tensor(unit, dtype=torch.float32).split(20000)
        values = torch.cat([template.model.template_values(part).reshape(-1) for part in parts])
    near = np.linalg.norm(unit, axis=1) < 1.05
    return ((values.numpy() < 0) & near).reshape(geometry.shape_kji)


def _way(geometry, point_ras) -> np.ndarray:
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))
    return np.linalg.norm(points - point_ras, axis=1).reshape(geometry.shape_kji)


def mask(folder, name):
    return read_labels(folder / name).layers[0] != 0


def decide(folder, *words) -> np.ndarray:
    command = ["decide", str(folder / "given.nii.gz"), "--suggestions", str(folder / "found.seg.nrrd")]
    assert main([*command, "--output", str(folder / "decided.nii.gz"), *words]) == 0
    return mask(folder, "decided.nii.gz")


def test_the_bite_is_a_suggestion_that_is_taken_with_its_place_and_probability(bitten):
    (organ,) = json.loads((bitten / "report.json").read_text(encoding="utf-8"))["organs"]
    missing = max((s for s in organ["suggestions"] if s["kind"] == "missing"), key=lambda s: s["volume_ml"])
    assert missing["taken"] and 0.5 < missing["probability"] < 1
    lost = mask(bitten, "truth.nii.gz") & ~mask(bitten, "given.nii.gz")
    geometry = read_labels(bitten / "given.nii.gz").geometry
    middle = geometry.ijk_to_ras_points(np.argwhere(lost)[:, ::-1]).mean(axis=0)
    assert np.linalg.norm(np.array(missing["centre_ras"]) - middle) < 12.0
    assert missing["volume_ml"] == pytest.approx(lost.sum() * geometry.voxel_volume_mm3 / 1000.0, rel=0.6)


def test_the_choice_that_was_made_gives_the_same_voxels_again(bitten):
    np.testing.assert_array_equal(decide(bitten), mask(bitten, "refined.nii.gz"))


def test_a_suggestion_that_is_left_leaves_the_voxels_as_given_and_nothing_else_changes(bitten):
    found = read_labels(bitten / "found.seg.nrrd")
    number = next(s.label for s in found.segments if s.name.startswith("missing"))
    left = decide(bitten, "--leave", str(number))
    own = found.layers[0] == number
    np.testing.assert_array_equal(left[own], mask(bitten, "given.nii.gz")[own])
    np.testing.assert_array_equal(left[~own], mask(bitten, "refined.nii.gz")[~own])
    assert own.any()


def test_a_point_decides_the_suggestion_that_it_lies_in(bitten):
    found, given = read_labels(bitten / "found.seg.nrrd"), read_labels(bitten / "given.nii.gz")
    number = next(s.label for s in found.segments if s.name.startswith("missing"))
    cells = np.argwhere(found.layers[0] == number)
    point = given.geometry.ijk_to_ras_points(cells[len(cells) // 2][None, ::-1])
    for include, exclude, flag in ((None, point, "leave"), (point, None, "take")):
        by_point = decided_volume(given, found, 0.5, include=include, exclude=exclude)
        by_number = decided_volume(given, found, 0.5, **{flag: [number]})
        np.testing.assert_array_equal(by_point.layers[0], by_number.layers[0])
    far = given.geometry.ijk_to_ras_points(np.zeros((1, 3)))
    with pytest.raises(BadInputError, match="lies in no suggestion"):
        decided_volume(given, found, include=far)
    with pytest.raises(BadInputError, match="lies outside of"):
        decided_volume(given, found, include=far - 1000.0)
    (bitten / "out.csv").write_text("r,a,s\n" + ",".join(map(str, point[0])), encoding="utf-8")
    left = decide(bitten, "--exclude", str(bitten / "out.csv"))
    np.testing.assert_array_equal(left, decide(bitten, "--leave", str(number)))


def test_whoever_is_cautious_enough_keeps_what_was_given(bitten):
    found = read_labels(bitten / "found.seg.nrrd")
    of_suggestions = np.isin(found.layers[0], [s.label for s in found.segments if "%" in s.name])
    kept = decide(bitten, "--boldness", "1")
    np.testing.assert_array_equal(kept[of_suggestions], mask(bitten, "given.nii.gz")[of_suggestions])


def test_unknown_numbers_and_another_grid_are_told(bitten):
    given, found = read_labels(bitten / "given.nii.gz"), read_labels(bitten / "found.seg.nrrd")
    with pytest.raises(BadInputError, match="has no suggestion 99; choose from 1"):
        decided_volume(given, found, take=[99])
    with pytest.raises(BadInputError, match="different grids"):
        decided_volume(given.cropped((slice(1, 9),) * 3), found)


def test_suggestions_are_written_to_a_format_that_holds_them(bitten, capsys):
    words = ["refine", str(bitten / "given.nii.gz"), "--template", "spleen", "--output", str(bitten / "o.nii.gz")]
    assert main([*words, "--suggestions", str(bitten / "s.nii.gz")]) == 2
    assert "write a .seg.nrrd file" in capsys.readouterr().err


def test_an_organ_without_a_network_is_decided_again_as_well(tiny_template_file, tmp_path):
    whole, geometry = patient(np.random.default_rng(3))
    used = np.flatnonzero(whole.any(axis=(0, 1)))
    given = whole.copy()
    given[:, :, used[0] + 2 * len(used) // 3 :] = False
    write_labels(LabelVolume.from_array(given, geometry), tmp_path / "given.nii.gz")
    words = ["refine", str(tmp_path / "given.nii.gz"), "--template", str(tiny_template_file), "--preset", "draft"]
    words += ["--boldness", "0.2", "--force", "--output", str(tmp_path / "refined.nii.gz")]
    words += ["--suggestions", str(tmp_path / "found.seg.nrrd"), "--report", str(tmp_path / "report.json")]
    assert main(words) == 0
    (organ,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["organs"]
    assert organ["restoration"] is None and "field" in organ["suggestions"][0]["evidence"]
    np.testing.assert_array_equal(decide(tmp_path), mask(tmp_path, "refined.nii.gz"))
    found = read_labels(tmp_path / "found.seg.nrrd")
    of_suggestions = np.isin(found.layers[0], [s.label for s in found.segments if "%" in s.name])
    np.testing.assert_array_equal(decide(tmp_path, "--boldness", "1")[of_suggestions], given[of_suggestions])
