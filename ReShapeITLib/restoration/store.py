"""Which restoration network belongs to a template."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..core.errors import BadInputError

SUFFIX = ".safetensors"
FOLDERS_VARIABLE = "RESHAPEIT_RESTORATION"


def restoration_folders() -> list[Path]:
    """Folders that are searched, in this order: those of $RESHAPEIT_RESTORATION, the installed ones, a checkout's."""
    package = Path(__file__).resolve().parents[1]
    named = [Path(p).expanduser() for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    return [*named, package / "restoration_data", package.parent / "Resources" / "Restoration"]


def find_restoration(shape_sha256: str, few_slices: bool = False) -> Path | None:
    """The file of the network that was trained with a template of this shape; None: there is none.

    Args:
        shape_sha256: of the template (``template.read_shape_sha256``; another one has another frame).
        few_slices: for an organ that is known on a few slices: a network for these alone comes first, which is never
            taken otherwise. Of several in a folder it is the one for the fewest organs.
    """
    return _first(shape_sha256, lambda network: not network.detail and (few_slices or not network.few_slices))


def find_detail(shape_sha256: str) -> Path | None:
    """The file of the network that knows what coarse voxels hide of organs of a template's kind, see ``detail``."""
    return _first(shape_sha256, lambda network: network.detail)


def _first(shape_sha256: str, fitting: Callable[[_Told], bool]) -> Path | None:
    """Of the first folder that has any network of that template which is fitting, the most special one."""
    for folder in restoration_folders():
        told = {path: _told(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}
        knowing = [p for p, network in told.items() if shape_sha256 in network.templates.values() and fitting(network)]
        if knowing:
            return min(knowing, key=lambda path: (not told[path].few_slices, len(told[path].templates)))
    return None


def chosen_restoration(choice: str, shape_sha256: str, few_slices: bool = False) -> Path | None:
    """The file that ``choice`` means: "auto" the one that belongs to the template, "none" none, else a path.

    ``few_slices`` is as in :func:`find_restoration`.

    Raises:
        BadInputError: there is no such file, or it was not trained with this template.
    """
    if choice == "none":
        return None
    if choice == "auto":
        return find_restoration(shape_sha256, few_slices)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise BadInputError(f"There is no restoration file {path}; give a file, 'auto' or 'none'.")
    if shape_sha256 not in _told(path).templates.values():
        raise BadInputError(f"{path} was not trained with this template; use 'auto' or 'none'.")
    return path


def chosen_networks(choice: str, shape_sha256: str, few_slices: bool = False) -> ChosenNetworks:
    """The files of the network that :func:`chosen_restoration` gives and of the one that goes with it.

    A network for detail goes with "auto" alone: who names a file wants that network and nothing else.
    """
    detail = find_detail(shape_sha256) if choice == "auto" and not few_slices else None
    return ChosenNetworks(chosen_restoration(choice, shape_sha256, few_slices), detail)


def restoration_sha256(path: Path | None) -> str:
    """The checksum that a restoration file carries; "" for none, or a file of another kind."""
    return _metadata(path).get("sha256", "") if path else ""


def restoration_licence(path: Path) -> str:
    """The licence that a restoration file tells; "" for a file of another kind."""
    try:
        return str(json.loads(_metadata(path)["restoration"])["licence"])
    except (KeyError, ValueError, TypeError):
        return ""


class ChosenNetworks(NamedTuple):
    """Files; None where there is no such network."""

    restoration: Path | None
    detail: Path | None  # of the network that knows what coarse voxels hide


class _Told(NamedTuple):
    templates: dict[str, str]  # SHA-256 of the template's shape of each organ that the network knows
    few_slices: bool = False
    detail: bool = False


def _told(path: Path) -> _Told:
    """What a file tells about its use; no templates for a file of another kind."""
    try:
        header = json.loads(_metadata(path)["restoration"])
        uses = (bool(header.get(use, False)) for use in ("few_slices", "detail"))
        return _Told(dict(header["templates"]), *uses)
    except (KeyError, ValueError, TypeError, AttributeError):
        return _Told({})


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as handle:
            return handle.metadata() or {}
    except (SafetensorError, OSError):
        return {}
