"""Which cases a review is about: from summaries of ``reshapeit refine``, a folder of them, or a table."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import exists, isdir, isfile  # unlike those of Path they stand names longer than names can be
from pathlib import Path

from ..core.errors import BadInputError
from ..io.atomic import file_suffix
from ..io.volumes import LABEL_SUFFIXES

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
        image: intensities to show behind the outlines, a file or a folder of DICOM files.
        truth: label file to compare with.
        failure: why there is no result; "" where there is one.
        decision: "accepted" or "rejected" where somebody said so in a batch's table.
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
    decision: str = ""


def read_summary(path: Path) -> dict:
    """The JSON object that ``reshapeit refine --report`` wrote.

    Raises:
        BadInputError: the file cannot be read or is none.
    """
    try:
        if path.stat().st_size > _LARGEST_SUMMARY:
            raise BadInputError(
                "{input} is no summary of a refinement: it is too large",
                "give a file that --report wrote",
                "review.large",
                input=path,
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(
            "{input} cannot be read ({reason})",
            "check its permissions",
            "review.protected",
            input=path,
            reason=error.strerror,
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            "{input} is no summary of a refinement, or is damaged", "write it again", "review.damaged", input=path
        ) from error
    organs = content.get("organs") if isinstance(content, dict) else None
    if not isinstance(organs, list) or not organs or not all(isinstance(organ, dict) for organ in organs):
        raise BadInputError(
            "{input} is no summary of a refinement: it lists no organs",
            "give a file that --report wrote",
            "review.no_organs",
            input=path,
        )
    return content


def cases_of_summary(path: Path, summary: dict, name: str, **known) -> list[ReviewCase]:
    """The organs of one summary; ``known`` overrules what it says about files."""
    run = {key: value for key, value in summary.items() if key != "organs"}
    files = {
        "before": existing_file(run.get("input"), path.parent),
        "after": existing_file(run.get("output"), path.parent),
        "image": existing_file(run.get("image"), path.parent),
        **{key: value for key, value in known.items() if value is not None},
    }
    cases = []
    for organ in summary["organs"]:
        label = organ.get("label")
        label = label if isinstance(label, int | str) and not isinstance(label, bool) else None
        several = len(summary["organs"]) + len(summary.get("not_refined") or ()) > 1
        surface = files.get("surface") or (files["after"] and surface_beside(files["after"], label, several))
        full_name = f"{name} · {organ.get('organ', label)}" if several else name
        own = {what: _mask_in(files[what], label) for what in ("before", "after")}
        label = None if own["after"] != files["after"] else label  # a mask holds no other organ
        cases.append(ReviewCase(full_name, label, organ=organ, run=run, **{**files, **own, "surface": surface}))
    return cases


def _mask_in(place: Path | None, label: int | str | None) -> Path | None:
    """The mask of an organ where a result is a folder of masks; else the file itself."""
    if place is None or not isdir(place):
        return place
    masks = (place / f"{label}{suffix}" for suffix in LABEL_SUFFIXES)
    return next((mask for mask in masks if isfile(mask)), place)


def surface_beside(after: Path, label, several: bool) -> Path | None:
    """The mesh that was written for a result, under its name: beside it, or where a batch puts meshes."""
    stem = after.name[: len(after.name) - len(file_suffix(after))] + (f"_{label}" if several else "")
    folders = (after.parent, after.parent / "surfaces")
    places = [folder / f"{stem}{suffix}" for folder in folders for suffix in (".vtp", ".vtk")]
    return next((path for path in places if isfile(path)), None)


def existing_file(text, folder: Path) -> Path | None:
    """A named place as it is, else beside what names it (results are moved as a whole); the plain path if neither."""
    if not isinstance(text, str) or not text:
        return None
    path = Path(os.path.expanduser(text))
    return next((place for place in (path, folder / path, folder / path.name) if exists(place)), path)
