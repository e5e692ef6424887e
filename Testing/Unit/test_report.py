"""The report: volumes, surface statistics, finite JSON."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.job.report import (
    OrganReport,
    RefineReport,
    StageClock,
    peak_memory_mb,
    surface_changes,
    voxel_changes,
)

TETRAHEDRON = TriangleSurface.from_triangles(
    np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
)


def report(**changes) -> RefineReport:
    values = {
        "label": 1,
        "organ": "liver",
        "template": "liver.safetensors",
        "template_sha256": "00",
        "licence": "CC0-1.0",
        "non_commercial": False,
        "device": "cpu",
        "device_reason": "asked for",
        "volume_before_ml": 1.0,
        "volume_after_ml": 2.0,
        "added_ml": 1.0,
        "removed_ml": 0.0,
        "dsc_to_input": 0.5,
        "signed_change_mm": None,
        "field_share": None,
        "restoration": None,
        "restoration_licence": None,
        "detail": None,
        "detail_licence": None,
        "islands_removed": 0,
        "holes_filled": 0,
        "alignment": {},
        "plausibility": {},
        "seconds": {},
    }
    return RefineReport("in.nrrd", "out.nrrd", "draft", 0, 1.0, 100.0, (OrganReport(**{**values, **changes}),))


def test_volumes_are_in_ml_whatever_the_spacing():
    geometry = ImageGeometry.from_parts((10, 10, 10), (2.0, 2.0, 5.0))
    before, after = np.zeros((2, 10, 10, 10), dtype=bool)
    before[:4], after[1:6] = True, True
    changes = voxel_changes(before, after, geometry)
    assert changes["volume_before_ml"] == pytest.approx(8.0) and changes["volume_after_ml"] == pytest.approx(10.0)
    assert changes["added_ml"] == pytest.approx(4.0) and changes["removed_ml"] == pytest.approx(2.0)
    assert changes["dsc_to_input"] == pytest.approx(2 * 3 / 9)


def test_surface_changes_are_weighted_by_area():
    surface = TETRAHEDRON.with_point_data(
        signed_change_mm=np.array([4.0, -1.0, -1.0, -1.0]), field_weight=np.array([1.0, 0.0, 0.0, 0.0])
    )
    # The three right triangles meet at vertex 0, the large one lies opposite to it.
    share = (3 * 0.5 / 3) / (3 * 0.5 + math.sqrt(3) / 2)
    change, field_share = surface_changes(surface)
    assert field_share == pytest.approx(share)
    assert change["mean_abs"] == pytest.approx(4 * share + 1 * (1 - share))
    assert (change["max_out"], change["max_in"], change["p95_abs"]) == (4.0, 1.0, 4.0)


def test_a_surface_that_did_not_move_has_changes_of_zero():
    surface = TETRAHEDRON.with_point_data(signed_change_mm=np.zeros(4), field_weight=np.zeros(4))
    change, field_share = surface_changes(surface)
    assert field_share == 0 and set(change.values()) == {0.0}


def test_numbers_that_are_not_finite_become_null(tmp_path):
    report(dsc_to_input=math.nan, alignment={"mean_residual_mm": math.inf}).write(tmp_path / "r.json")
    organ = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["organs"][0]
    assert organ["dsc_to_input"] is None and organ["alignment"]["mean_residual_mm"] is None


def test_the_report_says_that_this_is_research_software(tmp_path):
    report().write(tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert written["notice"] == "Research software, not a medical device." and written["reshapeit_version"]


def test_a_report_that_cannot_be_written_names_the_file(tmp_path):
    with pytest.raises(BadInputError, match="absent"):
        report().write(tmp_path / "absent" / "r.json")


def test_the_clock_books_time_to_the_stage_that_was_running(monkeypatch):
    ticks = iter([100.0, 107.0, 108.0, 110.0])
    monkeypatch.setattr("ReShapeITLib.job.report.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    clock = StageClock(Progress("none"))
    clock.stage("align", 0.1)
    clock.stage("fit", 0.2)
    clock.stage("fit", 0.3)
    assert clock.seconds() == {"align": 1.0, "fit": 2.0}


def test_the_clock_passes_stages_and_cancel_on():
    progress = Progress("none")
    clock = StageClock(progress.part(0.5, 1.0))
    clock.stage("fit", 0.5)
    assert progress.fraction == 0.75
    progress.cancel()
    with pytest.raises(Exception, match="cancelled"):
        clock.stage("blend", 0.8)


def test_peak_memory_is_that_of_this_process():
    assert 10 < peak_memory_mb() < 1e6
