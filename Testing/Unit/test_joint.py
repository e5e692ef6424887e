"""Several refined organs in one label volume, on balls whose distances are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.refinement.several_organs.joint import combine

GEOMETRY = ImageGeometry.from_parts((40, 20, 20), (1.0, 1.0, 2.0), (-20.0, -10.0, -20.0), np.diag([1.0, 1.0, 1.0]))

X = GEOMETRY.ijk_to_ras_points(np.indices(GEOMETRY.shape_kji)[::-1].reshape(3, -1).T)[:, 0]
X = X.reshape(GEOMETRY.shape_kji) + 0.5  # (K, J, I) coordinate across the slabs: whole numbers are between voxels


@dataclass
class Ball:
    """A refined organ with an exact distance; counts the points it is asked at."""

    centre_x: float
    radius: float
    asked: list = field(default_factory=list)

    def sdf_mm(self, points_ras):
        self.asked.append(len(points_ras))
        return np.linalg.norm(points_ras - [self.centre_x, 0.0, 0.0], axis=1) - self.radius

    def mask(self, geometry):
        k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
        points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))
        inside = np.linalg.norm(points - [self.centre_x, 0.0, 0.0], axis=1) < self.radius
        return inside.reshape(geometry.shape_kji)


def volume_of(**labels) -> LabelVolume:
    array = np.zeros(GEOMETRY.shape_kji, dtype=np.int16)
    for name, mask in labels.items():
        array[mask] = int(name[1:])
    return LabelVolume.from_array(array, GEOMETRY)


def test_one_organ_replaces_its_label():
    refined = combine(volume_of(l3=Ball(0, 5).mask(GEOMETRY)), {3: Ball(0, 7)})
    assert np.array_equal(refined.layers[0] == 3, Ball(0, 7).mask(GEOMETRY))
    assert refined.layers[0].dtype == np.int16


def test_a_contested_voxel_goes_to_the_deepest_organ():
    left, right = Ball(-5, 8), Ball(5, 8)
    refined = combine(volume_of(l1=Ball(-5, 3).mask(GEOMETRY), l2=Ball(5, 3).mask(GEOMETRY)), {1: left, 2: right})
    both = left.mask(GEOMETRY) & right.mask(GEOMETRY)
    k, j, i = np.nonzero(both)
    x = GEOMETRY.ijk_to_ras_points(np.stack([i, j, k], axis=1))[:, 0]
    assert both.sum() > 100
    assert (refined.layers[0][both][x < 0] == 1).all() and (refined.layers[0][both][x > 0] == 2).all()


def test_distances_are_asked_at_contested_voxels_only():
    left, right = Ball(-5, 8), Ball(5, 8)
    combine(volume_of(l1=Ball(-5, 3).mask(GEOMETRY), l2=Ball(5, 3).mask(GEOMETRY)), {1: left, 2: right})
    assert left.asked == [int((left.mask(GEOMETRY) & right.mask(GEOMETRY)).sum())]


def test_the_order_of_the_labels_does_not_matter():
    left, right = Ball(-4, 8), Ball(5.3, 9)
    volume = volume_of(l1=Ball(-3, 6).mask(GEOMETRY), l2=Ball(5, 5).mask(GEOMETRY))
    one, other = combine(volume, {1: left, 2: right}), combine(volume, {2: right, 1: left})
    assert np.array_equal(one.layers[0], other.layers[0])


def test_labels_that_are_not_refined_keep_their_voxels():
    neighbour = Ball(8, 5).mask(GEOMETRY)
    refined = combine(volume_of(l1=Ball(-2, 4).mask(GEOMETRY), l9=neighbour), {1: Ball(0, 9)})
    assert np.array_equal(refined.layers[0] == 9, neighbour)


@pytest.mark.parametrize("keep_union", [False, True])
def test_a_wide_gap_between_two_organs_is_closed_only_on_request(keep_union):
    volume = volume_of(l1=Slab(-8, 0).mask(GEOMETRY), l2=Slab(0, 8).mask(GEOMETRY))
    refined = combine(volume, {1: Slab(-8, -3), 2: Slab(2, 8)}, keep_union)
    gap = (X > -3) & (X < 2)
    assert (refined.layers[0][gap] > 0).all() == keep_union
    if keep_union:
        assert (refined.layers[0][gap & (X < -1)] == 1).all() and (refined.layers[0][gap & (X > 0)] == 2).all()


def test_between_parts_of_a_whole_there_is_no_gap_but_what_leaked_out_of_it_stays_out():
    volume = volume_of(l1=Slab(-12, 0).mask(GEOMETRY), l2=Slab(0, 8).mask(GEOMETRY))
    refined = {1: Slab(-8, -3), 2: Slab(2, 8)}
    for wholes, closed in (({1: "lung", 2: "lung"}, True), ({1: "lung", 2: "other"}, False), ({1: "", 2: ""}, False)):
        after = combine(volume, refined, wholes=wholes).layers[0]
        gap = (X > -3) & (X < 2)
        assert (after[gap] > 0).all() == closed
        if closed:
            assert (after[gap & (X < -1)] == 1).all() and (after[gap & (X > 0)] == 2).all()
        assert not after[X < -8].any(), "a leak into the surroundings"


def test_organs_that_touched_get_no_new_gap_and_no_overlap():
    volume = volume_of(l1=Slab(-8, 0).mask(GEOMETRY), l2=Slab(0, 8).mask(GEOMETRY))
    refined = combine(volume, {1: Slab(-8, -0.6), 2: Slab(0.6, 8)}).layers[0]
    assert np.array_equal(refined > 0, volume.layers[0] > 0)
    assert np.array_equal(refined == 1, volume.layers[0] == 1)


def test_an_outer_border_that_moved_inwards_is_no_gap():
    volume = volume_of(l1=Slab(-8, 0).mask(GEOMETRY), l2=Slab(0, 8).mask(GEOMETRY))
    refined = combine(volume, {1: Slab(-7, 0), 2: Slab(0, 8)}).layers[0]
    assert not refined[(X > -8) & (X < -7)].any() and (refined[(X > -7) & (X < 0)] == 1).all()


def test_with_keep_union_only_the_border_between_the_organs_moves():
    given = {1: Slab(-8, 0), 2: Slab(0, 8)}
    volume = volume_of(l1=given[1].mask(GEOMETRY), l2=given[2].mask(GEOMETRY), l9=Slab(12, 14).mask(GEOMETRY))
    # One organ shrinks outside, the other leaks out; the border between them goes from 0 to 3.
    refined = combine(volume, {1: Slab(-6, 3), 2: Slab(3, 11)}, keep_union=True).layers[0]
    assert np.array_equal(refined == 9, volume.layers[0] == 9)
    assert np.array_equal(refined > 0, volume.layers[0] > 0)
    assert np.array_equal(refined == 1, (X > -8) & (X < 3)) and np.array_equal(refined == 2, (X > 3) & (X < 8))


def test_keep_union_means_nothing_for_a_single_organ():
    volume = volume_of(l1=Ball(0, 6).mask(GEOMETRY))
    assert np.array_equal(combine(volume, {1: Ball(0, 8)}, keep_union=True).mask(1), Ball(0, 8).mask(GEOMETRY))


def test_segments_that_overlap_on_purpose_go_on_overlapping():
    layers = tuple(Ball(x, 8).mask(GEOMETRY).astype(np.uint8) for x in (-5, 5))
    segments = (Segment(1, "organ", "a", layer=0), Segment(1, "region", "b", layer=1))
    refined = combine(LabelVolume(layers, GEOMETRY, segments), {"a": Ball(-5, 8), "b": Ball(5, 8)})
    assert all(np.array_equal(old, new) for old, new in zip(layers, refined.layers, strict=True))


@dataclass
class Slab:
    """Everything between two planes across ``X``."""

    low: float
    high: float

    def sdf_mm(self, points_ras):
        x = np.asarray(points_ras)[:, 0] + 0.5
        return np.maximum(self.low - x, x - self.high)

    def mask(self, geometry):
        k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
        points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))
        return (self.sdf_mm(points) < 0).reshape(geometry.shape_kji)
