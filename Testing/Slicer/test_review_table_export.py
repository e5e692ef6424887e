"""The table of a review as a CSV file and as a table node of the scene."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer", reason="table nodes need slicer-core")

from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.review.export import addTableNode, summaryTable, writeTable

from Testing.Slicer.refined_boxes import WIDER, box, refined, review, world_of_boxes

NUMBERS = ("Volume before (mL)", "Volume after (mL)", "Largest change (mm)", "Mean change (mm)", "Dice to the input")


@pytest.fixture
def world(tmp_path):
    return world_of_boxes(tmp_path)


@pytest.fixture
def rows(world):
    """Two organs, one decided, one with a name that CSV has to quote."""
    world.node.GetSegmentation().GetSegment("a").SetName('Leber, "groß"')
    world.review = review(world, refined("a", WIDER), refined("c", box((16, 24))))
    world.review.accept("c")
    return world.review.summary()


def test_every_number_has_its_unit_in_the_header(rows):
    header, table = summaryTable(rows)
    assert set(NUMBERS) < set(header) and all(len(row) == len(header) for row in table)
    first = dict(zip(header, table[0], strict=True))
    assert first["Volume before (mL)"] == round(rows[0].volumeBeforeMl, 3)
    assert first["Dice to the input"] == round(rows[0].dscToInput, 4)
    assert (first["Segment"], first["Plausible"], first["State"]) == ('Leber, "groß"', "yes", "to decide")
    assert table[1][header.index("State")] == "accepted"


def test_the_csv_file_is_read_back_with_the_same_values(rows, tmp_path):
    path = writeTable(tmp_path / "review", rows)
    assert path == tmp_path / "review.csv" and [file.name for file in tmp_path.iterdir()] == ["review.csv"]
    with open(path, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    header, table = summaryTable(rows)
    assert list(read[0]) == header
    for found, row in zip(read, table, strict=True):
        expected = dict(zip(header, row, strict=True))
        assert found["Segment"] == expected["Segment"]
        assert all(float(found[name]) == expected[name] for name in NUMBERS)


def test_numbers_have_a_decimal_point_in_any_locale(rows, tmp_path):
    import locale

    before = locale.setlocale(locale.LC_NUMERIC)
    installed = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C") if _can_be_set(name)]
    try:
        locale.setlocale(locale.LC_NUMERIC, installed[0])
        text = writeTable(tmp_path / "review.csv", rows[1:]).read_text(encoding="utf-8")
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)
    assert f",{rows[1].volumeBeforeMl:.3f}".rstrip("0") in text


def test_an_existing_file_is_replaced_as_a_whole_or_not_at_all(rows, tmp_path):
    path = tmp_path / "review.csv"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RefinementError, match="There is no review to export"):
        writeTable(path, [])
    assert path.read_text(encoding="utf-8") == "old"
    writeTable(path, rows)
    assert path.read_text(encoding="utf-8").startswith("Segment,Organ,")


@pytest.mark.parametrize("where", ["a folder that is not there", "a folder"])
def test_a_file_that_cannot_be_written_is_told_in_one_sentence(rows, tmp_path, where):
    target = tmp_path / "missing" / "review.csv" if where == "a folder that is not there" else tmp_path / "taken.csv"
    if where == "a folder":
        target.mkdir()
    with pytest.raises(RefinementError, match=r"^The table cannot be written to .*; choose another file\.$"):
        writeTable(target, rows)
    assert [path.name for path in tmp_path.iterdir()] == ([] if "not there" in where else ["taken.csv"])


def test_a_table_node_holds_the_same_table(world, rows):
    node = addTableNode(world.scene, rows)
    header, table = summaryTable(rows)
    assert [node.GetColumnName(index) for index in range(node.GetNumberOfColumns())] == header
    assert node.GetUseColumnNameAsColumnHeader() and node.GetName() == "ReShapeIT review"
    for row, expected in enumerate(table):
        values = [node.GetTable().GetValue(row, column) for column in range(len(header))]
        assert [value.ToString() for value in values[:2]] == expected[:2]
        assert values[2].ToDouble() == expected[2]
    assert addTableNode(world.scene, rows).GetName() != node.GetName()


def test_a_number_that_is_not_known_is_left_out(world, rows, tmp_path):
    unknown = SimpleNamespace(**{**vars(rows[0]), "largestMoveMm": None})
    header, table = summaryTable([unknown])
    column = header.index("Largest change (mm)")
    assert table[0][column] is None
    assert math.isnan(addTableNode(world.scene, [unknown]).GetTable().GetValue(0, column).ToDouble())
    with open(writeTable(tmp_path / "review.csv", [unknown]), newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1][column] == ""


def test_the_table_stays_when_the_refinement_is_taken_back(world, rows):
    node = addTableNode(world.scene, rows)
    world.review.undo()
    assert world.scene.IsNodePresent(node)


def _can_be_set(name: str) -> bool:
    import locale

    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        locale.setlocale(locale.LC_NUMERIC, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_NUMERIC, before)
    return True
