"""The documents: their length, their links, and that the files, modules and commands that they name exist."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from ReShapeITLib.cli.main import COMMANDS, build_parser
from ReShapeITLib.templates.store import available_templates, find_template
from ReShapeITLib.templates.template import read_info

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
# Where a document's short names of files begin.
BASES = ("", "ReShapeITLib", "ReShapeITLib/refinement", "ReShapeIT", "ReShapeIT/ReShapeITPanel", "Testing/Studies")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def names_of(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.mark.parametrize("path", DOCUMENTS, ids=names_of(DOCUMENTS))
def test_a_document_is_short_and_its_links_lead_somewhere(path):
    text = text_of(path)
    assert text.count("\n") <= 250
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("https://", "#"))]
    assert [link for link in links if not (path.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=names_of(DOCUMENTS))
def test_files_and_modules_that_a_document_names_exist(path):
    text = text_of(path)
    files = re.findall(r"`([\w./-]+\.(?:py|md|toml|txt|ui|xml))`", text)
    found = {name.rpartition("/")[2]: name for name in tracked()}
    missing = [name for name in files if not any((ROOT / base / name).exists() for base in BASES)]
    assert [name for name in missing if "/" in name or name not in found] == []
    modules = set(re.findall(r"-m ((?:Testing|ReShapeITLib)[\w.]+)", text))
    assert [name for name in modules if find_spec(name) is None] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=names_of(DOCUMENTS))
def test_make_targets_and_subcommands_that_a_document_names_exist(path):
    text = text_of(path)
    targets = set(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    # A line of code, a cell of a table or a word in the text that is a command.
    commands = re.findall(r"(?:^    |`)(make|reshapeit) ((?:[A-Z_]+=\S+ )*)([a-z][\w-]*)", text, re.MULTILINE)
    assert {name for program, _, name in commands if program == "make"} <= targets
    known = " ".join(build_parser().format_help().split())
    for program, _, name in commands:
        assert program == "make" or re.search(rf"\b{name}\b", known), name
    assert len(COMMANDS) > 5


def test_the_read_me_says_how_many_cases_each_template_knows_and_its_licence():
    rows = re.findall(r"^\| ((?:`\w+`,? ?)+) \| (\d+)[^|]*\| ([^|]*)\|", text_of(ROOT / "README.md"), re.MULTILINE)
    told = {name: (int(cases), licence) for names, cases, licence in rows for name in re.findall(r"\w+", names)}
    assert set(told) == set(available_templates())
    for name, (cases, licence) in told.items():
        info = read_info(find_template(name))[0]
        assert cases == len(info.cases) and info.licence.replace("CC-", "CC ").replace("-4.0", " 4.0") in licence, name
        assert ("non-commercial" in licence) == ("NC" in info.licence), name


def test_every_picture_is_shown_by_a_document():
    shown = "".join(text_of(path) for path in (*DOCUMENTS, ROOT / "CMakeLists.txt"))
    pictures = [name for name in tracked("Resources/Screenshots") if (ROOT / name).exists()]
    assert pictures and [name for name in pictures if name.rpartition("/")[2] not in shown] == []


def test_a_decision_says_context_decision_and_consequence_on_twenty_lines():
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for path in DECISIONS:
        assert re.findall(r"^\*\*(\w+)\.\*\*", text_of(path), re.MULTILINE) == ["Context", "Decision", "Consequence"]
        assert text_of(path).count("\n") <= 20, path.name


def test_the_folders_of_the_architecture_are_those_of_the_import_contract():
    rows = re.findall(r"^\| ((?:`\w+`,? ?)+) \|", text_of(ROOT / "docs" / "ARCHITECTURE.md"), re.MULTILINE)
    contract = text_of(ROOT / "pyproject.toml").partition("layers = [")[2].partition("]")[0]
    layers = [re.findall(r"\w+", line) for line in re.findall(r'"(.+?)"', contract)]
    told = [re.findall(r"\w+", row) for row in rows]
    assert told[: len(layers)] == layers


def tracked(folder: str = ".") -> list[str]:
    told = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return told.stdout.splitlines()
