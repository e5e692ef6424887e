"""Whole patients: organs by name, folders of masks, and what is absent, implausible or damaged beside them."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError, ImplausibleError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.io.mask_folder import folder_taking_place, mask_files, read_mask, stacked
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.face import refine
from ReShapeITLib.job.inputs.by_name import AUTO, files_by_label, named_segments
from ReShapeITLib.job.job import run_refine_job
from ReShapeITLib.job.request import RefineJob
from ReShapeITLib.review.sources import find_cases
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import ORGAN, ellipsoid_mask, label_volume, patient

SPACING = (6.0, 6.0, 6.0)


@pytest.fixture
def templates(tiny_template_file, tmp_path_factory, monkeypatch) -> Path:
    """The only folder of templates: the tiny one under its organ's name, and under that of a second organ."""
    folder = tmp_path_factory.mktemp("templates")
    shutil.copy(tiny_template_file, folder / f"{ORGAN}.safetensors")
    second = OrganTemplate.load(tiny_template_file)
    replace(second, info=replace(second.info, organ="second_organ")).save(folder / "second_organ.safetensors")
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", str(folder))
    return folder


def two_organs(seed: int = 1) -> tuple[np.ndarray, ImageGeometry]:
    """Labels 1 and 2: a patient's organ twice, side by side; 3: a block that is no organ, beside the first."""
    mask, geometry = patient(np.random.default_rng(seed), SPACING)
    k, j, i = mask.shape
    array = np.zeros((k, j, 2 * i + 2), np.uint8)
    array[:, :, :i][mask] = 1
    array[:, :, i + 2 :][mask] = 2
    array[:2, :3, :3] = 3
    return array, geometry.cropped((0, 0, 0), array.shape[::-1])


def named(array: np.ndarray, geometry: ImageGeometry, names: dict[int, str]) -> LabelVolume:
    segments = tuple(Segment(label, name, f"Segment_{label}") for label, name in names.items())
    return LabelVolume((array,), geometry, segments)


NAMES = {1: "Test organ", 2: "second_organ", 3: "table"}


def refined(source: Path, output: Path, notices: list | None = None, templates=None, **options):
    job = RefineJob(source, templates or {None: AUTO}, output, preset="draft", device="cpu", **options)
    return run_refine_job(job, notice=(notices if notices is not None else []).append)


def test_auto_takes_what_it_knows_by_name_and_says_what_it_left(templates, tmp_path):
    array, geometry = two_organs()
    write_labels(named(array, geometry, NAMES), tmp_path / "case.seg.nrrd")
    notices: list[str] = []
    report = refined(tmp_path / "case.seg.nrrd", tmp_path / "out.seg.nrrd", notices).report
    assert notices[0] == ("took: 1 Test organ -> test_organ, 2 second_organ -> second_organ; left as they are: 3 table")
    assert [(organ.label, organ.template) for organ in report.organs] == [
        (1, "test_organ.safetensors"),
        (2, "second_organ.safetensors"),
    ]
    after = read_labels(tmp_path / "out.seg.nrrd")
    assert np.array_equal(after.layers[0] == 3, array == 3) and [s.name for s in after.segments] == list(NAMES.values())


def test_labels_of_several_layers_are_known_by_their_ids():
    array, geometry = two_organs()
    layers = ((array == 1).astype(np.uint8), (array == 2).astype(np.uint8))
    segments = (Segment(1, "Liver", "7", layer=0), Segment(1, "Spleen", "8", layer=1))
    volume = LabelVolume(layers, geometry, segments)
    keys = [one.key for one in named_segments(volume)]
    assert [volume.locate(key) for key in keys] == [(0, 1), (1, 1)]


def test_names_may_come_from_a_list_of_the_users_or_a_class_map(tmp_path):
    array, geometry = two_organs()
    volume = LabelVolume.from_array(array, geometry)
    (tmp_path / "names.yaml").write_text("1: left kidney\n2: Spleen\n3: table\n")

    def taken(names: str) -> dict:
        return {label: file.stem for label, file in files_by_label(volume, {None: AUTO}, names, print).items()}

    assert taken(str(tmp_path / "names.yaml")) == {1: "kidney_left", 2: "spleen"}
    assert taken("totalsegmentator-v2") == {1: "spleen", 2: "kidney_right", 3: "kidney_left"}
    with pytest.raises(BadInputError, match="names no organ that there is a template for; it holds 1, 2, 3") as error:
        taken("file")
    assert error.value.code == "auto.nothing"
    volume = LabelVolume.from_array(array.astype(np.uint16) * 60, geometry)
    with pytest.raises(BadInputError, match="holds 120, 180, but the classes of totalsegmentator-v2 end at 117"):
        taken("totalsegmentator-v2")
    with pytest.raises(BadInputError, match="no list of names nowhere.yaml"):
        taken("nowhere.yaml")
    (tmp_path / "names.yaml").write_text("liver: 6\n")
    with pytest.raises(BadInputError, match="malformed at 'liver'"):
        taken(str(tmp_path / "names.yaml"))


def test_a_mask_without_a_name_is_told_where_auto_works():
    array, geometry = two_organs()
    with pytest.raises(BadInputError, match="run_refine_job and templates={None: 'auto'}") as error:
        refine(array == 1, geometry, AUTO)
    assert error.value.code == "auto.mask"


def damaged_patient(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """One organ of three is there; label 2 is too small for it, 3 is a crumb, 4 is absent."""
    array, geometry = two_organs()
    array[array == 2] = 0
    centre = geometry.ijk_to_ras_points(np.array([[array.shape[2] - 8, array.shape[1] // 2, array.shape[0] // 2]]))[0]
    array[ellipsoid_mask(geometry, centre, np.array([18.0, 16.0, 16.0]))] = 2
    write_labels(LabelVolume.from_array(array, geometry), tmp_path / "case.nrrd")
    return tmp_path / "case.nrrd", array


def test_what_is_there_is_refined_and_every_other_organ_is_told_with_its_reason(templates, tmp_path, capsys):
    source, array = damaged_patient(tmp_path)
    mapping = f"1={ORGAN},2={ORGAN},3={ORGAN},4=second_organ"
    command = [
        "refine",
        str(source),
        "--template",
        mapping,
        "--output",
        str(tmp_path / "out.nrrd"),
        "--preset",
        "draft",
    ]
    command += ["--device", "cpu", "--report", str(tmp_path / "r.json")]
    assert main(command) == 0
    told = capsys.readouterr()
    assert (
        "1 of 4 organs refined; test_organ does not look like the organ, test_organ failed, second_organ is absent"
        in told.out
    )
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [(organ["label"], organ["status"]) for organ in report["organs"]] == [(1, "refined")]
    left = {one["label"]: (one["status"], one["code"]) for one in report["not_refined"]}
    assert left == {
        2: ("implausible", "implausible"),
        3: ("failed", "label.few_voxels"),
        4: ("absent", "label.unknown"),
    }
    assert all(one["reason"] in told.err for one in report["not_refined"])
    after = read_labels(tmp_path / "out.nrrd").layers[0]
    assert all(np.array_equal(after == label, array == label) for label in (2, 3)) and (after == 1).any()
    assert main([*command, "--strict"]) == 2
    assert not (tmp_path / "none.nrrd").exists()


def test_where_no_organ_can_be_refined_nothing_is_written(templates, tmp_path):
    source, _ = damaged_patient(tmp_path)
    with pytest.raises(ImplausibleError, match="No organ of .*: test_organ does not look like the organ, second_organ"):
        refined(source, tmp_path / "out.nrrd", templates={2: ORGAN, 4: "second_organ"})
    with pytest.raises(BadInputError, match="No organ of .*: test_organ failed, test_organ is absent"):
        refined(source, tmp_path / "out.nrrd", templates={3: ORGAN, 4: ORGAN})
    with pytest.raises(BadInputError, match="no segment 4"):
        refined(source, tmp_path / "out.nrrd", templates={4: ORGAN})
    assert not (tmp_path / "out.nrrd").exists()


def test_running_out_of_memory_ends_the_run(templates, tmp_path, monkeypatch):
    from ReShapeITLib.job import whole_patient

    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr(whole_patient, "refine_label", full)
    source, _ = damaged_patient(tmp_path)
    with pytest.raises(MemoryError):
        refined(source, tmp_path / "out.nrrd", templates={1: ORGAN, 4: ORGAN})


def write_masks(folder: Path, seed: int = 1, **others: np.ndarray) -> tuple[np.ndarray, ImageGeometry]:
    """Masks of two_organs, one a file, with a report of the program beside them."""
    array, geometry = two_organs(seed)
    folder.mkdir(parents=True)
    masks = {ORGAN: array == 1, "second_organ": array == 2, "table": array == 3, **others}
    for name, mask in masks.items():
        write_labels(LabelVolume.from_array((255 * mask).astype(np.uint8), geometry), folder / f"{name}.nii.gz")
    (folder / "statistics.json").write_text("{}")
    return array, geometry


def test_a_folder_of_masks_becomes_what_the_same_labels_in_one_file_become(templates, tmp_path):
    array, geometry = write_masks(tmp_path / "masks")
    write_labels(named(array, geometry, NAMES), tmp_path / "case.seg.nrrd")
    refined(tmp_path / "case.seg.nrrd", tmp_path / "out.seg.nrrd")
    one_file = read_labels(tmp_path / "out.seg.nrrd")
    report = refined(tmp_path / "masks", tmp_path / "out", report=tmp_path / "report.json").report
    assert [organ.label for organ in report.organs] == ["second_organ", ORGAN]
    reviewed = [(case.before, case.after, case.label) for case in find_cases(tmp_path / "report.json")]
    folders = tmp_path / "masks", tmp_path / "out"
    assert reviewed == [(*(f / f"{name}.nii.gz" for f in folders), None) for name in ("second_organ", ORGAN)]
    for label, name in ((1, ORGAN), (2, "second_organ")):
        mask = read_labels(tmp_path / "out" / f"{name}.nii.gz")
        assert mask.label_values() == (255,) and mask.layers[0].dtype == np.uint8
        assert np.array_equal(mask.mask(255), one_file.mask(label))
    for name in ("table.nii.gz", "statistics.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "masks" / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "case.seg.nrrd",
        "masks",
        "out",
        "out.seg.nrrd",
        "report.json",
    ]


def test_absent_and_damaged_masks_of_a_folder_are_told_and_copied(templates, tmp_path):
    array, _ = write_masks(tmp_path / "masks")
    write_masks(tmp_path / "other", second_organ=np.zeros_like(array, bool))
    shutil.copy(tmp_path / "other" / "second_organ.nii.gz", tmp_path / "masks")
    report = refined(tmp_path / "masks", tmp_path / "out").report
    assert [(one.label, one.status) for one in report.not_refined] == [("second_organ", "absent")]
    (tmp_path / "masks" / "second_organ.nii.gz").write_text("cut off")
    report = refined(tmp_path / "masks", tmp_path / "out2", templates={ORGAN: ORGAN, "second_organ": AUTO}).report
    assert [(one.label, one.status) for one in report.not_refined] == [("second_organ", "failed")]
    assert (tmp_path / "out2" / "second_organ.nii.gz").read_text() == "cut off"


def test_masks_on_different_grids_are_refined_each_on_its_own(templates, tmp_path):
    write_masks(tmp_path / "masks")
    mask, geometry = patient(np.random.default_rng(3), (6.0, 6.0, 6.0))
    write_labels(label_volume(mask, geometry), tmp_path / "masks" / "second_organ.nii.gz")
    report = refined(tmp_path / "masks", tmp_path / "out").report
    assert sorted(organ.label for organ in report.organs) == ["second_organ", ORGAN]
    after = read_labels(tmp_path / "out" / "second_organ.nii.gz")
    assert after.geometry.same_grid_as(geometry) and after.mask(1).any()


def test_what_a_folder_cannot_do_is_told_before_any_work(templates, tmp_path):
    write_masks(tmp_path / "masks")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "results.txt").write_text("precious")
    for output, code in (
        ("full", "output.not_empty"),
        ("masks", "output.within_input"),
        ("masks/a", "output.within_input"),
    ):
        with pytest.raises(BadInputError) as error:
            refined(tmp_path / "masks", tmp_path / output)
        assert error.value.code == code
    with pytest.raises(BadInputError, match="holds several masks"):
        refined(tmp_path / "masks", tmp_path / "out", templates={None: ORGAN})
    shutil.copy(tmp_path / "masks" / "table.nii.gz", tmp_path / "masks" / "table.nii")
    with pytest.raises(BadInputError, match=r"table\.nii and table\.nii\.gz, two masks of one name"):
        mask_files(tmp_path / "masks")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="holds no masks"):
        mask_files(tmp_path / "empty")
    assert (tmp_path / "full" / "results.txt").read_text() == "precious"


def test_masks_that_overlap_are_layers_and_voxels_of_other_masks_are_taken(tmp_path):
    array, _ = write_masks(tmp_path / "masks")
    masks = {name: read_mask(file) for name, file in mask_files(tmp_path / "masks").items()}
    volume = stacked({**masks, "again": masks[ORGAN]}, "folder", occupied=array == 0)
    assert len(volume.layers) == 2 and (volume.layers[0] != 0).all()
    assert np.array_equal(volume.mask("again"), volume.mask(ORGAN))


def test_a_folder_takes_its_place_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(KeyError), folder_taking_place(target, overwrite=True) as temporary:
        (temporary / "new").write_text("new")
        raise KeyError
    assert [p.name for p in target.iterdir()] == ["old"]
    with folder_taking_place(target, overwrite=True) as temporary:
        (temporary / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["out"]


def write_cohort(folder: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Nine patients of seven kinds; for each its rows as (status, organ, status of the organ)."""
    folder.mkdir()
    both = [("done", ORGAN, "refined"), ("done", "second_organ", "refined")]
    absent = [("done", ORGAN, "refined"), ("done", "second_organ", "absent")]
    expected: dict[str, list[tuple[str, str, str]]] = {}
    for number in range(9):
        name, kind = f"s{number:02d}", number if number < 7 else (4, 6)[number % 2]
        array, geometry = two_organs(number)
        if kind == 1:
            write_masks(folder / name / "segmentations", number)
            expected[name] = both
            continue
        if kind == 2:
            write_masks(folder / name / "segmentations", number, second_organ=np.zeros_like(array, bool))
            expected[name] = absent
            continue
        if kind == 3:  # an organ is absent
            array[array == 2] = 0
        if kind == 4:
            array[:] = 0
        if kind == 5:  # a crumb of an organ
            array[array == 2] = 0
            array[-4:, -4:, -4:] = 2
        if kind == 6:
            (folder / f"{name}.seg.nrrd").write_bytes(b"NRRD0004\ncut off")
            expected[name] = [("refused", "", "")]
            continue
        write_labels(named(array, geometry, NAMES), folder / f"{name}.seg.nrrd")
        nothing = [("refused", ORGAN, "absent"), ("refused", "second_organ", "absent")]
        crumb = [("done", ORGAN, "refined"), ("done", "second_organ", "implausible")]
        expected[name] = {0: both, 3: absent, 4: nothing, 5: crumb}[kind]
    return {name: sorted(rows) for name, rows in expected.items()}


def test_a_cohort_of_mixed_patients_gives_one_row_an_organ_and_loses_nothing(templates, tmp_path, capsys):
    pytest.importorskip("distributed", reason="needs dask: pip install 'ReShapeITLib[batch]'")
    from ReShapeITLib.batch.cases import BatchOptions, read_cases
    from ReShapeITLib.batch.records import is_done

    expected = write_cohort(tmp_path / "cohort")
    command = ["batch", str(tmp_path / "cohort"), "--template", "auto", "--out", str(tmp_path / "out")]
    command += ["--preset", "draft", "--workers", "1", "--device", "cpu"]
    assert main(command) == 1
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in rows:
        found.setdefault(row["case"], []).append((row["status"], row["organ"], row["organ_status"]))
    assert {name: sorted(organs) for name, organs in found.items()} == expected
    assert all(row["reason"] for row in rows if row["organ_status"] not in ("refined", ""))
    for row in rows:
        assert Path(row["input"]).is_file() and (row["status"] != "done" or Path(row["output"]).is_file())
    left = sum(row["status"] == "done" and row["organ_status"] != "refined" for row in rows)
    assert f"{left} organs stay as they are; " in capsys.readouterr().out

    options = BatchOptions(template=AUTO, preset="draft", device="cpu")
    cases = read_cases(tmp_path / "cohort", tmp_path / "out", options)
    assert all(map(is_done, cases))
    (tmp_path / "cohort" / "s01" / "segmentations" / "statistics.json").write_text("another")
    assert [case.name for case in cases if not is_done(case)] == ["s01"]
