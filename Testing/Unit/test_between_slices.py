"""An organ that was drawn on a few slices: which ones those are, what lies between them, and its completion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError, ImplausibleError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.between_slices import (
    SparseAnnotation,
    annotated_slices,
    distance_between_slices,
    spread_from_slices,
)
from ReShapeITLib.distance.combinators import FunctionDistance
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import label_volume, patient

# Oblique, left-handed, of three unlike spacings.
TURN = np.array([[0.0, 0.8, 0.6], [-1.0, 0.0, 0.0], [0.0, -0.6, 0.8]])
GEOMETRY = ImageGeometry.from_parts((50, 44, 36), (1.0, 1.5, 2.0), (10.0, 20.0, 30.0), TURN)
CENTRE = GEOMETRY.ijk_to_ras_points(np.array([[25, 22, 18]]))[0]


def to_centre(points_ras: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points_ras - CENTRE, axis=1)


def ball(radius_mm: float) -> np.ndarray:
    kji = np.indices(GEOMETRY.shape_kji).reshape(3, -1)
    return (to_centre(GEOMETRY.ijk_to_ras_points(kji[::-1].T)) < radius_mm).reshape(GEOMETRY.shape_kji)


def drawn_on(mask: np.ndarray, axis: int, slices) -> np.ndarray:
    kept = np.zeros_like(mask)
    where = (slice(None),) * axis + (list(slices),)
    kept[where] = mask[where]
    return kept


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slices_and_the_axis_they_lie_across_are_found(axis):
    found_axis, slices = annotated_slices(drawn_on(ball(14.0), axis, [15, 19, 24]))
    assert found_axis == axis and slices.tolist() == [15, 19, 24]


@pytest.mark.parametrize(("slices", "told"), [([], "empty"), ([18], "one slice only"), (range(36), "on every slice")])
def test_what_cannot_be_completed_is_refused_with_a_sentence(slices, told):
    with pytest.raises(BadInputError, match=told):
        SparseAnnotation.of(drawn_on(ball(14.0), 0, slices), GEOMETRY)


def test_between_the_slices_of_a_cone_lies_the_cone():
    k, j, i = np.indices((21, 61, 61))
    radius = np.hypot(j - 30, i - 30)
    cone = radius <= 8.2 + 0.6 * k
    distance = distance_between_slices(cone, 0, np.array([0, 10, 20]), np.array([3.0, 1.0, 1.0]))
    near = np.abs(distance) < 3
    np.testing.assert_allclose(distance[near], (radius - (8.2 + 0.6 * k))[near], atol=0.8)
    assert abs(float((distance - (radius - (8.2 + 0.6 * k)))[near].mean())) < 0.25


def test_values_are_linear_between_the_slices_and_rise_beyond_them():
    spread = spread_from_slices(np.array([[2.0], [6.0]]), np.array([1, 3]), 6, 10.0)
    assert spread[:, 0].tolist() == [12.0, 2.0, 4.0, 6.0, 16.0, 26.0]


def test_on_the_drawn_slices_the_sign_is_that_of_the_drawing():
    mask = drawn_on(ball(16.0), 0, [12, 18, 24])
    drawn = SparseAnnotation.of(mask, GEOMETRY)
    kji = np.argwhere(np.isin(np.indices(mask.shape)[0], [12, 18, 24]))
    inside = drawn.distance.sdf_mm(GEOMETRY.ijk_to_ras_points(kji[:, ::-1])) < 0
    np.testing.assert_array_equal(inside, mask[tuple(kji.T)])


def test_known_is_what_lies_near_a_drawn_slice():
    drawn = SparseAnnotation.of(drawn_on(ball(16.0), 0, [12, 18, 24]), GEOMETRY)
    steps = np.array([11.0, 11.7, 12.0, 12.4, 15.0, 18.2, 24.6])
    points = GEOMETRY.ijk_to_ras_points(np.stack([np.full(7, 25.0), np.full(7, 22.0), steps], axis=1))
    assert drawn.known_at(points, within_mm=1.0).tolist() == [False, True, True, True, False, True, False]


def test_a_field_is_bent_through_the_contours_and_keeps_its_own_form_far_from_them():
    mask = drawn_on(ball(16.0), 0, [12, 18, 24])
    field = FunctionDistance(lambda points: to_centre(points) - 14.0, (CENTRE - 14.0, CENTRE + 14.0))
    bent = SparseAnnotation.of(mask, GEOMETRY).through_contours(field)
    kji = np.argwhere(np.isin(np.indices(mask.shape)[0], [12, 18, 24]))
    inside = bent.sdf_mm(GEOMETRY.ijk_to_ras_points(kji[:, ::-1])) < 0
    np.testing.assert_array_equal(inside, mask[tuple(kji.T)])
    # The field was too small by 2 mm everywhere, also between the slices.
    directions = np.random.default_rng(0).normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    layers = GEOMETRY.ras_to_ijk_points(CENTRE + 16.0 * directions)[:, 2]
    between = (layers > 12) & (layers < 24)
    assert np.abs(bent.sdf_mm(CENTRE + 16.0 * directions[between])).mean() < 0.6
    far = CENTRE + 60.0 * directions
    np.testing.assert_allclose(bent.sdf_mm(far), 46.0, atol=1e-6)


@pytest.fixture(scope="module")
def drawn_case():
    mask, geometry = patient(np.random.default_rng(5))
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    return mask, drawn_on(mask, 0, used[2:-1:7]), geometry


def test_the_completed_organ_goes_through_what_was_drawn_and_comes_near_the_whole(drawn_case, tiny_template_file):
    whole, drawn, geometry = drawn_case
    template = OrganTemplate.load(tiny_template_file)
    refined = refine(drawn, geometry, template, replace(REFINE_PRESETS["draft"], sparse=True)).mask(geometry)
    slices = np.flatnonzero(drawn.any(axis=(1, 2)))
    np.testing.assert_array_equal(refined[slices], drawn[slices])
    assert 2 * (refined & whole).sum() / (refined.sum() + whole.sum()) > 0.93


def test_the_command_completes_a_drawing_and_tells_when_there_is_none(drawn_case, tiny_template_file, tmp_path, capsys):
    whole, drawn, geometry = drawn_case
    write_labels(label_volume(drawn, geometry), tmp_path / "drawn.nrrd")
    write_labels(label_volume(whole, geometry), tmp_path / "whole.nrrd")
    options = ["--template", str(tiny_template_file), "--preset", "draft", "--device", "cpu", "--sparse"]
    output = tmp_path / "out.nrrd"
    assert main(["refine", str(tmp_path / "drawn.nrrd"), *options, "--output", str(output)]) == 0
    assert read_labels(output).mask(1).sum() > 3 * drawn.sum()
    assert main(["refine", str(tmp_path / "whole.nrrd"), *options, "--output", str(tmp_path / "no.nrrd")]) != 0
    assert "on every slice" in capsys.readouterr().err and not (tmp_path / "no.nrrd").exists()


def test_a_drawing_on_few_slices_that_was_not_said_to_be_one_is_offered_the_option(drawn_case, tiny_template_file):
    whole, _, geometry = drawn_case
    drawn = drawn_on(whole, 0, np.flatnonzero(whole.any(axis=(1, 2)))[2:-1:4])
    template = OrganTemplate.load(tiny_template_file)
    with pytest.raises(ImplausibleError, match="few slices only.*--sparse") as refused:
        refine(drawn, geometry, template, REFINE_PRESETS["draft"])
    assert refused.value.code == "sparse.not_asked"
    assert refine(drawn, geometry, template, REFINE_PRESETS["draft"], force=True).mask(geometry).any()
