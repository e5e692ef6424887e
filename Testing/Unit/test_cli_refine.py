"""``reshapeit refine`` from file to file, with a template trained for these tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.device import Device, is_out_of_memory
from ReShapeITLib.core.errors import BadInputError, CancelledError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.damage.shapes import bite
from ReShapeITLib.distance.of_mesh import MeshDistance
from ReShapeITLib.io.surfaces import read_surface
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job import job as refine_job
from ReShapeITLib.job import whole_patient
from ReShapeITLib.job.job import RefineJob, run_refine_job
from ReShapeITLib.restoration.model import RestorationModel
from Testing.tiny_template import ORGAN, patient, with_licence


@pytest.fixture(scope="module")
def case():
    """Mask and geometry of a patient the template has not seen."""
    return patient(np.random.default_rng(11))


@pytest.fixture
def case_file(case, tmp_path) -> Path:
    mask, geometry = case
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), tmp_path / "case.nrrd")
    return tmp_path / "case.nrrd"


@pytest.fixture
def refine(tiny_template_file, capsys):
    """Run ``reshapeit refine --preset draft``; returns what it printed to stdout."""

    def run(source, output, *options, template=tiny_template_file, code: int = 0) -> str:
        arguments = ["refine", str(source), "--template", str(template), "--output", str(output)]
        assert main([*arguments, "--preset", "draft", "--device", "cpu", *map(str, options)]) == code
        return capsys.readouterr().out

    return run


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_an_island_goes_and_the_organ_stays(refine, case, tmp_path, rng):
    mask, geometry = case
    far = np.zeros_like(mask)
    far[2:6, 2:6, 2:6] = True
    damaged = bite(mask, geometry, rng, radius_mm=10.0) | far
    write_labels(LabelVolume.from_array(damaged.astype(np.uint8), geometry), tmp_path / "damaged.nrrd")
    refine(tmp_path / "damaged.nrrd", tmp_path / "out.nrrd")
    refined = read_labels(tmp_path / "out.nrrd").mask(1)
    assert not (refined & far).any()
    assert dice(mask, refined) >= dice(mask, damaged & ~far) - 0.002


def test_grid_type_segments_and_other_labels_are_kept(refine, case, tmp_path):
    mask, geometry = case
    array = (mask * 3).astype(np.int16)
    array[:2] = 9
    segments = (Segment(3, "Organ", "id3", (1.0, 0.0, 0.0)), Segment(9, "Table", "id9", (0.0, 1.0, 0.0)))
    write_labels(LabelVolume((array,), geometry, segments), tmp_path / "case.seg.nrrd")
    refine(tmp_path / "case.seg.nrrd", tmp_path / "out.seg.nrrd", "--label", "Organ")
    before, after = read_labels(tmp_path / "case.seg.nrrd"), read_labels(tmp_path / "out.seg.nrrd")
    assert np.array_equal(after.geometry.ijk_to_ras, before.geometry.ijk_to_ras)
    assert after.layers[0].dtype == np.int16
    assert [(s.name, s.id, s.color) for s in after.segments] == [(s.name, s.id, s.color) for s in before.segments]
    assert np.array_equal(after.mask(9), before.mask(9)) and after.mask(3).any()


def test_the_output_may_be_the_input(refine, case_file):
    refine(case_file, case_file)
    assert read_labels(case_file).mask(1).any()
    assert [p.name for p in case_file.parent.iterdir()] == ["case.nrrd"]


def test_surface_and_report_go_with_the_labels(refine, case_file, tmp_path):
    extras = ("--surface", tmp_path / "m.vtp", "--report", tmp_path / "r.json")
    printed = refine(case_file, tmp_path / "out.nii.gz", *extras)
    surface = read_surface(tmp_path / "m.vtp")
    assert surface.is_closed
    assert {"signed_change_mm", "confidence", "field_weight", "template_coordinates"} <= set(surface.point_data)
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    (organ,) = report["organs"]
    assert organ["organ"] == ORGAN and organ["organ"] in printed and len(organ["template_sha256"]) == 64
    assert organ["volume_after_ml"] == pytest.approx(surface.volume_mm3 / 1000, rel=0.05)
    assert {"surface", "align", "fit", "blend"} <= set(organ["seconds"]) and report["peak_memory_mb"] > 0
    assert organ["alignment"]["rotation_degrees"] < 20 and 30 < organ["alignment"]["mm_per_unit"] < 60
    assert organ["plausibility"]["problems"] == [] and organ["device"] == "cpu"
    assert None not in organ["signed_change_mm"].values() and 0 <= organ["field_share"] <= 1


def test_json_progress_is_one_object_a_line_up_to_one(refine, case_file, tmp_path):
    lines = refine(case_file, tmp_path / "out.nrrd", "--progress", "json").splitlines()
    first, *reports, last = [json.loads(line) for line in lines]
    assert list(first) == ["started"] and list(last) == ["result"]
    fractions = [report["fraction"] for report in reports]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert {"read", "align", "fit", "voxels", "write", "done"} <= {report["stage"] for report in reports}


@pytest.fixture
def two_organs(case, tmp_path) -> ImageGeometry:
    """Geometry of two.nrrd: the same organ twice, side by side, so that both want the voxels between them."""
    mask, geometry = case
    array = np.zeros((*mask.shape[:2], 2 * mask.shape[2] - 12), np.uint8)
    array[:, :, : mask.shape[2]][mask] = 4
    part = array[:, :, mask.shape[2] - 12 :]
    part[mask & (part == 0)] = 5
    wide = geometry.cropped((0, 0, 0), array.shape[::-1])
    write_labels(LabelVolume.from_array(array, wide), tmp_path / "two.nrrd")
    return wide


def test_two_organs_at_once_become_what_they_become_one_by_one(
    refine, two_organs, tmp_path, tiny_template_file, monkeypatch
):
    monkeypatch.setattr(whole_patient, "free_memory_bytes", lambda: 2**36)
    for cores in (2, 1):
        monkeypatch.setattr(whole_patient, "threads", lambda cores=cores: cores)
        mapping = f"4={tiny_template_file},5={tiny_template_file}"
        refine(tmp_path / "two.nrrd", tmp_path / f"out{cores}.nrrd", template=mapping)
    assert (tmp_path / "out1.nrrd").read_bytes() == (tmp_path / "out2.nrrd").read_bytes()


def test_several_organs_at_once_do_not_overlap(refine, two_organs, tmp_path, tiny_template_file):
    wide, mapping = two_organs, f"4={tiny_template_file},5={tiny_template_file}"
    surface, report = tmp_path / "m.ply", tmp_path / "r.json"
    refine(tmp_path / "two.nrrd", tmp_path / "out.nrrd", "--surface", surface, "--report", report, template=mapping)
    after = read_labels(tmp_path / "out.nrrd")
    assert after.label_values() == (4, 5)
    centres_ras = wide.ijk_to_ras_points(np.indices(wide.shape_kji)[::-1].reshape(3, -1).T)
    for label in (4, 5):
        distance = MeshDistance(read_surface(tmp_path / f"m_{label}.ply")).sdf_mm(centres_ras)
        wrong = (distance < 0) != after.mask(label).ravel()
        assert np.abs(distance[wrong]).max(initial=0.0) < 0.8, "surface and voxels are different organs"
    assert [organ["label"] for organ in json.loads(report.read_text())["organs"]] == [4, 5]


def test_an_organ_cut_off_by_the_image_border_keeps_a_closed_surface(refine, case, tmp_path):
    mask, geometry = case
    half = mask.shape[0] // 2
    cut = geometry.cropped((0, 0, half), (*geometry.size_ijk[:2], mask.shape[0] - half))
    write_labels(LabelVolume.from_array(mask[half:].astype(np.uint8), cut), tmp_path / "cut.nrrd")
    refine(tmp_path / "cut.nrrd", tmp_path / "out.nrrd", "--surface", tmp_path / "m.stl", "--force")
    assert read_surface(tmp_path / "m.stl").is_closed
    assert read_labels(tmp_path / "out.nrrd").geometry.same_grid_as(cut)


def test_force_refines_what_does_not_look_like_the_organ(refine, case, tmp_path):
    mask, geometry = case
    small = np.zeros_like(mask)
    small[tuple(slice(n // 2 - 4, n // 2 + 4) for n in mask.shape)] = True
    write_labels(LabelVolume.from_array(small.astype(np.uint8), geometry), tmp_path / "small.nrrd")
    refine(tmp_path / "small.nrrd", tmp_path / "out.nrrd", code=3)
    assert not (tmp_path / "out.nrrd").exists()
    refine(tmp_path / "small.nrrd", tmp_path / "out.nrrd", "--force", "--report", tmp_path / "r.json")
    (organ,) = json.loads((tmp_path / "r.json").read_text())["organs"]
    assert "volume" in organ["plausibility"]["problems"][0]


def test_the_same_seed_gives_the_same_voxels(refine, case_file, tmp_path):
    for name in ("a.nrrd", "b.nrrd"):
        refine(case_file, tmp_path / name, "--seed", "3")
    assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()


def test_the_alignment_can_be_left_to_pycpd(refine, case_file, tmp_path):
    aligned = {}
    for backend in ("cpd", "pycpd"):
        report = tmp_path / f"{backend}.json"
        refine(case_file, tmp_path / f"{backend}.nrrd", "--alignment", backend, "--report", report)
        aligned[backend] = json.loads(report.read_text(encoding="utf-8"))["organs"][0]["alignment"]
    assert aligned["cpd"] != aligned["pycpd"]
    assert aligned["pycpd"]["mm_per_unit"] == pytest.approx(aligned["cpd"]["mm_per_unit"], rel=0.1)


def test_a_non_commercial_template_says_so(case_file, tmp_path, tiny_template_file, capsys):
    template = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    arguments = ["refine", str(case_file), "--template", str(template), "--output", str(tmp_path / "out.nrrd")]
    assert main([*arguments, "--preset", "draft", "--device", "cpu", "--non-commercial"]) == 0
    text = capsys.readouterr().err
    assert "non-commercial" in text and "CC BY-NC-SA 4.0" in text and text.count("\n") == 1


def job_for(case_file, tiny_template_file, **options) -> RefineJob:
    output = case_file.with_name("out.nrrd")
    return RefineJob(case_file, {None: str(tiny_template_file)}, output, preset="draft", **options)


def test_a_gpu_that_runs_out_of_memory_hands_over_to_the_processor(case_file, tiny_template_file, monkeypatch):
    notices, result = refined_on_a_full_gpu(job_for(case_file, tiny_template_file), 1, monkeypatch)
    assert len(notices) == 1 and "going on on the processor" in notices[0]
    assert "ran out of memory" in result.report.organs[0].device_reason


def refined_on_a_full_gpu(job, times: int, monkeypatch):
    """Notices and result of a job whose refinement runs out of memory that many times."""
    import torch

    from ReShapeITLib.refinement import refine as refinement

    whole_refine, notices, failures = refinement.refine, [], [torch.cuda.OutOfMemoryError("full")] * times

    def full_at_first(*arguments, **options):
        if failures:
            raise failures.pop()
        return whole_refine(*arguments, **options)

    monkeypatch.setattr(refinement, "refine", full_at_first)
    monkeypatch.setattr(refine_job, "choose_device", lambda wanted: Device("cpu", "stands for a GPU here"))
    return notices, run_refine_job(job, notice=notices.append)


@pytest.mark.parametrize(
    ("times", "last", "reason"), [(1, "smaller parts", "stands for a GPU"), (2, "on the processor", "out of memory")]
)
def test_with_a_restoration_network_a_full_gpu_first_tries_smaller_parts(
    case_file, tiny_template_file, restoration_file, monkeypatch, times, last, reason
):
    job = job_for(case_file, tiny_template_file, restoration=str(restoration_file))
    notices, result = refined_on_a_full_gpu(job, times, monkeypatch)
    assert len(notices) == times and last in notices[-1]
    assert reason in result.report.organs[0].device_reason


@pytest.mark.parametrize(
    ("use", "said"),
    [("few_slices", "for organs drawn on a few slices only"), ("detail", "only adds what coarse voxels hide")],
)
def test_a_network_for_something_else_is_not_asked_about_a_whole_organ(
    case_file, tiny_template_file, restoration_file, tmp_path, use, said
):
    model = RestorationModel.load(restoration_file)
    other = tmp_path / "other.safetensors"
    replace(model, info=replace(model.info, **{use: True})).save(other)
    with pytest.raises(BadInputError, match=said):
        run_refine_job(job_for(case_file, tiny_template_file, restoration=str(other)))


@pytest.mark.parametrize("text", ["MPS backend out of memory (9 GiB allocated)", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_other_ways_of_saying_that_a_gpu_is_full_count_as_well_and_other_errors_do_not(text):
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))


class CancelAt(Progress):
    """A user who cancels as soon as a stage begins."""

    def __init__(self, stage: str):
        super().__init__("none")
        self.cancel_stage = stage

    def stage(self, name, fraction, message=""):
        if name == self.cancel_stage:
            self.cancel()
        super().stage(name, fraction, message)


@pytest.mark.parametrize("stage", ["align", "fit", "write"])
def test_a_cancelled_run_leaves_nothing(case_file, tiny_template_file, stage):
    report = case_file.with_name("r.json")
    with pytest.raises(CancelledError):
        run_refine_job(job_for(case_file, tiny_template_file, report=report), CancelAt(stage))
    assert [p.name for p in case_file.parent.iterdir()] == ["case.nrrd"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_with_130_and_no_files(case_file, tmp_path, tiny_template_file):
    files = ["refine", str(case_file), "--template", str(tiny_template_file), "--output", str(tmp_path / "out.nrrd")]
    command = [sys.executable, "-m", "ReShapeITLib.cli.main", *files, "--preset", "fine", "--progress", "json"]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root, text=True) as process:
        for line in process.stdout:
            if json.loads(line).get("stage") == "fit":
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cancelled" in errors and errors.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["case.nrrd"]
