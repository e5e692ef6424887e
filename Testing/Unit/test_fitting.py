"""Prior, candidates and fit: training shapes come back, a bite is not believed, Temp stays as it was."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from ReShapeITLib.core.errors import CancelledError
from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.distance.surface import DistanceGrid
from ReShapeITLib.interaction.adam import Adam
from ReShapeITLib.interaction.candidates import CandidateOptions, Candidates, select_candidates
from ReShapeITLib.interaction.fitting import PendingFit, fit_field
from ReShapeITLib.interaction.options import FitOptions
from ReShapeITLib.interaction.prior import CodePrior
from ReShapeITLib.refinement.truncation import grid_points
from Testing.oracles import MM_PER_UNIT, RADII, ellipsoid_sdf, ellipsoid_surface, tiny_template

UNIT = Similarity(1.0 / MM_PER_UNIT, np.eye(3), np.zeros(3))
CODES_ONLY = FitOptions(code_steps=60, weight_steps=0, surface_points=200, free_points=100)


@pytest.fixture(scope="module")
def template():
    return tiny_template()


def candidates_of(radii, n=1500, seed=3):
    """Points on and around an ellipsoid, all trusted alike, unit frame."""
    rng = np.random.default_rng(seed)
    points, normals = ellipsoid_surface(radii, n, rng)
    free = points + rng.normal(size=points.shape) * 0.08
    return Candidates(points, normals, np.ones(n), free, ellipsoid_sdf(free, radii), np.ones(n))


def surface_error_mm(fitted, radii, n=1000):
    """(n,) |F| in mm on the true surface, and the points (unit frame)."""
    points, _ = ellipsoid_surface(radii, n, np.random.default_rng(99))
    return np.abs(fitted.sdf_mm(points * MM_PER_UNIT)), points


# ---------------------------------------------------------------------------------------------------------- prior


def test_the_prior_is_centred_on_the_mean_code(template):
    prior = CodePrior.from_template(template)
    mean = torch.cat([template.alpha, template.beta], dim=1).mean(0)
    assert torch.allclose(prior.mean, mean, atol=1e-6)
    assert float(prior.energy(*(half[None] for half in prior.mean.chunk(2)))) == pytest.approx(0.0, abs=1e-9)


def test_the_prior_is_the_shrunk_covariance_of_the_codes(template):
    prior = CodePrior.from_template(template, shrinkage=0.25)
    covariance = np.cov(torch.cat([template.alpha, template.beta], dim=1).double().numpy().T)
    size = len(covariance)
    shrunk = 0.75 * covariance + 0.25 * np.trace(covariance) / size * np.eye(size)
    colourer, whitener = prior.colourer.double().numpy(), prior.whitener.double().numpy()
    assert colourer @ colourer.T == pytest.approx(shrunk, rel=1e-4, abs=1e-6)
    assert whitener @ whitener.T @ shrunk == pytest.approx(np.eye(size), abs=1e-3)


def test_samples_of_the_prior_have_an_energy_of_one(template):
    prior = CodePrior.from_template(template)
    codes = prior.sample(4000, torch.Generator().manual_seed(0))
    assert codes[0].shape == template.alpha[:1].expand(4000, -1).shape
    assert float(prior.energy(*codes)) == pytest.approx(1.0, rel=0.03)
    narrow = prior.sample(4000, torch.Generator().manual_seed(0), spread=0.5)
    assert float(prior.energy(*narrow)) == pytest.approx(0.25, rel=0.03)


def test_a_training_shape_is_more_likely_than_one_far_outside_the_training_set(template):
    prior = CodePrior.from_template(template)
    assert float(prior.energy(template.alpha, template.beta)) < 2.0
    assert float(prior.energy(template.alpha[:1] + 2.0, template.beta[:1] - 2.0)) > 20.0


def test_a_template_of_one_case_has_a_finite_prior(template):
    one = replace(template, alpha=template.alpha[:1], beta=template.beta[:1])
    prior = CodePrior.from_template(one)
    assert torch.isfinite(prior.whitener).all()
    assert float(prior.energy(one.alpha, one.beta)) == 0.0


# ----------------------------------------------------------------------------------------------------- candidates


@functools.cache
def ellipsoid_grid():
    geometry = ImageGeometry.from_parts((45, 45, 45), (5.0, 5.0, 5.0), np.full(3, -110.0))
    values = ellipsoid_sdf(grid_points(geometry), np.array(RADII[1]) * MM_PER_UNIT)
    return DistanceGrid(values.reshape(geometry.shape_kji).astype(np.float32), geometry)


def select(options, confidence=None, to_unit=UNIT):
    rng = np.random.default_rng(1)
    points, normals = ellipsoid_surface(np.array(RADII[1]) * MM_PER_UNIT, 800, rng)
    confidence = rng.random(800) if confidence is None else confidence
    found = select_candidates(points, normals, confidence, ellipsoid_grid(), to_unit, options, rng)
    return points, normals, confidence, found


def test_the_top_quarter_are_the_points_with_the_highest_confidence():
    points, normals, confidence, found = select(CandidateOptions(top_percent=25.0, n_free=50))
    best = np.sort(np.argsort(confidence)[-200:])
    assert found.points == pytest.approx(points[best] / MM_PER_UNIT)
    assert found.normals == pytest.approx(normals[best])
    assert found.weights == pytest.approx(confidence[best])


def test_all_points_are_kept_by_default():
    points, _, confidence, found = select(CandidateOptions(n_free=50))
    assert found.points == pytest.approx(points / MM_PER_UNIT)
    assert np.array_equal(found.weights, confidence)


def test_free_points_have_their_distance_in_unit_lengths():
    _, _, _, found = select(CandidateOptions(n_free=500))
    assert np.abs(found.free_sdf - ellipsoid_sdf(found.free_points, RADII[1])).max() < 0.02
    assert found.free_sdf.std() > 0.02


def test_free_points_have_the_trust_of_a_candidate():
    confidence = np.where(np.arange(800) % 2, 0.9, 0.4)
    found = select(CandidateOptions(n_free=300), confidence)[3]
    assert set(found.free_weights) == {0.4, 0.9}
    only_best = select(CandidateOptions(n_free=300, top_percent=50.0), confidence)[3]
    assert set(only_best.free_weights) == {0.9}


def test_candidates_are_turned_into_the_frame_of_the_template():
    turn = Similarity(1.0 / MM_PER_UNIT, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([0.1, 0.2, 0.3]))
    points, normals, _, found = select(CandidateOptions(n_free=10), to_unit=turn)
    assert found.points == pytest.approx(turn.apply(points))
    assert found.normals == pytest.approx(normals @ turn.rotation.T)


# ------------------------------------------------------------------------------------------------------------ fit


@pytest.mark.parametrize("shape", [1, 3])
def test_codes_fitted_to_points_of_a_training_shape_give_that_shape(template, shape):
    fitted = fit_field(template, candidates_of(RADII[shape]), UNIT, CODES_ONLY)
    error_mm, _ = surface_error_mm(fitted, RADII[shape])
    assert error_mm.mean() < 0.4
    assert error_mm.max() < 1.5


def test_the_fit_starts_from_the_most_similar_training_shape(template):
    start = replace(CODES_ONLY, code_steps=0)
    for shape, radii in enumerate(RADII):
        fitted = fit_field(template, candidates_of(radii), UNIT, start)
        assert torch.equal(fitted.alpha, template.alpha[shape : shape + 1])
        assert torch.equal(fitted.beta, template.beta[shape : shape + 1])


UNSEEN = (0.66, 0.54, 0.6)


def test_each_stage_of_the_fit_brings_an_unseen_shape_closer(template):
    options = replace(CODES_ONLY, weight_learning_rate=3e-4)
    start, codes, weights = (
        surface_error_mm(fit_field(template, candidates_of(UNSEEN), UNIT, replace(options, **steps)), UNSEEN)[0].mean()
        for steps in ({"code_steps": 0}, {}, {"weight_steps": 60})
    )
    assert codes < 0.98 * start
    assert weights < 0.25 * codes
    assert weights < 0.5


def test_a_strong_weight_prior_holds_the_weights_at_the_hyper_network(template):
    held = replace(CODES_ONLY, code_steps=0, weight_steps=10, weight_prior=1e12, weight_learning_rate=1e-6)
    fitted = fit_field(template, candidates_of(UNSEEN), UNIT, held)
    expected = template.model.deform_layers(fitted.alpha, fitted.beta)
    for (weight, bias), (w, b) in zip(fitted.deform, expected, strict=True):
        assert torch.allclose(weight, w, atol=2e-5) and torch.allclose(bias, b, atol=2e-5)


def bitten_candidates(radii, depth=0.25):
    """Candidates of an ellipsoid whose cap beyond a plane is cut off; the cut is as trusted as the rest."""
    rng = np.random.default_rng(3)
    plane = radii[0] - depth
    points, normals = ellipsoid_surface(radii, 3000, rng)
    points, normals = points[points[:, 0] < plane], normals[points[:, 0] < plane]
    rim = np.array(radii[1:]) * np.sqrt(1 - (plane / radii[0]) ** 2)
    angle, share = rng.uniform(0, 2 * np.pi, 300), np.sqrt(rng.random(300))
    cut = np.stack([np.full(300, plane), rim[0] * share * np.cos(angle), rim[1] * share * np.sin(angle)], axis=1)
    points = np.concatenate([points, cut])
    normals = np.concatenate([normals, np.tile([1.0, 0, 0], (300, 1))])
    free = points + rng.normal(size=points.shape) * 0.06
    free_sdf = np.maximum(ellipsoid_sdf(free, radii), free[:, 0] - plane)
    ones = np.ones(len(points))
    return Candidates(points, normals, ones, free, free_sdf, ones)


def test_robust_weights_ignore_a_bite(template):
    radii = RADII[3]
    options = replace(CODES_ONLY, weight_steps=60, weight_learning_rate=3e-4)
    errors_mm = []
    for robust_mm in ((15.0, 5.0), (0.0, 0.0)):
        fitted = fit_field(template, bitten_candidates(radii), UNIT, replace(options, robust_mm=robust_mm))
        error_mm, points = surface_error_mm(fitted, radii, 4000)
        errors_mm.append(error_mm[points[:, 0] > radii[0] - 0.2].mean())
    robust_mm, plain_mm = errors_mm
    assert robust_mm < 2.5
    assert plain_mm > 8.0


def test_points_without_trust_have_no_say(template):
    good, wrong = candidates_of(RADII[1]), candidates_of((0.9, 0.9, 0.9))
    both = Candidates(
        np.concatenate([good.points, wrong.points]),
        np.concatenate([good.normals, wrong.normals]),
        np.concatenate([good.weights, 0 * wrong.weights]),
        np.concatenate([good.free_points, wrong.free_points]),
        np.concatenate([good.free_sdf, wrong.free_sdf]),
        np.concatenate([good.free_weights, 0 * wrong.free_weights]),
    )
    error_mm, _ = surface_error_mm(fit_field(template, both, UNIT, CODES_ONLY), RADII[1])
    assert error_mm.mean() < 0.6


def test_a_fit_leaves_the_template_as_it_was_bit_for_bit(template):
    before = {name: tensor.clone() for name, tensor in template.model.state_dict().items()}
    codes = template.alpha.clone(), template.beta.clone()
    fit_field(template, candidates_of(UNSEEN), UNIT, replace(CODES_ONLY, code_steps=5, weight_steps=5))
    assert all(torch.equal(tensor, before[name]) for name, tensor in template.model.state_dict().items())
    assert torch.equal(template.alpha, codes[0]) and torch.equal(template.beta, codes[1])
    assert all(parameter.grad is None for parameter in template.model.parameters())


def test_the_same_seed_fits_the_same_field_and_another_seed_another(template):
    options = replace(CODES_ONLY, code_steps=5, weight_steps=5)
    first, again, other = (
        fit_field(template, candidates_of(UNSEEN), UNIT, replace(options, seed=seed)) for seed in (1, 1, 2)
    )
    points = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    assert np.array_equal(first.sdf_mm(points), again.sdf_mm(points))
    assert not np.array_equal(first.sdf_mm(points), other.sdf_mm(points))


def test_the_code_energy_is_that_of_the_fitted_codes(template):
    fitted = fit_field(template, candidates_of(RADII[1]), UNIT, CODES_ONLY)
    energy = CodePrior.from_template(template).energy(fitted.alpha, fitted.beta)
    assert fitted.code_energy == pytest.approx(energy.item())
    assert fitted.code_energy < 2.0


def test_progress_rises_below_one_and_may_stop_the_fit(template):
    done = []
    options = replace(CODES_ONLY, code_steps=4, weight_steps=4)
    fit_field(template, candidates_of(UNSEEN), UNIT, options, done.append)
    assert done == pytest.approx(np.arange(8) / 8)

    def cancel(fraction):
        if fraction >= 0.25:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        fit_field(template, candidates_of(UNSEEN), UNIT, options, cancel)


def test_a_pending_fit_is_made_once_and_only_when_asked_for(template):
    made = []

    def fit():
        made.append(fit_field(template, candidates_of(RADII[1]), UNIT, replace(CODES_ONLY, code_steps=0)))
        return made[-1]

    pending = PendingFit(fit)
    assert not pending.is_done and not made
    points = np.random.default_rng(0).uniform(-60, 60, (10, 3))
    first, again = pending.sdf_mm(points), pending.sdf_mm(points)
    assert pending.is_done and len(made) == 1
    assert np.array_equal(first, again) and np.array_equal(first, made[0].sdf_mm(points))


def test_adam_walks_as_torch_s_own_does():
    start, goal = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 0.1, -0.7])
    mine, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    optimiser, reference = Adam([(mine, 0.1)]), torch.optim.Adam([theirs], lr=0.1)
    for step in range(30):
        optimiser.descend((mine - goal).square().sum(), step / 30)
        for group in reference.param_groups:
            group["lr"] = 0.1 * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / 30)))
        reference.zero_grad()
        (theirs - goal).square().sum().backward()
        reference.step()
    torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(mine, start, atol=0.1)


# ------------------------------------------------------------------------------------------------- the fitted field


def test_a_fitted_field_is_asked_in_patient_space(template):
    to_unit = Similarity(0.02, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([0.3, -0.1, 0.2]))
    fitted = fit_field(template, candidates_of(RADII[1]), to_unit, replace(CODES_ONLY, code_steps=0))
    points_unit = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3))
    with torch.no_grad():
        unit = template.model.values(fitted.deform, torch.as_tensor(points_unit, dtype=torch.float32)[None])[0]
    assert fitted.mm_per_unit == pytest.approx(50.0)
    found_mm = fitted.sdf_mm(to_unit.inverse().apply(points_unit))
    assert found_mm == pytest.approx(50.0 * unit.double().numpy(), abs=1e-3)


def test_surface_points_correspond_to_points_of_the_template_surface(template):
    fitted = fit_field(template, candidates_of(RADII[1]), UNIT, CODES_ONLY)
    points, _ = ellipsoid_surface(np.array(RADII[1]) * MM_PER_UNIT, 300, np.random.default_rng(0))
    there = torch.as_tensor(fitted.template_coordinates(points), dtype=torch.float32)
    with torch.no_grad():
        assert float(template.model.template_values(there).abs().mean()) < 0.06
    assert np.linalg.norm(there.numpy() - points / MM_PER_UNIT, axis=1).max() > 0.02


def test_many_points_are_asked_in_pieces_with_the_same_answer(template):
    fitted = fit_field(template, candidates_of(RADII[1]), UNIT, replace(CODES_ONLY, code_steps=0))
    points = np.random.default_rng(0).uniform(-60, 60, (40000, 3))
    assert fitted.sdf_mm(points)[-5:] == pytest.approx(fitted.sdf_mm(points[-5:]), abs=1e-3)
    assert fitted.sdf_mm(points[:0]).shape == (0,)
