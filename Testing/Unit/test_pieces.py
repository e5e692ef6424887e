"""Pieces of label maps: what they look like, to which organ they belong, which may not come or go without a word."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError, ImplausibleError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.job import run_refine_job
from ReShapeITLib.job.pieces.likeness import KnownOrgans, mirrored, points_of, voxel_moments
from ReShapeITLib.job.pieces.pairs import pair_of, split, with_parts
from ReShapeITLib.job.pieces.parts import joined, misplaced_pieces, parse_with, propose_parts, with_piece_moved
from ReShapeITLib.job.pieces.prepared import prepare
from ReShapeITLib.job.pieces.removed import organ_sized_change, piece_report, pieces_of
from ReShapeITLib.job.pieces.sides import side_problems
from ReShapeITLib.job.request import RefineJob
from ReShapeITLib.templates.store import known_templates
from Testing.tiny_template import ellipsoid_mask, label_volume, patient

GRID = ImageGeometry.from_parts((60, 30, 30), (3.0, 3.0, 3.0), (-90.0, -45.0, -45.0))
PAIR = ("bean_left", "bean_right")


def bean(centre_r: float, side: int, scale: float = 1.0) -> np.ndarray:
    """(K, J, I) bool of an organ without symmetry that lies around that R; ``side`` -1 is the mirror image of 1."""
    centre = np.array([centre_r, 0.0, 0.0])
    upper = ellipsoid_mask(GRID, centre + scale * np.array([side * 8.0, 0, 12]), scale * np.array([12.0, 15, 24]))
    lower = ellipsoid_mask(GRID, centre + scale * np.array([-side * 6.0, 0, -12]), scale * np.array([18.0, 12, 15]))
    return upper | lower


def info(organ: str, side: int) -> SimpleNamespace:
    """What a template knows of beans of several sizes."""
    masks = [bean(0.0, side, scale) for scale in (0.9, 0.95, 1.0, 1.05, 1.1)]
    moments = [voxel_moments(points_of(mask, GRID), GRID.voxel_volume_mm3) for mask in masks]
    return SimpleNamespace(organ=organ, shape_moments=[one.tolist() for one in moments])


@pytest.fixture(scope="module")
def known() -> KnownOrgans:
    """A left and a right bean, each other's mirror image."""
    return KnownOrgans([info("bean_left", 1), info("bean_right", -1)])


def volume_of(labels: dict[int, np.ndarray], dtype=np.uint8) -> LabelVolume:
    array = np.zeros(GRID.shape_kji, dtype)
    for label, mask in labels.items():
        array[mask] = label
    return LabelVolume.from_array(array, GRID, "case.nrrd")


LEFT, RIGHT = bean(-45.0, 1), bean(45.0, -1)


def test_mirrored_moments_are_those_of_the_mirrored_voxels():
    own, other = (voxel_moments(points_of(mask, GRID), 27.0) for mask in (LEFT, LEFT[:, :, ::-1]))
    assert mirrored(own) == pytest.approx(other, abs=1e-9) and np.abs(own - other).max() > 0.1


def test_a_piece_looks_like_the_organ_of_its_own_side(known):
    assert known.looks_like(points_of(LEFT, GRID), 27.0, 1.8) == "bean_left"
    assert known.looks_like(points_of(RIGHT, GRID), 27.0, 1.8) == "bean_right"
    speck = np.zeros(GRID.shape_kji, dtype=bool)
    speck[5, 5, 5:8] = True
    assert known.looks_like(points_of(speck, GRID), 27.0, 1.8) == ""


def test_a_name_with_a_plus_names_two_organs():
    assert pair_of("liver") is None and pair_of(" kidney_left + kidney_right ") == ("kidney_left", "kidney_right")
    for wrong in ("a+", "a+b+c", "a+a"):
        with pytest.raises(BadInputError, match="does not name two organs") as error:
            pair_of(wrong)
        assert error.value.code == "template.pair"


def test_two_organs_in_one_label_are_told_apart(known):
    left, right = split(LEFT | RIGHT, GRID, PAIR, known)
    assert np.array_equal(left, LEFT) and np.array_equal(right, RIGHT)
    right, left = split(LEFT | RIGHT, GRID, PAIR[::-1], known)
    assert np.array_equal(left, LEFT) and np.array_equal(right, RIGHT)


def test_touching_organs_are_cut_where_they_are_narrow(known):
    left, right = bean(-20.0, 1), bean(19.0, -1)
    assert ndimage.label(left | right, np.ones((3, 3, 3)))[1] == 1
    found = split(left | right, GRID, PAIR, known)
    shared = left & right
    for mask, truth in zip(found, (left, right), strict=True):
        assert np.count_nonzero((mask ^ truth) & ~shared) < 0.03 * truth.sum()


def test_a_piece_of_an_organ_goes_with_it(known):
    cut = LEFT.copy()
    cut[14:16] = False
    left, right = split(cut | RIGHT, GRID, PAIR, known)
    assert np.array_equal(left, cut) and np.array_equal(right, RIGHT)


def test_of_a_pair_that_is_not_there_the_other_one_is_left_whole(known):
    left, right = split(LEFT, GRID, PAIR, known)
    assert np.array_equal(left, LEFT) and not right.any()


def test_both_organs_of_a_pair_become_segments_and_one_label_again(known):
    volume = volume_of({255: LEFT | RIGHT})
    parted, names = with_parts(volume, 255, PAIR, PAIR, known)
    assert names == {"255_bean_left": "bean_left", "255_bean_right": "bean_right"}
    assert np.array_equal(parted.mask("255_bean_right"), RIGHT)
    assert parted.layers[0].max() == 256, "a value that is free, though no byte holds it"


def test_the_rim_that_a_moved_border_leaves_is_no_piece():
    inner = ndimage.binary_erosion(LEFT)
    assert np.count_nonzero(LEFT & ~inner) * 0.027 > 10.0 and pieces_of(LEFT & ~inner, LEFT, GRID) == []


def test_pieces_are_those_that_scipy_opens_and_labels():
    geometry, rng = ImageGeometry.from_parts((30, 28, 26), (3.0, 2.0, 4.0)), np.random.default_rng(3)
    corners = np.ones((3, 3, 3), dtype=bool)
    changed = ndimage.binary_dilation(rng.random(geometry.shape_kji) < 0.004, corners)
    whole = changed | (rng.random(geometry.shape_kji) < 0.3)
    thick = ndimage.binary_dilation(ndimage.binary_erosion(changed), corners) & changed
    components, count = ndimage.label(whole, structure=corners)
    gone = np.setdiff1d(np.arange(1, count + 1), components[whole & ~changed])
    pieces, count = ndimage.label(thick | np.isin(components, gone), structure=corners)
    expected = [points_of(pieces == number, geometry) for number in range(1, count + 1)]
    expected = [points for points in expected if len(points) * geometry.voxel_volume_mm3 >= 1000.0]
    found = pieces_of(changed, whole, geometry)
    assert len(found) == len(expected) > 3
    assert {p.points_ras.tobytes() for p in found} == {np.asarray(p).tobytes() for p in expected}


def test_pieces_that_went_are_told_with_volume_and_place():
    report = piece_report(LEFT | RIGHT, LEFT, GRID)
    (piece,) = report["removed_pieces"]
    assert piece["volume_ml"] == pytest.approx(RIGHT.sum() * 0.027)
    assert piece["centre_ras"] == pytest.approx(points_of(RIGHT, GRID).mean(axis=0))
    assert report["added_pieces"] == [] and report["islands_removed"] == 1


def test_an_island_however_thin_is_a_piece():
    flat = np.zeros(GRID.shape_kji, dtype=bool)
    flat[2, 5:15, 40:50] = True
    assert [round(piece.volume_ml, 3) for piece in pieces_of(flat, LEFT | flat, GRID)] == [2.7]


def test_a_piece_that_looks_like_an_organ_may_not_go(known):
    error = organ_sized_change(LEFT | RIGHT, LEFT, GRID, known, "bean_left", 1, "case.nrrd")
    assert isinstance(error, ImplausibleError) and error.code == "implausible.removed_organ"
    assert "looks like bean_right; use --template 1=bean_left+bean_right" in str(error)


def test_a_large_share_may_neither_go_nor_come(known):
    most = LEFT.copy()
    most[:13] = False
    share = 1.0 - most.sum() / LEFT.sum()
    assert 0.2 < share < 0.5
    error = organ_sized_change(LEFT, most, GRID, known, "bean_left", 1, "case.nrrd")
    assert error.code == "implausible.removed_piece" and f"{round(100 * share)} % of it" in str(error)
    assert organ_sized_change(most, LEFT, GRID, known, "bean_left", 1, "case.nrrd") is None
    half = LEFT.copy()
    half[:16] = False
    assert organ_sized_change(half, LEFT, GRID, known, "bean_left", 1, "case.nrrd").code == "implausible.added_piece"


def test_swapped_labels_are_told_as_swapped(known):
    organs = {1: "bean_left", 2: "bean_right"}
    assert side_problems(volume_of({1: LEFT, 2: RIGHT}), organs, known) == {}
    problems = side_problems(volume_of({1: RIGHT, 2: LEFT}), organs, known)
    assert [error.code for error in problems.values()] == ["sides.swapped"] * 2
    assert "Labels '1' and '2' of case.nrrd look swapped" in str(problems[1])


def test_an_organ_of_the_other_side_is_told_as_such(known):
    problems = side_problems(volume_of({7: RIGHT}), {7: "bean_left"}, known)
    assert "Label '7' of case.nrrd looks like bean_right, not like bean_left" in str(problems[7])


def test_a_mirrored_image_is_told_by_an_organ_that_has_no_pair():
    single = KnownOrgans([info("bean", 1), info("bean_left", 1), info("bean_right", -1)])
    only = KnownOrgans([info("bean", 1)])
    assert side_problems(volume_of({1: LEFT}), {1: "bean"}, only) == {}
    assert side_problems(volume_of({1: RIGHT}), {1: "bean"}, only)[1].code == "sides.mirrored"
    image = volume_of({1: bean(0.0, -1), 2: bean(60.0, -1), 3: bean(-60.0, 1)})
    problems = side_problems(image, {1: "bean", 2: "bean_left", 3: "bean_right"}, single)
    assert {error.code for error in problems.values()} == {"sides.mirrored"} and len(problems) == 3


def test_both_organs_of_a_pair_in_one_label_are_told(known):
    error = side_problems(volume_of({1: LEFT | RIGHT}), {1: "bean_left"}, known)[1]
    assert error.code == "sides.pair" and "use --template 1=bean_left+bean_right" in str(error)


def third_moved() -> tuple[LabelVolume, np.ndarray]:
    """The lower part of the right organ has the left one's label."""
    third = RIGHT.copy()
    third[13:] = False
    return volume_of({1: LEFT | third, 2: RIGHT & ~third}), third


def test_a_piece_with_its_neighbours_label_is_found_and_moved(known):
    volume, third = third_moved()
    (piece,) = misplaced_pieces(volume, {1: "bean_left", 2: "bean_right"}, known)
    assert (piece.label, piece.owner) == (1, 2) and np.array_equal(piece.mask, third)
    assert (
        "touches label '2' (bean_right)" in str(piece.error("case.nrrd")) and "use --relabel" in piece.error("c").hint
    )
    moved = with_piece_moved(volume, piece)
    assert np.array_equal(moved.mask(1), LEFT) and np.array_equal(moved.mask(2), RIGHT)
    assert misplaced_pieces(moved, {1: "bean_left", 2: "bean_right"}, known) == []


def test_a_stray_piece_far_from_every_other_organ_is_nobodys(known):
    island = ellipsoid_mask(GRID, np.array([-20.0, 0, 0]), np.full(3, 9.0))
    volume = volume_of({1: bean(-60.0, 1, 0.5) | island, 2: RIGHT})
    assert misplaced_pieces(volume, {1: "bean_left", 2: "bean_right"}, known) == []


def test_a_label_within_an_organ_is_proposed_for_with_and_a_neighbour_is_not():
    layer = np.zeros((40, 40, 60), dtype=np.uint8)
    layer[8:32, 8:32, 5:30] = 1
    layer[14:22, 14:22, 24:34] = 2  # half within the organ
    layer[8:32, 8:32, 40:50] = 3
    layer[32:40, 8:32, 22:50] = 4  # touches the organ along one side
    told = []
    volume = LabelVolume.from_array(layer, ImageGeometry.from_parts((60, 40, 40), (2.0, 2.0, 2.0)))
    propose_parts(volume, [1], told.append)
    assert [one.fields["label"] for one in told] == [2] and "add --with 2" in told[0]
    assert told[0].fields["volume_ml"] == pytest.approx((layer == 2).sum() * 0.008)


def test_with_says_which_labels_belong_to_which_organ():
    assert parse_with("", {1: "a"}) == {}
    assert parse_with("2, 3", {1: "a"}) == {1: (2, 3)}
    assert parse_with("1=2+cyst,4=5", {1: "a", 4: "b"}) == {1: (2, "cyst"), 4: (5,)}
    for wrong, labels, code in (
        ("2", {1: "a", 4: "b"}, "with.which_organ"),
        ("1=", {1: "a"}, "with.malformed"),
        ("1=2,1=3", {1: "a"}, "with.malformed"),
        ("1", {1: "a"}, "with.twice"),
        ("2,2", {1: "a"}, "with.twice"),
        ("9=2", {1: "a"}, "with.no_organ"),
    ):
        with pytest.raises(BadInputError) as error:
            parse_with(wrong, labels)
        assert error.value.code == code


def test_joined_labels_count_as_organ_and_an_absent_one_is_told():
    volume, told = volume_of({1: LEFT, 2: RIGHT}), []
    union, taken = joined(volume, 1, (2, 9), told.append)
    assert np.array_equal(union.mask(1), LEFT | RIGHT) and np.array_equal(taken, RIGHT)
    assert [notice.code for notice in told] == ["with.absent"]


def test_parts_in_another_layer_stay_there():
    volume = LabelVolume(
        (LEFT.astype(np.uint8), RIGHT.astype(np.uint8)),
        GRID,
        (Segment(1, "organ", "organ"), Segment(1, "tumour", "tumour", layer=1)),
    )
    union, _ = joined(volume, "organ", ("tumour",), print)
    assert np.array_equal(union.mask("organ"), LEFT | RIGHT) and np.array_equal(union.mask("tumour"), RIGHT)


@pytest.fixture
def with_tumour(tmp_path):
    """File of an organ with a tumour at its surface, and the tumour's voxels."""
    mask, geometry = patient(np.random.default_rng(11), (4.0, 4.0, 4.0))
    points = points_of(mask, geometry)
    tip = points[points[:, 0].argmax()]
    tumour = ellipsoid_mask(geometry, tip - [4.0, 0, 0], np.full(3, 9.0))
    array = np.where(tumour, 2, mask).astype(np.uint8)
    path = tmp_path / "case.nrrd"
    write_labels(LabelVolume.from_array(array, geometry), path)
    return path, tumour


def test_a_tumour_counts_as_organ_and_keeps_its_voxels(with_tumour, tiny_template_file, tmp_path):
    path, tumour = with_tumour
    words = ["refine", str(path), "--template", str(tiny_template_file), "--with", "2", "--preset", "draft"]
    words += ["--output", str(tmp_path / "out.nrrd"), "--device", "cpu", "--report", str(tmp_path / "report.json")]
    assert main([*words, "--restoration", "none"]) == 0
    after = read_labels(tmp_path / "out.nrrd")
    assert np.array_equal(after.mask(2), tumour)
    (organ,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["organs"]
    both = after.mask(1) | tumour
    assert organ["volume_after_ml"] == pytest.approx(both.sum() * 0.064, rel=1e-5)
    assert organ["removed_pieces"] == []


def test_the_surface_holds_the_tumour(with_tumour, tiny_template_file, tmp_path):
    path, tumour = with_tumour
    job = RefineJob(
        path, {None: str(tiny_template_file)}, tmp_path / "o.nrrd", preset="draft", restoration="none", with_="2"
    )
    result = run_refine_job(job)
    points = points_of(tumour, result.volume.geometry)
    assert (result.shapes[1].sdf_mm(points) < 0).all()


def test_what_is_not_joined_or_paired_is_left_alone(tmp_path):
    volume = label_volume(*patient(np.random.default_rng(11)))
    prepared = prepare(volume, RefineJob(tmp_path / "a.nrrd", {None: "liver"}, tmp_path / "b.nrrd"), print)
    assert prepared.volume is volume and prepared.restored(volume) is volume and prepared.templates == {None: "liver"}


CASES = {
    "both_in_one": "01_both_kidneys_one_label_0009.nii.gz",
    "both_in_one_coarse": "01c_both_kidneys_one_label_0023_draft.nii.gz",
    "third_labelled_left": "13_third_of_right_kidney_labelled_left.nii.gz",
    "with_tumour": "14_pancreas_with_tumour_label.nii.gz",
}


def real_case(shared_data, name: str):
    """File of a case, and its volume."""
    path = shared_data / "cases" / CASES[name]
    return path, read_labels(path)


def refined(path, tmp_path, *words: str) -> int:
    """Exit code of a draft."""
    fixed = ["refine", str(path), "--output", str(tmp_path / "out.nii.gz"), "--preset", "draft", "--device", "cpu"]
    return main([*fixed, "--non-commercial", *words])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["both_in_one", "both_in_one_coarse"])
def test_no_kidney_goes_from_a_real_label_that_holds_both(shared_data, name, tmp_path, capsys):
    path, given = real_case(shared_data, name)
    assert refined(path, tmp_path, "--template", "kidney_left") == 3
    assert "use --template 1=kidney_left+kidney_right" in capsys.readouterr().err
    assert not (tmp_path / "out.nii.gz").exists()
    assert refined(path, tmp_path, "--template", "1=kidney_left+kidney_right") == 0
    after = read_labels(tmp_path / "out.nii.gz")
    assert after.label_values() == (1,) and after.layers[0].dtype == given.layers[0].dtype
    dice = 2 * (after.mask(1) & given.mask(1)).sum() / (after.mask(1).sum() + given.mask(1).sum())
    assert dice > 0.99


@pytest.mark.slow
def test_a_third_of_a_real_kidney_goes_to_the_kidney_that_it_belongs_to(shared_data, tmp_path, capsys):
    path, given = real_case(shared_data, "third_labelled_left")
    template = ["--template", "2=kidney_right,3=kidney_left"]
    refined(path, tmp_path, *template)
    assert "has a piece of 27.0 mL that touches label '2'" in capsys.readouterr().err
    kept = read_labels(tmp_path / "out.nii.gz")
    assert np.array_equal(kept.mask(3), given.mask(3))
    assert refined(path, tmp_path, *template, "--relabel") == 0
    after = read_labels(tmp_path / "out.nii.gz")
    assert np.count_nonzero(given.layers[0]) * 0.99 < np.count_nonzero(after.layers[0])
    assert after.extent(2)[1] > 1.25 * given.extent(2)[1] and ndimage.label(after.mask(3))[1] == 1


@pytest.mark.slow
def test_real_kidneys_with_each_others_template_are_told_as_swapped(shared_data, tmp_path, capsys):
    path, _ = real_case(shared_data, "third_labelled_left")
    assert refined(path, tmp_path, "--template", "2=kidney_left,3=kidney_right") == 3
    assert "Labels '2' and '3'" in (told := capsys.readouterr().err) and "look swapped" in told


@pytest.mark.slow
def test_a_real_tumour_stays_as_it_is(shared_data, tmp_path):
    path, given = real_case(shared_data, "with_tumour")
    assert refined(path, tmp_path, "--template", "pancreas", "--with", "2") == 0
    after = read_labels(tmp_path / "out.nii.gz")
    assert np.array_equal(after.mask(2), given.mask(2))
    dice = 2 * (after.mask(1) & given.mask(1)).sum() / (after.mask(1).sum() + given.mask(1).sum())
    assert dice > 0.99


@pytest.mark.parametrize("organ", ["liver", "spleen"])
def test_a_real_organ_is_told_from_its_mirror_image(shared_data, organ):
    folder = shared_data / organ
    known = KnownOrgans(known_templates())
    volume = read_labels(min(folder.glob("*.nii.gz")))
    label = volume.single_label()
    assert side_problems(volume, {label: organ}, known) == {}
    axis = 2 - int(np.abs(volume.geometry.ijk_to_ras[0, :3]).argmax())
    flipped = LabelVolume.from_array(np.flip(volume.layers[0], axis), volume.geometry)
    assert side_problems(flipped, {label: organ}, known)[label].code == "sides.mirrored"
