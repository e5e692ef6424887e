"""Statistics of a study against numbers worked out by hand, and the files they go into."""

from __future__ import annotations

import csv
import math
import sys

import numpy as np
import pytest

from Testing.Studies.evaluation.measure import METRIC_NAMES
from Testing.Studies.evaluation.statistics import bootstrap_interval, harmed, pairs, statistics, worst_decile
from Testing.Studies.evaluation.table import write_tables


def row(case, method, hd95_mm=4.0, dsc=0.8, patient=None, variant="", **changes):
    values = dict.fromkeys(METRIC_NAMES, 1.0) | {"hd95_mm": hd95_mm, "dsc": dsc}
    about = {"patient": patient or case, "case": case, "family": "nets", "variant": variant, "method": method}
    return about | values | changes


def failed_row(case, method):
    about = {"patient": case, "case": case, "family": "nets", "variant": "", "method": method}
    return about | {"error": "it broke"}


ROWS = [
    row("a", "input", 4.0, 0.80),
    row("a", "m", 2.0, 0.90, seconds=1.0),
    row("b", "input", 8.0, 0.70),
    row("b", "m", 6.0, 0.70, seconds=3.0),
    row("c", "input", 6.0, 0.60),
    row("c", "m", 6.5, 0.50, seconds=2.0),
    row("d", "input", 2.0, 0.90),
    failed_row("d", "m"),
]


def found(metric, method="m", rows=ROWS):
    return next(s for s in statistics(rows, resamples=200) if (s.metric, s.method) == (metric, method))


def test_averages_and_tails_are_those_worked_out_by_hand():
    hd95 = found("hd95_mm")
    assert (hd95.inputs, hd95.patients, hd95.failed, hd95.left_out) == (4, 4, 1, 0)
    assert hd95.mean == pytest.approx((2 + 6 + 6.5 + 2) / 4)
    assert hd95.median == pytest.approx(4.0) and hd95.worst_decile == 6.5
    assert hd95.difference == pytest.approx((-2 - 2 + 0.5 + 0) / 4)
    assert hd95.change == pytest.approx(hd95.difference / 5.0)
    assert (hd95.improved, hd95.worsened, hd95.harmed) == (0.5, 0.25, 0.25)
    assert hd95.seconds == 2.0


def test_more_is_better_for_dice_and_less_for_distances():
    dsc = found("dsc")
    assert (dsc.improved, dsc.worsened, dsc.worst_decile) == (0.25, 0.25, 0.5)
    assert dsc.difference == pytest.approx(0.0)


def test_the_input_does_not_differ_from_itself():
    one = found("hd95_mm", "input")
    assert (one.mean, one.difference, one.low, one.high, one.improved, one.harmed) == (5.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert math.isnan(one.seconds)


def test_differences_below_a_thousandth_are_noise():
    rows = [row("a", "input", 10.0), row("a", "m", 10.005), row("b", "input", 10.0), row("b", "m", 9.98)]
    hd95 = found("hd95_mm", rows=rows)
    assert (hd95.improved, hd95.worsened) == (0.5, 0.0)


def test_a_case_is_harmed_by_half_a_point_of_dice_or_a_twentieth_of_hd95():
    after = [(4.0, 0.7951), (4.0, 0.7949), (4.19, 0.8), (4.21, 0.8)]
    rows = []
    for name, (hd95_mm, dsc) in zip("abcd", after, strict=True):
        rows += [row(name, "input"), row(name, "m", hd95_mm, dsc)]
    assert harmed(pairs(rows, "nets", "m")).tolist() == [False, True, False, True]


def test_the_worst_tenth_has_at_least_one_case_and_lies_at_the_bad_end():
    values = np.arange(1.0, 21.0)
    assert worst_decile(values, False) == 19.5 and worst_decile(values, True) == 1.5
    assert worst_decile(values[:3], False) == 3.0


def test_inputs_without_voxels_are_left_out_and_counted():
    rows = [*ROWS, row("e", "input", hd95_mm=None, dsc=0.0), failed_row("e", "m")]
    hd95 = found("hd95_mm", rows=rows)
    assert (hd95.inputs, hd95.left_out, hd95.failed) == (4, 1, 1) and hd95.mean == found("hd95_mm").mean


def test_only_inputs_that_a_method_has_done_count_for_it():
    hd95 = found("hd95_mm", rows=ROWS[:4] + ROWS[4:5])
    assert (hd95.inputs, hd95.difference) == (2, -2.0)


def test_the_interval_of_two_patients_spans_their_differences():
    # Of two patients, half of the resamples hold both and a quarter each of them alone.
    assert bootstrap_interval(np.array([1.0, 3.0]), np.array(["a", "b"]), 2000) == (1.0, 3.0)


def test_the_interval_is_that_of_the_normal_distribution_where_there_are_many_patients():
    differences = np.random.default_rng(3).normal(1.0, 2.0, size=400)
    low, high = bootstrap_interval(differences, np.arange(400).astype(str), 4000)
    error = differences.std() / 20
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.15 * error)


def test_inputs_of_one_patient_are_drawn_together():
    differences, patients = np.array([1.0, 1.0, 1.0, -1.0]), np.array(["a", "a", "a", "b"])
    assert bootstrap_interval(differences, patients, 2000) == (-1.0, 1.0)
    assert bootstrap_interval(differences[:3], patients[:3], 100) == (1.0, 1.0)


def test_the_tables_hold_every_row_and_statistic(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    notices = []
    text = write_tables(ROWS, tmp_path, notices.append)
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    table = pandas.read_parquet(tmp_path / "results.parquet")
    assert not notices and len(lines) == len(table) == len(ROWS)
    assert lines[-1]["error"] == "it broke" and lines[-1]["hd95_mm"] == ""
    assert table["hd95_mm"].tolist()[:7] == [float(line["hd95_mm"]) for line in lines[:7]]
    assert math.isnan(table["hd95_mm"].iloc[-1]) and table["case"].tolist() == [r["case"] for r in ROWS]
    with open(tmp_path / "statistics.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(METRIC_NAMES)
    assert text == (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "## nets\n\n4 inputs of 4 patients." in text
    assert "| HD95 mm | m | 4.125 | 4.000 | 6.500 | -0.875 |" in text and "4.125 (-18%)" in text
    assert "| 75.000 (+0.00) |" in text or "| 75.000 (-0.00) |" in text


def test_without_pandas_there_is_the_csv_file_and_a_notice(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    notices = []
    write_tables(ROWS, tmp_path, notices.append)
    assert (tmp_path / "results.csv").exists() and not (tmp_path / "results.parquet").exists()
    assert len(notices) == 1 and "pandas" in notices[0]
