"""Oracle bounds and ablations: decisions with the truth in view, and the settings that variants are trained with."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.surface import DistanceGrid, surface_from_mask
from ReShapeITLib.restoration.model import Restoration
from ReShapeITLib.training.config import COMPACT_CONFIG, config_from_dict
from Testing.Studies.ablations import VARIANTS, mean_metrics, thinned_input, write_tables
from Testing.Studies.evaluation.inputs import CaseInput
from Testing.Studies.hindsight import best_pieces, best_regions, best_subset, two_sided_mm2
from Testing.Studies.oracle_bounds import report
from Testing.tiny_template import ellipsoid_mask

GEOMETRY = ImageGeometry.from_parts((40, 40, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
MIDDLE = np.array([39.0, 39.0, 39.0])


def ball(radius_mm, offset_mm=(0.0, 0.0, 0.0)):
    return ellipsoid_mask(GEOMETRY, MIDDLE + offset_mm, np.full(3, radius_mm))


def ball_mm(radius_mm, offset_mm=(0.0, 0.0, 0.0)):
    k, j, i = np.indices(GEOMETRY.shape_kji).reshape(3, -1)
    points = GEOMETRY.ijk_to_ras_points(np.stack([i, j, k], axis=1))
    return (np.linalg.norm(points - MIDDLE - offset_mm, axis=1) - radius_mm).reshape(GEOMETRY.shape_kji)


def points_on(mask, n=2000):
    return surface_from_mask(mask, GEOMETRY).sample_points(n, np.random.default_rng(0))[0]


def test_the_best_subset_is_found_where_every_name_has_a_price_of_its_own():
    prices = {"good": -2.0, "bad": 3.0, "worse": 5.0, "small gain": -0.1}
    assert set(best_subset(list(prices), lambda some: sum(prices[n] for n in some))) == {"good", "small gain"}


def test_two_point_sets_are_as_far_as_their_shift_and_nothing_is_infinitely_far():
    points = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    assert two_sided_mm2(points + [0.0, 3.0, 0.0], points) == pytest.approx(18.0)
    assert two_sided_mm2(points[:0], points) == np.inf


def test_of_separate_pieces_the_true_one_stays_and_the_false_one_goes_whichever_is_larger():
    main, real, false = ball(14.0), ball(7.0, (26.0, 0.0, 0.0)), ball(8.0, (0.0, -27.0, 0.0))
    kept = best_pieces(main | real | false, GEOMETRY, points_on(main | real))
    assert np.array_equal(kept, main | real)
    assert np.array_equal(best_pieces(main | false, GEOMETRY, points_on(false)), false)


def test_regions_that_bring_the_organ_nearer_to_the_truth_are_taken_and_no_others():
    truth = np.minimum(ball_mm(16.0), ball_mm(8.0, (24.0, 0.0, 0.0)))
    given = np.minimum(ball_mm(16.0), ball_mm(6.0, (0.0, 28.0, 0.0)))
    # The network adds what is missing, removes the island, and adds something that does not exist.
    restored = np.minimum(truth, ball_mm(7.0, (0.0, 0.0, -28.0)))
    grids = [DistanceGrid(np.clip(v, -6, 6).astype(np.float32), GEOMETRY) for v in (restored, given)]
    weight = best_regions(Restoration(*grids, 2.0, np.zeros(truth.shape, np.float32)), points_on(truth < 0, 4000))

    def at(offset_mm):
        k, j, i = GEOMETRY.ras_to_ijk_points((MIDDLE + offset_mm)[None])[0][::-1].round().astype(int)
        return weight[k, j, i]

    assert at((24.0, 0.0, 0.0)) == 1.0 and at((0.0, 28.0, 0.0)) == 1.0
    assert at((0.0, 0.0, -28.0)) == 0.0 and at((0.0, 0.0, 0.0)) == 0.0


def test_the_report_holds_means_of_what_all_rows_have_in_percent_and_hundredths():
    bounds = {"input": {"cd": 0.01, "emd": 0.07, "hd95_mm": 8.0, "assd_mm": 1.0, "dsc": 0.8}}
    pieces = bounds | {"pieces": bounds["input"] | {"dsc": 0.9}}
    rows = [{"case": "a", "family": "predictions", "variant": "n", "bounds": pieces}]
    rows.append({"case": "a", "family": "predictions", "variant": "m", "bounds": bounds})
    rows.append({"case": "b", "family": "", "variant": "", "bounds": {"codes": bounds["input"]}})
    text = report("liver", rows)
    assert "liver, predictions** (2 inputs)" in text and "liver, predictions n** (1 inputs)" in text
    assert "| input | 1.000 | 0.070 | 8.000 | 1.000 | 80.000 | 1.000 | 8.000 |" in text
    assert text.count("| pieces | 1.000 | 0.070 | 8.000 | 1.000 | 90.000 |") == 1 and "| codes | 1.000" in text
    assert "regions" not in text


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_ablation_is_a_valid_configuration_that_differs_from_the_complete_one(name):
    variant = VARIANTS[name]
    config = config_from_dict({"preset": variant.preset, "model": variant.model, "weights": variant.weights})
    differs = (config.model, config.weights) != (COMPACT_CONFIG.model, COMPACT_CONFIG.weights)
    assert differs or variant.shapes or name == "complete"


def test_means_leave_out_and_count_what_failed():
    row = {"cd": 0.5, "emd": 0.1, "hd95_mm": 4.0, "assd_mm": 1.0, "dsc": 0.9}
    assert mean_metrics([row, dict.fromkeys(row)]) == row | {"failed": 1}
    assert mean_metrics([dict.fromkeys(row)])["cd"] is None


def test_a_thinned_input_keeps_truth_and_damage_on_one_grid():
    truth, given = ball(16.0), ball(16.0) | ball(6.0, (20.0, 0.0, 0.0))
    thin = thinned_input(CaseInput(truth, given, GEOMETRY), 4.0)
    assert thin.geometry.spacing_mm.tolist() == [4.0, 4.0, 4.0] and thin.truth.shape == thin.given.shape == (20, 20, 20)
    assert np.array_equal(thin.given, given[::2, ::2, ::2]) and (thin.given & ~thin.truth).any()


def test_tables_show_percent_and_hundredths_and_leave_empty_what_was_not_measured(tmp_path):
    row = {"cd": 0.005, "emd": 0.1, "hd95_mm": 4.0, "assd_mm": 1.0, "dsc": 0.9, "failed": 0}
    measured = row | {"training_residual_mm": 1.5, "unseen_residual_mm": 2.0, "pieces": 3, "volume_share": 0.75}
    text = write_tables({"input": row, "no_beta": measured, "no_tpn": mean_metrics([dict.fromkeys(row)])}, tmp_path, 9)
    assert "| 9 steps each |" in text and "| damaged input |  |  |  |  | 0.5 | 0.1 | 4 | 1 | 90 |" in text
    assert "| without beta and H | 1.5 | 2 | 3 | 0.75 | 0.5 | 0.1 | 4 | 1 | 90 |" in text
    assert "| without L_tpn (1 failed) |" in text and (tmp_path / "ablations.csv").read_text().count("\n") == 4
