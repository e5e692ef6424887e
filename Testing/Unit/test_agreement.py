"""Fields and surfaces that follow what organs agreed on voxel by voxel, on a ball whose distance is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.narrow_band import extract_zero_level, label_mask
from ReShapeITLib.distance.of_mesh import MeshDistance
from ReShapeITLib.refinement.several_organs.agreement import Region, agree, agreeing

ANGLE = np.radians(20.0)
TURNED = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1.0]])
GEOMETRY = ImageGeometry.from_parts((26, 24, 14), (0.9, 1.0, 2.0), (5.0, -3.0, 100.0), TURNED)
CENTRES_RAS = GEOMETRY.ijk_to_ras_points(np.indices(GEOMETRY.shape_kji)[::-1].reshape(3, -1).T)
MIDDLE = CENTRES_RAS.mean(axis=0)


@dataclass(frozen=True)
class Ball:
    """A field that is an exact distance."""

    shift: float = 0.0

    def sdf_mm(self, points_ras):
        return np.linalg.norm(points_ras - MIDDLE - [self.shift, 0.0, 0.0], axis=1) - 7.0


@dataclass(frozen=True)
class Shape:
    distance: object
    bounds_ras: tuple

    def sdf_mm(self, points_ras):
        return self.distance.sdf_mm(points_ras)

    def mask(self, geometry):
        return label_mask(self.sdf_mm, geometry, self.bounds_ras)


def ball() -> tuple[Shape, np.ndarray]:
    shape = Shape(Ball(), (MIDDLE - 8.0, MIDDLE + 8.0))
    return shape, (Ball().sdf_mm(CENTRES_RAS) < 0).reshape(GEOMETRY.shape_kji)


def inside(field) -> np.ndarray:
    return (field.sdf_mm(CENTRES_RAS) < 0).reshape(GEOMETRY.shape_kji)


def test_a_shape_that_kept_its_voxels_stays_itself():
    shape, own = ball()
    assert agreeing(shape, own, own.copy(), GEOMETRY) is shape


def test_the_surface_leaves_what_was_lost_and_takes_what_was_gained():
    shape, own = ball()
    agreed = own.copy()
    agreed[:, :, 16:] = False  # a neighbour's
    agreed[5:9, 2:9, 10:14] = True  # a gap that was closed, partly outside the ball's bounds
    assert (own & ~agreed).sum() > 150 and (agreed & ~own).sum() > 40
    settled = agreeing(shape, own, agreed, GEOMETRY)
    assert np.array_equal(inside(settled.distance), agreed)
    assert np.array_equal(label_mask(settled.distance.sdf_mm, GEOMETRY, settled.bounds_ras), agreed)
    surface = TriangleSurface.from_triangles(
        *extract_zero_level(settled.distance.sdf_mm, settled.bounds_ras, cell_size=0.5)
    )
    distance = MeshDistance(surface).sdf_mm(CENTRES_RAS).reshape(GEOMETRY.shape_kji)
    # Cells of 0.5 mm cut corners of single voxels, but no voxel is left out or taken by more than a fraction of one.
    assert np.abs(distance[(distance < 0) != agreed]).max(initial=0.0) < 0.25
    assert ((distance < 0) != agreed).sum() < 0.02 * agreed.sum()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.002, 0.05, 0.4]))
def test_whatever_changes_the_signs_are_those_of_the_voxels_and_extraction_finds_them_all(seed, share):
    shape, own = ball()
    rng = np.random.default_rng(seed)
    agreed = own ^ (rng.random(own.shape) < share)
    if (agreed == own).all():
        return
    settled = agreeing(shape, own, agreed, GEOMETRY)
    assert np.array_equal(inside(settled.distance), agreed)
    assert np.array_equal(label_mask(settled.distance.sdf_mm, GEOMETRY, settled.bounds_ras), agreed)


@pytest.mark.parametrize(("apart", "claims"), [(6.0, 2), (15.0, 0)], ids=["both claim the middle", "nobody does"])
def test_organs_that_overlap_or_leave_a_gap_have_surfaces_that_share_it_out_as_the_voxels_do(apart, claims):
    shapes = {
        value: Shape(Ball(shift), (MIDDLE - 12.0, MIDDLE + 12.0)) for value, shift in ((1, -apart / 2), (2, apart / 2))
    }
    masks = [shape.mask(GEOMETRY) for shape in shapes.values()]
    middle = np.abs(CENTRES_RAS[:, 0] - MIDDLE[0]).reshape(GEOMETRY.shape_kji)
    if claims == 0:  # what was given reached to the middle
        core = np.linalg.norm((CENTRES_RAS - MIDDLE)[:, 1:], axis=1).reshape(GEOMETRY.shape_kji) < 3.5
        masks = [mask | (core & (middle < 2.0) & half) for mask, half in zip(masks, halves(), strict=True)]
    labels = np.zeros(GEOMETRY.shape_kji, dtype=np.uint8)
    for value, (mask, half) in enumerate(zip(masks, halves(), strict=True), 1):
        labels[mask & half] = value
    before = LabelVolume.from_array(labels, GEOMETRY)
    together = np.sum([shape.mask(GEOMETRY) for shape in shapes.values()], axis=0)
    assert ((together == claims) & (labels > 0)).sum() > 10
    after, agreed = agree(before, shapes)
    for value, shape in agreed.items():
        assert np.array_equal(inside(shape.distance), after.mask(value))
        assert not np.array_equal(inside(shapes[value].distance), after.mask(value))


def halves() -> tuple[np.ndarray, np.ndarray]:
    low = (CENTRES_RAS[:, 0] < MIDDLE[0]).reshape(GEOMETRY.shape_kji)
    return low, ~low


def test_far_from_a_region_its_field_grows_like_a_distance():
    mask = np.zeros(GEOMETRY.shape_kji, dtype=bool)
    mask[6, 10, 12] = True
    (at,) = GEOMETRY.ijk_to_ras_points(np.array([[12, 10, 6]]))
    away = np.array([5.0, 10.0, 200.0])
    values = Region(mask, GEOMETRY).sdf_mm(at + away[:, None] * [0.6, 0.0, 0.8])
    assert (values <= away).all() and (values > away - 4.0).all()
    assert Region(mask, GEOMETRY).sdf_mm(at[None])[0] == pytest.approx(-0.7 * 0.9 * 0.1, abs=0.6)
