"""The Slicer extension as it is published: library, modules, weights and documents for users, nothing else.

    python -m Testing.Slicer.publish OUTPUT [--tag v0.1.0]

OUTPUT is a new folder. It gets the published files of this checkout; ``--tag`` makes it a git repository of one commit
with that tag. Printed is the size against what the Extensions Index accepts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from ReShapeITLib import __version__
from ReShapeITLib.cli.common import Parser
from ReShapeITLib.cli.main import run_command
from ReShapeITLib.core.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]
# The index's check_repository_size: a clone with its history.
LIMIT_MB = 100.0
# Patterns of files that git tracks; a star also stands for folders.
PUBLISHED = (
    ".gitignore",
    "CHANGELOG.md",
    "CMakeLists.txt",
    "LICENSE.txt",
    "README.md",
    "ReShapeIT.png",
    "pyproject.toml",
    "setup.py",
    "ReShapeIT/*",
    "ReShapeITLib/*",
    "Resources/Image/*",
    "Resources/Restoration/*",
    "Resources/Templates/*",
    "docs/FILES.md",
    "docs/messages.csv",
    "docs/SECURITY.md",
    "docs/SLICER.md",
)
# Files whose pictures are published with them.
_PICTURED = ("CMakeLists.txt", "README.md", "docs/SECURITY.md", "docs/SLICER.md")
_PICTURE = re.compile(r"Resources/Screenshots/[\w.-]+")
# Parts of documents that speak of files which are not published.
_DEVELOPMENT = re.compile(r"<!-- development -->.*?<!-- end of development -->\n*", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's arguments); returns the exit code of ``reshapeit``."""
    return run_command(build_parser, list(sys.argv[1:] if argv is None else argv))


def build_parser() -> Parser:
    """Parser of the command."""
    parser = Parser(prog="python -m Testing.Slicer.publish", description=__doc__.splitlines()[0])
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="new folder for the published tree")
    parser.add_argument("--tag", help=f"make it a git repository with this tag (v{__version__})")
    parser.set_defaults(run=run)
    return parser


def run(arguments) -> None:
    """Write the tree, and the repository where a tag asks for one; print the size.

    Raises:
        BadInputError: OUTPUT exists, the tag is not that of the version, a published file has uncommitted changes, or
            what was written is too large.
    """
    output, tag = arguments.output, arguments.tag
    if tag:
        check_tag(ROOT, tag)
    write_tree(ROOT, output)
    size_mb, kind = tree_size_mb(output), "tree"
    if tag:
        revision = _git(ROOT, "rev-parse", "HEAD").strip()
        make_repository(output, tag, f"ReShapeIT {tag}\n\nDevelopment commit {revision}")
        size_mb, kind = history_size_mb(output), "history"
    print(f"{output}: {kind} of {size_mb:.1f} MB; the Extensions Index accepts {LIMIT_MB:.0f} MB")
    if size_mb > LIMIT_MB:
        raise BadInputError(
            "{output} is {excess:.1f} MB too large for the Extensions Index",
            "make the weights smaller",
            "publish.too_large",
            output=output,
            excess=size_mb - LIMIT_MB,
        )


def published_files(root: Path) -> list[str]:
    """Names of the published files of a checkout, relative to it, in order.

    Raises:
        BadInputError: nothing has one of the names in ``PUBLISHED``.
    """
    tracked = [name for name in _git(root, "ls-files", "-z").split("\0") if name and (root / name).is_file()]
    found: set[str] = set()
    for pattern in PUBLISHED:
        matching = {name for name in tracked if fnmatch(name, pattern)}
        if not matching:
            raise BadInputError(f"no file of the checkout is named {pattern}; add it, or take it from PUBLISHED")
        found |= matching
    for name in _PICTURED:
        found |= set(_PICTURE.findall(_published_text(root / name)))
    return sorted(found)


def write_tree(root: Path, output: Path) -> None:
    """Copy the published files of a checkout into a new folder; documents lose their development parts.

    Raises:
        BadInputError: the folder exists, or a published file is missing.
    """
    if output.exists():
        raise BadInputError(f"{output} exists; name a new folder")
    for name in published_files(root):
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (root / name).is_file():
            raise BadInputError(f"{name} is missing, which a published document shows")
        if target.suffix == ".md":
            target.write_text(_published_text(root / name), encoding="utf-8")
        else:
            shutil.copy(root / name, target)


def check_tag(root: Path, tag: str) -> None:
    """Refuse a tag of another version, and a checkout whose published files differ from its last commit.

    Raises:
        BadInputError: so it is.
    """
    if tag != f"v{__version__}":
        raise BadInputError(
            f"the tag {tag} is not that of version {__version__}; use v{__version__}, or set __version__"
        )
    changed = _git(root, "diff", "--name-only", "HEAD", "--", *published_files(root)).split()
    if changed:
        raise BadInputError(f"{changed[0]} has changes that are not committed; commit them first")


def make_repository(folder: Path, tag: str, message: str) -> None:
    """Make a tree a git repository of one commit on ``main`` with an annotated tag, packed as a clone would be.

    Raises:
        BadInputError: git refuses, for instance because it does not know the user's name.
    """
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "config", "core.bigFileThreshold", "1m")  # weights have no deltas; looking for them takes minutes
    _git(folder, "add", "--all", "--force")
    _git(folder, "commit", "--quiet", "--message", message)
    _git(folder, "tag", "--annotate", tag, "--message", tag)
    _git(folder, "gc", "--quiet", "--prune=now")


def tree_size_mb(folder: Path) -> float:
    """Size of all files of a folder in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def history_size_mb(folder: Path) -> float:
    """Size of the objects of a repository in MB, packed and loose."""
    told = dict(line.split(": ") for line in _git(folder, "count-objects", "-v").splitlines())
    return (int(told["size"]) + int(told["size-pack"])) * 1024 / 1e6


def _published_text(path: Path) -> str:
    return _DEVELOPMENT.sub("", path.read_text(encoding="utf-8"))


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInputError(f"git {words[0]} failed in {folder}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
