"""Batches: which cases there are, what is done already, and what the tables say."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("distributed", reason="needs dask: pip install 'ReShapeITLib[batch]'")

from ReShapeITLib.batch.case_process import refined
from ReShapeITLib.batch.cases import BatchCase, BatchOptions, read_cases
from ReShapeITLib.batch.decisions import ACCEPTED, OPEN, REJECTED, decide, read_rows
from ReShapeITLib.batch.records import (
    DONE,
    FAILED,
    REFUSED,
    fingerprint,
    folder_lock,
    is_done,
    write_record,
)
from ReShapeITLib.batch.table import COLUMNS, write_tables
from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.damage.shapes import bite
from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.tiny_template import label_volume, patient

ANY = BatchOptions(template="liver")


def write_patients(folder, n: int) -> None:
    """Bitten organs of the tiny template on coarse voxels: a second of work each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        rng = np.random.default_rng(number)
        mask, geometry = patient(rng, (5.0, 5.0, 5.0))
        volume = label_volume(bite(mask, geometry, rng, radius_mm=12.0), geometry)
        write_labels(volume, folder / f"case{number:02d}.nii.gz")


@pytest.fixture
def inputs(tmp_path):
    write_patients(tmp_path / "in", 2)
    return tmp_path / "in"


def test_a_folder_gives_a_case_for_each_label_file(inputs, tmp_path):
    (inputs / "notes.txt").write_text("not a label file")
    (inputs / ".hidden.nrrd").write_text("left by another program")
    cases = read_cases(inputs, tmp_path / "out", replace(ANY, surface=".stl", reports=True))
    assert [case.name for case in cases] == ["case00", "case01"]
    out = tmp_path / "out"
    assert (cases[0].output, cases[0].report, cases[0].surface) == (
        out / "case00.nii.gz",
        out / "reports" / "case00.json",
        out / "surfaces" / "case00.stl",
    )
    assert BatchCase.from_dict(json.loads(json.dumps(cases[0].as_dict()))) == cases[0]


def test_a_table_names_input_template_and_label_of_each_case(inputs, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("input,name,template,label\nin/case01.nii.gz,second,spleen,3\nin/case00.nii.gz,,,\n")
    second, first = read_cases(table, tmp_path / "out", ANY)
    assert (second.name, second.input, second.options) == (
        "second",
        inputs / "case01.nii.gz",
        replace(ANY, template="spleen", label="3"),
    )
    assert (first.name, first.options) == ("case00", ANY)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file\na.nrrd\n", "must have the column 'input'"),
        ("input,age\na.nrrd,3\n", "not age"),
        ("input\n", "has no lines"),
        ("input,name\na.nrrd,x\nb.nrrd,X\n", "Two cases of .* are called 'X'"),
        ("input,name\na.nrrd,../x\n", "'../x' is no name for a case"),
        ("input,name\n,x\n", "names no input"),
        ("input\nout/a.nrrd\n", "among the inputs"),
    ],
)
def test_a_wrong_table_is_told_in_one_sentence(tmp_path, text, told):
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(BadInputError, match=told):
        read_cases(tmp_path / "cases.csv", tmp_path / "out", ANY)


def test_a_case_without_a_template_and_an_empty_folder_are_told(inputs, tmp_path):
    with pytest.raises(BadInputError, match="No template is named for the case 'case00'"):
        read_cases(inputs, tmp_path / "out", BatchOptions())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="holds no label files"):
        read_cases(tmp_path / "empty", tmp_path / "out", ANY)
    with pytest.raises(BadInputError, match="There is no folder or table"):
        read_cases(tmp_path / "absent", tmp_path / "out", ANY)


def finished(case: BatchCase, status: str = DONE, **more) -> None:
    case.folder.mkdir(exist_ok=True)
    shutil.copy(case.input, case.output)
    write_record(case, {"status": status, "message": "", "fingerprint": fingerprint(case), "seconds": 1.0, **more})


def test_a_case_is_open_again_when_anything_that_it_depends_on_has_changed(inputs, tmp_path, tiny_template_file):
    options = BatchOptions(template=str(tiny_template_file))
    case = read_cases(inputs, tmp_path / "out", options)[0]
    assert not is_done(case)
    finished(case)
    assert is_done(case)
    os.utime(case.input, (0, 0))
    assert is_done(case), "clocks must not matter"
    assert not is_done(replace(case, options=replace(options, preset="fine")))
    case.output.unlink()
    assert not is_done(case), "the result is gone"
    finished(case)
    shutil.copy(inputs / "case01.nii.gz", case.input)
    assert not is_done(case), "another input"


def test_failures_are_tried_again_and_refusals_are_not(inputs, tmp_path, tiny_template_file):
    case = read_cases(inputs, tmp_path / "out", BatchOptions(template=str(tiny_template_file)))[0]
    for status, done in ((REFUSED, True), (FAILED, False)):
        finished(case, status)
        assert is_done(case) is done
    (tmp_path / "out" / ".batch" / "cases" / "case00.json").write_text('{"status": "done"')
    assert not is_done(case), "a damaged record says nothing"


def test_that_a_use_is_non_commercial_or_saves_memory_changes_no_result(inputs, tmp_path, tiny_template_file):
    case = read_cases(inputs, tmp_path / "out", BatchOptions(template=str(tiny_template_file)))[0]
    finished(case)
    assert is_done(replace(case, options=replace(case.options, non_commercial=True, low_memory=True)))
    assert not is_done(replace(case, options=replace(case.options, alignment="pycpd")))
    assert BatchCase.from_dict(replace(case, options=replace(case.options, non_commercial=True)).as_dict()) != case


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ("surfaces folder", FAILED, "cannot_write"),
        ("output folder", FAILED, "cannot_write"),
        ("device", FAILED, "device.unusable"),
        ("input", REFUSED, "input.unreadable"),
        ("template", REFUSED, "implausible"),
    ],
)
def test_a_case_is_refused_for_its_input_and_failed_for_everything_else(
    inputs, tmp_path, tiny_template_file, monkeypatch, wrong, status, code
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    options = BatchOptions(template=str(tiny_template_file), preset="draft", device="cpu", surface=".vtp")
    options = replace(options, **{"device": {"device": "cuda"}, "template": {"template": "liver"}}.get(wrong, {}))
    case = read_cases(inputs, tmp_path / "out", options)[0]
    case.folder.mkdir()
    if wrong == "surfaces folder":
        case.surface.parent.write_text("a file is in the way")
    elif wrong == "output folder":
        case.output.mkdir()
    elif wrong == "input":
        case.input.write_text("not an image")
    told = refined(case)
    assert (told["status"], told["code"]) == (status, code), told["message"]


def test_a_case_whose_input_is_gone_is_told_and_open(inputs, tmp_path, tiny_template_file):
    case = read_cases(inputs, tmp_path / "out", BatchOptions(template=str(tiny_template_file)))[0]
    finished(case)
    case.input.unlink()
    assert not is_done(case)
    with pytest.raises(BadInputError, match="There is no input .*case00.nii.gz"):
        fingerprint(case)


def test_only_one_batch_works_in_a_folder(tmp_path):
    with folder_lock(tmp_path), pytest.raises(BadInputError, match="Another batch works in"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass


def test_the_tables_have_the_same_columns_whatever_came_out(inputs, tmp_path, tiny_template_file):
    from pyarrow import parquet

    cases = read_cases(inputs, tmp_path / "out", BatchOptions(template=str(tiny_template_file)))
    organ = {"label": 1, "organ": "test_organ", "volume_before_ml": 3.5, "plausibility": {"problems": ["a", "b"]}}
    finished(cases[0], organs=[organ, {**organ, "label": "x"}])
    write_tables(tmp_path / "out", cases)
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["status"], row["label"], row["problems"]) for row in rows] == [
        ("case00", "done", "1", "a; b"),
        ("case00", "done", "x", "a; b"),
        ("case01", "open", "", ""),
    ]
    table = parquet.read_table(tmp_path / "out" / "results.parquet")
    assert table.column_names == list(COLUMNS) and table.column("volume_before_ml").to_pylist() == [3.5, 3.5, None]


ORGAN_OF_A_CASE = {"label": 1, "organ": "liver", "volume_after_ml": 3.5}


def test_a_decision_stays_with_its_result_and_goes_with_another(inputs, tmp_path, tiny_template_file):
    cases = read_cases(inputs, tmp_path / "out", BatchOptions(template=str(tiny_template_file)))
    for case in cases:
        finished(case, organs=[ORGAN_OF_A_CASE], seconds=1.25)
    write_tables(tmp_path / "out", cases)
    decide(tmp_path / "out", "case00", "1", ACCEPTED)
    rows = decide(tmp_path / "out", "case01", "1", REJECTED)
    assert [row["decision"] for row in rows] == [ACCEPTED, REJECTED]
    finished(cases[1], organs=[ORGAN_OF_A_CASE], seconds=2.5)
    write_tables(tmp_path / "out", cases)
    assert [row["decision"] for row in read_rows(tmp_path / "out")] == [ACCEPTED, OPEN]


def test_both_tables_have_the_decision_and_a_row_that_is_not_there_is_told(inputs, tmp_path, tiny_template_file):
    from pyarrow import parquet

    cases = read_cases(inputs, tmp_path / "out", BatchOptions(template=str(tiny_template_file)))
    finished(cases[0], organs=[ORGAN_OF_A_CASE])
    write_tables(tmp_path / "out", cases)
    decide(tmp_path / "out", "case00", "1", ACCEPTED)
    assert parquet.read_table(tmp_path / "out" / "results.parquet").column("decision").to_pylist() == [ACCEPTED, None]
    with pytest.raises(BadInputError, match="has no organ '2' of the case 'case00'"):
        decide(tmp_path / "out", "case00", "2", ACCEPTED)
    assert read_rows(tmp_path / "nowhere") == []


def test_a_batch_refines_what_it_can_says_what_it_could_not_and_goes_on(inputs, tmp_path, tiny_template_file, capsys):
    (inputs / "broken.nrrd").write_text("not an image")
    command = ["batch", str(inputs), "--template", str(tiny_template_file), "--out", str(tmp_path / "out")]
    command += ["--preset", "draft", "--workers", "1", "--surfaces", ".vtp", "--device", "cpu"]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "2 done, 1 refused, 0 failed" in told.out
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows["broken"]["status"] == "refused" and "is not a NRRD file" in rows["broken"]["message"]
    for name in ("case00", "case01"):
        given, refined = (read_labels(folder / f"{name}.nii.gz") for folder in (inputs, tmp_path / "out"))
        assert given.geometry.size_ijk == refined.geometry.size_ijk
        for column, volume in (("volume_before_ml", given), ("volume_after_ml", refined)):
            ml = np.count_nonzero(volume.mask(1)) * volume.geometry.voxel_volume_mm3 / 1000
            assert float(rows[name][column]) == pytest.approx(ml)
        assert (tmp_path / "out" / "surfaces" / f"{name}.vtp").is_file()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    (inputs / "broken.nrrd").unlink()
    write_patients(inputs, 3)
    assert main(command) == 0
    assert "2 of 3 cases are done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert (tmp_path / "out" / "case02.nii.gz").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--timeout", "-1"], "'-1' is not a number of at least 0"),
        (["--workers", "two"], "'two' is not a whole number"),
        (["--scheduler", "tcp://127.0.0.1:9"], "No dask scheduler answers"),
        (["--template", "no_such_organ"], "no_such_organ"),
    ],
)
def test_wrong_usage_is_told_before_any_work(inputs, tmp_path, tiny_template_file, capsys, words, told):
    command = ["batch", str(inputs), "--template", str(tiny_template_file), "--out", str(tmp_path / "out"), *words]
    assert main(command) == 2
    assert told in capsys.readouterr().err
