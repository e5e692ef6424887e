"""Temp, Deform and H: the model is Eq. 1 to 3 as printed, and its derivatives are those of nested autograd."""

from __future__ import annotations

import pytest
import torch

from ReShapeITLib.field import losses
from ReShapeITLib.field.deform_template import DOMAIN_RADIUS_UNIT, FIELD_PRESETS, DeformTemplateField, FieldOptions
from ReShapeITLib.field.siren import siren_jet
from Testing.oracles import (
    nested_gradient,
    nested_laplacian,
    paper_deform,
    paper_field,
    paper_temp,
    plain_siren,
    relative_error,
    trained_on_ellipsoids,
)

SMALL = {"hidden": 32, "depth": 4, "code_size": 6, "hyper_hidden": 12, "first_omega": 15.0}
ABLATIONS = [(True, True), (True, False), (False, True), (False, False)]
all_ablations = pytest.mark.parametrize(("use_alpha", "use_beta"), ABLATIONS)


def small_model(use_alpha=True, use_beta=True, seed=1):
    """A small model whose Deform is far from the identity, so that a wrong derivative of it shows."""
    model = DeformTemplateField(FieldOptions(**SMALL, use_alpha=use_alpha, use_beta=use_beta), seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.shape[:1] == (4 * (SMALL["hidden"] + 1),) or parameter.shape[:1] == (4,):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def codes_and_points(n_shapes=2, n_points=30):
    generator = torch.Generator().manual_seed(7)
    alpha, beta = torch.randn(2, n_shapes, SMALL["code_size"], generator=generator)
    return alpha, beta, torch.rand(n_shapes, n_points, 3, generator=generator) * 2 - 1


def unit_normals(points):
    return points / points.norm(dim=-1, keepdim=True)


@all_ablations
def test_the_field_is_equation_3_with_alpha_concatenated_to_the_coordinates(use_alpha, use_beta):
    model = small_model(use_alpha, use_beta)
    alpha, beta, points = codes_and_points()
    values = model.values(model.deform_layers(alpha, beta), points)
    for shape in range(2):
        expected = paper_field(model, points[shape], alpha[shape], beta[shape])
        assert relative_error(values[shape], expected) < 1e-5


@all_ablations
def test_alpha_folded_into_the_bias_gives_the_deformation_of_equation_2(use_alpha, use_beta):
    model = small_model(use_alpha, use_beta)
    alpha, beta, points = codes_and_points()
    found = model.evaluate(model.deform_layers(alpha, beta), points)
    for shape in range(2):
        expected = paper_deform(model, points[shape], alpha[shape], beta[shape])
        assert relative_error(found.dvec[shape], expected[:, :3]) < 1e-5
        assert relative_error(found.ddis[shape], expected[:, 3]) < 1e-5


@all_ablations
def test_both_gradients_agree_with_nested_autograd(use_alpha, use_beta):
    model = small_model(use_alpha, use_beta)
    alpha, beta, points = codes_and_points()
    found = model.evaluate(model.deform_layers(alpha, beta), points)
    for shape in range(2):
        at = points[shape].clone().requires_grad_()
        expected = nested_gradient(paper_field(model, at, alpha[shape], beta[shape]), at)
        assert relative_error(found.gradient[shape], expected) < 1e-5
        moved = (at + paper_deform(model, at, alpha[shape], beta[shape])[:, :3]).detach().requires_grad_()
        assert relative_error(found.template_gradient[shape], nested_gradient(paper_temp(model, moved), moved)) < 1e-5


def our_loss(model, alpha, beta, points):
    deform = model.deform_layers(alpha, beta)
    found = model.evaluate(deform, points)
    laplacian = siren_jet(deform, points, model.options.omegas)[2][..., :3]
    normals = unit_normals(points)
    return (
        losses.eikonal_loss(found.gradient)
        + losses.normal_loss(found.gradient, normals)
        + losses.template_normal_loss(found.template_gradient, normals)
        + losses.sdf_loss(found.sdf, points.norm(dim=-1) - 0.6)
        + losses.displacement_loss(found.ddis)
        + 0.01 * losses.smoothness_loss(laplacian)
    )


def nested_loss(model, alpha, beta, points):
    total = 0.0
    for a, b, given in zip(alpha, beta, points, strict=True):
        p = given.clone().requires_grad_()
        moved = paper_deform(model, p, a, b)
        warped = p + moved[:, :3]
        temp = paper_temp(model, warped)
        gradient, template_gradient = nested_gradient(temp + moved[:, 3], p), nested_gradient(temp, warped)
        normals = unit_normals(p.detach())
        total = total + (
            (gradient.norm(dim=-1) - 1).abs().mean()
            + (1 - (gradient * normals).sum(-1) / gradient.norm(dim=-1)).mean()
            + (1 - (template_gradient * normals).sum(-1) / template_gradient.norm(dim=-1)).mean()
            + ((temp + moved[:, 3]).clamp(-0.5, 0.5) - (p.detach().norm(dim=-1) - 0.6).clamp(-0.5, 0.5)).abs().mean()
            + moved[:, 3].abs().mean()
            + 0.01 * nested_laplacian(moved[:, :3], p).norm(dim=-1).mean()
        )
    return total / len(points)


@all_ablations
def test_a_loss_of_all_derivatives_trains_parameters_and_codes_as_nested_autograd_does(use_alpha, use_beta):
    # In double precision: the clamps and absolute values would else differ at single points.
    model = small_model(use_alpha, use_beta).double()
    alpha, beta, points = (t.double() for t in codes_and_points())
    wanted = [p for n, p in model.named_parameters() if not n.startswith("template_")]
    wanted += [c.requires_grad_() for c, used in ((alpha, use_alpha), (beta, use_beta)) if used]
    ours, expected = our_loss(model, alpha, beta, points), nested_loss(model, alpha, beta, points)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    for found, reference in zip(torch.autograd.grad(ours, wanted), torch.autograd.grad(expected, wanted), strict=True):
        assert relative_error(found, reference) < 1e-5


def test_without_a_template_the_field_is_deforms_one_output_and_its_gradient_agrees_with_nested_autograd():
    model = DeformTemplateField(FieldOptions(**SMALL, use_beta=False, use_template=False), seed=3)
    assert not any(name.startswith(("temp.", "hyper.")) for name, _ in model.named_parameters())
    alpha, beta, points = codes_and_points()
    deform = model.deform_layers(alpha, beta)
    found, values = model.evaluate(deform, points), model.values(deform, points)
    for shape in range(2):
        at = points[shape].clone().requires_grad_()
        expected = paper_deform(model, at, alpha[shape], beta[shape])[:, 0]
        assert relative_error(values[shape], expected.detach()) < 1e-5
        assert relative_error(found.sdf[shape], expected.detach()) < 1e-5
        assert relative_error(found.gradient[shape], nested_gradient(expected, at)) < 1e-5
    assert not found.dvec.any() and torch.equal(model.template_coordinates(deform, points), points)
    own = model.values(model.deform_layers(model.template_alpha[None], model.template_beta[None]), points[:1])[0]
    assert relative_error(model.template_values(points[0]), own) < 1e-5


def test_single_precision_parameter_gradients_agree_with_nested_autograd_too():
    model = small_model()
    alpha, beta, points = codes_and_points()
    wanted = [p for n, p in model.named_parameters() if not n.startswith("template_")]
    found, expected = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss(model, alpha, beta, points), wanted)])
        for loss in (our_loss, nested_loss)
    )
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("use_beta", [True, False])
def test_without_alpha_the_field_does_not_depend_on_it(use_beta):
    model = small_model(use_alpha=False, use_beta=use_beta)
    alpha, beta, points = codes_and_points()
    before = model.values(model.deform_layers(alpha, beta), points)
    assert torch.equal(before, model.values(model.deform_layers(alpha + 1.0, beta), points))
    if use_beta:
        assert not torch.equal(before, model.values(model.deform_layers(alpha, beta + 1.0), points))


@pytest.mark.parametrize("use_alpha", [True, False])
def test_without_beta_all_shapes_share_one_deform_and_there_is_no_hyper_network(use_alpha):
    model = small_model(use_alpha=use_alpha, use_beta=False)
    assert not hasattr(model, "hyper")
    alpha, beta, points = codes_and_points()
    before = model.values(model.deform_layers(alpha, beta), points)
    assert torch.equal(before, model.values(model.deform_layers(alpha, beta + 1.0), points))
    if use_alpha:
        assert not torch.equal(before, model.values(model.deform_layers(alpha + 1.0, beta), points))


def test_with_both_codes_each_of_them_changes_the_field():
    model = small_model()
    alpha, beta, points = codes_and_points()
    before = model.values(model.deform_layers(alpha, beta), points)
    assert not torch.equal(before, model.values(model.deform_layers(alpha + 1.0, beta), points))
    assert not torch.equal(before, model.values(model.deform_layers(alpha, beta + 1.0), points))


def test_deform_starts_near_the_identity_for_every_shape():
    model = DeformTemplateField(FIELD_PRESETS["compact"])
    alpha, beta = 0.3 * torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    points = torch.rand(5, 100, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        found = model.evaluate(model.deform_layers(alpha, beta), points)
    assert float(found.dvec.norm(dim=-1).max()) < 0.05
    assert float(found.ddis.abs().max()) < 0.05


def test_hyper_weights_start_close_to_one_siren_initialisation():
    model = DeformTemplateField(FIELD_PRESETS["compact"])
    alpha, beta = torch.zeros(4, 64), torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    hidden_weight = model.deform_layers(alpha, beta)[1][0].detach()
    between_shapes = (hidden_weight - hidden_weight.mean(0)).std()
    assert 0.0 < float(between_shapes) < 0.2 * float(hidden_weight.std())


def test_the_template_has_its_own_codes():
    model = small_model()
    own = model.deform_layers(model.template_alpha[None], model.template_beta[None])
    for (w, b), (own_w, own_b) in zip(model.template_deform_layers(), own, strict=True):
        assert torch.equal(w, own_w) and torch.equal(b, own_b)


def test_template_coordinates_are_the_points_plus_dvec():
    model = small_model()
    alpha, beta, points = codes_and_points()
    deform = model.deform_layers(alpha, beta)
    expected = points + plain_siren(deform, points, model.options.omegas)[..., :3]
    assert torch.allclose(model.template_coordinates(deform, points), expected, atol=1e-6)


def test_outside_the_domain_no_field_is_nearer_than_the_domain():
    model = small_model()
    alpha, beta, points = codes_and_points()
    deform, far = model.deform_layers(alpha, beta), 3.0 * unit_normals(points)
    assert (model.distance(deform, far) >= 3.0 - DOMAIN_RADIUS_UNIT - 1e-5).all()
    assert (model.template_distance(far) >= 3.0 - DOMAIN_RADIUS_UNIT - 1e-5).all()


def test_within_the_domain_the_distance_is_the_field_itself():
    model = trained_on_ellipsoids()[0].model
    deform, points = model.template_deform_layers(), unit_normals(codes_and_points()[2][:1])
    for radius in (0.3, 0.6, 0.9):
        near = radius * points
        assert torch.equal(model.distance(deform, near), model.values(deform, near))
        assert torch.equal(model.template_distance(near), model.template_values(near))


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    first, again, other = (small_model(seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["temp.weights.1"], other["temp.weights.1"])


def test_the_paper_preset_has_the_sizes_of_section_4_2_1():
    options = FIELD_PRESETS["paper"]
    assert (options.hidden, options.depth, options.code_size) == (256, 5, 128)
    assert (options.hyper_hidden, options.hyper_depth) == (256, 3)


def test_options_survive_the_way_through_plain_values():
    options = FieldOptions(hidden=17, use_alpha=False, first_omega=3.5)
    assert FieldOptions(**options.as_dict()) == options
