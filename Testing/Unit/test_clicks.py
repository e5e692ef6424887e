"""Points as hard evidence: their side is certain, the change is local, in one piece, and ends at the image's edges."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.image.band import Image
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.face import refine
from ReShapeITLib.job.inputs.markups import read_points
from ReShapeITLib.refinement.clicks.points import FARTHEST_MM, with_points
from ReShapeITLib.refinement.clicks.redecided import Edit, prepared, redecided
from Testing.tiny_template import label_volume, patient


@pytest.fixture(scope="module")
def organ(tiny_template_file):
    """Refined shape and geometry of a generated patient, about 40 x 28 x 20 mm in its half axes."""
    mask, geometry = patient(np.random.default_rng(11))
    return refine(mask, geometry, tiny_template_file, preset="draft", device="cpu", force=True), geometry


def centre(shape) -> np.ndarray:
    return np.mean(shape.bounds_ras, axis=0)


def beside(shape, away_mm: float, number: int = 0) -> np.ndarray:
    """A point so far outside the surface (negative: inside)."""
    surface = shape.bare_surface(2.0)
    index = int(np.argsort(surface.vertices_ras[:, number])[-1])
    return surface.vertices_ras[index] + away_mm * surface.normals[index]


def voxel_at(geometry, point) -> tuple[int, ...]:
    return tuple(np.rint(geometry.ras_to_ijk_points(np.array([point]))[0]).astype(int)[::-1])


@pytest.mark.parametrize("away_mm", [-14.0, -6.0, -1.0, 1.0, 6.0, 14.0])
def test_a_point_has_its_side_and_so_has_its_voxel(organ, away_mm):
    shape, geometry = organ
    point = beside(shape, away_mm)
    inside, outside = with_points(shape, include=[point]), with_points(shape, exclude=[point])
    assert inside.sdf_mm(point[None])[0] < 0 < outside.sdf_mm(point[None])[0]
    assert inside.mask(geometry)[voxel_at(geometry, point)] and not outside.mask(geometry)[voxel_at(geometry, point)]


def test_the_change_is_one_connected_piece_and_nothing_far_away_moves(organ):
    shape, geometry = organ
    point = beside(shape, 8.0)
    changed = with_points(shape, include=[point])
    more = changed.mask(geometry) & ~shape.mask(geometry)
    assert more.any() and not (shape.mask(geometry) & ~changed.mask(geometry)).any()
    assert ndimage.label(more, np.ones((3, 3, 3)))[1] == 1
    assert ndimage.label(changed.mask(geometry))[1] == 1
    where = np.argwhere(np.ones(geometry.shape_kji))[:, ::-1]
    far = geometry.ijk_to_ras_points(where)
    far = far[np.linalg.norm(far - point, axis=1) > 60.0]
    assert len(far) > 1000 and np.array_equal(shape.sdf_mm(far), changed.sdf_mm(far))


def test_the_refined_surface_is_smooth_after_a_click(organ):
    shape, _ = organ
    changed = with_points(shape, include=[beside(shape, 8.0)])
    normals = changed.bare_surface(1.5)
    edges = normals.faces[:, :2]
    cosines = np.einsum("ij,ij->i", normals.normals[edges[:, 0]], normals.normals[edges[:, 1]])
    assert np.quantile(cosines, 0.001) > 0.3


def test_a_click_is_a_suggestion_of_its_own_kind(organ):
    shape, _ = organ
    known = [entry.number for entry in shape.suggestions.entries] if shape.suggestions else []
    changed = with_points(shape, include=[beside(shape, 8.0)])
    (entry,) = changed.clicked
    assert entry.kind == "clicked" and entry.volume_ml > 0.1 and entry.number == 1 + max(known, default=0)


def test_a_point_on_the_right_side_changes_nothing_but_is_known(organ):
    shape, geometry = organ
    changed = with_points(shape, include=[centre(shape)], exclude=[beside(shape, 20.0)])
    assert np.array_equal(changed.mask(geometry), shape.mask(geometry))
    assert len(changed.included) == len(changed.excluded) == 1 and not changed.clicked


def test_earlier_points_keep_their_sides(organ):
    shape, _ = organ
    out, back = beside(shape, 9.0), beside(shape, 3.0)
    changed = with_points(with_points(shape, exclude=[back + [0, 0, 4.0]]), include=[out])
    assert changed.sdf_mm(out[None])[0] < 0 < changed.sdf_mm((back + [0, 0, 4.0])[None])[0]


def test_a_stroke_is_several_points(organ):
    shape, _ = organ
    stroke = beside(shape, 5.0) + np.linspace(-9, 9, 7)[:, None] * [0.0, 1.0, 0.0]
    assert (with_points(shape, include=stroke).sdf_mm(stroke) < 0).all()


def test_contradicting_far_and_broken_points_are_refused_with_a_sentence(organ):
    shape, _ = organ
    point = beside(shape, 4.0)
    with pytest.raises(BadInputError, match="both organ and not"):
        with_points(with_points(shape, include=[point]), exclude=[point + 0.2])
    with pytest.raises(BadInputError, match="mm outside the organ"):
        with_points(shape, include=[beside(shape, FARTHEST_MM + 5.0)])
    with pytest.raises(BadInputError, match="not finite"):
        with_points(shape, include=[(np.nan, 0, 0)])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_a_click_adds_ends_at_the_edge_of_the_image(organ, sign):
    shape, geometry = organ
    point = beside(shape, 8.0)
    kji = np.argwhere(np.ones(geometry.shape_kji, dtype=bool))
    points = geometry.ijk_to_ras_points(kji[:, ::-1])
    lump = (np.linalg.norm(points - point, axis=1) < 12.0).reshape(geometry.shape_kji)
    truth = shape.mask(geometry) | lump
    noise = np.random.default_rng(0).normal(0.0, 8.0, truth.shape)
    image = Image(np.where(truth, 100.0, 100.0 - sign * 80.0) + noise, geometry)
    with_image, without = (with_points(shape, include=[point], image=one).mask(geometry) for one in (image, None))
    wrong = [np.count_nonzero(mask & ~truth) for mask in (with_image, without)]
    assert wrong[0] < 0.5 * wrong[1] and np.count_nonzero(with_image & lump) > 0.2 * lump.sum()


def test_a_point_in_a_suggestion_decides_it_and_takes_it_back(bitten_spleen):
    shape, geometry = bitten_spleen
    entry = max((e for e in shape.suggestions.entries if e.kind == "missing"), key=lambda e: e.volume_ml)
    middle = np.array(entry.centre_ras)
    left = redecided(Edit(shape), shape.taken - {entry.number}).shape
    again = with_points(left, include=[middle])
    assert entry.number in again.taken and not again.clicked
    assert np.count_nonzero(again.mask(geometry) ^ shape.mask(geometry)) < 0.01 * shape.mask(geometry).sum()
    assert entry.number not in with_points(shape, exclude=[middle]).taken


def test_another_choice_is_that_of_a_refinement_but_for_some_voxels(bitten_spleen):
    from ReShapeITLib import with_suggestions

    shape, geometry = bitten_spleen
    every = [entry.number for entry in shape.suggestions.entries]
    before = shape.mask(geometry)
    for taken in ([], every, every[:1], every[1:]):
        quick = redecided(Edit(prepared(shape)), taken).mask(before, geometry)
        slow = with_suggestions(shape, taken).mask(geometry)
        assert np.count_nonzero(quick ^ slow) < 0.006 * slow.sum(), taken


@pytest.fixture(scope="module")
def bitten_spleen():
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate
    from Testing.Unit.test_decide import bitten_mask

    mask, geometry = bitten_mask(OrganTemplate.load(find_template("spleen")))
    return refine(mask, geometry, "spleen", preset="draft", device="cpu", force=True), geometry


MARKUP = {"type": "Fiducial", "controlPoints": [{"position": [1.0, 2.0, 3.0]}, {"position": [-4.0, 5.0, 6.0]}]}


@pytest.mark.parametrize(("system", "first"), [("LPS", [-1, -2, 3]), ("RAS", [1, 2, 3]), (None, [-1, -2, 3])])
def test_markups_say_their_coordinate_system(tmp_path, system, first):
    markup = MARKUP if system is None else {**MARKUP, "coordinateSystem": system}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    points = read_points(tmp_path / "a.mrk.json")
    assert points.shape == (2, 3) and points[0].tolist() == first


@pytest.mark.parametrize(
    "text", ["1,2,3\n4,5,6\n", "r,a,s\n1,2,3\n4,5,6", "name,R,A,S\nx,1,2,3\ny,4,5,6\n", "l,p,s\n-1,-2,3\n-4,-5,6\n"]
)
def test_tables_of_points_may_name_their_columns(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert read_points(tmp_path / "a.csv").tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", ""),
        ("a.csv", "r,a,s\n"),
        ("a.csv", "x,y,z\n1,2,3\n"),
        ("a.csv", "1,2\n"),
        ("a.csv", "1,2,nan\n"),
        ("a.mrk.json", "{"),
        ("a.mrk.json", "[]"),
        ("a.mrk.json", '{"markups": [{"coordinateSystem": "XYZ"}]}'),
        ("a.mrk.json", '{"markups": [{"controlPoints": []}]}'),
        ("a.txt", "1,2,3\n"),
    ],
)
def test_damaged_files_of_points_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError):
        read_points(tmp_path / name)


def test_the_command_line_takes_points_from_files(organ, tiny_template_file, tmp_path):
    shape, geometry = organ
    mask, _ = patient(np.random.default_rng(11))
    write_labels(label_volume(mask, geometry), tmp_path / "in.nrrd")
    inside, outside = beside(shape, 7.0), beside(shape, -5.0, 1)
    (tmp_path / "in.csv").write_text("r,a,s\n{},{},{}\n".format(*inside), encoding="utf-8")
    markup = {"coordinateSystem": "RAS", "controlPoints": [{"position": outside.tolist()}]}
    (tmp_path / "out.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    words = ["refine", str(tmp_path / "in.nrrd"), "--template", str(tiny_template_file), "--preset", "draft", "--force"]
    words += ["--include", str(tmp_path / "in.csv"), "--exclude", str(tmp_path / "out.mrk.json")]
    assert main([*words, "--device", "cpu", "--output", str(tmp_path / "o.nrrd")]) == 0
    refined = read_labels(tmp_path / "o.nrrd").mask(1)
    assert refined[voxel_at(geometry, inside)] and not refined[voxel_at(geometry, outside)]
