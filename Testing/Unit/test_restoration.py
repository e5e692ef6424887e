"""The restoration network around the network itself: grid, damage, belief, files, and refinement with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.damage import on_grid as damage
from ReShapeITLib.distance.combinators import FunctionDistance
from ReShapeITLib.distance.surface import DistanceGrid
from ReShapeITLib.io.weights_file import WeightsKind
from ReShapeITLib.refinement.components import without_components_out_of_reach
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.restoration.grid import MARGIN_UNIT, MULTIPLE, CanonicalGrid
from ReShapeITLib.restoration.model import Restoration, RestorationInfo, RestorationModel, restore
from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork
from ReShapeITLib.restoration.store import ChosenNetworks, chosen_networks, enter_network
from ReShapeITLib.restoration.table import TABLE_NAME, NetworkTable
from ReShapeITLib.templates.template import OrganTemplate, read_shape_sha256
from Testing.tiny_template import ORGAN, patient

FRAME = Similarity(1 / 50.0, np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.3, -0.1, 0.2]))
SMALL = NetworkOptions(organs=(ORGAN,), channels=(4, 4, 4), blocks=(1, 1, 1))
INFO = RestorationInfo("CC0-1.0", "generated", {ORGAN: ["case0"]}, {ORGAN: "0" * 64})
ROW = """{"format": "reshapeit-networks-2", "files": %s, "organs": {"liver": {
    "shape_sha256": "0", "sparse": null, "detail": null, %s}}}"""


@pytest.fixture(scope="module")
def template(tiny_template_file):
    return OrganTemplate.load(tiny_template_file)


def entered(path, **told):
    """The file of a network that tells this of itself, entered into the table beside it."""
    RestorationModel(replace(INFO, **told), RestorationNetwork(SMALL)).save(path)
    enter_network(path)
    return path


def ball(radius: float, shape=(32, 32, 40), centre=(16, 16, 20)) -> np.ndarray:
    """Distance in cells to a ball."""
    return np.linalg.norm(np.indices(shape).T - np.array(centre), axis=-1).T.astype(np.float32) - radius


def test_the_grid_holds_the_template_with_its_margin_and_can_be_halved_three_times():
    points = np.random.default_rng(0).uniform([-0.9, -0.4, -0.2], [0.8, 0.5, 0.3], (500, 3))
    grid = CanonicalGrid.around(points)
    cells = grid.points_unit()
    assert all(n % MULTIPLE == 0 for n in grid.shape_zyx)
    assert (cells.min(0) <= points.min(0) - MARGIN_UNIT + grid.cell_unit).all()
    assert (cells.max(0) >= points.max(0) + MARGIN_UNIT - grid.cell_unit).all()


def test_the_grid_as_an_image_lies_where_its_cells_lie():
    grid = CanonicalGrid((-0.5, -0.2, 0.1), (3, 4, 5))
    k, j, i = np.indices(grid.shape_zyx).reshape(3, -1)
    as_image = grid.geometry_ras(FRAME).ijk_to_ras_points(np.stack([i, j, k], axis=1))
    np.testing.assert_allclose(FRAME.apply(as_image), grid.points_unit(), atol=1e-12)


def test_padding_leaves_the_cells_where_they_were():
    grid = CanonicalGrid((-0.5, -0.2, 0.1), (3, 4, 5))
    padded = grid.padded(2).points_unit().reshape(7, 8, 9, 3)
    np.testing.assert_allclose(padded[2:-2, 2:-2, 2:-2].reshape(-1, 3), grid.points_unit(), atol=1e-12)


@pytest.mark.parametrize("kind", ["bite", "holes", "erosion"])
def test_damage_that_takes_away_adds_nothing(kind, rng):
    sdf = ball(9.0)
    hurt = damage.KINDS[kind](sdf, rng)
    assert not ((hurt < 0) & (sdf >= 0)).any()
    assert (hurt < 0).sum() < (sdf < 0).sum()


def test_a_cut_takes_one_end_and_says_that_nothing_is_known_beyond():
    sdf, noticed = ball(9.0), 0
    for seed in range(20):
        rest, known = damage.truncation(sdf, np.random.default_rng(seed))
        assert not ((rest < 0) & (sdf >= 0)).any() and (rest < 0).sum() < (sdf < 0).sum()
        if not known.all():
            noticed += 1
            lost = (sdf < 0) & (rest >= 0)
            assert known[lost].mean() < 0.35 and known[rest < -1].mean() > 0.99
    assert 10 <= noticed < 20


def test_beyond_its_own_end_an_organ_has_hardly_a_cell():
    for seed in range(10):
        known = damage.unseen_beyond_the_end(ball(9.0), np.random.default_rng(seed))
        assert (known == 0).sum() > 0 and ((known == 0) & (ball(9.0) < 0)).sum() < 0.1 * (ball(9.0) < 0).sum()


@pytest.mark.parametrize("kind", ["leak", "island", "growth"])
def test_damage_that_adds_takes_nothing_away(kind, rng):
    sdf = ball(9.0)
    hurt = damage.KINDS[kind](sdf, rng)
    assert not ((hurt >= 0) & (sdf < 0)).any()
    assert (hurt < 0).sum() > (sdf < 0).sum()


def test_damage_is_never_without_end():
    for seed in range(40):
        hurt, known = damage.damaged(ball(9.0), np.random.default_rng(seed))
        assert np.isfinite(hurt).all() and set(np.unique(known)) <= {0.0, 1.0}
        assert (hurt * known < 0).any()


def test_only_the_kinds_of_damage_that_are_asked_for_are_done():
    others = dict.fromkeys(["leak", "island", "holes", "wobble", "erosion", "growth", "truncation"], 0.0)
    bites = damage.DamageOptions(sparse=0.0, coarse=0.0, kinds_more=0.0, **others)
    whole = ball(9.0)
    hurt = [damage.damaged(whole, np.random.default_rng(seed), bites)[0] for seed in range(12)]
    missing = [((h >= 0) & (whole < 0)).sum() > 0 and not ((h < 0) & (whole >= 0)).any() for h in hurt]
    assert sum(missing) >= 8  # a fifth is made coarse besides


def test_sparse_slices_are_parallel_planes():
    _, known = damage.sparse_slices(ball(9.0), np.random.default_rng(3), 4, 14)
    across = [known.any(axis=tuple(a for a in range(3) if a != axis)).all() for axis in range(3)]
    assert sum(across) == 2  # along one axis there are gaps
    assert 0 < known.mean() < 0.3


def test_on_its_planes_a_sparse_organ_is_the_organ_and_between_them_near_it():
    whole = ball(11.0)
    for seed in range(5):
        given, known = damage.sparse_slices(whole, np.random.default_rng(seed), 4, 14)
        sure = (known > 0) & (np.abs(whole) > 1.5)
        assert ((given < 0) == (whole < 0))[sure].mean() > 0.97
        assert ((given < 0) & (whole < 0)).sum() > 0.5 * (whole < 0).sum()


def test_a_new_network_gives_back_what_it_is_given():
    network = RestorationNetwork(SMALL).eval()
    given = torch.from_numpy(ball(9.0))[None]
    with torch.no_grad():
        out = network(given, torch.ones_like(given), given, torch.tensor([1]))
    torch.testing.assert_close(out, given.clamp(-3, 3))


def test_the_answer_is_the_same_in_smaller_parts(template):
    network = RestorationNetwork(SMALL).eval()
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    model = RestorationModel(INFO, network)
    grid = DistanceGrid(ball(9.0) * 4.0, ImageGeometry.from_parts((40, 32, 32), (4.0,) * 3, (-80.0, -64.0, -64.0)))
    at_once = restore(model, template, grid, FRAME)
    one_by_one = restore(replace(model, poses_at_once=1), template, grid, FRAME)
    assert np.ptp(at_once.restored.values_mm) > 0
    np.testing.assert_allclose(one_by_one.restored.values_mm, at_once.restored.values_mm, atol=1e-3)


def _restoration(given: np.ndarray, restored: np.ndarray) -> Restoration:
    geometry = ImageGeometry.from_parts(given.shape[::-1], (2.0, 2.0, 2.0))
    limited = [np.clip(2.0 * array, -6.0, 6.0).astype(np.float32) for array in (restored, given)]
    return Restoration(*(DistanceGrid(array, geometry) for array in limited), 2.0, np.zeros(given.shape, np.float32))


def test_a_field_is_held_to_within_a_cell_of_the_network():
    restoration = _restoration(ball(9.0), ball(9.0))
    points = restoration.restored.geometry.ijk_to_ras_points(np.array([[20, 16, 16], [29, 16, 16], [38, 16, 16]]))
    near = FunctionDistance(lambda p: np.full(len(p), 1.0), restoration.restored.bounds_ras)
    np.testing.assert_allclose(restoration.limited(near).sdf_mm(points), [-4.0, 1.0, 4.0], atol=0.01)


def test_a_piece_out_of_the_templates_reach_goes_and_the_largest_stays(template):
    geometry = ImageGeometry.from_parts((60, 30, 30), (5.0, 5.0, 5.0), (-75.0, -75.0, -75.0))
    frame = Similarity(1 / 40.0, np.eye(3), np.zeros(3))
    mask = np.zeros(geometry.shape_kji, dtype=bool)
    mask[13:18, 13:18, 13:18] = True
    near = mask.copy()
    mask[13:15, 13:15, 50:52] = True  # 180 mm away
    np.testing.assert_array_equal(without_components_out_of_reach(mask, geometry, template, frame), near)


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 1.5), (3.0, 3.0, 3.0), (1.0, 1.0, 5.0)])
def test_a_network_that_changes_nothing_leaves_the_voxels_as_they_were(template, spacing_mm):
    mask, geometry = patient(np.random.default_rng(3), spacing_mm=spacing_mm)
    model = RestorationModel(INFO, RestorationNetwork(SMALL).eval())
    shape = refine(mask, geometry, template, REFINE_PRESETS["draft"], restoration=model)
    np.testing.assert_array_equal(shape.mask(geometry), mask)
    assert abs(shape.surface().point_data["signed_change_mm"]).max() < 0.5


def test_a_surface_without_point_data_is_the_same_and_needs_no_fit(template):
    model = RestorationModel(INFO, RestorationNetwork(SMALL).eval())
    shape = refine(*patient(np.random.default_rng(3)), template, REFINE_PRESETS["draft"], restoration=model)
    bare = shape.bare_surface()
    assert not shape.fit.is_done
    np.testing.assert_array_equal(bare.vertices_ras, shape.surface().vertices_ras)
    assert shape.fit.is_done


def test_the_same_network_comes_back_from_a_file(tmp_path):
    network = RestorationNetwork(SMALL).eval()
    with torch.no_grad():
        network.head.weight.normal_()
    RestorationModel(INFO, network).save(tmp_path / "net.safetensors")
    loaded = RestorationModel.load(tmp_path / "net.safetensors")
    assert loaded.info == INFO
    given = torch.from_numpy(ball(9.0))[None]
    with torch.no_grad():
        asked = [n(given, torch.ones_like(given), given, torch.tensor([1])) for n in (network, loaded.network)]
    torch.testing.assert_close(*asked, atol=0.02, rtol=0.01)  # half precision


def test_a_network_on_another_device_leaves_the_one_that_is_kept_where_it_was():
    kept = RestorationModel(INFO, RestorationNetwork(SMALL))
    there, here = ({w.device.type for w in model.network.parameters()} for model in (kept.to("meta"), kept))
    assert (there, here) == ({"meta"}, {"cpu"})


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    RestorationModel(INFO, RestorationNetwork(SMALL)).save(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 255
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="checksum"):
        RestorationModel.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(200)])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(BadInputError, match="not a restoration file"):
        RestorationModel.load(tmp_path / "net.safetensors")


def test_a_template_gets_the_network_that_the_table_names_for_the_mode(tmp_path, tiny_template_file, monkeypatch):
    sha256 = read_shape_sha256(tiny_template_file)
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(tmp_path))
    entered(tmp_path / "other.safetensors")
    assert chosen_networks("auto", sha256) == ChosenNetworks()
    own = entered(tmp_path / "own.safetensors", templates={ORGAN: sha256})
    assert chosen_networks("auto", sha256) == ChosenNetworks(own)
    # Until there is a network for sparse annotations, that for whole organs is asked.
    assert chosen_networks("auto", sha256, sparse=True).restoration == own
    sparse = entered(tmp_path / "sparse.safetensors", templates={ORGAN: sha256}, few_slices=True)
    assert chosen_networks("auto", sha256).restoration == own
    assert chosen_networks("auto", sha256, sparse=True) == ChosenNetworks(sparse)
    assert RestorationModel.for_template(tiny_template_file, sparse=True).info.few_slices
    # The network of another run takes the row's place.
    better = entered(tmp_path / "better.safetensors", templates={ORGAN: sha256})
    assert chosen_networks("auto", sha256) == ChosenNetworks(better)


def test_a_named_network_needs_no_table_but_the_template_it_was_trained_with(tmp_path, tiny_template_file):
    sha256 = read_shape_sha256(tiny_template_file)
    own = entered(tmp_path / "own.safetensors", templates={ORGAN: sha256})
    (tmp_path / TABLE_NAME).unlink()
    assert chosen_networks(str(own), sha256) == ChosenNetworks(own)
    assert chosen_networks("none", sha256) == ChosenNetworks()
    with pytest.raises(BadInputError, match="was not trained with this template"):
        chosen_networks(str(own), "0" * 64)
    with pytest.raises(BadInputError, match="There is no restoration file"):
        chosen_networks(str(tmp_path / "absent.safetensors"), sha256)


def test_a_named_folder_of_networks_without_a_table_is_refused(tmp_path, monkeypatch):
    entered(tmp_path / "own.safetensors")
    (tmp_path / TABLE_NAME).unlink()
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(tmp_path))
    with pytest.raises(BadInputError, match=f"has no {TABLE_NAME}"):
        chosen_networks("auto", "0" * 64)


def test_a_network_that_is_not_the_one_of_the_table_is_refused(tmp_path, monkeypatch):
    path = entered(tmp_path / "own.safetensors")
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(tmp_path))
    RestorationModel(replace(INFO, source="elsewhere"), RestorationNetwork(SMALL)).save(path)
    with pytest.raises(BadInputError, match="is not the network that networks.json beside it means"):
        chosen_networks("auto", "0" * 64)
    path.unlink()
    with pytest.raises(BadInputError, match="names own.safetensors, which is not there"):
        chosen_networks("auto", "0" * 64)


def test_a_table_comes_back_from_its_file(tmp_path):
    entered(tmp_path / "own.safetensors")
    table = NetworkTable.read(tmp_path)
    (tmp_path / "copy").mkdir()
    table.write(tmp_path / "copy")
    assert NetworkTable.read(tmp_path / "copy") == table
    assert (tmp_path / "copy" / TABLE_NAME).read_bytes() == (tmp_path / TABLE_NAME).read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "of another format"),
        ('{"format": "reshapeit-networks-2"}', "lacks parts"),
        ('{"format": "reshapeit-networks-2", "files": {}, "organs": {"liver": {}}}', "lacks parts"),
        (ROW % ("{}", '"whole": "../a"'), "liver, whole: ../a is not among the files"),
        (ROW % ('{"../a": ""}', '"whole": "../a"'), "liver, whole: ../a is not among the files"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path, text, said):
    (tmp_path / TABLE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=said):
        NetworkTable.read(tmp_path)


def test_numbers_in_an_older_network_file_are_not_read(tmp_path):
    RestorationModel(INFO, RestorationNetwork(SMALL)).save(tmp_path / "new.safetensors")
    kind = WeightsKind("restoration", "restoration file", "", "reshapeit-restoration-1")
    header, _, tensors = kind.read(tmp_path / "new.safetensors")
    kind.write(tmp_path / "old.safetensors", tensors, {**header, "belief": {ORGAN: {"add_cells": 9.0}}})
    model = RestorationModel.load(tmp_path / "old.safetensors")
    assert model.info == INFO
