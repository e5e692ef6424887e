"""The table on disk while it grows: one JSON object a line, and the settings that all its rows share."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.io.atomic import atomic_path
from ReShapeITLib.restoration.store import restoration_sha256
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import read_info, read_shape_sha256

from .study import Study

ROWS_FILE = "rows.jsonl"
SETTINGS_FILE = "settings.json"


def row_key(row: dict) -> tuple[str, str, str, str]:
    """What a row is about: case, family, which input of that family, method."""
    return row["case"], row["family"], row["variant"], row["method"]


def read_rows(path: Path) -> list[dict]:
    """The rows that are there; half a line at the end, which a killed run leaves, is cut off the file.

    Raises:
        BadInputError: a line is not a row.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with open(path, "r+b") as file:
            file.truncate(len(whole))
    try:
        rows = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
        for row in rows:
            row_key(row)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is damaged; delete it, or choose another folder for the output.") from error
    return rows


def check_settings(study: Study, folder: Path) -> None:
    """Refuse to add rows to those of other settings; keep the settings for the next start.

    Cases, families and methods may be added: only what stands under the same name must be the same.

    Raises:
        BadInputError: the folder holds rows of another study.
    """
    path = folder / SETTINGS_FILE
    told = _settings(study)
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        clashes = [name for name in before if name in told and before[name] != told[name]]
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{path} is damaged; delete the folder, or choose another one.") from error
    if clashes:
        raise BadInputError(
            f"{folder} holds rows made with another '{clashes[0]}'; choose another folder for the output."
        )
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**before, **told}, indent=2) + "\n", encoding="utf-8")


def _settings(study: Study) -> dict:
    """What a row depends on, by the name that a complaint gives it."""
    file = find_template(study.template or study.organ)
    keys = ("organ", "label", "label_modulo", "preset", "nsd_tolerance_mm", "seed")
    settings = {key: getattr(study, key) for key in keys}
    settings |= {"template": read_info(file)[2], "training": [path.name for path in study.training]}
    if study.calibrations:
        settings["calibrations"] = str(study.calibrations)
    for use, network in study.restorations(read_shape_sha256(file)).items():
        settings[use] = restoration_sha256(network)
    # Names of more predictions only add inputs.
    families = {f.name: {k: v for k, v in asdict(f).items() if k != "names"} for f in study.families}
    settings |= {f"family {name}": told for name, told in families.items()}
    methods = {f"method {m.label}": {"name": m.name, **m.options} for m in study.methods}
    return json.loads(json.dumps(settings | methods, default=str))
