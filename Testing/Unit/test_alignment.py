"""Alignment of a given organ with the template: exact, part missing, false parts, confidence, both backends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import Similarity
from ReShapeITLib.interaction.alignment import AlignmentOptions, align_to_template
from ReShapeITLib.interaction.cpd import CpdOptions

UNIT_TO_RAS = Similarity(80.0, Rotation.from_rotvec([0.1, -0.05, 0.12]).as_matrix(), [40.0, -120.0, 900.0])
QUICK = AlignmentOptions(coarse_points=150, expected_scale_mm=85.0, scale_log_sd=0.1)


def lopsided(count, seed=0):
    """Points (count, 3) on a bent ellipsoid in the unit sphere, which no rotation maps onto itself."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points *= np.array([0.75, 0.55, 0.4]) / np.linalg.norm(points, axis=1, keepdims=True)
    points[:, 0] += 0.4 * points[:, 1] ** 2
    points[:, 2] += 0.3 * points[:, 0] ** 2
    return points


def given_whole(count=1200):
    return UNIT_TO_RAS.apply(lopsided(count, seed=1))


def given_without_a_third(axis, count=1200):
    """The organ cut at one end of an axis, with points on the flat of the cut, as a cut segmentation has them."""
    unit = lopsided(count, seed=1)
    level = np.quantile(unit[:, axis], 1 / 3)
    rim = unit[np.abs(unit[:, axis] - level) < 0.05]
    flat = rim.mean(axis=0) + np.sqrt(np.random.default_rng(2).random((len(rim), 1))) * (rim - rim.mean(axis=0))
    flat[:, axis] = level
    return UNIT_TO_RAS.apply(np.vstack([unit[unit[:, axis] > level], flat]))


def misplacement_mm(alignment):
    """RMS distance between where template points land and where they belong."""
    points = lopsided(500)
    gap = alignment.ras_to_unit.inverse().apply(points) - UNIT_TO_RAS.apply(points)
    return np.sqrt(np.square(gap).sum(axis=1).mean())


def test_a_whole_organ_is_aligned_and_trusted():
    alignment = align_to_template(given_whole(), lopsided(1500), QUICK)
    assert misplacement_mm(alignment) < 3.0
    assert alignment.residual_mm < 4.0
    assert np.median(alignment.confidence) > 0.9
    assert alignment.confidence.shape == (1200,)
    assert alignment.p1_template.shape == (1500,)
    assert alignment.p1_template.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_organ_without_a_third_keeps_its_size_and_place(axis):
    alignment = align_to_template(given_without_a_third(axis), lopsided(1500), QUICK)
    assert 1.0 / alignment.ras_to_unit.scale == pytest.approx(80.0, rel=0.06)
    assert misplacement_mm(alignment) < 9.0


def test_the_missing_part_of_the_template_is_not_matched():
    template = lopsided(1500)
    alignment = align_to_template(given_without_a_third(0), template, QUICK)
    far = template[:, 0] < np.quantile(template[:, 0], 0.1)
    assert np.median(alignment.p1_template[far]) < 0.2
    assert np.median(alignment.p1_template[template[:, 0] > np.quantile(template[:, 0], 0.5)]) > 0.7


def test_points_of_a_false_island_are_not_trusted():
    island = UNIT_TO_RAS.apply(np.random.default_rng(3).normal([1.3, 0.9, 0.9], 0.05, (100, 3)))
    alignment = align_to_template(np.vstack([given_whole(), island]), lopsided(1500), QUICK)
    assert alignment.confidence[-100:].max() < 0.05
    assert np.median(alignment.confidence[:-100]) > 0.9
    assert misplacement_mm(alignment) < 4.0


def test_the_same_seed_gives_the_same_alignment():
    first, again = (align_to_template(given_whole(), lopsided(1500), QUICK) for _ in range(2))
    np.testing.assert_array_equal(first.confidence, again.confidence)
    np.testing.assert_array_equal(first.ras_to_unit.rotation, again.ras_to_unit.rotation)
    assert first.start_used == again.start_used


def test_without_an_expected_scale_a_whole_organ_is_aligned_too():
    alignment = align_to_template(given_whole(), lopsided(1500), replace(QUICK, expected_scale_mm=None))
    assert misplacement_mm(alignment) < 3.0


def test_the_rotation_is_limited():
    turned = Rotation.from_rotvec([0.0, 0.0, 1.2]).as_matrix()
    options = replace(QUICK, max_rotation_degrees=20.0)
    alignment = align_to_template(given_whole() @ turned.T, lopsided(1500), options)
    assert np.degrees(Rotation.from_matrix(alignment.ras_to_unit.rotation).magnitude()) <= 20.0 + 1e-6


def test_pycpd_gives_the_same_alignment():
    pytest.importorskip("pycpd")
    options = replace(QUICK, n_points=150, coarse_points=100, starts=("centroid",), expected_scale_mm=None)
    options = replace(options, rotation_sd_degrees=None, cpd=CpdOptions(tolerance=1e-5))  # pycpd knows no priors
    given, template = given_whole(), lopsided(1500)
    ours = align_to_template(given, template, options)
    theirs = align_to_template(given, template, replace(options, backend="pycpd"))
    assert theirs.backend == "pycpd"
    gap = ours.ras_to_unit.inverse().apply(template) - theirs.ras_to_unit.inverse().apply(template)
    assert np.abs(gap).max() < 1.5
    np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=0.05)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((10, 3), np.inf), "given organ's points hold values"),
        (np.zeros((2, 3)), "only 2 given organ's points"),
        (np.outer(np.arange(10.0), [1.0, 0.0, 2.0]), "one line"),
    ],
)
def test_bad_points_are_refused(given, message):
    with pytest.raises(BadInputError, match=message):
        align_to_template(given, lopsided(100), QUICK)


@pytest.mark.parametrize(
    "change", [{"backend": "icp"}, {"starts": ("guess",)}, {"starts": ()}, {"expected_scale_mm": -1.0}, {"n_points": 3}]
)
def test_bad_options_are_refused(change):
    with pytest.raises(BadInputError):
        replace(QUICK, **change)
