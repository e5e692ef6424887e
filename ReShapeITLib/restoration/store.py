"""Where restoration networks are, and which of them belongs to a template."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from ..core.errors import BadInputError
from .table import DETAIL, SEVERAL, SPARSE, SUFFIX, TABLE_NAME, WHOLE, NetworkTable, file_and_member

FOLDERS_VARIABLE = "RESHAPEIT_RESTORATION"


class ChosenNetworks(NamedTuple):
    """The networks that an organ is asked about with.

    Args:
        restoration: file of the network; None where there is none.
        detail: file of the network that knows what coarse voxels hide; None where there is none.
    """

    restoration: Path | None = None
    detail: Path | None = None

    @property
    def files(self) -> tuple[Path | None, Path | None]:
        """Of both networks."""
        return self.restoration, self.detail

    def identity(self) -> tuple[str, str]:
        """What a result depends on: the checksum of either file ("" for none)."""
        return restoration_sha256(self.restoration), restoration_sha256(self.detail)


def restoration_folders() -> list[Path]:
    """Folders that are searched, in this order: those of $RESHAPEIT_RESTORATION, the installed ones, a checkout's."""
    package = Path(__file__).resolve().parents[1]
    return [*_named_folders(), package / "restoration_data", package.parent / "Resources" / "Restoration"]


def chosen_networks(choice: str, shape_sha256: str, sparse: bool = False) -> ChosenNetworks:
    """The networks that ``choice`` means for a template.

    Args:
        choice: "auto" is what the first table says that has a row for the template; "none" is none; else a file.
            A network for detail goes with "auto" alone: who names a file wants that network and nothing else.
        shape_sha256: of the template (``template.read_shape_sha256``; another one has another frame).
        sparse: for a sparse annotation; without a network of that mode the one for whole organs is taken.

    Raises:
        BadInputError: there is no such file, it was not trained with this template, or a table is wrong.
    """
    if choice == "none":
        return ChosenNetworks()
    modes = (SPARSE, WHOLE) if sparse else (WHOLE,)
    if choice != "auto":
        return ChosenNetworks(_named(Path(choice).expanduser(), shape_sha256))
    return ChosenNetworks(_first(shape_sha256, modes), None if sparse else _first(shape_sha256, (DETAIL,)))


def enter_network(path: Path) -> None:
    """Enter a network file into the table beside it, for the organs and the mode that the file tells.

    Args:
        path: of the network.

    Raises:
        BadInputError: the table that is there is wrong, or cannot be written.
    """
    told = _told(path)
    mode = SPARSE if told.get("few_slices") else DETAIL if told.get("detail") else WHOLE
    table = NetworkTable.read(path.parent) or NetworkTable()
    shapes = dict(told.get("templates", {}))
    table.with_network(path.name, restoration_sha256(path), mode, shapes).write(path.parent)


def restoration_sha256(path: Path | None) -> str:
    """The checksum that a restoration file, or the file that a network is in, carries; "" for none, or a file of
    another kind."""
    return _metadata(file_and_member(path)[0]).get("sha256", "") if path else ""


def restoration_licence(path: Path) -> str:
    """The licence that a restoration file tells; "" for a file of another kind."""
    return str(_told(path).get("licence", ""))


def networks_in(path: Path) -> list[Path]:
    """The networks in a file: the file itself, or each of several as it is named, ``abdomen.safetensors/liver``."""
    try:
        return [path / member for member in sorted(json.loads(_metadata(path)[SEVERAL])["members"])]
    except (KeyError, ValueError, TypeError):
        return [path]


def _named_folders() -> list[Path]:
    return [Path(p).expanduser() for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]


def _first(shape_sha256: str, modes: tuple[str, ...]) -> Path | None:
    """File of the first of the modes that the first table has that has any of them for the template."""
    named = _named_folders()
    for folder in restoration_folders():
        table = NetworkTable.read(folder)
        if table is None:
            if folder in named and any(folder.glob(f"*{SUFFIX}")):
                raise BadInputError(
                    "{folder} has no {table}, which says what its networks are for",
                    "'reshapeit train-restoration' writes it beside a network, or give a network's file",
                    "networks.no_table",
                    folder=folder,
                    table=TABLE_NAME,
                )
            continue
        row = table.row_of(shape_sha256)
        name = next((row.networks[mode] for mode in modes if mode in row.networks), None) if row else None
        if name:
            return _checked(folder / name, table)
    return None


def _named(path: Path, shape_sha256: str) -> Path:
    """A network that the user named: a file, or one in a file of several."""
    if not file_and_member(path)[0].is_file():
        raise BadInputError(
            "There is no restoration file {input}", "give a file, 'auto' or 'none'", "network.no_file", input=path
        )
    networks = networks_in(path)
    if networks != [path]:
        raise BadInputError(
            "{input} holds several networks",
            "name one of them: {names}",
            "network.several",
            input=path,
            names=", ".join(map(str, networks)),
        )
    if shape_sha256 not in dict(_told(path).get("templates", {})).values():
        raise BadInputError(
            "{input} was not trained with this template", "use 'auto' or 'none'", "network.not_of_template", input=path
        )
    return path


def _checked(path: Path, table: NetworkTable) -> Path:
    """The network, whose file is the one that the table means."""
    file, _ = file_and_member(path)
    if not file.is_file():
        raise BadInputError(
            "{table} names {name}, which is not there",
            "get a fresh copy",
            "networks.absent",
            table=file.parent / TABLE_NAME,
            name=file.name,
        )
    if restoration_sha256(path) != table.files[file.name]:
        raise BadInputError(
            "{input} is not the network that {table} beside it means",
            "get fresh copies of both",
            "networks.other_file",
            input=file,
            table=TABLE_NAME,
        )
    return path


def _told(path: Path) -> dict:
    """The description of a network; empty for a file of another kind."""
    file, member = file_and_member(path)
    metadata = _metadata(file)
    try:
        told = json.loads(metadata[SEVERAL])["members"][member] if member else json.loads(metadata["restoration"])
    except (KeyError, ValueError, TypeError):
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("templates", {}), dict) else {}


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as handle:
            return handle.metadata() or {}
    except (SafetensorError, OSError):
        return {}
