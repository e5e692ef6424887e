"""The published tree of the extension: what is in it, that it configures and installs, its links, its repository."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ReShapeITLib import __version__
from ReShapeITLib.core.errors import BadInputError
from Testing.Slicer import cmake_project, publish

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The published tree, its trained files replaced by small ones of the same names."""
    folder = tmp_path_factory.mktemp("published") / "tree"
    publish.write_tree(ROOT, folder)
    for path in folder.rglob("*.safetensors"):
        path.write_text(path.name)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_tree_has_library_modules_weights_and_documents_for_users(tree):
    for folder in ("ReShapeIT", "ReShapeITLib", "Resources/Templates", "Resources/Restoration", "Resources/Image"):
        told = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert {name for name in told.split() if (ROOT / name).is_file()} <= names(tree)
    for name in ("README.md", "CHANGELOG.md", "LICENSE.txt", "docs/SLICER.md", "docs/SECURITY.md", "ReShapeIT.png"):
        assert (tree / name).is_file(), name


def test_the_tree_has_no_tests_studies_training_settings_or_development_documents(tree):
    folders = {name.rpartition("/")[0] for name in names(tree)}
    tops = {folder.split("/")[0] for folder in folders if folder}
    assert tops == {"ReShapeIT", "ReShapeITLib", "Resources", "docs"}
    resources = {folder.split("/")[1] for folder in folders if folder.startswith("Resources/")}
    assert resources == {"Templates", "Restoration", "Image", "Screenshots"}
    documents = {"docs/FILES.md", "docs/SECURITY.md", "docs/SLICER.md", "docs/messages.csv"}
    assert {name for name in names(tree) if name.startswith("docs/")} == documents
    assert not [name for name in names(tree) if re.search(r"Testing|/test_|Studies|Training|Benchmarks", name)]


def test_the_pictures_are_those_that_are_shown(tree):
    shown = "".join((tree / name).read_text(encoding="utf-8") for name in names(tree) if name.endswith((".md", ".txt")))
    pictures = {name for name in names(tree) if name.startswith("Resources/Screenshots/")}
    assert pictures and all(name in shown for name in pictures)


def test_every_link_of_a_document_leads_to_a_file_of_the_tree(tree):
    links = []
    for document in tree.rglob("*.md"):
        text = document.read_text(encoding="utf-8")
        assert "development -->" not in text, document
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("https://", "#")):
                links.append(target)
                assert (document.parent / target.partition("#")[0]).is_file(), (document.name, target)
    assert len(links) > 5


def test_the_tree_configures_with_its_tests_and_installs_what_the_checkout_installs(tree, tmp_path):
    if not cmake_project.cmake()[0] or not shutil.which("c++"):
        pytest.skip("the rules of the package are run with cmake and a C++ compiler, which are not installed")
    made = cmake_project.build_and_install(tmp_path, None, tree)
    assert made.tests() == ["py_nomainwindow_qSlicerReShapeITModuleGenericTest", "py_ReShapeIT"]
    modules = f"lib/Slicer-{cmake_project.VERSION}/qt-scripted-modules/"
    library = {name for name in names(tree) if name.startswith("ReShapeITLib/") and name.endswith(".py")}
    weights = {name for name in names(tree) if name.endswith(".safetensors")}
    assert {modules + name for name in library | weights} <= made.files()


def test_a_tag_makes_a_repository_of_one_commit_whose_size_is_counted(tree, tmp_path, monkeypatch):
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "repository"
    shutil.copytree(tree, folder)
    publish.make_repository(folder, "v1.2.3", "ReShapeIT v1.2.3")

    def git(*words):
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.split()

    assert git("rev-list", "--all", "--count") == ["1"] and git("describe") == ["v1.2.3"]
    assert set(git("ls-files")) == names(tree) and git("status", "--porcelain") == []
    packs = sum(path.stat().st_size for path in (folder / ".git" / "objects").rglob("*.pack"))
    assert publish.history_size_mb(folder) == pytest.approx(packs / 1e6, rel=0.2)


def test_the_command_prints_the_size_and_refuses_what_the_index_does_not_take(monkeypatch, tmp_path, capsys):
    assert publish.main([str(tmp_path / "tree")]) == 0
    told = capsys.readouterr()
    size_mb = publish.tree_size_mb(tmp_path / "tree")
    assert f"{size_mb:.1f} MB" in told.out and size_mb <= publish.LIMIT_MB
    shutil.rmtree(tmp_path / "tree")
    monkeypatch.setattr(publish, "LIMIT_MB", 1.0)
    assert publish.main([str(tmp_path / "tree")]) == 2
    assert "MB too large for the Extensions Index" in capsys.readouterr().err


def test_an_existing_folder_is_not_written_into(tmp_path, capsys):
    assert publish.main([str(tmp_path)]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_tag_is_that_of_the_version(tmp_path, capsys):
    assert publish.main([str(tmp_path / "tree"), "--tag", "v99.0"]) == 2
    assert f"use v{__version__}" in capsys.readouterr().err and not (tmp_path / "tree").exists()


def test_uncommitted_changes_are_not_tagged(tree, tmp_path, monkeypatch):
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "checkout"
    shutil.copytree(tree, folder)
    publish.make_repository(folder, "old", "first")
    publish.check_tag(folder, f"v{__version__}")
    (folder / "setup.py").write_text("changed")
    with pytest.raises(BadInputError, match=r"setup\.py has changes that are not committed"):
        publish.check_tag(folder, f"v{__version__}")
