"""What an image says on suggestions that the shape made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ReShapeITLib.image.band import Image, sampled_distance, working_grid
from ReShapeITLib.image.evidence import likeness_to_organ
from ReShapeITLib.refinement.decision.calibration import BesideImage, Calibration, calibration, probability
from ReShapeITLib.refinement.decision.suggestions import ATTACHED, BEYOND, KINDS, MISSING, find_suggestions
from ReShapeITLib.restoration.model import NETWORK
from ReShapeITLib.restoration_training.calibrating import IMAGE, Judged, calibrated, fit_beside_image

from .test_image_features import CENTRE_RAS, image_of_sphere, sphere
from .test_suggestions import BESIDE, EVEN, NAMES, NOTHING_KNOWN, answer, ball, bitten, judged


def bitten_sphere(rng, organ="spleen", change=lambda image: image):
    """Likeness to an organ of which a third was lost, and the distance of the whole one, on one grid."""
    whole = sphere(20.0)
    grid = working_grid((CENTRE_RAS - 20.0, CENTRE_RAS + 20.0))
    whole_mm = sampled_distance(whole, grid)
    x = grid.ijk_to_ras_points(np.moveaxis(np.indices(grid.shape_kji), 0, -1).reshape(-1, 3)[:, ::-1])[:, 0]
    given_mm = np.maximum(whole_mm, x.reshape(whole_mm.shape) - CENTRE_RAS[0] - 6.0)
    image = change(image_of_sphere(20.0, rng))
    limited = (np.clip(distance, -6.0, 6.0) for distance in (given_mm, whole_mm))
    return likeness_to_organ(image, organ, *limited, grid), given_mm, whole_mm


def test_what_is_missing_is_as_bright_as_the_organ_and_what_is_not_is_not(rng):
    likeness, given_mm, whole_mm = bitten_sphere(rng)
    missing = (given_mm > 2.0) & (whole_mm < -2.0)
    assert missing.sum() > 300 and (likeness[missing] > 1.0).mean() > 0.95
    assert (likeness[(whole_mm > 3.0) & (whole_mm < 12.0)] < -1.0).mean() > 0.95


def test_where_the_image_ends_it_says_nothing(rng):
    def upper_half(image):
        size = image.geometry.size_ijk
        return Image(image.voxels[25:], image.geometry.cropped((0, 0, 25), (size[0], size[1], size[2] - 25)))

    likeness, given_mm, _ = bitten_sphere(rng, change=upper_half)
    assert 0.2 < np.isnan(likeness[given_mm < 0]).mean() < 0.8


@pytest.mark.parametrize("organ", ["lung_upper_lobe_left", "spleen"])
def test_of_an_organ_that_no_network_knows_and_on_an_mr_it_says_nothing(rng, organ):
    def change(image):
        return Image(image.voxels + 500, image.geometry) if organ == "spleen" else image  # no air, no fat

    assert bitten_sphere(rng, organ, change)[0] is None


def test_an_image_speaks_for_adding_what_is_like_the_organ_and_for_removing_what_is_not():
    given = np.minimum(bitten(), ball(3.0, (16, 5, 20)))
    likeness = np.full(given.shape, 2.0, np.float32)
    likeness[:, :10] = -3.0
    entries = find_suggestions(answer(given, ball(9.0)), EVEN, likeness=likeness).entries
    found = {entry.kind: entry.evidence[IMAGE] for entry in entries}
    assert found == {MISSING: pytest.approx(2.0), ATTACHED: pytest.approx(3.0)}


def test_an_image_that_does_not_reach_half_of_a_change_has_no_say_on_it():
    cut = np.broadcast_to(np.arange(40.0)[None, None, :] - 20, (32, 32, 40))
    seen = np.where(cut > 2, np.float32(np.nan), np.float32(1.0))
    found = find_suggestions(answer(np.maximum(ball(9.0), cut), ball(9.0), unseen=cut > 0), EVEN, likeness=seen)
    assert [(entry.kind, IMAGE in entry.evidence) for entry in found.entries] == [(BEYOND, False)]


def test_beside_an_image_the_probability_is_that_of_both():
    model = replace(EVEN, beside_image=BesideImage(0.5, 2.0, 1.5))
    given = np.minimum(ball(9.0), ball(3.0, BESIDE))
    likeness = np.full(given.shape, -1.0, np.float32)
    (only,) = find_suggestions(answer(given, ball(9.0)), model, likeness=likeness).entries
    assert only.probability == pytest.approx(probability(0.5 + 2.0 * 0.0 + 1.5 * 1.0))
    (without,) = find_suggestions(answer(given, ball(9.0)), model).entries
    assert without.probability == pytest.approx(0.5)


def on_ct(rng, n=2500) -> list[Judged]:
    """Suggestions that are right by a law of the network's answer and of the image."""
    rows = []
    for index, row in enumerate(judged(rng, n)):
        like = float(rng.normal(0.0, 1.5))
        odds = 1.0 + 0.5 * (1.5 * row.evidence[NETWORK] - 2.0) + 0.8 * like
        right = float(rng.random() < 1.0 / (1.0 + np.exp(-odds)))
        rows.append(Judged(f"other{index % 10}", row.kind, {**row.evidence, IMAGE: like}, right, 10))
    return rows


def test_what_an_image_adds_is_found_again(rng):
    network = replace(NOTHING_KNOWN, kinds=dict.fromkeys(KINDS, -2.0), evidence={NETWORK: 1.5})
    found = fit_beside_image(on_ct(rng), network)
    assert (found.offset, found.shape, found.image) == pytest.approx((1.0, 0.5, 0.8), abs=0.15)


def test_suggestions_beside_an_image_leave_the_models_without_one_as_they_are(rng, tmp_path):
    rows, beside = judged(rng), on_ct(rng, 400)
    alone, _ = calibrated({NETWORK: rows}, calibration())
    both, found = calibrated({NETWORK: rows}, calibration(), beside)
    assert both.witnesses == alone.witnesses and both.boldness == alone.boldness
    assert found[IMAGE].log_loss < found[IMAGE].log_loss_by["shape alone"] and both.beside_image.image > 0.3
    both.write(tmp_path / "calibration.json")
    assert Calibration.read(tmp_path / "calibration.json") == both
    assert set(NAMES).isdisjoint({IMAGE})
