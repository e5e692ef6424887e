"""``reshapeit templates`` and how a name leads to a file."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.templates.store import available_templates, find_template, template_folders
from Testing.tiny_template import ORGAN, with_licence


@pytest.fixture
def store(tmp_path, tiny_template_file, monkeypatch):
    """A folder with the tiny template, found by way of the environment variable."""
    shutil.copy(tiny_template_file, tmp_path / f"{ORGAN}.safetensors")
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", os.pathsep.join([str(tmp_path), str(tmp_path / "absent")]))
    return tmp_path


def run(capsys, *arguments, code: int = 0) -> str:
    assert main(["templates", *map(str, arguments)]) == code
    return capsys.readouterr().out


def test_a_name_is_found_in_the_folders_of_the_environment(store):
    assert find_template(ORGAN) == store / f"{ORGAN}.safetensors"


def test_a_file_needs_no_folder(tiny_template_file):
    assert find_template(tiny_template_file) == tiny_template_file


def test_the_first_folder_rules(store, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(store / f"{ORGAN}.safetensors", other)
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", os.pathsep.join([str(other), str(store)]))
    assert available_templates()[ORGAN].parent == other


def test_shipped_templates_are_looked_for_in_package_and_checkout():
    assert [folder.name for folder in template_folders()[-2:]] == ["templates_data", "Templates"]


def test_an_unknown_name_lists_the_known_ones(store):
    with pytest.raises(BadInputError, match=f"'gizzard'.*{ORGAN}"):
        find_template("gizzard")


def test_the_list_names_cases_licence_and_file(store, capsys):
    line = next(line for line in run(capsys).splitlines() if line.startswith(ORGAN))
    assert "6 cases" in line and "CC0-1.0" in line and str(store) in line and "non-commercial" not in line


def test_non_commercial_templates_are_marked(store, capsys):
    with_licence(store / f"{ORGAN}.safetensors", "CC BY-NC-SA 4.0", store / "lobe.safetensors")
    line = next(line for line in run(capsys, "list").splitlines() if line.startswith("lobe"))
    assert "[non-commercial use only]" in line
    assert "NON-COMMERCIAL" in run(capsys, "show", "lobe")


def test_a_damaged_file_does_not_hide_the_others(store, capsys):
    (store / "broken.safetensors").write_bytes(b"nothing")
    text = run(capsys, "list")
    assert "broken" in text and "damaged" in text and ORGAN in text


def test_json_lists_everything_a_program_needs(store, capsys):
    entry = json.loads(run(capsys, "list", "--json"))[ORGAN]
    assert entry["organ"] == ORGAN and entry["non_commercial"] is False and len(entry["sha256"]) == 64


def test_show_tells_sizes_and_residuals(store, capsys):
    text = run(capsys, "show", ORGAN)
    assert "fit residual, mm" in text and "SHA-256" in text and "generated superellipsoids" in text


def test_show_verifies_the_checksum(store, capsys):
    path = store / f"{ORGAN}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    assert main(["templates", "show", ORGAN]) == 2
    assert "checksum" in capsys.readouterr().err


def test_render_writes_a_picture(store, tmp_path, capsys):
    run(capsys, "render", ORGAN, "--output", tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_render_wants_a_png(store, tmp_path, capsys):
    assert main(["templates", "render", ORGAN, "--output", str(tmp_path / "t.gif")]) == 2
    assert ".png" in capsys.readouterr().err and not (tmp_path / "t.gif").exists()
