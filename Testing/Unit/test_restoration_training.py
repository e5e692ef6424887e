"""Training of the restoration network: configuration, cases, batches, resuming, and the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.damage.on_grid import DamageOptions
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.restoration.grid import CanonicalGrid
from ReShapeITLib.restoration.model import RestorationInfo, RestorationModel
from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork
from ReShapeITLib.restoration.store import chosen_networks
from ReShapeITLib.restoration_training.cases import mixed_cases, training_cases
from ReShapeITLib.restoration_training.config import DrawOptions, RestorationTraining, read_restoration_config
from ReShapeITLib.restoration_training.data import PADDING_CELLS, BatchSource, RestorationCase, draw_batch
from ReShapeITLib.restoration_training.loop import RestorationTrainer, restoration_loss
from ReShapeITLib.templates.template import OrganTemplate, read_shape_sha256
from Testing.tiny_template import ORGAN, ellipsoid_mask

SMALL = NetworkOptions(organs=(ORGAN,), channels=(4, 4, 4), blocks=(1, 1, 1))
DRAW = DrawOptions(batch=1)
OPTIONS = RestorationTraining(steps=4, draw=DRAW, workers=0, bfloat16=False, checkpoint_interval=2, warmup_steps=1)


@pytest.fixture(scope="module")
def template(tiny_template_file):
    return OrganTemplate.load(tiny_template_file)


@pytest.fixture(scope="module")
def cases(template):
    """The template's own surface as two cases, one of them with a real segmentation that is too small."""
    grid = CanonicalGrid.around(template.points_unit).padded(PADDING_CELLS)
    points = torch.as_tensor(grid.points_unit(), dtype=torch.float32)
    with torch.no_grad():
        cells = template.model.template_values(points).numpy().reshape(grid.shape_zyx) / grid.cell_unit
    truth = np.clip(cells, -12, 12).astype(np.float16)
    return [RestorationCase(ORGAN, truth), RestorationCase(ORGAN, truth, (truth + 2).astype(np.float16))]


def test_a_batch_depends_on_its_step_alone(cases):
    begun = BatchSource(cases, DRAW, seed=1, first_step=0, steps=5)
    resumed = BatchSource(cases, DRAW, seed=1, first_step=3, steps=5)
    assert (len(begun), len(resumed)) == (5, 2)
    for one, other in zip(begun[3][1:], resumed[0][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_gaps_between_drawn_slices_are_as_wide_as_told_in_mm(cases):
    def known(gap_mm, cell_mm, seed):
        draw = DrawOptions(batch=1, least_gap_mm=gap_mm, most_gap_mm=gap_mm, damage=DamageOptions(sparse=1.0))
        return BatchSource(cases[:1], draw, seed, 0, 1, cells_mm={ORGAN: cell_mm})[0][2]

    torch.testing.assert_close(known(20.0, 5.0, 0), known(10.0, 2.5, 0), rtol=0, atol=0)
    shares = [[float(known(gap, 5.0, seed).mean()) for seed in range(4)] for gap in (20.0, 40.0)]
    assert 1.5 < np.mean(shares[0]) / np.mean(shares[1]) < 2.5


def test_a_batch_has_the_shape_of_the_grid_and_moves_both_organs_alike(cases, template):
    draw = DrawOptions(batch=2, real=1.0, rotation_degrees=10.0)
    _, given, known, truth = BatchSource(cases[:2], draw, 0, 0, 1)[0]
    assert given.shape == known.shape == truth.shape == (2, *CanonicalGrid.around(template.points_unit).shape_zyx)
    near = (truth.abs() < 2) & (known > 0)
    # Two cells too small before the scale of the pose.
    assert 1.5 < float((given - truth)[near].median()) < 2.6


def test_what_lies_beyond_a_cut_stays_unknown_in_every_pose(cases):
    """The organ is given up to a plane and known up to it; the plane moves with the organ."""
    truth = cases[0].truth
    middle = truth.shape[0] // 2
    height = np.arange(truth.shape[0], dtype=np.float16)[:, None, None] - middle
    known = np.broadcast_to(height <= 0, truth.shape).astype(np.float16)
    cut = RestorationCase(ORGAN, truth, np.maximum(truth, height), known)
    _, given, known, truth = draw_batch({ORGAN: [cut]}, DrawOptions(batch=4, real=1.0), np.random.default_rng(0))
    assert set(known.unique().tolist()) == {0.0, 1.0}
    inside = truth < -1.0
    # A wrong or missing turn would mix the two sides.
    assert float((given[inside & (known == 0)] > -1.0).float().mean()) > 0.97
    assert float((given[inside & (known == 1)] < 1.0).float().mean()) > 0.97


def test_the_loss_is_least_at_the_truth():
    truth = torch.linspace(-6, 6, 1000).reshape(1, 10, 10, 10)
    best = sum(restoration_loss(truth.clamp(-3, 3), truth).values())
    for wrong in (-1.0, -0.3, 0.3, 1.0):
        assert sum(restoration_loss((truth + wrong).clamp(-3, 3), truth).values()) > best


def test_a_run_that_was_stopped_ends_with_the_same_weights(cases, template, tmp_path):
    def trained(folder, *ends):
        for steps in ends:
            trainer = RestorationTrainer(cases, {ORGAN: template}, OPTIONS, tmp_path / folder, network_options=SMALL)
            source = trainer.run
            if steps < OPTIONS.steps:
                with pytest.raises(KeyboardInterrupt):
                    source(_StopAt(steps))
            else:
                source(Progress("none"))
        return trainer.network.state_dict()

    whole, parts = trained("whole", 4), trained("parts", 2, 4)
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], rtol=0, atol=0)


class _StopAt(Progress):
    """A progress that interrupts after a step."""

    def __init__(self, step: int):
        super().__init__("none")
        self.left = step

    def stage(self, name, fraction, message=""):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_training_learns_to_grow_an_organ_that_is_always_given_too_small(cases, template, tmp_path):
    draw = DrawOptions(batch=2, real=1.0, rotation_degrees=0, scale=0, shift_cells=0, bend_cells=0)
    options = RestorationTraining(steps=30, draw=draw, workers=0, bfloat16=False, learning_rate=5e-3, warmup_steps=5)
    trainer = RestorationTrainer(cases, {ORGAN: template}, options, tmp_path, network_options=SMALL)
    trainer.run(Progress("none"))
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert lines[-1]["distance"] < 0.7 * lines[-1]["input"]


def test_a_second_run_starts_from_the_weights_of_the_first_and_new_organs_as_any_organ(cases, template, tmp_path):
    known = RestorationNetwork(NetworkOptions(organs=("other", ORGAN), channels=(4, 4, 4), blocks=(1, 1, 1)))
    with torch.no_grad():
        for table in (known.organ2.weight, known.organ3.weight, known.head.weight):
            table.normal_()
    info = RestorationInfo("CC0-1.0", "generated", {ORGAN: []}, {ORGAN: "0"})
    RestorationModel(info, known).save(tmp_path / "first.safetensors")
    known = RestorationModel.load(tmp_path / "first.safetensors").network  # half precision
    options = replace(OPTIONS, start_from=str(tmp_path / "first.safetensors"))
    new = replace(SMALL, organs=("a_new_one", ORGAN))
    network = RestorationTrainer(cases, {ORGAN: template}, options, tmp_path / "run", network_options=new).network
    torch.testing.assert_close(network.head.weight, known.head.weight, rtol=0, atol=0)
    for organ, source in (("a_new_one", 0), (ORGAN, known.organ_index(ORGAN))):
        row = network.organ_index(organ)
        torch.testing.assert_close(network.organ2.weight[row], known.organ2.weight[source], rtol=0, atol=0)
    larger = replace(SMALL, channels=(4, 4, 8))
    with pytest.raises(BadInputError, match="of another size"):
        RestorationTrainer(cases, {ORGAN: template}, options, tmp_path / "larger", network_options=larger)


def test_where_given_and_true_organ_contradict_mistakes_cost_more():
    truth = torch.linspace(-3.0, 3.0, 64)[None, None, None]
    given = truth.clone()
    given[..., 40:50] -= 2.0
    here, elsewhere = truth.clone(), truth.clone()
    here[..., 40:50] -= 0.5
    elsewhere[..., 15:25] -= 0.5

    def cost(predicted, contradicted):
        return float(restoration_loss(predicted, truth, given, contradicted)["distance"])

    assert cost(here, 1.0) == pytest.approx(cost(elsewhere, 1.0), rel=1e-5)
    assert cost(here, 3.0) > 2.0 * cost(elsewhere, 3.0)


def test_what_is_written_keeps_its_share_of_the_start(cases, template, tmp_path):
    first = RestorationTrainer(cases, {ORGAN: template}, OPTIONS, tmp_path / "first", network_options=SMALL)
    first.run(Progress("none"))
    start = tmp_path / "start.safetensors"
    RestorationModel(RestorationInfo("", "", {}, {}), first.result()).save(start)
    options = replace(OPTIONS, start_from=str(start), keep_of_start=0.25, seed=5)
    second = RestorationTrainer(cases, {ORGAN: template}, options, tmp_path / "second", network_options=SMALL)
    second.run(Progress("none"))
    begin, end = RestorationModel.load(start).network.mix.weight, second.network.mix.weight
    assert not torch.equal(begin, end)
    torch.testing.assert_close(second.result().mix.weight, 0.25 * begin + 0.75 * end)


def test_organs_are_drawn_as_often_as_their_shares_say(cases):
    both = cases + [replace(case, organ="rare") for case in cases]
    rng = np.random.default_rng(0)
    drawn = [draw_batch({"rare": both[2:], ORGAN: both[:2]}, DRAW, rng, {ORGAN: 4.0})[0] for _ in range(60)]
    assert 38 <= drawn.count(ORGAN) <= 58  # 48 expected


CONFIG = """\
steps: 2
workers: 0
bfloat16: false
draw: {batch: 1}
organs:
  test_organ:
    template: TEMPLATE
    labels: labels
    cases: [case0, case1]
"""


def test_the_command_trains_and_writes_a_network_for_its_template(tiny_run, tiny_template_file, tmp_path, capsys):
    config = tiny_run / "restoration.yaml"
    config.write_text(CONFIG.replace("TEMPLATE", str(tiny_template_file)), encoding="utf-8")
    out = tmp_path / "net.safetensors"
    command = ["train-restoration", "--config", str(config), "--output", str(tmp_path / "run")]
    origin = ["--licence", "CC0-1.0", "--source", "generated"]
    assert main([*command, "--network-out", str(out), "--device", "cpu", *origin]) == 0
    info = RestorationModel.load(out).info
    assert info.cases == {ORGAN: ["case0", "case1"]}
    sha256 = read_shape_sha256(tiny_template_file)
    assert info.templates == {ORGAN: sha256}
    assert chosen_networks(str(out), sha256).restoration == out


def test_damaged_copies_are_aligned_by_what_is_left_and_are_the_same_when_they_are_made_again(
    tiny_run, tiny_template_file, tmp_path
):
    config = tiny_run / "restoration_damaged.yaml"
    text = CONFIG.replace("TEMPLATE", str(tiny_template_file)) + "    damaged: 3\n"
    config.write_text(text, encoding="utf-8")
    organs, _ = read_restoration_config(config)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    made, _, _ = training_cases(organs, tmp_path / "one", Progress("none"))
    kept, _, _ = training_cases(organs, tmp_path / "one", Progress("none"))
    again, _, _ = training_cases(organs, tmp_path / "two", Progress("none"))
    assert [case.given is None for case in made] == 2 * [True] + 6 * [False]
    for one, same, other in zip(made, kept, again, strict=True):
        for name in ("truth", "given", "known"):
            arrays = [getattr(case, name) for case in (one, same, other)]
            assert all(array is None for array in arrays) or all((array == arrays[0]).all() for array in arrays)
    for case in made[2:]:
        given, truth = case.given < 0, case.truth < 0
        assert (given != truth).any()
        assert 2 * (given & truth).sum() > 0.7 * (given.sum() + truth.sum())


def test_an_organ_between_two_cases_is_one_piece_and_differs_from_every_other(template):
    mixed = mixed_cases(template, 4, Progress("none"))
    again = mixed_cases(template, 6, Progress("none"))
    assert all((one.truth == same.truth).all() for one, same in zip(mixed, again[:4], strict=True))
    assert all(case.given is None for case in mixed)
    for index, case in enumerate(mixed):
        inside = case.truth < 0
        assert ndimage.label(inside)[1] == 1
        assert all((case.truth != other.truth).any() for other in mixed[:index])
        # The template's cases are ellipsoids of about one size, and so is what lies between them.
        assert 0.5 * inside.sum() < (mixed[0].truth < 0).sum() < 2.0 * inside.sum()


def test_mixed_organs_are_drawn_beside_the_real_ones(tiny_run, tiny_template_file, tmp_path):
    config = tiny_run / "restoration_mixed.yaml"
    config.write_text(CONFIG.replace("TEMPLATE", str(tiny_template_file)) + "    mixed: 3\n", encoding="utf-8")
    organs, _ = read_restoration_config(config)
    cases, _, _ = training_cases(organs, tmp_path, Progress("none"))
    assert len(cases) == 2 + 3


@pytest.mark.parametrize("axes", ["ijk", "kij"])
def test_the_mirror_image_of_the_other_sides_organ_is_a_case_as_ones_own(tiny_template_file, tmp_path, axes):
    geometry = ImageGeometry.from_parts((36, 30, 24), (3.0, 3.0, 3.0))
    organ = ellipsoid_mask(geometry, (52.5, 43.5, 34.5), (40.0, 28.0, 20.0))
    organ |= ellipsoid_mask(geometry, (72.5, 57.5, 44.5), (12.0, 12.0, 12.0))  # no mirror image of itself
    order = ["ijk".index(axis) for axis in axes]
    for folder, side in (("labels", 1.0), ("other", -1.0)):
        matrix = (np.diag([side, 1.0, 1.0, 1.0]) @ geometry.ijk_to_ras)[:, [*order, 3]]
        labels = organ.transpose([2 - axis for axis in order[::-1]]).astype(np.uint8)
        path = tmp_path / folder / "case0.nrrd"
        path.parent.mkdir()
        write_labels(LabelVolume.from_array(labels, ImageGeometry(matrix, labels.shape[::-1])), path)

    def made(folder, mirrored):
        config = tmp_path / f"{folder}.yaml"
        text = CONFIG.replace("TEMPLATE", str(tiny_template_file)).replace(", case1", "")
        text = text.replace(": labels", f": {folder}")
        config.write_text(text + "    damaged: 2\n" + mirrored, encoding="utf-8")
        organs, _ = read_restoration_config(config)
        (tmp_path / f"run_{folder}").mkdir()
        cases, _, _ = training_cases(organs, tmp_path / f"run_{folder}", Progress("none"))
        return cases

    own, *damaged, mirrored, one, two = made("labels", "    mirrored: other\n")
    unlike = made("other", "")[0]
    assert len(damaged) == 2 and one.given is not None and two.given is not None
    away, unlike_away = (np.abs(own.truth.astype(float) - case.truth) for case in (mirrored, unlike))
    # Points are sampled in another order, and the alignments differ by a part of a cell, on some processors by a whole
    # one in a few cells.
    assert np.percentile(away, 99) < 1.0
    assert away.max() < 1.5 < 3.0 < unlike_away.max()


def test_one_case_has_nothing_to_be_mixed_with(template):
    alone = replace(template, alpha=template.alpha[:1], beta=template.beta[:1])
    with pytest.raises(BadInputError, match="there is nothing to mix"):
        mixed_cases(alone, 1, Progress("none"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps: 3", "does not name the cases; name them under 'organs'"),
        ("organs: {liver: {labels: x}}", "list the names of its cases"),
        ("organs: {liver: {cases: [a], colour: red}}", "'colour' is not a setting"),
        ("organs: {liver: {cases: [a]}}\nsteps: many", "'steps' must be a whole number"),
        ("organs: [", "is not valid YAML"),
        ("organs: {liver: {cases: [a]}}\nkeep_of_start: 0.5", "'keep_of_start' needs 'start_from'"),
        (
            "organs: {liver: {cases: [a]}}\nstart_from: x\nkeep_of_start: 1.5",
            "is a share, not 1.5; use a number from 0 to 1",
        ),
        ("organs: {liver: {cases: [a]}}\ndraw: {least_gap_mm: 20}", "is wider than the widest"),
        ("organs: {liver: {cases: [a], damaged: -1}}", "'damaged' must be at least 0, not -1"),
        ("organs: {liver: {cases: [a], damaged: 1}}\nfew_slices: true", "knows no damage; leave 'damaged' away"),
    ],
)
def test_a_wrong_configuration_is_told_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=sentence):
        read_restoration_config(tmp_path / "config.yaml")


def test_a_missing_label_file_is_named(tiny_run, tiny_template_file, tmp_path, capsys):
    config = tiny_run / "restoration_absent.yaml"
    text = CONFIG.replace("TEMPLATE", str(tiny_template_file)).replace("case1", "case99")
    config.write_text(text, encoding="utf-8")
    assert main(["train-restoration", "--config", str(config), "--output", str(tmp_path / "run")]) == 2
    assert "label files named case99" in capsys.readouterr().err
