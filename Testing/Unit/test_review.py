"""The review report: which cases it finds, what it measures and shows, and how it takes faults."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.itk_image import geometry_to_sitk
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.review.build import review_case, write_review
from ReShapeITLib.review.cases import ReviewCase
from ReShapeITLib.review.sources import find_cases
from ReShapeITLib.review.voxels import change_depth_mm, largest_change_ras, load_voxels
from Testing.review_files import GEOMETRY, ISLAND, ORGAN, box, write_case


def only(path) -> ReviewCase:
    (case,) = find_cases(path)
    return case


def pictures(html: str) -> list[Image.Image]:
    """All pictures of a page, decoded."""
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    ]


def write_table(path, rows: list[dict]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list({key: None for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)


# Which cases


def test_a_summary_names_its_case_and_its_files(tmp_path):
    case = only(write_case(tmp_path, "anna"))
    assert (case.name, case.label, case.before.name, case.after.name) == ("anna", 1, "anna_in.nrrd", "anna.nrrd")
    assert case.organ["organ"] == "test_organ" and case.run["preset"] == "standard"


def test_a_folder_that_was_moved_is_still_found(tmp_path):
    write_case(tmp_path / "here", "anna")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert review_case(only(tmp_path / "there")).status == "done"


def test_a_folder_gives_all_summaries_at_any_depth_and_no_other_json(tmp_path):
    write_case(tmp_path / "a", "one")
    write_case(tmp_path / "b" / "c", "two")
    (tmp_path / "manifest.json").write_text('{"cases": 2}')
    (tmp_path / ".batch").mkdir()
    shutil.copy(tmp_path / "a" / "one.json", tmp_path / ".batch" / "one.json")
    assert [case.name for case in find_cases(tmp_path)] == ["a/one", "b/c/two"]


def test_a_damaged_summary_in_a_folder_is_a_failed_case(tmp_path):
    write_case(tmp_path, "good")
    text = (tmp_path / "good.json").read_text(encoding="utf-8")
    (tmp_path / "half.json").write_text(text[: len(text) // 2])
    failures = {case.name: case.failure for case in find_cases(tmp_path)}
    assert failures["good"] == "" and "damaged" in failures["half"]


def test_every_organ_of_a_summary_is_a_case_of_its_own(tmp_path):
    path = write_case(tmp_path, "both")
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["organs"].append({**summary["organs"][0], "label": 2, "organ": "other_organ"})
    path.write_text(json.dumps(summary))
    assert [(case.name, case.label) for case in find_cases(path)] == [
        ("both · test_organ", 1),
        ("both · other_organ", 2),
    ]


def test_a_table_names_files_beside_it_and_failures(tmp_path):
    write_case(tmp_path, "anna")
    rows = [
        {"case": "anna", "input": "anna_in.nrrd", "output": "anna.nrrd", "status": "done", "message": ""},
        {"case": "ben", "input": "ben.nrrd", "output": "", "status": "refused", "message": "not the organ"},
        {"case": "carl", "input": "carl.nrrd", "output": "", "status": "done", "message": ""},
    ]
    write_table(tmp_path / "t.csv", rows)
    anna, ben, carl = find_cases(tmp_path / "t.csv")
    assert anna.before == tmp_path / "anna_in.nrrd" and anna.failure == ""
    assert ben.failure == "refused: not the organ" and "output" in carl.failure


def test_the_tables_of_a_batch_are_read(tmp_path):
    pytest.importorskip("pyarrow", reason="tables of a batch need pyarrow (the extra batch)")
    from ReShapeITLib.batch.cases import BatchCase
    from ReShapeITLib.batch.records import write_record
    from ReShapeITLib.batch.table import write_tables

    summary = json.loads(write_case(tmp_path, "anna", label=3).read_text(encoding="utf-8"))
    (tmp_path / "anna.json").unlink()
    cases = [BatchCase(name, tmp_path / f"{name}_in.nrrd", tmp_path) for name in ("anna", "ben")]
    record = {"status": "done", "message": "", "fingerprint": "", "seconds": 1.0, "organs": summary["organs"]}
    write_record(cases[0], record)
    write_record(cases[1], {**record, "status": "failed", "message": "no memory", "organs": []})
    write_tables(tmp_path, cases)
    for source in (tmp_path, tmp_path / "results.parquet"):
        anna, ben = find_cases(source)
        reviewed = review_case(anna)
        assert reviewed.trouble == "" and anna.organ["licence"] == "CC0-1.0" and anna.label == 3
        assert ben.failure == "failed: no memory"


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("absent.json", None, "no summary"),
        ("list.json", "[1, 2]", "lists no organs"),
        ("text.json", "dear colleague", "damaged"),
        ("deep.json", "[" * 100_000, "damaged"),
        ("t.csv", "a,b\n1,2\n", "'input' and 'output'"),
        ("empty.csv", "", "no case"),
        ("t.parquet", "no parquet", "cannot be read"),
        ("x.txt", "x", "no source"),
    ],
)
def test_a_source_that_is_none_is_told(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadInputError, match=words):
        find_cases(tmp_path / name)


def test_truths_are_found_by_the_name_of_the_case(tmp_path):
    write_case(tmp_path / "out", "anna")
    write_labels(LabelVolume.from_array(ORGAN.astype(np.uint8), GEOMETRY), tmp_path / "anna.nii.gz")
    assert find_cases(tmp_path / "out", truth=tmp_path)[0].truth == tmp_path / "anna.nii.gz"
    with pytest.raises(BadInputError, match="There is no truth"):
        find_cases(tmp_path / "out", truth=tmp_path / "nowhere")


# What is measured


def test_a_removed_island_is_the_largest_change_and_its_distance_is_told(tmp_path):
    case = only(write_case(tmp_path, "anna", ORGAN | ISLAND, ORGAN))
    voxels = load_voxels(case)
    i, j, k = GEOMETRY.ras_to_ijk_points(largest_change_ras(voxels, change_depth_mm(voxels))[None])[0].round()
    assert ISLAND[int(k), int(j), int(i)]
    # From the organ's last voxel (15, 15, 14) to the island's last (22, 20, 16).
    furthest = np.linalg.norm(np.array([7, 5, 2]) * (2.0, 2.0, 3.0))
    reviewed = review_case(case)
    assert reviewed.measures.furthest_voxel_mm == pytest.approx(furthest)
    assert reviewed.measures.removed_ml == pytest.approx(ISLAND.sum() * 12 / 1000)


def test_a_deep_bump_counts_more_than_a_thin_skin():
    bump = box(16, 22, 8, 14, 7, 13)
    before, after = ORGAN, ORGAN | bump
    voxels = load_like(before, after)
    point = largest_change_ras(voxels, change_depth_mm(voxels))
    i = GEOMETRY.ras_to_ijk_points(point[None])[0, 0]
    assert i == pytest.approx(21)


def load_like(before, after):
    from ReShapeITLib.review.voxels import CaseVoxels

    return CaseVoxels(before, after, GEOMETRY, np.zeros(before.shape, np.float32), (0.0, 1.0))


def test_an_unchanged_organ_is_cut_through_its_middle():
    voxels = load_like(ORGAN, ORGAN)
    point = largest_change_ras(voxels, change_depth_mm(voxels))
    inside = GEOMETRY.ras_to_ijk_points(point[None])[0]
    assert np.abs(inside - (10.5, 10.5, 9.5)).max() <= 1.5


def test_measures_against_the_truth_are_of_both(tmp_path):
    truth = tmp_path / "truth.nrrd"
    write_labels(LabelVolume.from_array(ORGAN.astype(np.uint8), GEOMETRY), truth)
    (case,) = find_cases(write_case(tmp_path / "out", "anna", ORGAN | ISLAND, ORGAN), truth=truth)
    measures = review_case(case).measures
    n, more = ORGAN.sum(), ISLAND.sum()
    assert measures.truth_before.dsc == pytest.approx(2 * n / (2 * n + more))
    assert measures.truth_after.dsc == 1.0 and measures.truth_after.hd95_mm == 0.0


def test_moves_without_a_summary_come_from_the_voxels(tmp_path):
    write_case(tmp_path, "anna", ORGAN, box(6, 18, 6, 16, 5, 15))
    write_table(tmp_path / "t.csv", [{"case": "anna", "input": "anna_in.nrrd", "output": "anna.nrrd"}])
    measures = review_case(only(tmp_path / "t.csv")).measures
    assert measures.max_out_mm == pytest.approx(4.0, abs=0.6) and measures.max_in_mm < 0.6  # two voxels of 2 mm


# What is shown


def test_the_page_of_a_case_shows_what_a_reviewer_needs(tmp_path):
    summary = write_case(
        tmp_path,
        "anna",
        ORGAN | ISLAND,
        ORGAN,
        licence="CC BY-NC-SA 4.0",
        plausibility={"volume_z": 5.0, "problems": ["The volume is far from all training cases."]},
    )
    assert main(["report", str(summary), "--output", str(tmp_path / "r.html")]) == 0
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    for words in (
        "Research software, not a medical device",
        "CC BY-NC-SA 4.0: non-commercial use only",
        "far from all training",
        f"{(ORGAN.sum() + ISLAND.sum()) * 0.012:.1f} mL → {ORGAN.sum() * 0.012:.1f} mL",
        "+5.0 standard deviations",
    ):
        assert words in html
    sheet, slices = pictures(html)
    assert sheet.width > 800 and slices.width > 800
    assert 'id="cases"' not in html  # one case needs no table


def test_suggestions_stand_with_their_case_the_least_certain_first(tmp_path):
    def suggestion(kind, probability, taken):
        told = {"id": 1, "kind": kind, "volume_ml": 4.25, "probability": probability, "taken": taken}
        return {**told, "centre_ras": [1.2, -3.4, 56.7]}

    dark = suggestion("attached", 0.52, False) | {"evidence": {"network": 1.0, "image": -0.4}}
    found = [suggestion("missing", 0.93, True), dark, "odd"]
    path = write_case(tmp_path, "anna", ORGAN | ISLAND, ORGAN, suggestions=found)
    assert main(["report", str(path), "--output", str(tmp_path / "r.html")]) == 0
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    row = "<tr><td>{}</td><td>4.2</td><td>{}</td><td>{}</td><td>1, -3, 57</td><td>{}</td></tr>"
    first, second = row.format("attached", "52%", "contradicts", "no"), row.format("missing", "93%", "", "yes")
    assert 0 < html.find(first) < html.find(second)


def test_outlines_change_map_and_colour_bar_are_in_the_pictures(tmp_path):
    reviewed = review_case(only(write_case(tmp_path, "anna", ORGAN | ISLAND, ORGAN)))
    pages = [f'src="{uri}"' for uri in (reviewed.surfaces, reviewed.slices)]
    sheet, slices = (np.asarray(picture).astype(int) for picture in pictures(" ".join(pages)))
    orange = (slices[..., 0] > 200) & (slices[..., 2] < 110)
    blue = (slices[..., 2] > 200) & (slices[..., 0] < 140)
    assert orange.sum() > 50 and blue.sum() > 50
    panels = sheet[:-80, : sheet.shape[1] * 3 // 4]  # without the colour bar, and without the surface after
    blue_columns = np.flatnonzero((panels[..., 2] > panels[..., 0] + 60).any(axis=0))
    assert len(blue_columns) and blue_columns.min() > sheet.shape[1] // 2  # the island, where the surface moved from


def test_an_image_lies_behind_the_outlines_wherever_its_grid_is(tmp_path):
    values = np.full((30, 30, 30), 40.0, np.float32)
    values[:, :, :15] = -900.0
    image = sitk.GetImageFromArray(values)
    geometry_to_sitk(image, GEOMETRY.cropped((-4, -4, -4), (30, 30, 30)))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    (case,) = find_cases(write_case(tmp_path / "out", "anna"), image=tmp_path / "ct.nrrd")
    voxels = load_voxels(case)
    assert voxels.window == (-160.0, 240.0)
    # Column 11 of the grid is the image's column 15, the first that is not air.
    start = round(GEOMETRY.ras_to_ijk_points(voxels.geometry.origin_ras[None])[0, 0])
    assert voxels.grey[5, 5, 10 - start] == -900 and voxels.grey[5, 5, 11 - start] == 40


def test_the_image_of_a_run_lies_behind_its_outlines_with_what_it_said(tmp_path):
    said = {"status": "used", "network": "ct.safetensors", "licence": "CC-BY-4.0", "moved_share": 0.25}
    summary = write_case(tmp_path, "anna", image={**said, "added_ml": 3.04, "removed_ml": 1.0})
    values = np.linspace(-900.0, 400.0, int(np.prod(GEOMETRY.shape_kji))).reshape(GEOMETRY.shape_kji)
    image = sitk.GetImageFromArray(values.astype(np.float32))
    geometry_to_sitk(image, GEOMETRY)
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    told = json.loads(summary.read_text(encoding="utf-8"))
    summary.write_text(json.dumps({**told, "image": "elsewhere/ct.nrrd"}), encoding="utf-8")
    (case,) = find_cases(summary)
    assert case.image == tmp_path / "ct.nrrd" and load_voxels(case).window == (-160.0, 240.0)
    write_review([case], tmp_path / "r.html", "One")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "25.0 % of the surface follows it: 3.0 mL more and 1.0 mL less than by shape alone" in html
    (tmp_path / "ct.nrrd").unlink()
    (one,) = write_review([case], tmp_path / "r.html", "One")
    assert not one.trouble and "ct.nrrd: not found" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_worst_case_comes_first(tmp_path):
    write_case(tmp_path, "a_same")
    write_case(tmp_path, "b_changed", ORGAN | ISLAND, ORGAN)
    write_case(tmp_path, "c_odd", plausibility={"problems": ["It does not look like the organ."]})
    write_case(tmp_path, "d_gone")
    (tmp_path / "d_gone.nrrd").unlink()
    reviewed = write_review(find_cases(tmp_path), tmp_path / "r.html", "All", details=2)
    assert [one.case.name for one in reviewed] == ["d_gone", "c_odd", "b_changed", "a_same"]
    assert [one.status for one in reviewed] == ["failed", "check", "done", "done"]
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert html.count("<section") == 2 and html.count("<tr data-status") == 4
    assert "d_gone.nrrd" in reviewed[0].trouble and reviewed[0].trouble in html


def test_the_exit_code_tells_that_nothing_could_be_shown(tmp_path, capsys):
    summary = write_case(tmp_path, "anna")
    for path in tmp_path.glob("*.nrrd"):
        path.unlink()
    assert main(["report", str(summary), "--output", str(tmp_path / "r.html")]) == 2
    assert "Nothing of" in capsys.readouterr().err and (tmp_path / "r.html").is_file()


def test_the_page_needs_nothing_from_outside(tmp_path):
    write_case(tmp_path, "anna")
    write_case(tmp_path, "ben")
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "r.html")]) == 0
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", html)
    assert all(value.startswith(("data:", "#")) for value in re.findall(r'(?:src|href)="([^"]*)"', html))


def test_texts_from_files_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    write_case(tmp_path, "anna", organ=evil, licence=evil, plausibility={"problems": [evil]}, template=evil)
    write_case(tmp_path, "ben")
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "r.html"), "--title", evil]) == 0
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert html.count("<script>") == 1 and "<img src=x" not in html and "&lt;script&gt;" in html


# Faults


@pytest.mark.parametrize(
    "entry",
    [
        {"volume_before_ml": "many", "signed_change_mm": 7, "plausibility": [], "alignment": None},
        {"plausibility": {"problems": 3, "volume_z": {"x": 1}}, "licence": ["a"], "label": None},
        {"suggestions": [{"kind": 3, "centre_ras": "x", "probability": []}, 5], "dsc_to_input": 0.5},
        {"dsc_to_input": 10**400, "label": True, "organ": {"a": 1}, "template_sha256": 5, "seconds": "x"},
    ],
)
def test_a_summary_with_odd_values_still_makes_a_page(tmp_path, entry):
    path = write_case(tmp_path, "anna")
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["organs"] = [{**summary["organs"][0], **entry}, entry]
    path.write_text(json.dumps(summary))
    assert main(["report", str(path), "--output", str(tmp_path / "r.html")]) == 0
    assert "</html>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_result_that_replaced_its_input_is_told(tmp_path):
    path = write_case(tmp_path, "anna")
    summary = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**summary, "input": summary["output"]}))
    assert "has replaced its input" in review_case(only(path)).trouble


def test_a_page_that_cannot_be_written_is_told_before_the_work_and_leaves_nothing(tmp_path, capsys):
    summary = write_case(tmp_path / "out", "anna")
    assert main(["report", str(summary), "--output", str(tmp_path / "absent" / "r.html")]) == 2
    assert main(["report", str(summary), "--output", str(tmp_path / "r.pdf")]) == 2
    told = capsys.readouterr().err
    assert "does not exist" in told and ".html" in told and [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_refined_case_can_be_reviewed_at_once(tmp_path, tiny_template_file):
    from Testing.tiny_template import label_volume, patient

    write_labels(label_volume(*patient(np.random.default_rng(11))), tmp_path / "case.nrrd")
    files = ["--output", str(tmp_path / "out.nrrd"), "--surface", str(tmp_path / "out.vtp"), "--report"]
    command = ["refine", str(tmp_path / "case.nrrd"), "--template", str(tiny_template_file), *files]
    assert main([*command, str(tmp_path / "out.json"), "--preset", "draft", "--device", "cpu"]) == 0
    case = only(tmp_path / "out.json")
    assert case.surface == tmp_path / "out.vtp"
    reviewed = review_case(case)
    assert reviewed.status == "done" and reviewed.measures.mean_move_mm == case.organ["signed_change_mm"]["mean_abs"]
