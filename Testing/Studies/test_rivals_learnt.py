"""Rivals that learn: the auto-decoder without a template and the denoising autoencoder, and ablations of refinement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.restoration.grid import CanonicalGrid
from ReShapeITLib.restoration_training.config import DrawOptions
from ReShapeITLib.restoration_training.data import PADDING_CELLS, RestorationCase
from ReShapeITLib.templates.template import OrganTemplate, read_shape_sha256
from ReShapeITLib.training.config import config_from_dict
from ReShapeITLib.training.data import TrainingSet
from ReShapeITLib.training.export import export_template
from ReShapeITLib.training.loop import Trainer
from Testing.Studies.cases_for_tests import make_study, write_cases
from Testing.Studies.evaluation.methods import make_methods
from Testing.Studies.evaluation.patients import training_cases
from Testing.Studies.evaluation.rivals_denoiser import Denoiser, DenoiserInfo, DenoiserOptions, DenoisingAutoencoder
from Testing.Studies.evaluation.rivals_denoiser_training import DenoiserTraining, train_denoiser
from Testing.Studies.evaluation.study import MethodEntry
from Testing.tiny_template import ORGAN, patient

DRAW = DrawOptions(batch=2, rotation_degrees=2.0, scale=0.02, shift_cells=0.3, bend_cells=0.0)
QUICK = {"alignment": {"n_points": 300, "coarse_points": 100}, "surface_cell_mm": 4.0}


def dice(a, b) -> float:
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def auto_decoder_file(tiny_run):
    """An auto-decoder of the generated superellipsoids."""
    optimiser = {
        "steps": 150,
        "shapes_per_step": 6,
        "surface_points": 150,
        "free_points": 150,
        "learning_rate": 2e-3,
        "code_learning_rate": 2e-3,
        "warmup_steps": 10,
    }
    model = {"hidden": 32, "depth": 4, "code_size": 8, "first_omega": 10.0, "hidden_omega": 15.0}
    told = {"preset": "auto_decoder", "organ": ORGAN, "model": model, "optimiser": optimiser}
    trainer = Trainer(TrainingSet.from_folder(tiny_run / "samples"), config_from_dict(told), tiny_run / "decoder")
    trainer.run()
    path = tiny_run / "decoder" / f"{ORGAN}.safetensors"
    export_template(trainer, "CC0-1.0", "generated superellipsoids", 1000).save(path)
    return path


@pytest.fixture(scope="module")
def cases(tiny_template_file):
    """The tiny template's own organ as a training case."""
    template = OrganTemplate.load(tiny_template_file)
    grid = CanonicalGrid.around(template.points_unit).padded(PADDING_CELLS)
    with torch.no_grad():
        points = torch.as_tensor(grid.points_unit(), dtype=torch.float32)
        cells = template.model.template_values(points).numpy().reshape(grid.shape_zyx) / grid.cell_unit
    return [RestorationCase(ORGAN, np.clip(cells, -12, 12).astype(np.float16))]


def options(**changes) -> DenoiserTraining:
    return replace(DenoiserTraining(steps=6, draw=DRAW, workers=0, checkpoint_interval=3, warmup_steps=2), **changes)


def test_an_auto_decoder_returns_an_unseen_organ_from_its_code(auto_decoder_file):
    mask, geometry = patient(np.random.default_rng(99))
    entry = {"name": "deepsdf", "model": str(auto_decoder_file), **QUICK, "fit": {"code_steps": 60}}
    (method,) = make_methods([entry], ORGAN, auto_decoder_file).values()
    result = method(mask, geometry)
    assert dice(result.mask, mask) > 0.85 and len(result.surface.faces)


def test_an_auto_decoder_is_known_by_its_file_and_loads_as_it_was(auto_decoder_file):
    loaded = OrganTemplate.load(auto_decoder_file)
    assert not loaded.model.options.use_template and not loaded.model.options.use_beta
    assert float(np.abs(loaded.model.template_values(torch.as_tensor(loaded.points_unit).float()).numpy()).max()) < 0.05


def test_a_template_is_no_auto_decoder_and_another_organs_is_refused(auto_decoder_file, tiny_template_file):
    for model, organ, message in (
        (tiny_template_file, ORGAN, "has a template"),
        (auto_decoder_file, "liver", "was trained for test_organ"),
    ):
        with pytest.raises(BadInputError, match=message):
            make_methods([{"name": "deepsdf", "model": str(model)}], organ, tiny_template_file)


def test_a_denoiser_learns_the_organ_it_is_shown_and_puts_it_in_place_of_a_bitten_one(
    cases, tiny_template_file, tmp_path
):
    size = {"channels": (8, 8, 8), "code_size": 32}
    network = train_denoiser(cases, options(steps=60, learning_rate=6e-3), tmp_path, size=size)
    info = DenoiserInfo(ORGAN, read_shape_sha256(tiny_template_file), ["case0"])
    Denoiser(info, network).save(tmp_path / "denoiser.safetensors")
    entry = {"name": "denoiser", "model": str(tmp_path / "denoiser.safetensors")}
    (method,) = make_methods([entry], ORGAN, tiny_template_file).values()
    mask, geometry = patient(np.random.default_rng(3))
    bitten = mask.copy()
    bitten[:, :, : mask.shape[2] // 3] = False
    assert dice(method(bitten, geometry).mask, mask) > dice(bitten, mask)


def test_a_denoiser_run_that_was_stopped_ends_with_the_same_weights(cases, tmp_path):
    size = {"channels": (4, 4, 4), "code_size": 8}

    class Stop(Exception):
        pass

    class Stopping:
        def stage(self, name, fraction, message=""):
            if fraction >= 0.5:
                raise Stop

    whole = train_denoiser(cases, options(), tmp_path / "whole", size=size)
    with pytest.raises(Stop):
        train_denoiser(cases, options(), tmp_path / "parts", Stopping(), size=size)
    resumed = train_denoiser(cases, options(), tmp_path / "parts", size=size)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_denoiser_file_is_verified_and_belongs_to_one_frame(tiny_template_file, tmp_path):
    path = tmp_path / "denoiser.safetensors"
    network = DenoisingAutoencoder(DenoiserOptions((8, 16, 8), (2, 2, 2), 4))
    Denoiser(DenoiserInfo(ORGAN, "another", ["case0"]), network).save(path)
    loaded = Denoiser.load(path)
    assert loaded.network.options == network.options and loaded.info.cases == ["case0"]
    with pytest.raises(BadInputError, match="frame of another template"):
        make_methods([{"name": "denoiser", "model": str(path)}], ORGAN, tiny_template_file)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    absent = tmp_path / "absent.safetensors"
    for wrong, told in ((path, "checksum"), (absent, "train one with"), (tiny_template_file, "is not a denoiser file")):
        with pytest.raises(BadInputError, match=told):
            Denoiser.load(wrong)


def test_whoever_a_rival_has_learnt_from_cannot_be_evaluated(auto_decoder_file, tiny_template_file, tmp_path):
    write_cases(tmp_path)
    study = make_study(tmp_path, tiny_template_file)
    network = DenoisingAutoencoder(DenoiserOptions((8, 8, 8), (2, 2, 2), 4))
    Denoiser(DenoiserInfo(ORGAN, "any", ["a"]), network).save(tmp_path / "denoiser.safetensors")
    entries = (
        MethodEntry("one", "deepsdf", {"model": str(auto_decoder_file)}),
        MethodEntry("two", "denoiser", {"model": str(tmp_path / "denoiser.safetensors")}),
    )
    sources = training_cases(replace(study, methods=entries))
    assert sources["The method one"] == {f"case{n}" for n in range(6)} and sources["The method two"] == {"a"}


def test_without_what_is_kept_the_fitted_field_alone_is_the_result(tiny_template_file):
    mask, geometry = patient(np.random.default_rng(5))
    few = {**QUICK, "fit": {"code_steps": 20, "weight_steps": 5}, "restoration": "none"}
    entries = [{"name": "reshapeit", "as": "kept", **few}, {"name": "reshapeit", "as": "alone", "keep": False, **few}]
    results = {name: m(mask, geometry).mask for name, m in make_methods(entries, ORGAN, tiny_template_file).items()}
    np.testing.assert_array_equal(results["kept"], mask)
    assert 1.0 > dice(results["alone"], mask) > 0.8


def test_points_that_match_badly_count_less_where_the_papers_candidates_are_weighted(tiny_template_file):
    mask, geometry = patient(np.random.default_rng(5))
    leaking = mask.copy()
    leaking[16:22, 16:22, :] = True
    few = {**QUICK, "candidates": {"top_percent": 100}, "fit": {"code_steps": 30, "weight_steps": 10}}
    entries = [{"name": "tim_paper", "as": n, "weighted": n == "weighted", **few} for n in ("alike", "weighted")]
    results = {name: m(leaking, geometry).mask for name, m in make_methods(entries, ORGAN, tiny_template_file).items()}
    assert (results["weighted"] & ~mask).sum() < (results["alike"] & ~mask).sum()
