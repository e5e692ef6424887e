"""Which cases a source holds: a summary, a folder of them, a table, or the folder of a batch."""

from __future__ import annotations

import json
from dataclasses import replace
from os.path import isfile  # unlike Path.is_file it stands names longer than names can be
from pathlib import Path

from ..core.errors import BadInputError
from ..io.atomic import file_suffix, require_file
from ..io.volumes import LABEL_SUFFIXES
from .cases import ReviewCase, cases_of_summary, read_summary
from .table import cases_of_table

_BATCH_TABLE = "results.csv"


def find_cases(source: Path, truth: Path | None = None, image: Path | None = None) -> list[ReviewCase]:
    """The cases of a summary (.json), of a folder that holds summaries at any depth, of a table (.csv, .parquet), or of
    the folder of a batch, which holds such a table.

    What is wrong with one case of several becomes its ``failure``.

    Args:
        source: file or folder.
        truth, image: a file for a single case, or a folder with a file, or a folder with one file, named as the case.

    Raises:
        BadInputError: the source is missing or unreadable, or holds no case.
    """
    source = Path(source)
    if source.is_dir():
        table = source / _BATCH_TABLE
        cases = cases_of_table(table) if table.is_file() else _of_folder(source)
    elif file_suffix(source) == ".json":
        path = require_file(source, "summary")
        cases = cases_of_summary(path, read_summary(path), path.stem)
    elif file_suffix(source) in (".csv", ".parquet"):
        cases = cases_of_table(require_file(source, "table"))
    else:
        raise BadInputError(
            "{input} is no source of a report",
            "give a .json summary, a folder of them, or a table",
            "review.source",
            input=source,
        )
    if not cases:
        raise BadInputError(
            "{input} holds no case",
            "write summaries with 'reshapeit refine ... --report FILE.json'",
            "review.no_cases",
            input=source,
        )
    for what, place in (("truth", truth), ("image", image)):
        if place is not None:
            cases = [replace(c, **{what: getattr(c, what) or _beside(Path(place), c.name, what)}) for c in cases]
    return cases


def _of_folder(folder: Path) -> list[ReviewCase]:
    cases = []
    for path in sorted(folder.rglob("*.json")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # temporary files and the state of a batch
        # Cases in folders of their own may all have the same file names.
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            cases += cases_of_summary(path, read_summary(path), name)
        except BadInputError as error:
            if not _is_other_json(path):
                cases.append(ReviewCase(name, failure=str(error)))
    return cases


def _is_other_json(path: Path) -> bool:
    """True for sound JSON of another kind, such as a manifest, which is no failed case."""
    try:
        return "organs" not in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _beside(place: Path, name: str, what: str) -> Path | None:
    """The file of a case in a folder of truths or images; ``place`` itself where it is a file."""
    if isfile(place):
        return place
    if not place.is_dir():
        raise BadInputError(
            "There is no {what} {path}", "give a file or folder", "review.missing", what=what, path=place
        )
    for stem in (name, name.split("/")[0], name.split(" · ")[0]):
        for suffix in LABEL_SUFFIXES:
            if isfile(place / f"{stem}{suffix}"):
                return place / f"{stem}{suffix}"
    return None
