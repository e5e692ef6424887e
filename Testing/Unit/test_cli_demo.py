"""``reshapeit demo``: an unseen patient is drawn, damaged, refined and measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.image.made import made_ct
from ReShapeITLib.image.reading import modality, read_image
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.job.demo import comparison_table, draw_patient, run_demo
from ReShapeITLib.metrics import SegmentationMetrics
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import ORGAN, patient


@pytest.fixture(scope="module")
def demo(tmp_path_factory, tiny_template_file):
    """Result of one demo run on the tiny template."""
    return run_demo(tmp_path_factory.mktemp("demo"), str(tiny_template_file), seed=1, device="cpu", preset="draft")


def test_refining_brings_the_patient_closer_to_the_truth(demo):
    assert demo.after.dsc > demo.before.dsc
    assert demo.after.assd_mm < demo.before.assd_mm


def test_label_files_surface_report_and_pictures_are_written(demo):
    names = {path.name for path in demo.files}
    assert {"truth.seg.nrrd", "damaged.seg.nrrd", "refined.seg.nrrd", "refined.vtp", "report.json"} <= names
    assert {"before_after.png", "change.png", "slices.png"} <= names
    assert all(path.stat().st_size > 0 for path in demo.files)


def test_the_segment_bears_the_name_of_the_organ(demo):
    truth = read_labels(next(path for path in demo.files if path.name == "truth.seg.nrrd"))
    assert [segment.name for segment in truth.segments] == [ORGAN]


def test_the_report_belongs_to_the_damaged_file(demo):
    report = json.loads(next(path for path in demo.files if path.name == "report.json").read_text(encoding="utf-8"))
    assert report["input"].endswith("damaged.seg.nrrd") and report["seed"] == 1


def test_the_patient_depends_on_the_seed_alone(tiny_template_file):
    template = OrganTemplate.load(tiny_template_file)
    (one, _), (again, geometry), (other, _) = (draw_patient(template, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and (one.shape != other.shape or not np.array_equal(one, other))
    assert geometry.spacing_mm == pytest.approx([1.0, 1.0, 2.5])
    assert not one[0].any() and not one[:, 0].any() and not one[:, :, 0].any()


def test_the_made_ct_is_written_and_has_the_organ_in_one_brightness_on_its_voxels(demo):
    image = read_image(next(path for path in demo.files if path.name == "made_ct.nii.gz"))
    truth = read_labels(next(path for path in demo.files if path.name == "truth.seg.nrrd"))
    organ = truth.mask(1)
    inside = image.voxels[ndimage.binary_erosion(organ, iterations=2)]
    assert image.geometry.same_grid_as(truth.geometry, tolerance_mm=1e-3)
    assert abs(np.median(inside) - 105) < 3 and 8 < inside.std() < 20
    around = image.voxels[ndimage.binary_dilation(organ, iterations=6) & ~organ]
    assert 0.1 < (around < -50).mean() < 0.7  # fat and tissue
    assert modality(image, float(np.median(inside))) == "CT"
    assert demo.with_ct is None and demo.said is None  # no image network knows the tiny organ


def test_the_made_ct_depends_on_organ_and_seed_alone():
    organ, geometry = patient(np.random.default_rng(1))
    one, again, other = (made_ct(organ, geometry, seed).voxels for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_the_table_has_all_six_metrics_with_units():
    metrics = SegmentationMetrics(0.01, 0.02, 0.5, 0.9, 0.8, 2.0, 5.0, 1.0)
    text = comparison_table(metrics, metrics)
    assert all(name in text for name in ("DSC", "NSD", "HD95", "ASSD", "CD", "EMD"))
    assert "with CT" not in text and "with CT" in comparison_table(metrics, metrics, metrics)
    assert "90.000" in text and "mm" in text and "%" in text
