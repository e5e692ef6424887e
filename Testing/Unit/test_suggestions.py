"""Suggestions: where given and expected organ contradict each other, how likely each is, and the one rule."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.distance.surface import DistanceGrid
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.refinement.decision.calibration import Calibration, Coefficients, calibration
from ReShapeITLib.refinement.decision.suggestions import (
    APART,
    ATTACHED,
    BEYOND,
    KINDS,
    MISSING,
    find_suggestions,
)
from ReShapeITLib.restoration.model import FIELD, NETWORK, WITNESSES, Restoration
from ReShapeITLib.restoration_training.calibrating import (
    EVIDENCE,
    Judged,
    calibrated,
    fit_coefficients,
    left_out,
    names_for_boldness,
    reliability,
)
from Testing.tiny_template import patient

CELL_MM = 2.0
NOTHING_KNOWN = Coefficients(dict.fromkeys(KINDS, 0.0), {})
EVEN = replace(calibration(), witnesses=dict.fromkeys(WITNESSES, NOTHING_KNOWN))
NAMES = EVIDENCE[NETWORK]
BITE, BESIDE, FAR = (16, 16, 29), (16, 16, 31), (16, 16, 36)


def ball(radius: float, centre=(16, 16, 20), shape=(32, 32, 40)) -> np.ndarray:
    """Distance in cells to a ball."""
    return np.linalg.norm(np.indices(shape).T - np.array(centre), axis=-1).T.astype(np.float32) - radius


def answer(given: np.ndarray, restored: np.ndarray, spread: float = 0.0, unseen=None) -> Restoration:
    geometry = ImageGeometry.from_parts(given.shape[::-1], (CELL_MM,) * 3, (5.0, 6.0, 7.0))
    grids = (
        DistanceGrid(np.clip(CELL_MM * part, -6.0, 6.0).astype(np.float32), geometry) for part in (restored, given)
    )
    return Restoration(*grids, CELL_MM, np.full(given.shape, spread, np.float32), unseen)


def bitten() -> np.ndarray:
    return np.maximum(ball(9.0), -ball(4.0, BITE))


def would_change(given: np.ndarray, restored: np.ndarray) -> np.ndarray:
    far = np.abs(np.clip(given, -3, 3) - np.clip(restored, -3, 3)) > EVEN.constants.reach_cells
    return far & ((given < 0) != (restored < 0))


def test_what_differs_by_less_than_a_cell_is_no_suggestion():
    assert find_suggestions(answer(ball(9.0), ball(9.6)), EVEN).entries == ()


@pytest.mark.parametrize(
    ("given", "kind", "centre"),
    [
        (bitten(), MISSING, BITE),
        (np.minimum(ball(9.0), ball(3.0, BESIDE)), ATTACHED, BESIDE),
        (np.minimum(ball(9.0), ball(3.0, FAR)), APART, FAR),
    ],
    ids=[MISSING, ATTACHED, APART],
)
def test_a_suggestion_has_kind_volume_and_place(given, kind, centre):
    whole = ball(9.0)
    (only,) = find_suggestions(answer(given, whole), EVEN).entries
    changed = would_change(given, whole)
    assert only.kind == kind
    assert only.volume_ml == pytest.approx(changed.sum() * CELL_MM**3 / 1000.0, rel=0.05)
    middle_ras = np.argwhere(changed).mean(axis=0)[::-1] * CELL_MM + (5.0, 6.0, 7.0)
    assert only.centre_ras == pytest.approx(middle_ras, abs=0.5)
    assert np.linalg.norm(middle_ras - (np.array(centre[::-1]) * CELL_MM + (5.0, 6.0, 7.0))) < 8.0


def test_what_is_missing_where_nothing_was_seen_lies_beyond_the_end():
    cut = np.broadcast_to(np.arange(40.0)[None, None, :] - 20, (32, 32, 40))
    found = find_suggestions(answer(np.maximum(ball(9.0), cut), ball(9.0), unseen=cut > 0), EVEN)
    assert [entry.kind for entry in found.entries] == [BEYOND]


def test_the_evidence_is_what_the_witness_says_and_how_much_would_change():
    given, whole = bitten(), np.clip(ball(9.0), -1.5, 1.5)
    (only,) = find_suggestions(answer(given, whole, spread=0.25), EVEN, 1.3).entries
    core = would_change(given, whole)
    assert only.evidence["network"] == pytest.approx(np.percentile(-whole[core], 90), abs=0.05)
    assert only.evidence["depth"] == pytest.approx(np.percentile(np.clip(given[core], -3, 3), 90), abs=0.05)
    assert only.evidence["spread"] == pytest.approx(0.25) and only.evidence["unlike"] == 1.3


def test_the_one_rule_takes_what_is_likelier_than_asked_and_the_rest_stays_as_given():
    given = np.minimum(bitten(), ball(3.0, (16, 5, 36)))
    model = replace(EVEN, witnesses={NETWORK: Coefficients({**NOTHING_KNOWN.kinds, MISSING: 1.0, APART: -1.0}, {})})
    found = find_suggestions(answer(given, ball(9.0)), model)
    assert [entry.kind for entry in found.entries] == [MISSING, APART]
    taken = found.likelier_than(0.5)
    assert taken == {found.entries[0].number}
    weight = found.weight(taken).values_mm
    assert (weight[(ball(9.0) < -0.7) & (ball(3.0, BITE) < 0)] == 1).all()
    assert (weight[:, :, :20] == 0).all() and (weight[ball(4.0, (16, 5, 36)) < 0] == 0).all()
    assert not found.weight(()).values_mm.any()


def test_cells_that_are_to_stay_stay_in_a_suggestion_that_is_taken():
    found = find_suggestions(answer(bitten(), ball(9.0)), EVEN)
    left = np.broadcast_to(np.arange(32)[None, :, None] < 16, found.regions.shape)
    weight = found.weight([1], without=left).values_mm
    assert weight[:, 20:].max() == 1 and not weight[:, :13].any()


def judged(rng, n=300) -> list[Judged]:
    """Suggestions that are right by a logistic law of the network's answer and the depth."""
    rows = []
    for index in range(n):
        network, spread, depth, unlike = rng.uniform(0, (3.0, 0.5, 3.0, 2.0))
        odds = -3.0 + 1.5 * network + 1.0 * depth
        evidence = dict(zip(NAMES, (network, spread, depth, unlike), strict=True))
        right = float(rng.random() < 1.0 / (1.0 + np.exp(-odds)))
        rows.append(Judged(f"patient{index % 20}", KINDS[index % 4], evidence, right, 10))
    return rows


def test_a_known_law_is_found_again(rng):
    found = fit_coefficients(judged(rng, 4000), NAMES)
    assert found.evidence["network"] == pytest.approx(1.5, abs=0.2)
    assert found.evidence["depth"] == pytest.approx(1.0, abs=0.2)
    assert abs(found.evidence["spread"]) < 0.6 and abs(found.evidence["unlike"]) < 0.2


def test_probabilities_of_patients_left_out_are_calibrated_and_better_than_by_less_evidence(rng):
    found = reliability(judged(rng, 1500), NAMES)
    assert found.calibration_error < 0.05
    assert found.log_loss < found.log_loss_by["its answer alone"] < found.log_loss_by["kind alone"]


def test_a_patients_own_suggestions_do_not_teach_their_probabilities(rng):
    rows = judged(rng)
    before = left_out(rows, NAMES)
    turned = [
        Judged(r.patient, r.kind, r.evidence, 1.0 - r.right, r.cells) if r.patient == "patient3" else r for r in rows
    ]
    after = left_out(turned, NAMES)
    own = np.array([row.patient == "patient3" for row in rows])
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).any()


def test_balanced_is_the_most_cautious_of_the_choices_that_win_most():
    rows = [Judged("a", MISSING, {}, right, cells) for right, cells in ((0.0, 10), (1.0, 1), (1.0, 99), (1.0, 900))]
    model = replace(EVEN, boldness=names_for_boldness(rows, np.array([0.48, 0.57, 0.68, 0.9])))
    assert model.least("balanced") == pytest.approx(0.55)
    assert model.least("cautious") > model.least("balanced") > model.least("bold")


def test_boldness_is_a_name_or_a_probability_and_nothing_else():
    model = replace(EVEN, boldness={"balanced": 0.6})
    assert model.least("balanced") == 0.6 and model.least("0.35") == 0.35
    for wrong in ("brave", "1.5", "-1", "nan"):
        with pytest.raises(BadInputError, match="boldness is"):
            model.least(wrong)


def test_a_calibration_comes_back_from_its_file(tmp_path):
    model = replace(EVEN, witnesses={FIELD: Coefficients({MISSING: -1.0}, {"depth": 2.0}, {"patients": 3})})
    model.write(tmp_path / "calibration.json")
    assert Calibration.read(tmp_path / "calibration.json") == model


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x"}', '{"format": "reshapeit-calibration-2"}', "[" * 100_000])
def test_a_damaged_calibration_is_told(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match="cannot be read as a calibration"):
        Calibration.read(tmp_path / "calibration.json")


def test_the_shipped_numbers_that_decide_are_few_and_none_is_an_organs_own():
    model = calibration()
    assert set(model.witnesses) == set(WITNESSES)
    for name, one in model.witnesses.items():
        assert set(one.kinds) == set(KINDS) and set(one.evidence) == set(EVIDENCE[name])
        assert one.evidence[name] > 0
    fitted = sum(len(one.kinds) + len(one.evidence) for one in model.witnesses.values())
    beside_image = {name: value for name, value in asdict(model.beside_image).items() if name != "about"}
    assert fitted + len(beside_image) + len(model.boldness) + len(asdict(model.constants)) <= 25
    assert model.beside_image.shape > 0 and model.beside_image.image > 0
    assert model.witnesses[NETWORK].evidence["spread"] < 0 < model.witnesses[NETWORK].evidence["depth"]


def test_what_is_calibrated_anew_leaves_the_other_witness_and_the_boldness_as_they_were(rng):
    known = calibration()
    rows = [replace(row, evidence={"field": row.evidence["network"], **row.evidence}) for row in judged(rng)]
    anew, found = calibrated({FIELD: rows}, known)
    assert anew.witnesses[NETWORK] == known.witnesses[NETWORK] and anew.boldness == known.boldness
    assert set(found) == {FIELD} and anew.witnesses[FIELD] != known.witnesses[FIELD]
    assert anew.witnesses[FIELD].about["patients"] == 20


def test_the_command_calibrates_the_field_of_a_template_without_a_network(tiny_template_file, tmp_path, capsys):
    lines = ["given,truth,template,patient"]
    for name in ("a", "b"):
        whole, geometry = patient(np.random.default_rng(len(lines)))
        given = whole.copy()
        given[:, :, whole.shape[2] // 2 + 6 :] = False
        for kind, mask in (("given", given), ("truth", whole)):
            write_labels(LabelVolume.from_array(mask, geometry), tmp_path / f"{name}_{kind}.nrrd")
        lines.append(f"{name}_given.nrrd,{name}_truth.nrrd,{tiny_template_file},{name}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    assert main(["calibrate", str(tmp_path / "pairs.csv"), "--output", str(tmp_path / "calibration.json")]) == 0
    assert "about 2 patients" in capsys.readouterr().out
    anew, known = Calibration.read(tmp_path / "calibration.json"), calibration()
    assert anew.witnesses[FIELD].about["patients"] == 2 and anew.witnesses[NETWORK] == known.witnesses[NETWORK]
    assert anew.constants == known.constants
