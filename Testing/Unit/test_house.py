"""The rules of the house: the order of folders, the size of functions and folders, what the Slicer module imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ReShapeITLib", "ReShapeIT")
MOST_LINES, MOST_FILES = 60, 14
# Folders with more files than they should have, and how many those are: the numbers only fall.
PILES = {"ReShapeIT/ReShapeITPanel": 15}
# What Slicer's Python has before the user installs the engine's packages; the application alone has qt and ctk.
SLICER_SIDE = {"slicer", "vtk", "numpy", "ReShapeITSlicer"}
PANEL_SIDE = {*SLICER_SIDE, "qt", "ctk", "SampleData", "ReShapeITPanel"}
EFFECT_SIDE = {*PANEL_SIDE, "SegmentEditorEffects"}
MAY_IMPORT = {
    "ReShapeITSlicer": SLICER_SIDE,
    "ReShapeITPanel": PANEL_SIDE,
    "ReShapeITEffect": EFFECT_SIDE,
    "ReShapeITRefine": set(),
    "": PANEL_SIDE,
}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def n_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without those of its docstring."""
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = function.body[0].end_lineno - function.body[0].lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def imported(nodes: list[ast.stmt]) -> set[str]:
    """Packages that a file's statements import when the file is imported; relative imports stay in their folder."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.excepthandler)]
            found |= imported(inner)
    return found


def test_imports_go_down_and_never_in_a_circle(monkeypatch):
    contracts = pytest.importorskip("importlinter.cli", reason="the import contract needs import-linter")
    monkeypatch.chdir(ROOT)
    assert contracts.lint_imports(no_cache=True, no_logo=True) == contracts.EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_longer_than_a_page(package):
    long = {f"{path.relative_to(ROOT)}: {f.name}": n_lines(f) for path in files(package) for f in functions(path)}
    assert len(long) > 100
    assert {name: n for name, n in long.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_is_a_pile_of_files(package):
    listed = [path.parent.relative_to(ROOT).as_posix() for path in files(package) if path.name != "__init__.py"]
    sizes = {folder: listed.count(folder) for folder in listed}
    assert {folder: n for folder, n in sizes.items() if n > PILES.get(folder, MOST_FILES)} == {}


@pytest.mark.parametrize("path", files("ReShapeIT"), ids=lambda path: path.relative_to(ROOT / "ReShapeIT").as_posix())
def test_the_module_loads_before_the_engines_packages_are_installed(path):
    package = path.relative_to(ROOT / "ReShapeIT").as_posix().rpartition("/")[0].partition("/")[0]
    assert imported(parsed(path).body) - MAY_IMPORT[package] - sys.stdlib_module_names == set()


def test_the_scene_side_knows_nothing_of_the_panel():
    for path in files("ReShapeIT/ReShapeITSlicer"):
        everywhere = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.stmt)]
        assert imported(everywhere) & {"ReShapeITPanel", "qt", "ctk", "PySide6"} == set(), path


def test_every_exception_from_a_check_has_its_reason_in_the_same_line():
    exception = re.compile(r"#\s*(noqa|type: ignore|fmt: ?(off|skip)|pragma)")
    for path in [*files("ReShapeITLib"), *files("ReShapeIT"), *files("Testing")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if exception.search(line) and path != Path(__file__).resolve():
                assert re.search(r"#\s*(noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\]) [-(#] ?\w", line), (
                    f"{path}:{number}"
                )


def test_the_checks_before_a_commit_are_of_the_pinned_versions():
    pinned = {line.partition(";")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    versions = {wanted for hook in hooks for wanted in hook["additional_dependencies"]}
    assert versions and versions <= pinned


def test_the_workflow_uses_files_targets_and_extras_that_exist():
    folder = ROOT / ".github"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.yml"))]
    assert all(isinstance(yaml.safe_load(text), dict) for text in texts)
    together = "\n".join(texts)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", together):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for place in re.findall(r"uses: (\./\S+)", together):
        assert (ROOT / place / "action.yml").is_file(), place
    extras = re.findall(r"'(\.\[[a-z,]+\])'", together)
    assert extras and all(f"'{named}'" in makefile for named in extras)
