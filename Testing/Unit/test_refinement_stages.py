"""The stages of a refinement: frozen values, each made of the one before, with random numbers of one sequence."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from ReShapeITLib.core.errors import MISSING_PACKAGE, BadInputError
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.refinement.aligned import Aligned, align
from ReShapeITLib.refinement.decided import Decided, decide
from ReShapeITLib.refinement.expected import Expected, expect
from ReShapeITLib.refinement.given import Given, given_organ
from ReShapeITLib.refinement.options import REFINE_PRESETS, RefineOptions
from ReShapeITLib.refinement.random_stream import RandomStream
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.refinement.refined import RefinedShape, refined_shape
from ReShapeITLib.refinement.restored import Restored, restore_organ
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import patient

DRAFT = REFINE_PRESETS["draft"]


@pytest.fixture(scope="module")
def organ():
    return patient(np.random.default_rng(3))


@pytest.fixture
def template(tiny_template_file):
    return OrganTemplate.load(tiny_template_file)


def test_a_stream_goes_on_where_the_generator_stood_and_stays_there():
    rng = np.random.default_rng(7)
    rng.normal(size=5)
    rng.integers(10, size=3, dtype=np.int32)  # leaves half a number over
    stream = RandomStream.after(rng)
    following = rng.random(4)
    np.testing.assert_array_equal(stream.generator().random(4), following)
    np.testing.assert_array_equal(stream.generator().random(4), following)
    np.testing.assert_array_equal(RandomStream.seeded(7).generator().random(4), np.random.default_rng(7).random(4))


def test_the_stages_one_by_one_give_what_refine_gives(organ, template):
    mask, geometry = organ
    given = given_organ(mask, geometry, DRAFT)
    aligned = align(given, template, DRAFT)
    restored = restore_organ(aligned, template, None, DRAFT)
    expected = expect(restored, template, DRAFT, Progress("none"))
    shape = refined_shape(decide(expected, Progress("none")))
    np.testing.assert_array_equal(shape.mask(geometry), refine(mask, geometry, template, DRAFT).mask(geometry))


def test_a_stage_asked_twice_answers_the_same(organ, template):
    given = given_organ(*organ, DRAFT)
    aligned = align(given, template, DRAFT)
    points = organ[1].ijk_to_ras_points(np.argwhere(organ[0])[::50, ::-1])
    first, again = (
        expect(restore_organ(aligned, template, None, DRAFT), template, DRAFT, Progress("none")) for _ in "ab"
    )
    np.testing.assert_array_equal(first.expected.sdf_mm(points), again.expected.sdf_mm(points))


def test_voxels_of_the_same_box_are_worked_out_once_and_those_of_another_anew(organ, template):
    mask, geometry = organ
    shape = refine(mask, geometry, template, DRAFT)
    whole = shape.mask(geometry)
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in geometry.box_around(shape.bounds_ras))
    asked = []
    silent = replace(shape, distance=Counted(shape.distance, asked))
    np.testing.assert_array_equal(silent.mask(geometry), whole)
    once = len(asked)
    np.testing.assert_array_equal(silent.mask(geometry.of_box(box)), whole[box])  # the same voxels of a smaller volume
    assert len(asked) == once > 0
    half = (slice(mask.shape[0] // 2, None), slice(None), slice(None))
    upper = geometry.of_box(tuple(slice(*s.indices(n)) for s, n in zip(half, mask.shape, strict=True)))
    np.testing.assert_array_equal(silent.mask(upper), whole[half])
    assert len(asked) > once
    moved = replace(silent, distance=Counted(shape.distance, asked), bounds_ras=shape.bounds_ras)
    before = len(asked)
    moved.mask(geometry)
    assert len(asked) > before  # another organ does not answer with this one's voxels


class Counted:
    """A distance that notes how often it is asked."""

    def __init__(self, distance, asked):
        self.distance, self.asked, self.bounds_ras = distance, asked, distance.bounds_ras

    def sdf_mm(self, points_ras):
        self.asked.append(len(points_ras))
        return self.distance.sdf_mm(points_ras)


@pytest.mark.parametrize("stage", [Given, Aligned, Restored, Expected, Decided, RefinedShape, RandomStream])
def test_the_value_of_a_stage_cannot_be_changed(stage):
    value = object.__new__(stage)
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(stage)[0].name, None)


def test_with_pycpd_an_organ_is_aligned_as_with_the_own_cpd(organ, template):
    pytest.importorskip("pycpd")
    given = given_organ(*organ, DRAFT)
    ours, theirs = (
        align(given, template, replace(DRAFT, alignment_backend=name)).alignment for name in ("cpd", "pycpd")
    )
    assert (ours.backend, theirs.backend) == ("cpd", "pycpd")
    assert not np.array_equal(ours.ras_to_unit.rotation, theirs.ras_to_unit.rotation)
    gap_mm = ours.ras_to_unit.inverse().apply(template.points_unit) - theirs.ras_to_unit.inverse().apply(
        template.points_unit
    )
    assert np.linalg.norm(gap_mm, axis=1).mean() < 2.0
    assert abs(ours.confidence.mean() - theirs.confidence.mean()) < 0.05
    assert abs(ours.p1_template.mean() - theirs.p1_template.mean()) < 0.05


def test_pycpd_that_is_not_installed_is_named_in_the_error(organ, template, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycpd", None)  # what an import of it finds is nothing
    with pytest.raises(BadInputError, match="needs the package pycpd; install it") as failed:
        refine(*organ, template, replace(DRAFT, alignment_backend="pycpd"))
    assert failed.value.code == MISSING_PACKAGE and failed.value.fields["package"] == "pycpd"


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match="Unknown alignment backend 'icp'; choose cpd or pycpd"):
        RefineOptions(alignment_backend="icp")
