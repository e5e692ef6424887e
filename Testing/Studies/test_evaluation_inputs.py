"""Inputs of a study: where they come from, what they look like, and that they are always the same."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.damage.levels import with_room
from ReShapeITLib.io.volumes import write_labels
from Testing.Studies.cases_for_tests import make_study, sphere, write_cases, write_mask
from Testing.Studies.evaluation.inputs import check_inputs, make_input, training_organs, variants

TEMPLATE = "template.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_cases(folder)
    return folder


def made(folder, family, variant="", case="a", **changes):
    study = make_study(folder, TEMPLATE, families=[family], **changes)
    return make_input(study, case, study.families[0], variant)


def test_a_prediction_is_read_as_it_is(folder):
    given = made(folder, {"kind": "predictions", "folder": "nets", "names": ["island"]}, "island")
    assert (given.truth == sphere()[0]).all() and (given.given & ~given.truth).sum() == 27


def test_a_missing_prediction_is_told_before_the_work(folder):
    family = {"kind": "predictions", "folder": "nets", "names": ["right", "wrong"]}
    with pytest.raises(BadInputError, match="0 label files named wrong"):
        check_inputs(make_study(folder, TEMPLATE, families=[family]))


def test_a_prediction_on_another_grid_is_refused(tmp_path):
    write_cases(tmp_path)
    write_mask(tmp_path / "nets" / "a" / "right.nii.gz", *sphere(size=28))
    with pytest.raises(BadInputError, match="not on the grid"):
        made(tmp_path, {"kind": "predictions", "folder": "nets", "names": ["right"]}, "right")


def test_clean_input_is_the_truth(folder):
    given = made(folder, {"kind": "clean"})
    assert (given.given == given.truth).all() and given.truth.sum() == sphere()[0].sum()


def test_damage_is_the_same_every_time_and_differs_from_case_to_case(folder):
    family = {"kind": "damage", "damage": "bite"}
    first, again, other = made(folder, family), made(folder, family), made(folder, family, case="b")
    assert (first.given == again.given).all() and first.given.sum() < first.truth.sum()
    assert (first.given != made(folder, family, seed=1).given).any()

    def missing(given):
        lost = given.geometry.ijk_to_ras_points(np.argwhere(given.truth & ~given.given)[:, ::-1])
        return lost.mean(axis=0)

    assert np.linalg.norm(missing(first) - missing(other)) > 3.0


def test_levels_damage_the_same_place_less_or_more(folder):
    mild, severe = (made(folder, {"kind": "damage", "damage": "bite", "level": level}) for level in ("mild", "severe"))
    assert (severe.given <= mild.given).all() and severe.given.sum() < mild.given.sum()


def test_coarse_voxels_are_cubes_and_thick_slices_lie_across_head_to_feet(folder):
    cubes = made(folder, {"kind": "coarse", "voxel_mm": 4.0}).given
    slices = made(folder, {"kind": "coarse", "slice_mm": 4.0}).given
    assert all(has_pairs(cubes, axis) for axis in range(3))
    assert has_pairs(slices, 0) and not has_pairs(slices, 1) and not has_pairs(slices, 2)


def test_sparse_input_is_the_truth_on_slices_a_gap_apart_across_head_to_feet(folder):
    given = made(folder, {"kind": "sparse", "gap_mm": 8.0})
    slices = np.flatnonzero(given.given.any(axis=(1, 2)))
    assert len(slices) > 2 and set(np.diff(slices)) == {4}  # voxels of 2 mm
    assert (given.given[slices] == given.truth[slices]).all()


def test_several_draws_are_several_inputs_with_damage_of_their_own(folder):
    study = make_study(folder, TEMPLATE, families=[{"kind": "damage", "damage": "bite", "draws": 2}])
    names = variants(study.families[0])
    assert names == ("draw 1", "draw 2")
    first, second = (make_input(study, "a", study.families[0], name).given for name in names)
    assert (first != second).any()
    with pytest.raises(BadInputError, match="'draws' must be at least 1"):
        make_study(folder, TEMPLATE, families=[{"kind": "damage", "damage": "bite", "draws": 0}])


def has_pairs(mask, axis):
    """True where the voxels 2 n and 2 n + 1 along an axis are alike."""
    along = np.moveaxis(mask, axis, 0)[: mask.shape[axis] // 2 * 2]
    return (along[::2] == along[1::2]).all()


def test_the_label_may_carry_flag_bits_and_the_rest_are_neighbours(tmp_path):
    truth, geometry = sphere()
    labels = np.where(truth, 4, 0).astype(np.uint16)
    labels[truth & (np.indices(truth.shape)[2] > 13)] = 5
    labels[truth & (np.indices(truth.shape)[0] > 13)] += 512
    write_labels(LabelVolume.from_array(labels, geometry), tmp_path / "c.nrrd")
    told = {"truths": ["c.nrrd"], "label": 4, "label_modulo": 512, "case": "c"}
    assert made(tmp_path, {"kind": "clean"}, **told).truth.sum() == (labels % 512 == 4).sum()
    swapped = made(tmp_path, {"kind": "damage", "damage": "swap"}, **told)
    assert (swapped.given != swapped.truth).any()
    with pytest.raises(BadInputError, match="no voxels of the organ"):
        made(tmp_path, {"kind": "clean"}, **told | {"label": 9})


def test_room_is_made_by_cropping_and_padding_without_moving_the_organ():
    geometry = ImageGeometry.from_parts((12, 10, 8), (1.0, 1.0, 2.0), (5.0, 6.0, 7.0))
    mask = np.zeros(geometry.shape_kji, dtype=bool)
    mask[3:5, 0:4, 6:8] = True
    array, roomy = with_room(mask, mask, geometry, 3.0)
    assert array.shape == roomy.shape_kji == (2 + 4, 4 + 6, 2 + 6) and array.sum() == mask.sum()
    before = geometry.ijk_to_ras_points(np.argwhere(mask)[:, ::-1])
    assert np.allclose(roomy.ijk_to_ras_points(np.argwhere(array)[:, ::-1]), before)


def test_training_organs_are_read_one_by_one(folder):
    write_mask(folder / "training" / "c.nrrd", *sphere(10.0))
    organs = training_organs(make_study(folder, TEMPLATE, training=["training/c.nrrd"]))
    assert [mask.sum() for mask, _ in organs] == [sphere(10.0)[0].sum()]
