"""Templates from an index on the network. There is no built-in address: nothing is asked for unless a user names one.

An index is a JSON file: ``{"format": "reshapeit-index-1", "templates": [{"name": "liver", "url": "liver.safetensors",
"bytes": 4100000, "sha256": "...", "licence": "CC-BY-4.0"}, ...]}``; sizes and checksums are of the files as a whole,
addresses may be relative to the index and must be on its host.
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BadInputError
from ..io.atomic import atomic_path
from ..io.download import checked_url, host_of, read_small, save_file
from .store import SUFFIX

FORMAT = "reshapeit-index-1"
MOST_INDEX_BYTES, MOST_TEMPLATE_BYTES = 1_000_000, 500_000_000
# No dots and no separators, so a name cannot lead out of the folder; no names that Windows keeps for devices.
_NAME = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)$)[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class IndexEntry:
    """One template that an index offers.

    Args:
        name: under which it will be found.
        url: of its file, on the index's host.
        n_bytes, sha256: of the file.
        licence: as the index says; the file itself says it again.
    """

    name: str
    url: str
    n_bytes: int
    sha256: str
    licence: str


def read_index(url: str, context: ssl.SSLContext | None = None) -> dict[str, IndexEntry]:
    """The templates of an index by name.

    Args:
        url: HTTPS address of the index.
        context: of TLS; the system's certificates where None.

    Raises:
        BadInputError: the index cannot be fetched, or it or an entry is malformed.
    """
    return parse_index(read_small(checked_url(url), MOST_INDEX_BYTES, context), url)


def parse_index(content: bytes, url: str) -> dict[str, IndexEntry]:
    """The templates of an index by name, from the index's content and address.

    Raises:
        BadInputError: it or an entry is malformed.
    """
    try:
        index = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInputError("{url} is no template index", "check the address", "index.none", url=url) from error
    if not isinstance(index, dict) or index.get("format") != FORMAT or not isinstance(index.get("templates"), list):
        raise BadInputError(
            "{url} is no template index of the format {format}",
            "check the address",
            "index.format",
            url=url,
            format=FORMAT,
        )
    entries = [_entry(values, url) for values in index["templates"]]
    found = {entry.name: entry for entry in entries}
    if len(found) < len(entries):
        raise BadInputError("The index {url} names a template twice", "tell who runs it", "index.twice", url=url)
    return found


def fetch_template(
    entry: IndexEntry,
    folder: Path,
    context: ssl.SSLContext | None = None,
    told: Callable[[float], None] = lambda share: None,
) -> Path:
    """Download one template into a folder and verify it before it takes its place; returns the file.

    A file that is there already is left as it is.

    Args:
        entry: of an index.
        folder: must exist.
        context, told: see ``download.save_file``.

    Raises:
        BadInputError: the download fails or is not the announced file, the file is no template, or the folder does
            not take it.
    """
    from .template import OrganTemplate

    target = Path(folder) / f"{entry.name}{SUFFIX}"
    if target.exists():
        raise BadInputError(
            "{path} is there already", "move it away or name another folder", "fetch.exists", path=target
        )
    with atomic_path(target) as temporary:
        save_file(entry.url, temporary, entry.sha256, entry.n_bytes, context, told)
        try:
            OrganTemplate.load(temporary)
        except BadInputError as error:
            raise BadInputError(
                "{url} is no template that this version can read, so it was not kept",
                "update ReShapeIT, or tell who runs the index",
                "fetch.unreadable",
                url=entry.url,
            ) from error
    return target


def _entry(values: object, index_url: str) -> IndexEntry:
    """An entry, everything in it checked."""
    where = f"The index {index_url}"
    if not isinstance(values, dict):
        raise BadInputError(
            "{where} has an entry that is not one of a template", "tell who runs it", "index.entry", where=where
        )
    name, url, n_bytes, sha256 = (values.get(key) for key in ("name", "url", "bytes", "sha256"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInputError(
            "{where} has a template named {name!r:.80}",
            "tell who runs it to use small letters, digits, - and _",
            "index.name",
            where=where,
            name=name,
        )
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise BadInputError(
            "{where} gives no SHA-256 for '{name}', so it is not fetched",
            "tell who runs it",
            "index.no_checksum",
            where=where,
            name=name,
        )
    if type(n_bytes) is not int or not 0 < n_bytes <= MOST_TEMPLATE_BYTES:
        raise BadInputError(
            "{where} gives '{name}' no size in bytes from 1 to {most}",
            "tell who runs it",
            "index.no_size",
            where=where,
            name=name,
            most=MOST_TEMPLATE_BYTES,
        )
    if not isinstance(url, str) or not url:
        raise BadInputError(
            "{where} gives no address for '{name}'", "tell who runs it", "index.no_address", where=where, name=name
        )
    try:
        url = urllib.parse.urljoin(index_url, url)
    except ValueError as error:
        raise BadInputError(
            "{where} gives '{name}' an address that cannot be used ({reason})",
            "tell who runs it",
            "index.address",
            where=where,
            name=name,
            reason=error,
        ) from error
    # It goes to the terminal, where control characters would act.
    licence = "".join(c for c in str(values.get("licence", ""))[:200] if c.isprintable())
    return IndexEntry(name, checked_url(url, host_of(index_url)), n_bytes, sha256, licence)
