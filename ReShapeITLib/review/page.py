"""The HTML page: one file without links to anything outside, every text escaped, one script known by its hash."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Mapping
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..core.licences import is_non_commercial
from ..job.report import NOTICE
from .measures import NSD_TOLERANCE_MM, number

if TYPE_CHECKING:
    from .reviewed import Reviewed

_MOST_SUGGESTIONS = 12
_IMAGE_WORDS = {
    "unchanged": "the surface lies on the organ's edge",
    "uncertain": "nothing: it does not tell the organ from its surroundings",
    "no_model": "nothing: no image network knows this organ",
    "modality": "nothing: it is no CT in Hounsfield units",
    "sparse": "nothing: the organ is drawn on a few slices",
}
_PARTS = Path(__file__).resolve().parent / "page"


def page_html(reviewed: list[Reviewed], title: str) -> str:
    """The page about cases, in the given order.

    Everything that comes from files is text to the template engine, which escapes it; the page's own
    Content-Security-Policy lets a browser run the one script below and load nothing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    parts = Environment(loader=FileSystemLoader(_PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    parts.filters["figure"] = figure
    script = (_PARTS / "review.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return parts.get_template("review.html").render(
        title=title,
        reviewed=reviewed,
        facts=[_facts(one) for one in reviewed],
        suggestions=[_suggestions(one) for one in reviewed],
        with_truth=any(one.measures.truth_after for one in reviewed),
        tolerance_mm=NSD_TOLERANCE_MM,
        counts={status: sum(one.status == status for one in reviewed) for status in ("failed", "check", "done")},
        licences=_licences(reviewed),
        notice=NOTICE,
        version=__version__,
        written=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        style=Markup((_PARTS / "review.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
    )


def figure(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number for people; a dash where there is none."""
    if value is None or value != value:
        return "–"
    if value in (float("inf"), float("-inf")):
        return "∞"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _facts(one: Reviewed) -> dict[str, str]:
    """What the summary says beside the measures, as rows of name and text."""
    organ, run = one.case.organ, one.case.run
    rows = {
        "decision": one.case.decision,
        "plausibility: volume": _z(number(organ, "plausibility", "volume_z")),
        "plausibility: alignment": _z(number(organ, "plausibility", "alignment_z")),
        "plausibility: form": _far(number(organ, "plausibility", "shape_distance")),
        "closest organ": _text(_nested(organ, "plausibility", "closest_organ")),
        "code energy (1 is typical)": _figure(number(organ, "plausibility", "code_energy"), 2),
        "alignment residual": _figure(number(organ, "alignment", "mean_residual_mm"), 2, " mm"),
        "surface not the given one": _percent(number(organ, "field_share")),
        "islands removed": _figure(number(organ, "islands_removed"), 0),
        "holes filled": _figure(number(organ, "holes_filled"), 0),
        "template": _text(organ.get("template")),
        "template SHA-256": _text(organ.get("template_sha256"))[:16],
        "licence of the template": _licence(organ, "licence"),
        "restoration network": _text(organ.get("restoration")),
        "licence of the network": _licence(organ, "restoration_licence"),
        "network for coarse voxels": _text(organ.get("detail")),
        "licence of that network": _licence(organ, "detail_licence"),
        "image network": _text(_nested(organ, "image", "network")),
        "licence of the image network": _licence(_image(organ), "licence"),
        "preset, seed": ", ".join(text for text in (_text(run.get("preset")), _text(run.get("seed"))) if text),
        "device": _text(organ.get("device")),
        "time": _figure(number(run, "seconds"), 1, " s"),
        "version": _text(run.get("reshapeit_version")),
        "input": _text(one.case.before),
        "output": _text(one.case.after),
        "truth": _text(one.case.truth),
        "image": _text(one.case.image) + ("" if one.case.image is None or exists(one.case.image) else ": not found"),
        "what the image says": _image_says(organ),
    }
    return {name: text for name, text in rows.items() if text}


def _image(organ: Mapping) -> Mapping:
    """What the summary says about the image; empty where it says nothing."""
    told = organ.get("image")
    return told if isinstance(told, dict) else {}


def _image_says(organ: Mapping) -> str:
    """In words, what became of the image that was given to the refinement."""
    status = _text(_nested(organ, "image", "status"))
    if status != "used":
        return _IMAGE_WORDS.get(status, status)
    added, removed = (_figure(number(organ, "image", f"{name}_ml"), 1) for name in ("added", "removed"))
    moved = _percent(number(organ, "image", "moved_share"))
    return f"{moved} of the surface follows it: {added} mL more and {removed} mL less than by shape alone"


def _suggestions(one: Reviewed) -> list[tuple[str, ...]]:
    """Kind, volume, probability, what the image says, place and decision of the largest suggestions, those that are
    least certain first."""
    entries = one.case.organ.get("suggestions")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    largest = sorted(entries, key=lambda entry: -(number(entry, "volume_ml") or 0.0))[:_MOST_SUGGESTIONS]
    largest.sort(key=lambda entry: abs((number(entry, "probability") or 0.0) - 0.5))
    rows = []
    for entry in largest:
        probability, place = number(entry, "probability"), entry.get("centre_ras")
        image = number(entry, "evidence", "image")
        place = place if isinstance(place, list) else []
        numbers = (value for value in place if isinstance(value, int | float))
        rows.append(
            (
                _text(entry.get("kind")),
                _figure(number(entry, "volume_ml"), 1),
                "" if probability is None else f"{probability:.0%}",
                "" if image is None else "agrees" if image > 0.0 else "contradicts",
                ", ".join(figure(value, 0) for value in numbers),
                "yes" if entry.get("taken") is True else "no",
            )
        )
    return rows


def _licences(reviewed: list[Reviewed]) -> list[str]:
    """The licences of all templates and networks used, each once."""
    keys = ("licence", "restoration_licence", "detail_licence")
    entries = [_licence(one.case.organ, key) for one in reviewed for key in keys]
    entries += [_licence(_image(one.case.organ), "licence") for one in reviewed]
    return sorted({entry for entry in entries if entry})


def _licence(organ, key: str) -> str:
    text = _text(organ.get(key))
    return f"{text}: non-commercial use only" if text and is_non_commercial(text) else text


def _nested(entry, *keys: str):
    for key in keys:
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry


def _text(value) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _figure(value: float | None, digits: int, unit: str = "") -> str:
    return "" if value is None else figure(value, digits) + unit


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _z(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} standard deviations from the training cases"


def _far(value: float | None) -> str:
    return "" if value is None else f"distance {value:.1f} from the training cases (about 1 is typical)"
