"""Families of input: what the segmentations that the methods are given are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.damage.levels import KINDS, LEVELS
from ReShapeITLib.training.config import override
from ReShapeITLib.training.prepare import case_name


@dataclass(frozen=True)
class Predictions:
    """Segmentations that networks made.

    Args:
        name: of the family, in the table.
        folder: holds FOLDER/CASE/NAME with any image suffix, on the grid of the truth.
        names: of the networks; each is one input of a case.
    """

    name: str = "predictions"
    folder: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Damage:
    """The truth, damaged.

    Args:
        name: of the family, in the table.
        damage: a name of ``damage_levels.KINDS``.
        level: mild, middle or severe.
        room_mm: free space around the organ, so that leaks and islands are not cut off by a tight crop.
        draws: how many different damages of each case, where cases are few.
    """

    name: str = ""
    damage: str = ""
    level: str = "middle"
    room_mm: float = 40.0
    draws: int = 1


@dataclass(frozen=True)
class Coarse:
    """The truth on coarse voxels.

    Args:
        name: of the family, in the table.
        voxel_mm: edge of cubic voxels; 0 where slices are meant.
        slice_mm: thickness of slices, the axis nearest to head-feet; 0 where voxels are meant.
    """

    name: str = ""
    voxel_mm: float = 0.0
    slice_mm: float = 0.0


@dataclass(frozen=True)
class Sparse:
    """The truth on some parallel slices only, across the axis nearest to head-feet.

    Args:
        name: of the family, in the table.
        gap_mm: from one slice that is known to the next.
    """

    name: str = ""
    gap_mm: float = 0.0


@dataclass(frozen=True)
class Clean:
    """The truth itself, which should be left alone; ``name`` of the family in the table."""

    name: str = "clean"


Family = Predictions | Damage | Coarse | Sparse | Clean
_KINDS = {"predictions": Predictions, "damage": Damage, "coarse": Coarse, "sparse": Sparse, "clean": Clean}


def family_from_dict(entry, base: Path, where: str) -> Family:
    """A family from plain values, its settings under ``kind``.

    Args:
        entry: as read from the file.
        base: folder that relative paths start from.
        where: names the study in errors.

    Raises:
        BadInputError: a key or value is wrong.
    """
    if not isinstance(entry, dict):
        raise BadInputError(f"{where}: a family must hold settings such as 'kind: clean', not {entry!r}.")
    entry = dict(entry)
    kind = entry.pop("kind", None)
    where = f"{where}, family {kind}"
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadInputError(f"{where}: there is no such kind; use one of {', '.join(_KINDS)}.")
    names = {"names": texts(entry.pop("names", []), f"{where}, names")} if kind == "predictions" else {}
    family = replace(override(_KINDS[kind](), entry, where), **names)
    family = _COMPLETED[kind](family, base, where)
    if not family.name:
        raise BadInputError(f"{where}: 'name' must not be empty.")
    return family


def _predictions(family: Predictions, base: Path, where: str) -> Predictions:
    if not (family.folder and family.names):
        raise BadInputError(f"{where}: give 'folder' and 'names'.")
    require_distinct(family.names, "prediction", where)
    return replace(family, folder=str(base / family.folder))


def _damage(family: Damage, base: Path, where: str) -> Damage:
    if family.damage not in KINDS or family.level not in LEVELS:
        raise BadInputError(
            f"{where}: 'damage' must be one of {', '.join(KINDS)} and 'level' one of {', '.join(LEVELS)}."
        )
    if family.draws < 1:
        raise BadInputError(f"{where}: 'draws' must be at least 1.")
    return replace(family, name=family.name or f"{family.damage} {family.level}")


def _coarse(family: Coarse, base: Path, where: str) -> Coarse:
    if (family.voxel_mm > 0) == (family.slice_mm > 0):
        raise BadInputError(f"{where}: give either 'voxel_mm' or 'slice_mm'.")
    shown = f"{family.voxel_mm:g} mm voxels" if family.voxel_mm else f"{family.slice_mm:g} mm slices"
    return replace(family, name=family.name or shown)


def _sparse(family: Sparse, base: Path, where: str) -> Sparse:
    if not family.gap_mm > 0:
        raise BadInputError(f"{where}: give the distance between known slices under 'gap_mm'.")
    return replace(family, name=family.name or f"slices every {family.gap_mm:g} mm")


_COMPLETED = {
    "predictions": _predictions,
    "damage": _damage,
    "coarse": _coarse,
    "sparse": _sparse,
    "clean": lambda family, *_: family,
}


def file_word(text: str) -> str:
    """A name as a part of file names."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)


def label_file(folder: Path, name: str) -> Path:
    """The one label file in a folder that is called ``name`` and any image suffix; "truth" in a folder of that name.

    Raises:
        BadInputError: there is none, or there are several.
    """
    folder, name = (folder / name, "truth") if (folder / name).is_dir() else (folder, name)
    found = [path for path in sorted(folder.glob(f"{name}.*")) if case_name(path) == name]
    if len(found) != 1:
        raise BadInputError(f"{folder} has {len(found)} label files named {name}; there must be one.")
    return found[0]


def texts(value, where: str) -> tuple[str, ...]:
    """A list of texts, checked."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadInputError(f"{where}: this must be a list of names, not {value!r}.")
    return tuple(value)


def require_distinct(names, what: str, where: str) -> None:
    """Complain where one of several ``what`` has the name of another."""
    seen = set()
    for name in names:
        if name in seen:
            raise BadInputError(f"{where}: the {what} '{name}' is named twice; name it once.")
        seen.add(name)
