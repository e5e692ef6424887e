"""The GPU benchmark, tried out small on the processor."""

from __future__ import annotations

import json

from Testing.Benchmarks import gpu


def test_tried_out_on_the_processor_it_tells_refinement_voxels_and_training(tmp_path, monkeypatch, capsys):
    file = tmp_path / "told.json"
    small = ["--rounds", "0", "--shapes", "2", "--training-seconds", "0", "--output", str(file)]
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--only", "draft_pancreas,training", *small])
    assert gpu.main() == 0
    parts = json.loads(file.read_text())["parts"]
    assert parts["draft_pancreas"]["dice"] == 1.0
    assert parts["draft_pancreas"]["computed_on"] == ["cpu"]
    assert parts["training"]["epochs_run"] == 3  # two steps to warm up, one measured
    assert "| draft pancreas |" in capsys.readouterr().out


def test_what_no_time_is_left_for_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--only", "startup,training", "--minutes", "0"])
    assert gpu.main() == 0
    told = capsys.readouterr().out
    assert "Not whole: startup: no time was left" in told
    assert "Not whole: training: no time was left" in told
