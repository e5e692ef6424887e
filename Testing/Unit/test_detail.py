"""What coarse voxels hide: organs on them for training, the offset a network expects, and refinement with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.damage import on_grid as damage
from ReShapeITLib.damage.levels import coarse_input
from ReShapeITLib.distance.coarse_grid import coarse_behind
from ReShapeITLib.distance.smooth import smooth_distance_grid
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.job.job import RefineJob, run_refine_job
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.restoration.detail import CoarseVoxels, expected_detail, share_of_detail
from ReShapeITLib.restoration.grid import CELL_UNIT, voxel_fineness
from ReShapeITLib.restoration.model import RestorationInfo, RestorationModel
from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork
from ReShapeITLib.restoration.store import ChosenNetworks, chosen_networks, enter_network
from ReShapeITLib.templates.template import OrganTemplate, read_shape_sha256
from Testing.tiny_template import ORGAN, patient

BALL = (np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0) - 12.0).astype(np.float32)


@pytest.fixture(scope="module")
def template(tiny_template_file):
    return OrganTemplate.load(tiny_template_file)


def model_that_adds(cells: float, sha256: str, **use) -> RestorationModel:
    """One whose answer is the given distance and so many cells."""
    network = RestorationNetwork(NetworkOptions(organs=(ORGAN,), channels=(4, 4, 4), blocks=(1, 1, 1)))
    torch.nn.init.constant_(network.head.bias, cells / 3.0)
    info = RestorationInfo("CC0-1.0", "generated", {ORGAN: []}, {ORGAN: sha256}, **use)
    return RestorationModel(info, network.requires_grad_(False).eval())


def bricky_organ(template: OrganTemplate, voxel_cells: float):
    """A patient's mask on its fine grid as a coarse one shows it, with the voxels' edge in the network's cells."""
    mask, geometry = patient(np.random.default_rng(0), (1.0, 1.0, 1.0))
    cell_mm = CELL_UNIT * float(np.mean(template.info.scales_mm))
    return coarse_input(mask, geometry, voxel_cells * cell_mm), geometry, cell_mm


@pytest.mark.parametrize("seed", range(4))
def test_a_ball_on_coarse_voxels_stays_where_it_is_and_loses_less_than_half_a_voxel(seed):
    given, told = damage.smoothed_voxels(BALL, np.random.default_rng(seed), cell_mm=3.0)
    near = np.abs(BALL) < 2.0
    assert 0.0 < np.abs(given - BALL)[near].mean() < 0.3
    assert abs((given - BALL)[near].mean()) < 0.1
    # Voxels of 2.5 to 8 mm, each edge a tenth longer or shorter.
    assert np.ptp(told) == 0.0 and voxel_fineness(np.full(3, 10.0), 3.0) < told[0, 0, 0] < voxel_fineness([2.0], 3.0)


def test_larger_voxels_hide_more():
    from types import SimpleNamespace

    def missed(log_mm):
        rng = np.random.default_rng(1)
        fixed = SimpleNamespace(
            uniform=lambda low, high, *size: log_mm if not size else rng.uniform(low, high, *size),
            normal=lambda mean, sd, *size: np.zeros(*size),
        )
        given, _ = damage.smoothed_voxels(BALL, fixed, cell_mm=3.0)
        return np.abs(given - BALL)[np.abs(BALL) < 2.0].mean()

    assert missed(np.log(3.0)) < missed(np.log(6.0)) < missed(np.log(9.0))


def test_all_counts_for_coarse_voxels_and_nothing_for_fine_or_oblong_ones():
    assert share_of_detail(np.full(3, 4.0), 3.0) == 1.0
    # Half way from 0.4 to 1.2 cells.
    assert share_of_detail(np.full(3, 2.4), 3.0) == pytest.approx(0.5)
    assert share_of_detail(np.full(3, 1.0), 3.0) == 0.0
    assert share_of_detail(np.array([6.0, 6.0, 9.5]), 3.0) == 0.0


def test_the_network_is_told_how_large_the_voxels_are():
    told = CoarseVoxels(np.array([4.0, 6.0, 5.0])).known_at(np.zeros((7, 3)), half_cell_mm=1.25)
    np.testing.assert_allclose(told, 1.0 / 3.0)


def test_the_surface_moves_by_what_the_network_expects_and_at_most_by_half_a_voxel(template):
    given, geometry, cell_mm = bricky_organ(template, 2.0)
    coarse, grid = coarse_behind(given, geometry)
    smooth = smooth_distance_grid(coarse, grid)
    centre = geometry.ijk_to_ras_points(np.argwhere(given)[:, ::-1]).mean(axis=0)
    frame = replace(template_frame(template), translation=-template_frame(template).scale * centre)
    for cells, moved_mm in ((0.2, 0.2 * cell_mm), (-0.2, -0.2 * cell_mm), (2.0, 0.5 * grid.spacing_mm.mean())):
        model = model_that_adds(cells, "0" * 64)
        detailed = expected_detail(model, template, smooth, frame, grid.spacing_mm, poses=1).added_to(smooth)
        near = np.abs(smooth.values_mm) < 0.4 * cell_mm
        np.testing.assert_allclose((detailed.values_mm - smooth.values_mm)[near], moved_mm, rtol=0.05)
        far = np.abs(smooth.values_mm) > 1.1 * grid.spacing_mm.mean()
        np.testing.assert_array_equal(detailed.values_mm[far], smooth.values_mm[far])


def template_frame(template: OrganTemplate):
    from ReShapeITLib.core.geometry import Similarity

    return Similarity(1.0 / float(np.mean(template.info.scales_mm)), np.eye(3), np.zeros(3))


def test_a_bricky_organ_is_refined_with_its_detail_and_others_are_not(template):
    given, geometry, cell_mm = bricky_organ(template, 2.0)
    restoration = model_that_adds(0.0, "0" * 64)
    with_detail = replace(restoration, detail=model_that_adds(-0.2, "0" * 64, detail=True))
    plain = refine(given, geometry, template, restoration=restoration, force=True)
    fuller = refine(given, geometry, template, restoration=with_detail, force=True)
    assert fuller.detailed and not plain.detailed
    ratio = fuller.mask(geometry).sum() / plain.mask(geometry).sum()
    # A fifth of a cell more on all sides.
    radius_mm = (3.0 * plain.mask(geometry).sum() * geometry.voxel_volume_mm3 / (4.0 * np.pi)) ** (1 / 3)
    assert ratio == pytest.approx((1.0 + 0.2 * cell_mm / radius_mm) ** 3, rel=0.1)
    mask, geometry = patient(np.random.default_rng(0), (1.0, 1.0, 1.0))
    assert not refine(mask, geometry, template, restoration=with_detail, force=True).detailed


def test_the_network_for_detail_goes_with_the_one_that_is_found_and_is_never_taken_for_it(
    tmp_path, tiny_template_file, monkeypatch
):
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(tmp_path))
    sha256 = read_shape_sha256(tiny_template_file)
    detail, whole = tmp_path / "a_detail.safetensors", tmp_path / "b.safetensors"
    model_that_adds(-0.1, sha256, detail=True).save(detail)
    enter_network(detail)
    assert chosen_networks("auto", sha256).restoration is None
    assert RestorationModel.for_template(tiny_template_file) is None
    model_that_adds(0.0, sha256).save(whole)
    enter_network(whole)
    assert chosen_networks("auto", sha256) == ChosenNetworks(whole, detail)
    assert RestorationModel.for_template(tiny_template_file).detail.info.detail
    assert RestorationModel.for_template(tiny_template_file).in_smaller_parts().detail.poses_at_once == 1
    # Who names a file wants that one alone; drawn slices are no coarse voxels.
    assert chosen_networks(str(whole), sha256) == ChosenNetworks(whole)
    assert chosen_networks("none", sha256) == ChosenNetworks()
    assert chosen_networks("auto", sha256, sparse=True).detail is None


def test_report_and_notice_name_the_network_that_told_what_coarse_voxels_hide(
    template, tiny_template_file, tmp_path, monkeypatch
):
    networks = tmp_path / "networks"
    networks.mkdir()
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(networks))
    sha256 = read_shape_sha256(tiny_template_file)
    model_that_adds(0.0, sha256).save(networks / "organ.safetensors")
    for_detail = model_that_adds(-0.1, sha256, detail=True)
    licence = "CC-BY-NC-SA-4.0"
    replace(for_detail, info=replace(for_detail.info, licence=licence)).save(networks / "organ_detail.safetensors")
    for file in networks.glob("*.safetensors"):
        enter_network(file)
    given, geometry, _ = bricky_organ(template, 2.0)
    fine = patient(np.random.default_rng(11))
    for mask, grid, used in ((given, geometry, "organ_detail.safetensors"), (*fine, None)):
        told = []
        write_labels(LabelVolume.from_array(mask.astype(np.uint8), grid), tmp_path / "in.nrrd")
        templates, out = {None: str(tiny_template_file)}, tmp_path / "out.nrrd"
        job = RefineJob(tmp_path / "in.nrrd", templates, out, preset="draft", non_commercial=True)
        organ = run_refine_job(job, notice=told.append).report.organs[0]
        assert (organ.detail, organ.detail_licence) == (used, licence if used else None)
        # Told before the work, when it is not known yet whether the voxels are coarse.
        assert sum("organ_detail" in text and "non-commercial" in text for text in told) == 1
