"""Training configurations: what a YAML file may say, and what it is told when it says something else."""

from __future__ import annotations

import sys

import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.training.config import CONFIG_PRESETS, TrainingConfig, config_from_dict, read_config


def read(tmp_path, text):
    path = tmp_path / "training.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def refusal(tmp_path, text):
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_an_empty_file_is_the_compact_preset(tmp_path):
    assert read(tmp_path, "") == CONFIG_PRESETS["compact"]


def test_a_preset_may_be_named_and_overridden(tmp_path):
    config = read(tmp_path, "preset: paper\norgan: liver\noptimiser:\n  steps: 7\nmodel:\n  use_beta: false\n")
    assert (config.organ, config.optimiser.steps, config.model.use_beta) == ("liver", 7, False)
    assert config.weights == CONFIG_PRESETS["paper"].weights
    assert config.optimiser.shapes_per_step == 16


def test_the_paper_preset_has_the_numbers_of_section_4_2_2():
    optimiser = CONFIG_PRESETS["paper"].optimiser
    assert (optimiser.surface_points, optimiser.free_points, optimiser.shapes_per_step) == (4000, 4000, 16)
    assert (optimiser.learning_rate, CONFIG_PRESETS["paper"].code_start) == (1e-4, "normal")


def test_a_whole_number_is_taken_for_a_setting_with_a_fraction(tmp_path):
    rate = read(tmp_path, "optimiser:\n  clip_norm: 3\n").optimiser.clip_norm
    assert (rate, type(rate)) == (3.0, float)


@pytest.mark.parametrize("text", ["5e-4", "5.0e-4", "0.0005", "'5e-4'"])
def test_every_way_to_write_a_small_rate_is_understood(tmp_path, text):
    assert read(tmp_path, f"optimiser: {{learning_rate: {text}}}").optimiser.learning_rate == 5e-4


def test_a_configuration_survives_the_way_through_plain_values():
    for config in CONFIG_PRESETS.values():
        assert config_from_dict(config.as_dict()) == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ste: 5", "'ste'"),
        ("optimiser: {stepz: 5}", "optimiser: 'stepz'"),
        ("weights: {sfd: 5}", "weights: 'sfd'"),
        ("model: {hidden: wide}", "'hidden' must be a whole number, not 'wide'"),
        ("model: {hidden: 12.5}", "'hidden' must be a whole number, not 12.5"),
        ("model: {use_alpha: 1}", "'use_alpha' must be true or false, not 1"),
        ("optimiser: {steps: true}", "'steps' must be a whole number, not True"),
        ("optimiser: {learning_rate: fast}", "'learning_rate' must be a number, not 'fast'"),
        ("optimiser: {learning_rate: true}", "'learning_rate' must be a number, not True"),
        ("optimiser: {learning_rate: [1, 2]}", "'learning_rate' must be a number"),
        ("optimiser: {learning_rate: -1.0}", "'learning_rate' must be at least 0"),
        ("optimiser: {learning_rate: .nan}", "'learning_rate' must be"),
        ("weights: {sdf: nan}", "'sdf' must be"),
        ("optimiser: {shapes_per_step: 0}", "'shapes_per_step' must be more than 0"),
        ("checkpoint_interval: 0", "'checkpoint_interval' must be more than 0"),
        ("model: {depth: 1}", "'depth' must be at least 2"),
        ("seed: -3", "'seed' must be at least 0"),
        ("optimiser: 5", "'optimiser' must hold settings of its own"),
        ("organ: 5", "'organ' must be text, not 5"),
        ("preset: huge", "preset 'huge' is unknown"),
        ("preset: [paper]", "preset"),
        ("code_start: random", "code_start 'random' is unknown; use normal or pca"),
        ("5: 6", "'5' is not a setting"),
        ("model: {use_template: false}", "without a template the weights template_normal, vec, dis, template_shape"),
    ],
)
def test_a_wrong_setting_is_named_together_with_the_file(tmp_path, text, named):
    message = refusal(tmp_path, text)
    assert named in message
    assert "training.yaml" in message


def test_an_unknown_key_is_answered_with_the_known_ones(tmp_path):
    message = refusal(tmp_path, "optimiser: {lr: 5}")
    assert "learning_rate" in message and "warmup_steps" in message


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just text"])
def test_a_file_without_settings_is_refused(tmp_path, text):
    assert "training.yaml" in refusal(tmp_path, text)


def test_text_that_is_no_yaml_is_refused(tmp_path):
    assert "not valid YAML" in refusal(tmp_path, "a: [1, 2\nb: }")


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "training.yaml").write_bytes(b"\x80\x04\x95\xff\xfe")
    with pytest.raises(BadInputError, match="not valid YAML"):
        read_config(tmp_path / "training.yaml")


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="absent.yaml cannot be read"):
        read_config(tmp_path / "absent.yaml")


def test_yaml_tags_that_would_run_code_are_refused(tmp_path):
    marker = tmp_path / "ran"
    refusal(tmp_path, f"organ: !!python/object/apply:os.mkdir ['{marker}']")
    assert not marker.exists()


def test_the_defaults_are_themselves_a_valid_configuration():
    assert config_from_dict({"preset": "paper"}) == TrainingConfig()


def test_settings_without_pydantic_are_told_which_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)  # as if it were not installed
    assert "need the Python package pydantic; run: pip install" in refusal(tmp_path, "organ: liver")


def test_a_number_too_large_for_any_setting_is_refused(tmp_path):
    message = refusal(tmp_path, "optimiser: {learning_rate: 1" + "0" * 400 + "}")
    assert "'learning_rate' must be" in message and "training.yaml" in message
