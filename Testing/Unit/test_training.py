"""Training: batches, codes to start from, schedule, ablation switches, what is learnt, and going on after a kill."""

from __future__ import annotations

import ast
import itertools
import json
import math
import pickle
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ReShapeITLib
from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError, CancelledError, ReShapeITError
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.templates.template import OrganTemplate, read_info, read_shape_sha256
from ReShapeITLib.training.config import OptimiserOptions
from ReShapeITLib.training.data import TrainingSet
from ReShapeITLib.training.export import CASE_MEASURES
from ReShapeITLib.training.loop import CHECKPOINT_NAME, LOG_NAME, Trainer, median_of_last
from ReShapeITLib.training.schedule import GradientClipper, code_penalty_factor, learning_rate_factor
from Testing.oracles import (
    RADII,
    TINY_CONFIG,
    ellipsoid_samples,
    ellipsoid_sdf,
    ellipsoid_set,
    trained_on_ellipsoids,
    with_optimiser,
)
from Testing.tiny_template import ORGAN
from Testing.tiny_template import TINY_CONFIG as TEMPLATE_CONFIG

# Short enough to be run a dozen times; the template surface is sampled between checkpoints, too.
SHORT_CONFIG = replace(
    with_optimiser(
        TINY_CONFIG,
        steps=24,
        shapes_per_step=2,
        surface_points=40,
        free_points=40,
        laplacian_points=20,
        warmup_steps=4,
        template_interval=5,
        template_resolution=12,
    ),
    model=replace(TINY_CONFIG.model, hidden=16, hyper_hidden=8),
    checkpoint_interval=8,
)
FOUR_STEPS = with_optimiser(SHORT_CONFIG, steps=4)


def short_set():
    return ellipsoid_set(RADII[:3], n=300)


def short_trainer(folder, config=SHORT_CONFIG):
    return Trainer(short_set(), config, folder)


# ---------------------------------------------------------------------------------------------- batches and codes


def test_a_batch_has_different_shapes_surface_points_first():
    data = ellipsoid_set(RADII[:4], n=300)
    batch = data.draw(3, 20, 30, torch.Generator().manual_seed(0))
    assert len(set(batch.shapes.tolist())) == 3
    assert batch.points.shape == (3, 50, 3) and batch.normals.shape == (3, 20, 3) and batch.n_surface == 20
    assert (batch.sdf[:, :20] == 0).all()
    for shape, points, sdf in zip(batch.shapes.tolist(), batch.points.numpy(), batch.sdf.numpy(), strict=True):
        assert np.abs(ellipsoid_sdf(points, RADII[shape]) - sdf).max() < 1e-5


def test_normals_belong_to_the_surface_points_of_a_batch():
    batch = ellipsoid_set(((0.6,) * 3,), n=300).draw(1, 50, 10, torch.Generator().manual_seed(0))
    assert torch.allclose(batch.points[0, :50] / 0.6, batch.normals[0], atol=1e-5)


def test_more_shapes_than_there_are_take_all_of_them():
    batch = ellipsoid_set(RADII[:2], n=100).draw(16, 5, 5, torch.Generator().manual_seed(0))
    assert sorted(batch.shapes.tolist()) == [0, 1]


def test_the_same_random_state_draws_the_same_batch():
    data = short_set()
    first, again = (data.draw(2, 5, 5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.points, again.points)


def test_no_shapes_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="prepare"):
        TrainingSet.from_folder(tmp_path)


def test_named_cases_are_read_in_their_order_and_missing_ones_are_named(tmp_path):
    for case in ("a", "b", "c"):
        ellipsoid_samples(RADII[0], case, 0, n=10).save(tmp_path / f"{case}.samples.safetensors")
    assert TrainingSet.from_folder(tmp_path, cases=["c", "a"]).cases == ["c", "a"]
    with pytest.raises(BadInputError, match="no prepared shape for d, e"):
        TrainingSet.from_folder(tmp_path, cases=["a", "d", "e"])


def test_principal_codes_put_similar_shapes_side_by_side():
    sizes = [0.7, 0.4, 0.6, 0.5, 0.8]
    codes = ellipsoid_set([(s, 0.6, 0.5) for s in sizes]).principal_codes(8, 0.3)
    distance = torch.cdist(codes, codes).fill_diagonal_(math.inf)
    for shape, size in enumerate(sizes):
        nearest = sizes[int(distance[shape].argmin())]
        assert abs(nearest - size) == pytest.approx(0.1)


def test_principal_codes_have_the_wanted_spread_and_mean_zero():
    codes = ellipsoid_set(n=1000).principal_codes(6, 0.25)
    assert codes.shape == (len(RADII), 6)
    assert float(codes.square().mean().sqrt()) == pytest.approx(0.25, rel=1e-5)


def test_the_code_of_an_unusual_shape_is_shortened():
    radii = [(0.5 + 0.01 * n,) * 3 for n in range(6)] + [(0.95, 0.2, 0.2)]
    lengths = ellipsoid_set(radii).principal_codes(8, 0.3).norm(dim=1)
    assert float(lengths.max()) == pytest.approx(1.2 * float(lengths.median()), rel=0.05)


def test_a_single_shape_starts_with_a_zero_code():
    assert (ellipsoid_set(RADII[:1], n=200).principal_codes(4, 0.3) == 0).all()


def test_both_ways_to_start_the_codes(tmp_path):
    pca = short_trainer(tmp_path / "pca").codes
    assert torch.equal(pca["alpha"], short_set().principal_codes(4, 0.3))
    assert torch.equal(pca["beta"], pca["alpha"])
    many = replace(SHORT_CONFIG, code_start="normal", model=replace(SHORT_CONFIG.model, code_size=400))
    normal = short_trainer(tmp_path / "normal", many).codes
    assert float(normal["alpha"].detach().std()) == pytest.approx(0.01, rel=0.1)
    assert not torch.equal(normal["alpha"], normal["beta"])


# ------------------------------------------------------------------------------------------------------- schedule


def test_the_learning_rate_rises_linearly_then_falls_on_a_cosine():
    options = OptimiserOptions(steps=110, warmup_steps=10, final_rate=0.1)
    assert [learning_rate_factor(s, options) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert learning_rate_factor(10, options) == pytest.approx(1.0)
    assert learning_rate_factor(60, options) == pytest.approx(0.55)
    assert learning_rate_factor(110, options) == learning_rate_factor(500, options) == pytest.approx(0.1)
    falling = [learning_rate_factor(s, options) for s in range(10, 111)]
    assert all(a > b for a, b in itertools.pairwise(falling))


def test_without_warm_up_the_learning_rate_starts_at_its_peak():
    assert learning_rate_factor(0, OptimiserOptions(warmup_steps=0)) == 1.0


def test_the_code_penalty_takes_ten_warm_ups_to_reach_full_weight():
    options = OptimiserOptions(warmup_steps=5)
    assert [code_penalty_factor(s, options) for s in (0, 24, 49, 50, 1000)] == pytest.approx([0.02, 0.5, 1, 1, 1])


def test_a_training_step_uses_the_scheduled_rates_and_code_penalty(tmp_path):
    trainer = short_trainer(tmp_path)
    for step in range(3):
        batch_state = trainer.generator.get_state()
        batch = trainer.data.draw(2, 40, 40, trainer.generator)
        full = float(trainer.loss_terms(batch)["reg_alpha"].detach())
        trainer.generator.set_state(batch_state)
        found = trainer.train_step()["reg_alpha"]
        assert found == pytest.approx(full * (step + 1) / 40, rel=1e-5)
        for group in trainer.optimiser.param_groups:
            assert group["lr"] == pytest.approx(group["peak"] * (step + 1) / 4)


def test_temp_hyper_network_and_codes_have_learning_rates_of_their_own(tmp_path):
    rates = {"learning_rate": 1e-3, "hyper_learning_rate": 2e-3, "code_learning_rate": 3e-3}
    trainer = short_trainer(tmp_path, with_optimiser(SHORT_CONFIG, **rates))
    peaks = {id(p): group["peak"] for group in trainer.optimiser.param_groups for p in group["params"]}
    assert {peaks[id(p)] for p in trainer.model.temp.parameters()} == {1e-3}
    assert {peaks[id(p)] for p in trainer.model.hyper.parameters()} == {2e-3}
    codes = [*trainer.codes.values(), trainer.model.template_alpha, trainer.model.template_beta]
    assert {peaks[id(p)] for p in codes} == {3e-3}
    assert len(peaks) == len(codes) + len(list(trainer.model.parameters())) - 2


def clipped_norm(clipper, norm):
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), norm / 2.0)
    returned = clipper.clip([parameter])
    assert returned == pytest.approx(norm)
    return float(parameter.grad.norm())


def test_a_gradient_is_clipped_at_a_multiple_of_the_recent_median():
    clipper = GradientClipper(factor=5.0)
    assert [clipped_norm(clipper, n) for n in (2.0, 2.0, 3.0)] == pytest.approx([2.0, 2.0, 3.0])
    assert clipped_norm(clipper, 1000.0) == pytest.approx(10.0)
    assert clipped_norm(clipper, 9.9) == pytest.approx(9.9)


def test_the_first_gradient_is_never_clipped():
    assert clipped_norm(GradientClipper(factor=0.1), 1e6) == pytest.approx(1e6)


def test_gradient_norms_older_than_the_window_are_forgotten():
    clipper = GradientClipper(factor=2.0, window=3)
    for _ in range(3):
        clipped_norm(clipper, 1.0)
    for _ in range(4):
        clipped_norm(clipper, 2.0)
    assert clipped_norm(clipper, 100.0) == pytest.approx(4.0)


def test_a_restored_clipper_goes_on_as_the_first_would():
    clipper, restored = GradientClipper(3.0), GradientClipper(3.0)
    for norm in (1.0, 0.1, 7.0, 0.3):
        clipped_norm(clipper, norm)
    restored.restore(clipper.state())
    assert clipped_norm(restored, 50.0) == clipped_norm(clipper, 50.0)


# ---------------------------------------------------------------------------------------------- ablation switches

# All points enter the Laplacian, so that no term draws random numbers that another one would then lack.
EVERY_TERM = replace(with_optimiser(SHORT_CONFIG, laplacian_points=0), model=replace(SHORT_CONFIG.model, depth=3))


def loss_terms(folder, config):
    """Loss terms of the untrained model that a configuration starts with, all on the same points."""
    trainer = short_trainer(folder, config)
    trainer.template_surface = torch.nn.functional.normalize(torch.arange(60.0).reshape(20, 3).sin(), dim=-1) * 0.6
    batch = trainer.data.draw(2, 40, 40, trainer.generator)
    return trainer, trainer.loss_terms(batch)


@pytest.mark.parametrize(
    ("switch", "removed"),
    [
        ("template_normal", {"template_normal"}),
        ("vec", {"vec"}),
        ("template_shape", {"template_shape"}),
        ("dis", {"dis", "template_shape"}),  # both have the weight omega_dis in Eq. 7
    ],
)
def test_a_weight_of_zero_removes_exactly_its_term(tmp_path, switch, removed):
    _, complete = loss_terms(tmp_path / "all", EVERY_TERM)
    weights = replace(EVERY_TERM.weights, **{switch: 0.0})
    _, ablated = loss_terms(tmp_path / "less", replace(EVERY_TERM, weights=weights))
    assert set(complete) - set(ablated) == removed
    for name, term in ablated.items():
        assert torch.equal(term, complete[name])


def test_all_terms_of_equation_7_are_there(tmp_path):
    _, terms = loss_terms(tmp_path, EVERY_TERM)
    assert list(terms) == [
        "sdf",
        "normal",
        "eikonal",
        "off_surface",
        "template_normal",
        "vec",
        "dis",
        "template_shape",
        "reg_alpha",
        "reg_beta",
    ]
    assert all(float(term.detach()) > 0 for term in terms.values())


def test_every_term_is_proportional_to_its_weight(tmp_path):
    _, once = loss_terms(tmp_path / "once", EVERY_TERM)
    weights = replace(EVERY_TERM.weights, **{n: 2 * getattr(EVERY_TERM.weights, n) for n in ("sdf", "vec", "alpha")})
    _, twice = loss_terms(tmp_path / "twice", replace(EVERY_TERM, weights=weights))
    for name in once:
        factor = 2.0 if name in ("sdf", "vec", "reg_alpha") else 1.0
        assert float(twice[name].detach()) == pytest.approx(factor * float(once[name].detach()), rel=1e-6)


@pytest.mark.parametrize(("switch", "code"), [("use_alpha", "alpha"), ("use_beta", "beta")])
def test_a_code_that_is_switched_off_is_only_seen_by_its_penalty(tmp_path, switch, code):
    trainer, complete = loss_terms(tmp_path / "on", EVERY_TERM)
    seen = torch.autograd.grad(complete["sdf"], trainer.codes[code])[0]
    assert float(seen.abs().max()) > 0
    off = replace(EVERY_TERM, model=replace(EVERY_TERM.model, **{switch: False}))
    trainer, ablated = loss_terms(tmp_path / "off", off)
    assert set(ablated) == set(complete)
    data_terms = sum(term for name, term in ablated.items() if not name.startswith("reg_"))
    assert torch.autograd.grad(data_terms, trainer.codes[code], allow_unused=True)[0] is None
    penalty = torch.autograd.grad(ablated[f"reg_{code}"], trainer.codes[code])[0]
    assert float(penalty.abs().max()) > 0


def test_without_the_template_shape_term_no_template_surface_is_sampled(tmp_path):
    trainer = short_trainer(tmp_path, replace(SHORT_CONFIG, weights=replace(SHORT_CONFIG.weights, template_shape=0.0)))
    trainer.train_step()
    assert len(trainer.template_surface) == 0


@pytest.mark.parametrize("model", [{"use_alpha": False}, {"use_beta": False}])
def test_an_ablated_model_trains(tmp_path, model):
    config = with_optimiser(replace(SHORT_CONFIG, model=replace(SHORT_CONFIG.model, **model)), steps=12)
    short_trainer(tmp_path, config).run()
    log = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    assert log[-1]["total"] < log[0]["total"]


def test_an_auto_decoder_trains_with_the_terms_that_need_no_template(tmp_path):
    weights = replace(SHORT_CONFIG.weights, template_normal=0.0, vec=0.0, dis=0.0, template_shape=0.0)
    model = replace(SHORT_CONFIG.model, use_beta=False, use_template=False)
    config = with_optimiser(replace(SHORT_CONFIG, model=model, weights=weights), steps=12)
    trainer = short_trainer(tmp_path, config)
    trainer.run()
    log = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    assert log[-1]["total"] < log[0]["total"] and not {"template_normal", "vec", "dis", "template_shape"} & set(log[0])
    assert trainer.codes["alpha"].std() > 0


def test_a_checkpoint_from_before_the_template_switch_goes_on(tmp_path):
    trainer = short_trainer(tmp_path)
    assert "use_template" not in trainer._identity()["config"]["model"]


def test_a_template_that_has_no_surface_yet_does_not_stop_training(tmp_path):
    trainer = short_trainer(tmp_path)
    with torch.no_grad():
        trainer.model.temp.biases[-1].fill_(10.0)
    terms = trainer.train_step()
    assert len(trainer.template_surface) == 0
    assert math.isfinite(terms["template_shape"])


# -------------------------------------------------------------------------------------------------- what is learnt


def surface_radii(trainer, shape, directions):
    """Distance from the origin at which the field of a training shape changes its sign, along each direction."""
    radii = np.linspace(0.2, 0.95, 151)
    points = torch.as_tensor(directions[:, None] * radii[:, None], dtype=torch.float32).reshape(1, -1, 3)
    codes = (trainer.codes[name][shape : shape + 1] for name in ("alpha", "beta"))
    with torch.no_grad():
        values = trainer.model.values(trainer.model.deform_layers(*codes), points).reshape(len(directions), -1).numpy()
    assert (values[:, 0] < 0).all() and (values[:, -1] > 0).all()
    first = (values > 0).argmax(axis=1)
    row = np.arange(len(directions))
    before, after = values[row, first - 1], values[row, first]
    return radii[first - 1] + (radii[1] - radii[0]) * before / (before - after)


def random_directions(n):
    directions = np.random.default_rng(5).normal(size=(n, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def test_training_lowers_the_loss_twentyfold():
    _, log = trained_on_ellipsoids()
    assert [line["step"] for line in log] == list(range(1, 201))
    assert np.mean([line["total"] for line in log[-10:]]) < log[0]["total"] / 20


@pytest.mark.parametrize("shape", [0, 3, 4])
def test_a_trained_sphere_has_its_radius_to_one_percent(shape):
    radii = surface_radii(trained_on_ellipsoids()[0], shape, random_directions(200))
    assert radii.mean() == pytest.approx(RADII[shape][0], rel=0.01)
    assert np.abs(radii - RADII[shape][0]).max() < 0.02


@pytest.mark.parametrize("shape", [1, 2])
def test_a_trained_ellipsoid_has_its_three_radii(shape):
    directions = random_directions(200)
    radii = surface_radii(trained_on_ellipsoids()[0], shape, directions)
    expected = 1.0 / np.linalg.norm(directions / np.array(RADII[shape]), axis=1)
    assert np.abs(radii - expected).max() < 0.02


def test_the_template_does_nothing_under_its_own_codes():
    model = trained_on_ellipsoids()[0].model
    points = torch.as_tensor(0.6 * random_directions(200), dtype=torch.float32)[None]
    with torch.no_grad():
        own = model.evaluate(model.template_deform_layers(), points)
    assert float(own.dvec.norm(dim=-1).mean()) < 0.03
    assert float(own.ddis.abs().mean()) < 0.03


def test_a_learning_rate_that_is_far_too_large_is_told_as_such(tmp_path):
    trainer = short_trainer(tmp_path, with_optimiser(SHORT_CONFIG, learning_rate=1e30, code_learning_rate=1e30))
    with pytest.raises(ReShapeITError, match="diverged at step"):
        trainer.run()
    assert not (tmp_path / CHECKPOINT_NAME).exists()


def test_the_median_of_the_last_steps_is_read_from_the_log(tmp_path):
    lines = [json.dumps({"step": n, "sdf": float(n)}) for n in range(1, 11)]
    (tmp_path / LOG_NAME).write_text("\n".join(lines) + "\n")
    assert median_of_last(tmp_path / LOG_NAME, "sdf", count=3) == 9.0


# ------------------------------------------------------------------------------------------------------ going on


class StopsAt(Progress):
    """Cancels the run after a step."""

    def __init__(self, step, steps=SHORT_CONFIG.optimiser.steps):
        super().__init__("none")
        self.last = step / steps

    def stage(self, name, fraction, message=""):
        super().stage(name, fraction, message)
        if fraction >= self.last:
            self.cancel()


# Runs the short training in a process of its own; waits, to be killed, after the step that the argument names.
# It waits for the end of its input, so that it ends by itself where the test fails before the kill.
CHILD = """
import sys
from ReShapeITLib.core.progress import Progress
from Testing.Unit.test_training import SHORT_CONFIG, short_trainer

class Waiting(Progress):
    def stage(self, name, fraction, message=""):
        step = round(fraction * SHORT_CONFIG.optimiser.steps)
        print(step, flush=True)
        if step == int(sys.argv[2]):
            sys.stdin.read()

short_trainer(sys.argv[1]).run(Waiting())
"""


def start_child(folder, wait_after_step):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", CHILD, str(folder), str(wait_after_step)]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def checkpoint_content(folder):
    from safetensors import safe_open

    with safe_open(folder / CHECKPOINT_NAME, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with start_child(killed, wait_after_step=13) as child:
        assert [int(child.stdout.readline()) for _ in range(13)] == list(range(1, 14))
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert checkpoint_content(killed)[0]["step"] == "8"

    with start_child(killed, wait_after_step=0) as child:
        steps = [int(line) for line in child.stdout]
    assert child.returncode == 0
    assert steps == list(range(9, 25))

    short_trainer(whole).run()
    (_, found), (_, expected) = checkpoint_content(killed), checkpoint_content(whole)
    assert set(found) == set(expected)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert (killed / LOG_NAME).read_text() == (whole / LOG_NAME).read_text()


def test_a_cancelled_run_keeps_its_last_checkpoint_and_goes_on_from_it(tmp_path):
    with pytest.raises(CancelledError):
        short_trainer(tmp_path / "stopped").run(StopsAt(11))
    assert checkpoint_content(tmp_path / "stopped")[0]["step"] == "8"
    resumed, whole = short_trainer(tmp_path / "stopped").run(), short_trainer(tmp_path / "whole").run()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = short_trainer(tmp_path, FOUR_STEPS)
    first.run()
    again = short_trainer(tmp_path, FOUR_STEPS)
    again.run()
    assert again.step == 4
    assert torch.equal(again.codes["alpha"], first.codes["alpha"])


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory):
    """A checkpoint after four steps."""
    folder = tmp_path_factory.mktemp("run")
    short_trainer(folder, FOUR_STEPS).run()
    return (folder / CHECKPOINT_NAME).read_bytes()


def resume_from(folder, content, config=FOUR_STEPS):
    (folder / CHECKPOINT_NAME).write_bytes(content)
    trainer = short_trainer(folder, config)
    trainer.run()
    return trainer


@pytest.mark.parametrize("kept", [0, 5, 500, -1])
def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path, checkpoint_bytes, kept):
    with pytest.raises(BadInputError, match=f"{CHECKPOINT_NAME} is absent or damaged"):
        resume_from(tmp_path, checkpoint_bytes[:kept])


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path, checkpoint_bytes):
    content = bytearray(checkpoint_bytes)
    content[-1000] ^= 1
    with pytest.raises(BadInputError, match="checksum"):
        resume_from(tmp_path, bytes(content))


def test_a_checkpoint_without_some_tensors_is_refused(tmp_path, checkpoint_bytes):
    from safetensors.torch import save

    (tmp_path / CHECKPOINT_NAME).write_bytes(checkpoint_bytes)
    metadata, tensors = checkpoint_content(tmp_path)
    del metadata["sha256"], tensors["codes.beta"]
    with pytest.raises(BadInputError, match="lacks parts"):
        resume_from(tmp_path, save(tensors, metadata=metadata))


def test_a_tensor_file_that_is_no_checkpoint_is_refused(tmp_path):
    from safetensors.torch import save

    with pytest.raises(BadInputError, match=CHECKPOINT_NAME):
        resume_from(tmp_path, save({"weights": torch.zeros(3)}))


@pytest.mark.parametrize(
    "changed",
    [
        with_optimiser(SHORT_CONFIG, steps=5),
        replace(FOUR_STEPS, seed=1),
        replace(FOUR_STEPS, weights=replace(SHORT_CONFIG.weights, vec=1.0)),
    ],
    ids=["steps", "seed", "weights"],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, checkpoint_bytes, changed):
    with pytest.raises(BadInputError, match="other settings"):
        resume_from(tmp_path, checkpoint_bytes, changed)


def test_a_checkpoint_of_other_cases_is_refused(tmp_path, checkpoint_bytes):
    (tmp_path / CHECKPOINT_NAME).write_bytes(checkpoint_bytes)
    with pytest.raises(BadInputError, match="other settings"):
        Trainer(ellipsoid_set(RADII[:2], n=300), FOUR_STEPS, tmp_path).run()


def test_how_often_checkpoints_are_written_may_change(tmp_path, checkpoint_bytes):
    config = replace(FOUR_STEPS, checkpoint_interval=3)
    assert resume_from(tmp_path, checkpoint_bytes, config).step == 4


def test_a_checkpoint_has_the_permissions_of_any_new_file(tmp_path):
    short_trainer(tmp_path, with_optimiser(SHORT_CONFIG, steps=1)).run()
    (tmp_path / "new").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (CHECKPOINT_NAME, "new")]
    assert modes[0] == modes[1]


def test_a_run_may_start_with_the_weights_and_codes_of_another(tmp_path, checkpoint_bytes):
    (tmp_path / "first.safetensors").write_bytes(checkpoint_bytes)
    config = replace(with_optimiser(SHORT_CONFIG, steps=0), start_from=str(tmp_path / "first.safetensors"))
    trainer = short_trainer(tmp_path, config)
    model = trainer.run()
    (tmp_path / CHECKPOINT_NAME).write_bytes(checkpoint_bytes)
    tensors = checkpoint_content(tmp_path)[1]
    assert torch.equal(trainer.codes["alpha"], tensors["codes.alpha"])
    assert all(torch.equal(value, tensors[f"model.{name}"]) for name, value in model.state_dict().items())
    assert trainer.step == 0


def test_weights_of_another_size_are_no_start(tmp_path, checkpoint_bytes):
    (tmp_path / "first.safetensors").write_bytes(checkpoint_bytes)
    config = replace(SHORT_CONFIG, start_from=str(tmp_path / "first.safetensors"))
    with pytest.raises(BadInputError, match="other sizes"):
        short_trainer(tmp_path, replace(config, model=replace(config.model, hidden=24))).run()


# ---------------------------------------------------------------------------------------- with the Temp of a template


def config_with_temp_of(template_file, **model):
    options = OrganTemplate.load(template_file).model.options
    config = with_optimiser(SHORT_CONFIG, steps=3, surface_points=50, free_points=50)
    return replace(config, model=replace(options, **model), temp_from=str(template_file))


def test_a_run_may_keep_the_temp_of_a_template_and_train_the_rest(tmp_path, tiny_template_file):
    trainer = short_trainer(tmp_path, config_with_temp_of(tiny_template_file))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    theirs, ours = OrganTemplate.load(tiny_template_file).model.state_dict(), trainer.run().state_dict()
    temp = {name for name in ours if name.startswith("temp.")}
    assert temp and all(torch.equal(ours[name], theirs[name]) for name in temp)
    assert all(not torch.equal(ours[name], before[name]) for name in set(ours) - temp)


def test_a_template_with_a_kept_temp_goes_on_with_the_same_restoration_network(tiny_run, tiny_template_file, tmp_path):
    config = tmp_path / "config.yaml"
    text = TEMPLATE_CONFIG.replace("steps: 120", "steps: 2")
    config.write_text(f"{text}temp_from: {tiny_template_file}\n", encoding="utf-8")
    again = tmp_path / "again.safetensors"
    command = ["train", "--data", str(tiny_run / "samples"), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, "--config", str(config), "--organ", ORGAN, "--template-out", str(again)]) == 0
    assert read_info(again)[2] != read_info(tiny_template_file)[2]
    assert read_shape_sha256(again) == read_shape_sha256(tiny_template_file)
    before, after = read_info(tiny_template_file)[0], read_info(again)[0]
    assert all(getattr(after, name) == getattr(before, name) for name in CASE_MEASURES)
    assert after.fit_residuals_mm != before.fit_residuals_mm


def test_another_temp_is_another_shape(tiny_template_file, tmp_path):
    template = OrganTemplate.load(tiny_template_file)
    with torch.no_grad():
        template.model.temp.biases[0][0] += 1e-3
    template.save(tmp_path / "moved.safetensors")
    assert read_shape_sha256(tmp_path / "moved.safetensors") != read_shape_sha256(tiny_template_file)


@pytest.mark.parametrize(
    ("model", "sentence"), [({"hidden": 24}, "another size"), ({"use_template": False}, "needs a Temp on both sides")]
)
def test_a_temp_that_does_not_fit_is_refused(tmp_path, tiny_template_file, model, sentence):
    with pytest.raises(BadInputError, match=sentence):
        short_trainer(tmp_path, config_with_temp_of(tiny_template_file, **model))


# ------------------------------------------------------------------------------------------------ nothing unpickled


class MakesFolder:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("write", [pickle.dumps, None], ids=["pickle", "torch.save"])
def test_a_pickle_is_refused_as_a_checkpoint_and_never_run(tmp_path, write):
    marker = tmp_path / "ran"
    if write is None:
        torch.save({"model": MakesFolder(marker)}, tmp_path / "pickled")
    else:
        (tmp_path / "pickled").write_bytes(write({"model": MakesFolder(marker)}))
    with pytest.raises(BadInputError, match="damaged"):
        resume_from(tmp_path, (tmp_path / "pickled").read_bytes())
    assert not marker.exists()


UNPICKLING_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLING_CALLS = {"torch.load", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}


def unpickling(source):
    """What in Python source could run code out of a data file."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module.split(".")[0]]
            yield from (f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in UNPICKLING_CALLS)
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in UNPICKLING_CALLS:
                yield ast.unparse(node)
            yield from (ast.unparse(node) for k in node.keywords if k.arg == "allow_pickle" and k.value.value)
        yield from (name for name in names if name in UNPICKLING_MODULES)


def test_no_source_file_of_the_package_unpickles():
    sources = sorted(Path(ReShapeITLib.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    assert {path.name: found for path in sources if (found := list(unpickling(path.read_text(encoding="utf-8"))))} == {}


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from torch import load", "torch.load(p)", "numpy.load(p, allow_pickle=True)", "yaml.load(t, L)"],
)
def test_the_search_for_unpickling_finds_it(source):
    assert list(unpickling(source))
