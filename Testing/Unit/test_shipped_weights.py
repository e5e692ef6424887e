"""The shipped templates and networks, and the table that says which network serves which organ and mode."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from safetensors import safe_open

from ReShapeITLib.restoration.model import RestorationInfo
from ReShapeITLib.restoration.store import networks_in, restoration_sha256
from ReShapeITLib.restoration.table import DETAIL, MODES, SEVERAL, SPARSE, TABLE_NAME, NetworkTable, file_and_member
from ReShapeITLib.templates.template import read_info, read_shape_sha256

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
NETWORKS = RESOURCES / "Restoration"
TEMPLATES = sorted((RESOURCES / "Templates").glob("*.safetensors"))


@pytest.fixture(scope="module")
def table():
    return NetworkTable.read(NETWORKS)


def description(network: Path) -> dict:
    """What a network in a file of several tells of itself."""
    file, member = file_and_member(network)
    with safe_open(file, framework="numpy") as handle:
        return json.loads(handle.metadata()[SEVERAL])["members"][member]


def test_every_template_has_a_row_and_a_word_on_each_mode(table):
    told = json.loads((NETWORKS / TABLE_NAME).read_text(encoding="utf-8"))["organs"]
    assert set(told) == {path.stem for path in TEMPLATES}
    for path in TEMPLATES:
        assert read_info(path)[0].organ == path.stem
        assert table.rows[path.stem].shape_sha256 == read_shape_sha256(path)
        assert set(told[path.stem]) == {"shape_sha256", *MODES}


def test_the_files_of_the_table_are_those_of_the_folder_with_their_checksums(table):
    assert table.files == {path.name: restoration_sha256(path) for path in NETWORKS.glob("*.safetensors")}
    named = {name for row in table.rows.values() for name in row.networks.values()}
    assert named == {str(n.relative_to(NETWORKS)) for name in table.files for n in networks_in(NETWORKS / name)}


def test_the_networks_are_two_files_of_at_most_20_mb_together(table):
    assert set(table.files) == {"abdomen.safetensors", "lungs.safetensors"}
    assert sum((NETWORKS / name).stat().st_size for name in table.files) <= 20e6


def test_every_network_is_asked_about_what_it_was_trained_for(table):
    for organ, row in table.rows.items():
        for mode, network in row.networks.items():
            told = description(NETWORKS / network)
            assert told["templates"][organ] == row.shape_sha256
            assert (told.get("few_slices", False), told.get("detail", False)) == (mode == SPARSE, mode == DETAIL)


def test_no_network_file_holds_numbers_that_decide(table):
    told = {field.name for field in fields(RestorationInfo)} | {"format", "network"}
    for row in table.rows.values():
        for network in row.networks.values():
            assert set(description(NETWORKS / network)) <= told
