"""The table beside the network files: for every organ and mode, which network.

``networks.json`` of a folder names its files with their checksums and has a row for each organ. A row belongs to the
template with the row's shape and holds an entry for each mode: "whole" (the organ as it was segmented), "sparse"
(sparse annotations) and "detail" (what coarse voxels hide). An entry is the name of a network's file, or that of a file
of several and the network in it, ``abdomen.safetensors/liver``; null says that the mode has no network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadInputError
from ..io.atomic import atomic_path

TABLE_NAME = "networks.json"
SUFFIX = ".safetensors"
WHOLE, SPARSE, DETAIL = MODES = ("whole", "sparse", "detail")
# Key of the description in the metadata of a file of several networks.
SEVERAL = "restorations"
_FORMAT = "reshapeit-networks-2"
_MOST_BYTES = 1_000_000


def file_and_member(path: Path) -> tuple[Path, str]:
    """The file, and the name of the network in it ("" where the path names a file alone)."""
    return (path.parent, path.name) if path.parent.suffix == SUFFIX else (path, "")


def network_name(path: Path) -> str:
    """The name of a network's file, with the network's own where the file holds several."""
    file, member = file_and_member(path)
    return f"{file.name}/{member}" if member else file.name


@dataclass(frozen=True)
class OrganRow:
    """The networks of one organ.

    Args:
        shape_sha256: of its template (``template.read_shape_sha256``); another one has another frame.
        networks: by mode the name of the network, a file in the table's folder or one in such a file; a mode without
            a network is left out.
    """

    shape_sha256: str
    networks: dict[str, str]


@dataclass(frozen=True)
class NetworkTable:
    """What ``networks.json`` of a folder says.

    Args:
        files: SHA-256 that each network file carries, by the file's name.
        rows: by organ.
    """

    files: dict[str, str] = field(default_factory=dict)
    rows: dict[str, OrganRow] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> NetworkTable | None:
        """The table of a folder; None where it has none.

        Raises:
            BadInputError: it cannot be read, or an entry is wrong; the message names file and entry.
        """
        path = folder / TABLE_NAME
        if not path.is_file():
            return None
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise BadInputError(
                    "{input} is too large for a table of networks",
                    "get a fresh copy of it",
                    "networks.large",
                    input=path,
                )
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BadInputError(
                "{input} cannot be read as JSON ({reason})",
                "get a fresh copy of it",
                "networks.unreadable",
                input=path,
                reason=_reason(error),
            ) from error
        if not isinstance(told, dict) or told.get("format") != _FORMAT:
            raise BadInputError(
                "{input} is a table of another format",
                "this version reads {format}",
                "networks.format",
                input=path,
                format=_FORMAT,
            )
        try:
            files = {str(name): str(digest) for name, digest in told["files"].items()}
            rows = {organ: _row(entries, files, f"{path}, {organ}") for organ, entries in told["organs"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInputError(
                "{input} lacks parts ({reason})",
                "get a fresh copy of it",
                "networks.parts",
                input=path,
                reason=_reason(error),
            ) from error
        return cls(files, rows)

    def write(self, folder: Path) -> None:
        """Write ``networks.json``, a line for each organ and mode, by way of a temporary file.

        Raises:
            BadInputError: the file cannot be written.
        """
        organs = {}
        for organ, row in sorted(self.rows.items()):
            lines = [f'      "shape_sha256": {json.dumps(row.shape_sha256)}']
            lines += [f"      {json.dumps(mode)}: {json.dumps(row.networks.get(mode))}" for mode in MODES]
            organs[organ] = "{\n" + ",\n".join(lines) + "\n    }"
        named = {name.split("/")[0] for row in self.rows.values() for name in row.networks.values()}
        files = {name: json.dumps(self.files[name]) for name in sorted(named)}
        text = (
            f'{{\n  "format": {json.dumps(_FORMAT)},\n  "files": {_lines(files)},\n  "organs": {_lines(organs)}\n}}\n'
        )
        with atomic_path(folder / TABLE_NAME) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def row_of(self, shape_sha256: str) -> OrganRow | None:
        """The row of a template's shape; None where there is none."""
        return next((row for row in self.rows.values() if row.shape_sha256 == shape_sha256), None)

    def with_network(self, name: str, sha256: str, mode: str, shapes: dict[str, str]) -> NetworkTable:
        """The table with a network in it, in the place of what the mode had before.

        Args:
            name: of the network's file, or of that of several and the network in it.
            sha256: that the file carries.
            mode: what the network is for.
            shapes: SHA-256 of the template's shape of each organ that the network knows.
        """
        rows = dict(self.rows)
        for organ, shape in shapes.items():
            kept = rows[organ].networks if organ in rows and rows[organ].shape_sha256 == shape else {}
            rows[organ] = OrganRow(shape, {**kept, mode: name})
        return NetworkTable({**self.files, name.split("/")[0]: sha256}, rows)


def _row(told: dict[str, Any], files: dict[str, str], where: str) -> OrganRow:
    networks = {mode: str(told[mode]) for mode in MODES if told[mode] is not None}
    for mode, name in networks.items():
        file, *member = name.split("/")
        if file not in files or Path(file).name != file or len(member) > 1:
            raise BadInputError(
                "{where}, {mode}: {name} is not among the files of the table",
                "get fresh copies of the table and the networks",
                "networks.unknown_file",
                where=where,
                mode=mode,
                name=name,
            )
    return OrganRow(str(told["shape_sha256"]), networks)


def _lines(values: dict[str, str]) -> str:
    """A JSON object of values that are JSON already, a line each."""
    if not values:
        return "{}"
    return "{\n" + ",\n".join(f"    {json.dumps(key)}: {value}" for key, value in values.items()) + "\n  }"


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
