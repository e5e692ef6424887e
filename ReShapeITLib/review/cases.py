"""Which cases a review is about: from summaries of ``reshapeit refine``, a folder of them, or a table."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os.path import isfile  # unlike Path.is_file it stands names longer than names can be
from pathlib import Path

from ..atomic import file_suffix, require_file
from ..errors import BadInputError
from ..volume_io import LABEL_SUFFIXES

_BATCH_TABLE = "results.csv"
_LARGEST_SUMMARY = 10_000_000


@dataclass(frozen=True)
class ReviewCase:
    """One refined organ.

    Args:
        name: what the page calls it.
        label: number, segment id or name in both files; None for the only label there is.
        before, after: label files; None where unknown.
        surface: mesh of the result, if it was written.
        organ: its entry in the summary (see ``report.OrganReport``); empty without a summary.
        run: the summary without its organs.
        image: intensities to show behind the outlines.
        truth: label file to compare with.
        failure: why there is no result; "" where there is one.
    """

    name: str
    label: int | str | None = None
    before: Path | None = None
    after: Path | None = None
    surface: Path | None = None
    organ: Mapping = field(default_factory=dict)
    run: Mapping = field(default_factory=dict)
    image: Path | None = None
    truth: Path | None = None
    failure: str = ""


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
    from .table import cases_of_table

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
        raise BadInputError(f"{source} is no source of a report: give a .json summary, a folder of them, or a table.")
    if not cases:
        raise BadInputError(f"{source} holds no case: write summaries with 'reshapeit refine ... --report FILE.json'.")
    for what, place in (("truth", truth), ("image", image)):
        if place is not None:
            cases = [replace(c, **{what: getattr(c, what) or _beside(Path(place), c.name, what)}) for c in cases]
    return cases


def read_summary(path: Path) -> dict:
    """The JSON object that ``reshapeit refine --report`` wrote.

    Raises:
        BadInputError: the file cannot be read or is none.
    """
    wrong = f"{path} is no summary of 'reshapeit refine'"
    try:
        if path.stat().st_size > _LARGEST_SUMMARY:
            raise BadInputError(f"{wrong}: it is too large; give a file that --report wrote.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{wrong}, or is damaged; write it again.") from error
    organs = content.get("organs") if isinstance(content, dict) else None
    if not isinstance(organs, list) or not organs or not all(isinstance(organ, dict) for organ in organs):
        raise BadInputError(f"{wrong}: it lists no organs; give a file that --report wrote.")
    return content


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


def cases_of_summary(path: Path, summary: dict, name: str, **known) -> list[ReviewCase]:
    """The organs of one summary; ``known`` overrules what it says about files."""
    run = {key: value for key, value in summary.items() if key != "organs"}
    files = {
        "before": existing_file(run.get("input"), path.parent),
        "after": existing_file(run.get("output"), path.parent),
        **{key: value for key, value in known.items() if value is not None},
    }
    cases = []
    for organ in summary["organs"]:
        label = organ.get("label")
        label = label if isinstance(label, int | str) and not isinstance(label, bool) else None
        several = len(summary["organs"]) > 1
        surface = files.get("surface") or (files["after"] and surface_beside(files["after"], label, several))
        full_name = f"{name} · {organ.get('organ', label)}" if several else name
        cases.append(ReviewCase(full_name, label, organ=organ, run=run, **{**files, "surface": surface}))
    return cases


def surface_beside(after: Path, label, several: bool) -> Path | None:
    """The mesh that was written for a result, under its name: beside it, or where a batch puts meshes."""
    stem = after.name[: len(after.name) - len(file_suffix(after))] + (f"_{label}" if several else "")
    folders = (after.parent, after.parent / "surfaces")
    places = [folder / f"{stem}{suffix}" for folder in folders for suffix in (".vtp", ".vtk")]
    return next((path for path in places if isfile(path)), None)


def existing_file(text, folder: Path) -> Path | None:
    """A named file: as it is, else beside what names it (results are moved as a whole); the plain path if neither."""
    if not isinstance(text, str) or not text:
        return None
    path = Path(os.path.expanduser(text))
    return next((place for place in (path, folder / path, folder / path.name) if isfile(place)), path)


def _beside(place: Path, name: str, what: str) -> Path | None:
    """The file of a case in a folder of truths or images; ``place`` itself where it is a file."""
    if isfile(place):
        return place
    if not place.is_dir():
        raise BadInputError(f"There is no {what} {place}: give a file or folder.")
    for stem in (name, name.split("/")[0], name.split(" · ")[0]):
        for suffix in LABEL_SUFFIXES:
            if isfile(place / f"{stem}{suffix}"):
                return place / f"{stem}{suffix}"
    return None
