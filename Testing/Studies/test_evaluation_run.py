"""Running a study: the rows, going on where an earlier run stopped, failures, workers, the report, the command."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from ReShapeITLib.core.errors import BadInputError, CancelledError
from ReShapeITLib.core.progress import Progress
from Testing.Studies.__main__ import main as studies
from Testing.Studies.cases_for_tests import (
    largest,
    make_study,
    simple_methods,
    sphere,
    study_values,
    write_cases,
    write_mask,
    write_template,
)
from Testing.Studies.evaluation import measure as measuring
from Testing.Studies.evaluation.report import worst_rows, write_report
from Testing.Studies.evaluation.run import run_study


@pytest.fixture(scope="module", autouse=True)
def one_emd():
    """The exact EMD is slow and tested elsewhere: one sampling is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "_MORE_EMD_SEEDS", ())
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_cases(folder)
    write_template(folder / "template.safetensors")
    return folder


@pytest.fixture(scope="module")
def done(folder):
    """Study, rows and output folder of a run over everything."""
    study = make_study(folder, folder / "template.safetensors")
    return study, run_study(study, folder / "out", methods_of=simple_methods), folder / "out"


def counting(calls):
    def methods_of(study):
        def counted(name):
            def method(mask, geometry):
                calls.append(name)
                return largest(mask, geometry)

            return method

        return {entry.label: counted(entry.label) for entry in study.methods}

    return methods_of


def small(folder, methods=("first", "second"), **changes):
    family = {"kind": "predictions", "folder": "nets", "names": ["island"]}
    return make_study(
        folder, folder / "template.safetensors", methods=list(methods), **{"families": [family]} | changes
    )


def row_of(rows, case, variant, method):
    (row,) = [r for r in rows if (r["case"], r["variant"], r["method"]) == (case, variant, method)]
    return row


def test_every_case_input_and_method_has_a_row(done):
    _, rows, out = done
    assert len(rows) == 2 * 2 * 4
    assert [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()] == rows


def test_a_method_that_removes_the_island_reaches_the_truth(done):
    _, rows, _ = done
    before, after = row_of(rows, "a", "island", "input"), row_of(rows, "a", "island", "largest")
    voxels = sphere()[0].sum()
    assert before["dsc"] == pytest.approx(2 * voxels / (2 * voxels + 27))
    assert after["dsc"] == after["nsd"] == 1.0 and after["hd95_mm"] == after["assd_mm"] == 0.0
    assert after["cd"] < 0.001 < before["cd"] and after["emd"] < before["emd"] and after["seconds"] >= 0


def test_a_method_that_fails_or_leaves_nothing_gets_a_row_that_says_so(done):
    _, rows, _ = done
    assert row_of(rows, "b", "right", "failing")["error"] == "No, thanks."
    assert row_of(rows, "b", "right", "empty")["error"] == "Nothing is left of the organ."


def test_any_other_exception_of_a_method_is_a_row_too(folder, tmp_path):
    def methods_of(study):
        return {"first": lambda mask, geometry: 1 / 0, "second": lambda mask, geometry: None}

    study = small(folder, truths=["truths/a.nrrd"])
    errors = [row["error"] for row in run_study(study, tmp_path, methods_of=methods_of)[1:]]
    assert errors[0].startswith("ZeroDivisionError") and errors[1].startswith("AttributeError")


def test_a_second_start_goes_on_where_the_first_was_cancelled(folder, tmp_path):
    progress, calls = Progress("none"), []

    def cancelling(study):
        def method(mask, geometry):
            progress.cancel()
            return largest(mask, geometry)

        return {"first": method, "second": method}

    study = small(folder)
    with pytest.raises(CancelledError):
        run_study(study, tmp_path, progress=progress, methods_of=cancelling)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    rows = run_study(study, tmp_path, methods_of=counting(calls))
    assert calls == ["second", "first", "second"] and len(rows) == 6
    assert run_study(study, tmp_path, methods_of=counting(calls)) == rows and len(calls) == 3


def test_half_a_line_of_a_killed_run_is_measured_again(folder, tmp_path):
    calls, study = [], small(folder, ["first"], truths=["truths/a.nrrd"])
    rows = run_study(study, tmp_path, methods_of=counting(calls))
    path = tmp_path / "rows.jsonl"
    path.write_text(path.read_text()[:-20], encoding="utf-8")
    again = run_study(study, tmp_path, methods_of=counting(calls))
    assert calls == ["first", "first"] and len(path.read_text().splitlines()) == 2
    assert again[1] | {"seconds": 0} == rows[1] | {"seconds": 0}


def test_methods_may_be_added_but_settings_not_changed(folder, tmp_path):
    calls, only = [], {"truths": ["truths/a.nrrd"]}
    run_study(small(folder, ["first"], **only), tmp_path, methods_of=counting(calls))
    run_study(small(folder, ["first", "second"], **only), tmp_path, methods_of=counting(calls))
    assert calls == ["first", "second"]
    with pytest.raises(BadInputError, match="made with another 'seed'"):
        run_study(small(folder, ["first"], seed=1, **only), tmp_path, methods_of=counting(calls))
    with pytest.raises(BadInputError, match="made with another 'method first'"):
        run_study(small(folder, [{"name": "first", "size": 3}], **only), tmp_path, methods_of=counting(calls))


def test_damaged_rows_are_told(folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="is damaged"):
        run_study(small(folder), tmp_path, methods_of=simple_methods)


def test_an_input_without_voxels_is_infinitely_far(folder, tmp_path):
    truth, geometry = sphere()
    write_mask(folder / "nets" / "a" / "nothing.nii.gz", truth & False, geometry)
    family = {"kind": "predictions", "folder": "nets", "names": ["nothing"]}
    study = small(folder, ["empty"], truths=["truths/a.nrrd"], families=[family])
    first = run_study(study, tmp_path, methods_of=simple_methods)[0]
    assert first["dsc"] == 0.0 and first["hd95_mm"] is None and first["emd"] is None


def test_workers_make_the_same_rows(done, folder, tmp_path):
    _study, rows, _ = done
    only = make_study(folder, folder / "template.safetensors", truths=["truths/a.nrrd"], methods=["largest"])
    made = run_study(only, tmp_path, workers=2, methods_of=simple_methods)
    expected = [row for row in rows if row["case"] == "a" and row["method"] in ("input", "largest")]
    # Workers do not see this module's shortcut for the EMD.
    assert [{**r, "seconds": 0, "emd": 0} for r in made] == [{**r, "seconds": 0, "emd": 0} for r in expected]


def test_the_worst_cases_are_those_furthest_from_the_truth():
    distances = {"a": 1.0, "b": 5.0, "c": None, "d": 3.0, "e": 4.0}
    rows = [{"family": "f", "method": "m", "case": c, "assd_mm": v} for c, v in distances.items()]
    rows += [{"family": "f", "method": "m", "case": "x", "error": "no"}]
    assert [row["case"] for row in worst_rows(rows, "f", "m")] == ["b", "e", "d"]


def test_the_report_ties_tables_charts_and_pictures_together(done):
    pytest.importorskip("matplotlib")
    study, rows, out = done
    text = write_report(study, rows, out, lambda words: None, methods_of=simple_methods).read_text(encoding="utf-8")
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert len(pictures) == 2 + 2 * 3 and all(f"({name})" in text for name in pictures)
    assert text.startswith("# Evaluation: test_organ") and "## predictions\n\n4 inputs of 2 patients" in text


def test_without_matplotlib_the_charts_are_left_out(done, tmp_path, monkeypatch):
    study, rows, _ = done
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    notices = []
    no_pictures = [row for row in rows if row["method"] == "input" or "error" in row]
    text = write_report(study, no_pictures, tmp_path, notices.append, methods_of=simple_methods).read_text()
    assert any("matplotlib" in words for words in notices) and ".png" not in text


def test_the_command_runs_a_study_and_refuses_training_cases(folder, tmp_path, capsys):
    values = study_values(folder / "template.safetensors", truths=["truths/a.nrrd"], methods=["largest"])
    values["families"] = [{"kind": "clean"}]
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert studies([str(path), "--output", str(tmp_path / "out")]) == 0
    assert "measured 2 rows, 0 of them failed" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.md").exists() and (tmp_path / "out" / "results.csv").exists()
    path.write_text(yaml.safe_dump(values | {"same_patient": {"a": "case0"}}), encoding="utf-8")
    assert studies([str(path), "--output", str(tmp_path / "out")]) == 2
    assert "the case a" in capsys.readouterr().err
