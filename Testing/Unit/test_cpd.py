"""Coherent point drift: known similarities, outliers, missing parts, priors, and pycpd as the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import Similarity
from ReShapeITLib.interaction.cpd import CpdOptions, similarity_cpd

TRUTH = Similarity(1.25, Rotation.from_rotvec([0.15, -0.1, 0.25]).as_matrix(), [0.3, -0.2, 0.1])


def lopsided(count, seed=0):
    """Points (count, 3) on a bent ellipsoid, which no rotation maps onto itself."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points *= np.array([1.0, 0.7, 0.5]) / np.linalg.norm(points, axis=1, keepdims=True)
    points[:, 0] += 0.4 * points[:, 1] ** 2
    points[:, 2] += 0.2 * points[:, 0] ** 2
    return points


def angle_degrees(a, b):
    return np.degrees(Rotation.from_matrix(a @ b.T).magnitude())


def pycpd_after(source, target, iterations):
    pycpd = pytest.importorskip("pycpd")
    oracle = pycpd.RigidRegistration(X=target, Y=source, w=0.1, max_iterations=iterations, tolerance=0)
    oracle.register()
    oracle.expectation()  # P of the final transform, as CpdResult holds it
    return oracle


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
@pytest.mark.parametrize("iterations", [1, 10, 40])
def test_it_agrees_with_pycpd_after_the_same_iterations(dtype, tolerance, iterations):
    source, rng = lopsided(200), np.random.default_rng(1)
    target = np.vstack([TRUTH.apply(source[:170]) + rng.normal(0, 0.02, (170, 3)), rng.uniform(-2, 2, (20, 3))])
    oracle = pycpd_after(source, target, iterations)
    options = CpdOptions(
        outlier_volume=len(target),
        tolerance=0,
        max_iterations=iterations,
        scale_range=(0.01, 100),
        dtype=dtype,
        accelerate=False,
    )
    ours = similarity_cpd(source, target, options)
    assert ours.iterations == iterations
    assert ours.transform.scale == pytest.approx(oracle.s, abs=tolerance)
    assert ours.sigma2 == pytest.approx(oracle.sigma2, abs=tolerance)
    np.testing.assert_allclose(ours.transform.rotation, oracle.R.T, atol=tolerance)
    np.testing.assert_allclose(ours.transform.translation, np.ravel(oracle.t), atol=tolerance)
    np.testing.assert_allclose(ours.p1, oracle.P1, atol=tolerance)
    np.testing.assert_allclose(ours.pt1, oracle.Pt1, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
def test_a_noise_free_copy_gives_back_its_similarity(dtype, tolerance):
    source = lopsided(300)
    result = similarity_cpd(source, TRUTH.apply(source), CpdOptions(dtype=dtype))
    assert result.converged
    np.testing.assert_allclose(result.transform.apply(source), TRUTH.apply(source), atol=tolerance)


def test_the_unit_of_the_target_changes_nothing():
    source = lopsided(300)
    target = TRUTH.apply(lopsided(300, seed=3))
    near, far = Similarity.identity(), Similarity(100.0, np.eye(3), np.array([5000.0, -3000.0, 800.0]))
    one = similarity_cpd(source, target, initial=near)
    other = similarity_cpd(source, far.apply(target), initial=far.after(near))
    np.testing.assert_allclose(other.transform.apply(source), far.apply(one.transform.apply(source)), atol=0.05)
    np.testing.assert_allclose(other.pt1, one.pt1, atol=1e-2)


def test_a_fifth_of_outliers_does_not_move_the_result_and_is_told_apart():
    source, rng = lopsided(400), np.random.default_rng(2)
    false = rng.uniform(-1, 1, (300, 3)) * [3.0, 2.5, 2.5]
    false = false[np.linalg.norm(false, axis=1) > 2.0][:80]
    assert len(false) == 80
    result = similarity_cpd(source, np.vstack([TRUTH.apply(source[:320]), false]), CpdOptions(outlier_weight=0.2))
    np.testing.assert_allclose(result.transform.apply(source), TRUTH.apply(source), atol=0.01)
    assert result.pt1[320:].max() < 0.01
    assert result.pt1[:320].min() > 0.9


def test_template_points_without_a_target_are_not_matched():
    source = lopsided(400)
    kept = source[:, 0] > np.quantile(source[:, 0], 1 / 3)
    result = similarity_cpd(source, TRUTH.apply(source[kept]), CpdOptions(concentration=0.1), TRUTH)
    assert result.p1[source[:, 0] < np.quantile(source[:, 0], 0.2)].max() < 0.05
    assert np.median(result.p1[kept]) > 0.9


def test_the_scale_survives_the_loss_of_a_third():
    source, target = lopsided(500), TRUTH.apply(lopsided(500, seed=5))
    target = target[target[:, 0] > np.quantile(target[:, 0], 1 / 3)]
    prior = CpdOptions(scale_prior=(np.log(1.2), 0.05), effective_points=20, initial_sigma2=0.1)
    with_prior = similarity_cpd(source, target, prior, replace_rotation(TRUTH))
    assert with_prior.transform.scale == pytest.approx(TRUTH.scale, rel=0.05)


def replace_rotation(similarity):
    return Similarity(similarity.scale, np.eye(3), similarity.translation)


@pytest.mark.parametrize("concentration", [None, 0.5])
def test_the_chunk_size_does_not_change_the_result(concentration):
    source, target = lopsided(500), TRUTH.apply(lopsided(450, seed=6))
    options = CpdOptions(dtype="float64", max_iterations=15, tolerance=0, concentration=concentration)
    whole = similarity_cpd(source, target, replace(options, chunk_points=10_000))
    chunked = similarity_cpd(source, target, replace(options, chunk_points=37))
    np.testing.assert_allclose(chunked.transform.apply(source), whole.transform.apply(source), atol=1e-6)
    np.testing.assert_allclose(chunked.pt1, whole.pt1, atol=1e-5)


def test_leaving_out_far_pairs_does_not_change_the_posterior():
    source, target = lopsided(2000), lopsided(2000, seed=7)
    options = CpdOptions(dtype="float64", max_iterations=0, initial_sigma2=0.03**2)
    whole = similarity_cpd(source, target, replace(options, chunk_points=10_000))
    sparse = similarity_cpd(source, target, replace(options, chunk_points=64))
    np.testing.assert_allclose(sparse.p1, whole.p1, atol=1e-5)
    assert sparse.objective == pytest.approx(whole.objective, abs=1e-2)


def test_float32_is_precise_for_narrow_gaussians_far_from_the_origin():
    source = lopsided(600) + 1000.0
    target = source[:500] + np.random.default_rng(8).normal(0, 1e-3, (500, 3))
    options = CpdOptions(max_iterations=0, initial_sigma2=2e-3**2, chunk_points=10_000)
    rough = similarity_cpd(source, target, options)
    exact = similarity_cpd(source, target, replace(options, dtype="float64"))
    np.testing.assert_allclose(rough.p1, exact.p1, atol=2e-3)


def test_fixed_scale_and_rotation_stay_as_given():
    source = lopsided(300)
    options = CpdOptions(estimate_scale=False, estimate_rotation=False)
    result = similarity_cpd(source, TRUTH.apply(source), options, Similarity(1.1, np.eye(3), np.zeros(3)))
    assert result.transform.scale == pytest.approx(1.1)
    assert angle_degrees(result.transform.rotation, np.eye(3)) < 1e-6


def test_the_scale_stays_in_its_range():
    source = lopsided(300)
    result = similarity_cpd(source, 3.0 * source, CpdOptions(scale_range=(0.5, 1.5)))
    assert result.transform.scale == pytest.approx(1.5)


def test_the_rotation_stays_below_its_limit():
    source = lopsided(300)
    turned = source @ Rotation.from_rotvec([0, 0, 0.6]).as_matrix().T
    result = similarity_cpd(source, turned, CpdOptions(max_rotation_degrees=10.0))
    assert angle_degrees(result.transform.rotation, np.eye(3)) == pytest.approx(10.0, abs=1e-6)


def test_a_sharp_prior_decides_the_scale_and_a_blunt_one_does_not():
    source = lopsided(300)
    sharp = similarity_cpd(source, TRUTH.apply(source), CpdOptions(scale_prior=(np.log(1.1), 1e-6)))
    blunt = similarity_cpd(source, TRUTH.apply(source), CpdOptions(scale_prior=(np.log(1.1), 10.0)))
    assert sharp.transform.scale == pytest.approx(1.1, rel=1e-3)
    assert blunt.transform.scale == pytest.approx(1.25, rel=1e-3)


def test_the_better_of_two_placements_has_the_lower_objective():
    source, target = lopsided(300), TRUTH.apply(lopsided(300, seed=9))
    here = CpdOptions(max_iterations=0, initial_sigma2=0.01)
    shifted = Similarity(TRUTH.scale, TRUTH.rotation, TRUTH.translation + 0.3)
    right, wrong = (similarity_cpd(source, target, here, start) for start in (TRUTH, shifted))
    assert right.objective < wrong.objective


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full((10, 3), np.nan), "not finite"),
        (np.zeros((3, 3)), "only 3 target points"),
        (np.zeros((10, 2)), r"\(N, 3\)"),
        (np.outer(np.arange(10.0), [1.0, 2.0, 3.0]), "one line"),
        (np.ones((10, 3)), "one line"),
    ],
)
def test_bad_points_are_refused_in_one_sentence(target, message):
    with pytest.raises(BadInputError, match=message) as caught:
        similarity_cpd(lopsided(20), target)
    assert str(caught.value).count(".") == 1


@pytest.mark.parametrize("options", [{"outlier_weight": 1.0}, {"scale_range": (2.0, 1.0)}, {"dtype": "float16"}])
def test_bad_options_are_refused(options):
    with pytest.raises(BadInputError):
        CpdOptions(**options)
