"""The value type for segmentations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment, integer_labels

GEOMETRY = ImageGeometry.from_parts((4, 3, 2), (1.0, 2.0, 3.0))


def volume_of(*values: int, dtype=np.uint8) -> LabelVolume:
    """A volume whose first voxels have the given labels and whose others are 0."""
    array = np.zeros(24, dtype)
    array[: len(values)] = values
    return LabelVolume.from_array(array.reshape(2, 3, 4), GEOMETRY, "case.nrrd")


def overlapping_volume() -> LabelVolume:
    """Two layers, both with label 1: 'liver' and a 'tumour' within."""
    first, second = np.zeros((2, 2, 3, 4), np.uint8)
    first[0], second[0, 0] = 1, 1
    segments = (Segment(1, "liver", "Segment_1"), Segment(1, "tumour", "Segment_2", layer=1))
    return LabelVolume((first, second), GEOMETRY, segments, source="overlap.seg.nrrd")


def test_label_values_are_the_non_zero_ones_in_order():
    assert volume_of(7, 3, 3, 0, 7).label_values() == (3, 7)


def test_label_values_are_found_whatever_the_integer_type():
    assert volume_of(-5, 100_000, -2_000_000_000, dtype=np.int32).label_values() == (-2_000_000_000, -5, 100_000)


def test_the_only_label_is_found():
    assert volume_of(0, 9, 9).single_label() == 9


def test_several_labels_are_listed_where_one_is_wanted():
    with pytest.raises(BadInputError, match=r"case\.nrrd holds several labels \(3, 7\)"):
        volume_of(7, 3).single_label()


def test_a_volume_without_labels_has_no_only_label():
    with pytest.raises(BadInputError, match="holds no labels"):
        volume_of().single_label()


def test_equal_labels_in_two_layers_are_two_segments():
    with pytest.raises(BadInputError, match="'liver'.*'tumour'"):
        overlapping_volume().single_label()


def test_a_mask_has_the_voxels_of_its_label():
    mask = volume_of(7, 3, 7).mask(7)
    assert mask.dtype == bool and mask.shape == (2, 3, 4)
    assert np.flatnonzero(mask).tolist() == [0, 2]


def test_a_label_may_be_given_as_text():
    assert volume_of(7, 3, 7).mask("7").sum() == 2


@pytest.mark.parametrize("which, count", [("liver", 12), ("Segment_1", 12), ("tumour", 4), ("Segment_2", 4)])
def test_a_segment_is_found_by_name_and_by_id(which, count):
    assert overlapping_volume().mask(which).sum() == count


def test_an_id_that_is_also_the_name_of_another_must_be_said_to_be_one():
    segments = (Segment(1, "b", "a"), Segment(2, "a", "b"))
    volume = LabelVolume(volume_of(1, 2, 2).layers, GEOMETRY, segments, source="c.seg.nrrd")
    assert volume.mask("id:a").sum() == 1 and volume.mask("name:a").sum() == 2
    with pytest.raises(BadInputError, match=r"c\.seg\.nrrd has several segments 'a'; choose one of name:b, name:a"):
        volume.mask("a")


def test_a_label_in_two_layers_must_be_named():
    with pytest.raises(BadInputError, match="several segments 1; choose one of name:liver, name:tumour"):
        overlapping_volume().mask(1)


def test_numeric_ids_of_segments_with_equal_names_and_labels_are_found():
    first, second = np.zeros((2, 2, 3, 4), np.uint8)
    first[0], second[1, 0] = 1, 1
    segments = (Segment(1, "organ", "0"), Segment(1, "organ", "1", layer=1))
    volume = LabelVolume((first, second), GEOMETRY, segments)
    for which, count in (("0", 12), (0, 12), ("id:0", 12), ("id:1", 4)):
        assert volume.mask(which).sum() == count
    for which in ("organ", "name:organ", 1, "1", "label:1"):
        with pytest.raises(BadInputError, match="choose one of id:0, id:1"):
            volume.mask(which)


def test_a_text_that_is_one_segments_label_and_anothers_id_is_ambiguous_and_a_number_is_the_label():
    segments = (Segment(1, "a", "2"), Segment(2, "b", "1"))
    volume = LabelVolume(volume_of(1, 2, 2).layers, GEOMETRY, segments)
    assert volume.mask(1).sum() == volume.mask("label:1").sum() == volume.mask("id:2").sum() == 1
    with pytest.raises(BadInputError, match="several segments '1'; choose one of name:a, name:b"):
        volume.mask("1")


def test_a_name_with_a_colon_is_a_name():
    segments = (Segment(1, "lung: left", "s"),)
    assert LabelVolume(volume_of(1).layers, GEOMETRY, segments).mask("lung: left").sum() == 1


def test_an_unknown_segment_is_told_with_the_choices():
    with pytest.raises(BadInputError, match=r"overlap\.seg\.nrrd has no segment 'spleen'; choose from .*'liver'"):
        overlapping_volume().mask("spleen")


def test_an_empty_segment_has_an_empty_mask():
    volume = LabelVolume(volume_of(1).layers, GEOMETRY, (Segment(5, "empty", "e"),))
    assert not volume.mask("empty").any()


def test_a_replaced_segment_has_exactly_the_voxels_of_the_mask():
    mask = np.zeros((2, 3, 4), bool)
    mask[0, 0, 1:] = True
    assert np.array_equal(volume_of(7, 7, 3).replaced(7, mask).mask(7), mask)


def test_voxels_a_replaced_segment_leaves_become_background():
    after = volume_of(7, 7, 3).replaced(7, np.zeros((2, 3, 4), bool))
    assert after.layers[0].ravel()[:4].tolist() == [0, 0, 3, 0]


def test_neighbours_keep_their_voxels_where_nothing_may_be_taken():
    after = volume_of(7, 3, 0, 3).replaced(7, np.ones((2, 3, 4), bool), take_from_others=False)
    assert after.layers[0].ravel()[:5].tolist() == [7, 3, 7, 3, 7]


def test_replacing_keeps_type_geometry_segments_and_the_original():
    before = volume_of(700, 3, dtype=np.uint16).with_segments({700: "liver"})
    after = before.replaced("liver", np.ones((2, 3, 4), bool))
    assert after.layers[0].dtype == np.uint16
    assert after.geometry is before.geometry and after.segments == before.segments
    assert before.layers[0].ravel()[:3].tolist() == [700, 3, 0]


def test_replacing_in_one_layer_leaves_the_others():
    before = overlapping_volume()
    after = before.replaced("tumour", np.ones((2, 3, 4), bool))
    assert after.mask("tumour").all()
    assert np.array_equal(after.mask("liver"), before.mask("liver"))


@pytest.mark.parametrize("mask", [np.ones((4, 3, 2), bool), np.ones((2, 3, 4), np.uint8)])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    with pytest.raises(ValueError, match="mask must be bool"):
        volume_of(1).replaced(1, mask)


def test_layers_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        volume_of(1).layers[0][0, 0, 0] = 2


def test_overlapping_layers_do_not_flatten():
    words = r"overlap\.seg\.nrrd has overlapping segments \(liver and tumour\), .*; write \.seg\.nrrd"
    with pytest.raises(BadInputError, match=words):
        overlapping_volume().flattened()


def test_layers_that_do_not_overlap_flatten():
    first, second = np.zeros((2, 2, 3, 4), np.uint8)
    first[0], second[1] = 1, 2
    flat = LabelVolume((first, second), GEOMETRY).flattened()
    assert np.array_equal(flat, first + second)


def test_segments_of_layers_that_share_a_number_get_new_ones_and_that_is_told():
    first, second, third = np.zeros((3, 2, 3, 4), np.uint8)
    first[0, 0], second[0, 1], third[1, 0], third[1, 1] = 1, 1, 1, 255
    segments = (Segment(1, "spleen", "0"), Segment(1, "kidney", "256", layer=1), Segment(1, "liver", "2", layer=2))
    flat = LabelVolume((first, second, third), GEOMETRY, segments, source="c.seg.nrrd").in_one_layer()
    found = {s.name: s.label for s in flat.segments}
    assert found == {"spleen": 1, "kidney": 257, "liver": 258}, "256 is what the kidney is called"
    for name, old in (("spleen", first == 1), ("kidney", second == 1), ("liver", third == 1), ("label:255", third > 1)):
        assert np.array_equal(flat.mask(name), old)
    (told,) = flat.notices
    assert told.code == "labels.renumbered" and "kidney 1 -> 257, liver 1 -> 258" in told


def test_every_label_becomes_a_segment_with_its_given_name():
    segments = volume_of(7, 3).with_segments({7: "liver"}).segments
    assert [(s.label, s.name, s.id) for s in segments] == [(3, "Segment_3", "Segment_3"), (7, "liver", "Segment_7")]
    assert all(len(s.color) == 3 and 0 <= min(s.color) <= max(s.color) <= 1 for s in segments)


def test_new_segments_get_ids_that_are_free():
    volume = LabelVolume(volume_of(1, 2).layers, GEOMETRY, (Segment(1, "one", "Segment_2"),))
    assert [s.id for s in volume.with_segments().segments] == ["Segment_2", "Segment_2_1"]


def test_whole_floats_become_the_smallest_fitting_integers():
    labels = integer_labels(np.array([0.0, 3.0, 300.0], np.float32), "f.nii")
    assert labels.dtype == np.int16 and labels.tolist() == [0, 3, 300]


@pytest.mark.parametrize("value, words", [(0.5, "fractional"), (np.nan, "NaN"), (np.inf, "infinite"), (1e12, "large")])
def test_floats_that_are_no_labels_are_refused(value, words):
    with pytest.raises(BadInputError, match=f"f.nii holds .*{words}"):
        integer_labels(np.array([0.0, value]), "f.nii")


def test_a_layer_of_another_shape_than_the_geometry_is_refused():
    with pytest.raises(ValueError, match="shape"):
        LabelVolume((np.zeros((4, 3, 2), np.uint8),), GEOMETRY)


def test_the_extent_of_a_label_is_its_smallest_box_and_its_voxels():
    array = np.zeros((5, 6, 7), dtype=np.int16)
    array[1, 2, 3] = array[3, 4, 3] = 9
    array[0, 0, 0] = 4
    volume = LabelVolume.from_array(array, ImageGeometry.from_parts((7, 6, 5), (1.0, 1.0, 1.0)))
    assert volume.extent(9) == ((slice(1, 4), slice(2, 5), slice(3, 4)), 2)
    assert volume.label_values() == (4, 9)


def test_a_cropped_part_lies_where_it_was_and_goes_back_changed():
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7) % 3
    volume = LabelVolume.from_array(array, ImageGeometry.from_parts((7, 6, 5), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)))
    box = (slice(1, 4), slice(2, 5), slice(3, 6))
    part = volume.cropped(box)
    assert np.shares_memory(part.layers[0], volume.layers[0])
    np.testing.assert_allclose(part.geometry.origin_ras, volume.geometry.ijk_to_ras_points([[3, 2, 1]])[0])
    changed = part.replaced(2, np.zeros(part.geometry.shape_kji, dtype=bool))
    expected = array.copy()
    expected[box][expected[box] == 2] = 0
    assert np.array_equal(volume.pasted(box, changed).layers[0], expected)
    assert np.array_equal(volume.layers[0], array)


# Properties of any volume


@st.composite
def volumes(draw) -> LabelVolume:
    """Any shape, axes, spacing, handedness, integer type and set of labels."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.dtype(draw(st.sampled_from(["u1", "i2", "u2", "i4", "i8"])))
    low, high = np.iinfo(dtype).min // 2, np.iinfo(dtype).max // 2
    values = rng.integers(low, high, draw(st.integers(1, 5)), dtype=dtype, endpoint=True)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * 10.0 ** rng.uniform(-1.0, 1.0, 3)
    matrix[:3, 3] = rng.uniform(-1e3, 1e3, 3)
    return LabelVolume.from_array(rng.choice(np.append(values, 0), shape), ImageGeometry(matrix, shape[::-1]))


@given(volumes(), st.integers(0, 3))
def test_the_part_around_a_label_holds_it_whole_and_where_it_was(volume, room):
    for label in volume.label_values():
        part = volume.around(label, room)
        assert part.mask(label).sum() == volume.mask(label).sum()
        places = [
            v.geometry.ijk_to_ras_points(np.argwhere(v.mask(label))[:, ::-1].astype(float)) for v in (part, volume)
        ]
        np.testing.assert_allclose(*places, atol=1e-9)
        free = [
            np.flatnonzero(part.mask(label).any(axis=tuple(o for o in range(3) if o != axis)))[0] for axis in range(3)
        ]
        assert max(free) <= room


@given(volumes(), st.data())
def test_a_part_pasted_back_changes_nothing_else(volume, data):
    box = []
    for n in volume.geometry.shape_kji:
        start = data.draw(st.integers(0, n - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, n))))
    part = volume.cropped(tuple(box))
    assert (volume.pasted(tuple(box), part).layers[0] == volume.layers[0]).all()
    emptied = LabelVolume((np.zeros_like(part.layers[0]),), part.geometry)
    changed = volume.pasted(tuple(box), emptied).layers[0] != volume.layers[0]
    inside = np.zeros(changed.shape, dtype=bool)
    inside[tuple(box)] = True
    assert not changed[~inside].any() and changed.sum() == (part.layers[0] != 0).sum()


@given(volumes(), st.integers(0, 2**32 - 1))
def test_a_label_can_be_replaced_by_any_other_voxels_and_back(volume, seed):
    for label in volume.label_values():
        before = volume.mask(label)
        free = before | (volume.layers[0] == 0)
        other = free & (np.random.default_rng(seed).random(before.shape) < 0.5)
        if not other.any():
            continue
        replaced = volume.replaced(label, other)
        assert (replaced.mask(label) == other).all()
        for left in set(volume.label_values()) - {label}:
            assert (replaced.mask(left) == volume.mask(left)).all()
        assert (replaced.replaced(label, before).layers[0] == volume.layers[0]).all()
