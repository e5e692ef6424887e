"""``reshapeit prepare`` and ``train``; the session's tiny template was made by these very commands."""

from __future__ import annotations

import json
import shutil

import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import CancelledError
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import ORGAN


def train(folder, *options) -> int:
    arguments = ["train", "--data", str(folder / "samples"), "--output", str(folder / "run"), "--organ", ORGAN]
    return main([*arguments, "--config", str(folder / "config.yaml"), "--device", "cpu", *map(str, options)])


def test_prepare_writes_one_samples_file_per_case(tiny_run):
    labels = {p.stem for p in (tiny_run / "labels").iterdir()}
    samples = {p.name.removesuffix(".samples.safetensors") for p in (tiny_run / "samples").iterdir()}
    assert samples == labels and len(samples) > 3


def test_a_trained_template_knows_where_it_comes_from(tiny_template_file):
    info = OrganTemplate.load(tiny_template_file).info
    assert info.organ == ORGAN and info.licence == "CC0-1.0" and info.source == "generated superellipsoids"
    assert len(info.cases) == len(info.volumes_ml) == len(info.fit_residuals_mm)


def test_the_tiny_template_fits_its_cases(tiny_template_file):
    assert max(OrganTemplate.load(tiny_template_file).info.fit_residuals_mm) < 2.5


def test_every_loss_term_is_logged_and_falls(tiny_run):
    log = [json.loads(line) for line in (tiny_run / "run" / "train.jsonl").read_text().splitlines()]
    assert len(log) == 120
    assert {"sdf", "normal", "eikonal", "vec", "dis", "reg_alpha", "reg_beta"} <= set(log[0])
    assert log[-1]["sdf"] < 0.5 * log[0]["sdf"]


def test_train_again_goes_on_from_the_checkpoint(tiny_run, tmp_path, capsys):
    folder = tmp_path / "again"
    shutil.copytree(tiny_run, folder)
    before = (folder / "run" / "train.jsonl").read_bytes()
    assert train(folder) == 0
    assert (folder / "run" / "train.jsonl").read_bytes() == before
    files = (folder / f"{ORGAN}.safetensors", folder / "run" / f"{ORGAN}.safetensors")
    once, again = (OrganTemplate.load(file) for file in files)
    assert (once.alpha == again.alpha).all()
    assert "mean fit residual" in capsys.readouterr().out


class CancelSoon(Progress):
    """A user who cancels after the first report of a stage."""

    def __init__(self, stage: str):
        super().__init__("none")
        self.cancel_stage = stage

    def stage(self, name, fraction, message=""):
        super().stage(name, fraction, message)
        if name == self.cancel_stage:
            self.cancel()


def parsed(*arguments):
    from ReShapeITLib.cli.main import build_parser

    return build_parser().parse_args(list(map(str, arguments)))


def test_a_cancelled_training_says_how_to_go_on(tiny_run, tmp_path):
    options = ("--config", tiny_run / "config.yaml", "--organ", ORGAN, "--device", "cpu")
    arguments = parsed("train", "--data", tiny_run / "samples", "--output", tmp_path / "run", *options)
    arguments.progress = CancelSoon("train")
    with pytest.raises(CancelledError, match="the same command resumes from the last checkpoint"):
        arguments.run(arguments)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_cancelled_preparation_leaves_no_samples(tiny_run, tmp_path):
    arguments = parsed("prepare", tiny_run / "labels", "--output", tmp_path / "out", "--surface-points", 500)
    arguments.progress = CancelSoon("sample")
    with pytest.raises(CancelledError):
        arguments.run(arguments)
    assert not list(tmp_path.rglob("*.safetensors"))
