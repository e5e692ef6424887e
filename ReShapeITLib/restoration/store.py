"""Which restoration network belongs to a template."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import BadInputError

SUFFIX = ".safetensors"
FOLDERS_VARIABLE = "RESHAPEIT_RESTORATION"


def restoration_folders() -> list[Path]:
    """Folders that are searched, in this order: those of $RESHAPEIT_RESTORATION, the installed ones, a checkout's."""
    package = Path(__file__).resolve().parents[1]
    named = [Path(p).expanduser() for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    return [*named, package / "restoration_data", package.parent / "Resources" / "Restoration"]


def find_restoration(shape_sha256: str) -> Path | None:
    """The file of the network that was trained with a template of this shape (``template.read_shape_sha256``; another
    one has another frame), of several in a folder the one for the fewest organs; None: there is none."""
    for folder in restoration_folders():
        organs = {path: _templates(path).values() for path in sorted(folder.glob(f"*{SUFFIX}"))}
        knowing = [path for path, known in organs.items() if shape_sha256 in known]
        if knowing:
            return min(knowing, key=lambda path: len(organs[path]))
    return None


def chosen_restoration(choice: str, shape_sha256: str) -> Path | None:
    """The file that ``choice`` means: "auto" the one that belongs to the template, "none" none, else a path.

    Raises:
        BadInputError: there is no such file, or it was not trained with this template.
    """
    if choice == "none":
        return None
    if choice == "auto":
        return find_restoration(shape_sha256)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise BadInputError(f"There is no restoration file {path}; give a file, 'auto' or 'none'.")
    if shape_sha256 not in _templates(path).values():
        raise BadInputError(f"{path} was not trained with this template; use 'auto' or 'none'.")
    return path


def restoration_sha256(path: Path) -> str:
    """The checksum that a restoration file carries; "" for a file of another kind."""
    return _metadata(path).get("sha256", "")


def _templates(path: Path) -> dict[str, str]:
    """SHA-256 of the template's shape of each organ that a network knows; empty for a file of another kind."""
    try:
        return dict(json.loads(_metadata(path)["restoration"])["templates"])
    except (KeyError, ValueError, TypeError):
        return {}


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as handle:
            return handle.metadata() or {}
    except (SafetensorError, OSError):
        return {}
