"""The blended field: the given surface stands where nothing is taken, the fitted field where something is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.distance.combinators import BlendedField, FunctionDistance
from ReShapeITLib.distance.surface import DistanceGrid
from ReShapeITLib.refinement.decision.calibration import Coefficients, calibration
from ReShapeITLib.refinement.decision.field_witness import main_piece, restored_by_field
from ReShapeITLib.refinement.decision.suggestions import APART, ATTACHED, BEYOND, KINDS, MISSING, find_suggestions
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.refinement.refine import refine, with_suggestions
from ReShapeITLib.refinement.truncation import Truncation, grid_points
from ReShapeITLib.restoration.model import FIELD
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import patient

CELL_MM = 3.0
GEOMETRY = ImageGeometry.from_parts((41, 41, 41), (CELL_MM,) * 3, np.full(3, -60.0))
POINTS = grid_points(GEOMETRY)
BITE_CENTRE, LEAK_CENTRE = np.array([40.0, 0, 0]), np.array([-40.0, 0, 0])
EVEN = replace(calibration(), witnesses={FIELD: Coefficients(dict.fromkeys(KINDS, 0.0), {})})
DRAFT = REFINE_PRESETS["draft"]


def on_grid(values):
    return DistanceGrid(values.reshape(GEOMETRY.shape_kji).astype(np.float32), GEOMETRY)


def sphere_mm(points, radius=40.0, centre=(0.0, 0.0, 0.0)):
    return np.linalg.norm(points - np.asarray(centre), axis=1) - radius


def bitten_mm(points, bite_radius=20.0):
    return np.maximum(sphere_mm(points), -sphere_mm(points, bite_radius, BITE_CENTRE))


def leaking_mm(points, leak_radius=18.0):
    return np.minimum(sphere_mm(points), sphere_mm(points, leak_radius, LEAK_CENTRE))


@pytest.fixture
def template(tiny_template_file):
    return OrganTemplate.load(tiny_template_file)


def field(function):
    return FunctionDistance(function, (np.full(3, -60.0), np.full(3, 60.0)))


def answer(template, given, fitted=sphere_mm, seen=None):
    """What a field says of a given organ whose unit is 60 mm long, both functions of RAS points."""
    similarity = Similarity(1.0 / 60.0, np.eye(3), np.zeros(3))
    return restored_by_field(field(fitted), template, on_grid(given(POINTS)), similarity, seen)


def blended(template, given, fitted=sphere_mm):
    """Both, blended where the one suggestion that there is was taken."""
    found = find_suggestions(answer(template, given, fitted), EVEN)
    assert len(found.entries) == 1
    return BlendedField(on_grid(given(POINTS)), field(fitted), found.weight([found.entries[0].number]))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (bitten_mm, MISSING),
        (leaking_mm, ATTACHED),
        (lambda p: np.minimum(sphere_mm(p), sphere_mm(p, 8.0, (54.0, 0, 0))), APART),
    ],
    ids=[MISSING, ATTACHED, APART],
)
def test_where_a_field_contradicts_the_given_organ_is_a_suggestion(template, given, kind):
    (only,) = find_suggestions(answer(template, given), EVEN).entries
    assert only.kind == kind and only.probability == 0.5
    changed = (given(POINTS) < 0) != (sphere_mm(POINTS) < 0)
    assert only.volume_ml == pytest.approx(changed.sum() * CELL_MM**3 / 1000.0, rel=0.2)
    assert set(only.evidence) == {"field", "depth", "unlike"}


def test_a_field_that_goes_on_where_the_organ_was_cut_off_lies_beyond(template):
    cut = Truncation(np.array([[20.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]))
    told = answer(template, lambda p: np.maximum(sphere_mm(p), p[:, 0] - 20.0), seen=cut)
    assert [entry.kind for entry in find_suggestions(told, EVEN).entries] == [BEYOND]


def test_only_the_piece_that_holds_the_given_organ_belongs_to_the_field():
    def two_pieces(points):
        return np.minimum(sphere_mm(points, 20.0, (-30.0, 0, 0)), sphere_mm(points, 20.0, (35.0, 0, 0)))

    given, fitted = (on_grid(mm).values_mm for mm in (sphere_mm(POINTS, 18.0, (-30.0, 0, 0)), two_pieces(POINTS)))
    assert np.array_equal(main_piece(fitted, given).ravel() < 0, sphere_mm(POINTS, 20.0, (-30.0, 0, 0)) < 0)


def random_points(rng, n=4000):
    return rng.uniform(-58, 58, size=(n, 3))


def test_where_the_weight_is_zero_the_blended_field_is_the_given_one_exactly(template, rng):
    whole, points = blended(template, bitten_mm), random_points(rng)
    kept = whole.weight_at(points) == 0
    assert 1000 < kept.sum() < len(points)
    assert np.array_equal(whole.sdf_mm(points)[kept], whole.given.sdf_mm(points)[kept])


def test_where_the_weight_is_one_the_blended_field_is_the_fitted_one(template, rng):
    whole, points = blended(template, bitten_mm), random_points(rng, 20_000)
    won = whole.weight_at(points) == 1
    assert won.sum() > 50
    assert whole.sdf_mm(points)[won] == pytest.approx(sphere_mm(points)[won])


def test_in_between_the_blended_field_is_the_weighted_mean(template, rng):
    whole, points = blended(template, bitten_mm), random_points(rng)
    weight = whole.weight_at(points)
    expected = (1 - weight) * whole.given.sdf_mm(points) + weight * sphere_mm(points)
    assert ((weight > 0) & (weight < 1)).sum() > 50
    assert whole.sdf_mm(points) == pytest.approx(expected)


def test_the_bite_is_filled_and_the_leak_removed(template):
    assert bitten_mm(np.array([[28.0, 0, 0]]))[0] > 0 > blended(template, bitten_mm).sdf_mm(np.array([[28.0, 0, 0]]))[0]
    assert (
        leaking_mm(np.array([[-52.0, 0, 0]]))[0]
        < 0
        < blended(template, leaking_mm).sdf_mm(np.array([[-52.0, 0, 0]]))[0]
    )


def test_the_expected_organ_is_asked_only_where_it_has_a_say(template, rng):
    asked = []

    def fitted(points):
        asked.append(points)
        return sphere_mm(points)

    whole = blended(template, bitten_mm)
    asking = replace(whole, expected=FunctionDistance(fitted, whole.bounds_ras))
    points = random_points(rng)
    asking.sdf_mm(points)
    assert np.array_equal(np.concatenate(asked), points[whole.weight_at(points) > 0])


def without_a_third(mask):
    """The organ without what lies at one end of its longest axis."""
    axis = int(np.argmax(np.ptp(np.argwhere(mask), axis=0)))
    used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    left = mask.copy()
    np.moveaxis(left, axis, 0)[used[0] + 2 * len(used) // 3 :] = False
    return left


def test_without_a_network_an_organ_has_suggestions_and_another_choice_of_them_at_once(template):
    mask, geometry = patient(np.random.default_rng(3))
    given = without_a_third(mask)
    shape = refine(given, geometry, template, replace(DRAFT, boldness="1"), force=True)
    assert shape.taken == frozenset() and shape.suggestions.entries
    assert np.array_equal(shape.mask(geometry), given)
    largest = max(shape.suggestions.entries, key=lambda entry: entry.volume_ml)
    assert largest.kind in (MISSING, BEYOND)
    chosen = with_suggestions(shape, [largest.number])
    assert chosen.taken == {largest.number} and chosen.fit is shape.fit
    came = chosen.mask(geometry) & ~given
    assert (came & mask).sum() > 0.5 * (mask & ~given).sum()
    assert np.array_equal(with_suggestions(chosen, ()).mask(geometry), given)


def test_the_choice_by_boldness_is_the_rule_for_the_field_as_well(template):
    mask, geometry = patient(np.random.default_rng(3))
    shape = refine(without_a_third(mask), geometry, template, replace(DRAFT, boldness="0.3"), force=True)
    assert shape.taken == {entry.number for entry in shape.suggestions.entries if entry.probability > 0.3}
