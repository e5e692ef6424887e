"""What is done, on disk: one record for each case, written last, and the lock of a batch's folder.

A record is renamed into place when the results of its case are complete, so a case without one is open, whatever
happened. Clocks are never compared; times in the records are there to be read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..core.errors import BadInputError
from ..image.files import CT, NUMBERS, available_image_model
from ..image.reading import files_of_image
from ..io.atomic import atomic_path, require_file
from ..job.inputs.by_name import AUTO
from ..job.labels import parse_templates
from ..job.pieces.pairs import pair_of
from ..refinement.decision.calibration import calibration
from ..restoration.store import chosen_networks
from ..templates.store import available_templates, find_template
from ..templates.template import read_info, read_shape_sha256
from .cases import BatchCase, BatchOptions

STATE_FOLDER = ".batch"
DONE, REFUSED, FAILED = "done", "refused", "failed"
# Options that say what may be done and how, not what comes of it.
_WITHOUT_INFLUENCE = ("non_commercial", "low_memory")
_IMAGE, _POINTS = "image", ("include", "exclude")  # what is in these files counts, not their paths
# All that the first records told; of later options only what is not the default counts.
_FIRST_OPTIONS = (
    "preset",
    "device",
    "seed",
    "force",
    "restoration",
    "sparse",
    "keep_union",
    "template",
    "label",
    "surface",
    "reports",
)


def record_path(case: BatchCase) -> Path:
    """Where the record of a case lies."""
    return case.folder / STATE_FOLDER / "cases" / f"{case.name}.json"


def write_record(case: BatchCase, record: dict) -> None:
    """Say that a case is over.

    Args:
        record: ``status``, ``message``, ``fingerprint`` and what else the table shows.
    """
    path = record_path(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        _flush(temporary)


def read_record(case: BatchCase) -> dict | None:
    """The record of a case; None where there is none, or where it is damaged."""
    try:
        record = json.loads(record_path(case).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "status" in record and "fingerprint" in record else None


def fingerprint(case: BatchCase) -> str:
    """SHA-256 over all that the results of a case depend on: input, image, points, options, template, network, version.

    Raises:
        BadInputError: there is no such input, template or restoration network.
        OSError: the input cannot be read to its end.
    """
    models, options = model_checksums(case.options), case.as_dict()["options"]
    image, points = options[_IMAGE], {name: options[name] for name in _POINTS if options[name]}
    for name in (*_WITHOUT_INFLUENCE, _IMAGE, *_POINTS):
        del options[name]
    for name, value in asdict(BatchOptions()).items():  # records of before an option stay
        if name not in _FIRST_OPTIONS and options.get(name) == value:
            del options[name]
    told = json.dumps([__version__, options, models], sort_keys=True)
    digest = hashlib.sha256(told.encode())
    read = image_files(image) if image else []
    for path in (*_files_of(case.input), *read):
        if path != case.input and path not in read:
            digest.update(f"\0{path.relative_to(case.input).as_posix()}\0".encode())
        with open(require_file(path, "input"), "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    for name, file in points.items():
        digest.update(f"\0{name}\0".encode() + require_file(file, "points").read_bytes())
    return digest.hexdigest()


def image_files(image: str) -> list[Path]:
    """The image's files, and the network and numbers that say what it shows."""
    network = available_image_model(CT)
    return [*files_of_image(Path(image)), *([network, network.with_name(NUMBERS)] if network else [])]


def _files_of(source: Path) -> list[Path]:
    """A file itself; all files of a folder."""
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def model_checksums(options: BatchOptions) -> list[list[str]]:
    """SHA-256 of template, restoration network and that for detail ("" where there is none) of each label, and of the
    numbers that decide.

    Raises:
        BadInputError: there is no such template or restoration network, or the labels are malformed.
    """
    numbers = json.dumps(asdict(calibration()), sort_keys=True)
    checksums = [[hashlib.sha256(numbers.encode()).hexdigest()]]
    for file in template_files(options):
        networks = chosen_networks(options.restoration, read_shape_sha256(file), options.sparse)
        checksums.append([read_info(file)[2], *networks.identity()])
    return checksums


def template_files(options: BatchOptions) -> list[Path]:
    """The template file of each label; all there are where the organs' names say which.

    Raises:
        BadInputError: there is no such template, or the labels are malformed.
    """
    names = parse_templates(options.template, options.label or None).values()
    if AUTO in names:
        return list(available_templates().values())
    return [find_template(one) for name in names for one in pair_of(name) or (name,)]


def is_done(case: BatchCase) -> bool:
    """True where the results of a case are there and made from what is there now.

    Refused inputs count: they would be refused again. Failures do not.
    """
    record = read_record(case)
    if record is None or record["status"] not in (DONE, REFUSED):
        return False
    results = [path for path in (case.output, case.report) if path] if record["status"] == DONE else []
    try:
        return all(path.exists() for path in results) and record["fingerprint"] == fingerprint(case)
    except (BadInputError, OSError):
        return False


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a batch's folder: two batches at once would do everything twice.

    The operating system lets go of it when the process ends, however that happens.

    Raises:
        BadInputError: another batch holds it.
    """
    from filelock import FileLock, Timeout

    path = folder / STATE_FOLDER / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadInputError(
            "Another batch works in {path}", "wait for it or choose another --out", "batch.locked", path=folder
        ) from None
    try:
        yield
    finally:
        lock.release()


def _flush(path: Path) -> None:
    """To the disk itself, before the rename: after a power failure there must be no empty record."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
