"""Settings from YAML files: plain values only, and no more of them than settings can be."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import BadInputError

_MOST_BYTES, _MOST_VALUES = 10_000_000, 1_000_000


def yaml_mapping(path: str | Path, where: str, empty: dict | None = None) -> dict:
    """The 'key: value' lines of a YAML file, read by ``yaml.safe_load``.

    Args:
        path: of the file.
        where: what to call it in errors.
        empty: what a file without content stands for; None where it is an error.

    Raises:
        BadInputError: the file cannot be read, is no YAML or holds something else.
    """
    import yaml

    try:
        path = Path(path)
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise BadInputError("{where} is too large for settings", "check the path", "settings.large", where=where)
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or empty
    except OSError as error:
        raise BadInputError(
            "{where} cannot be read ({reason})",
            "check the path",
            "settings.unreadable",
            where=where,
            reason=error.strerror,
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        # ValueError: bytes that are no UTF-8, and dates and numbers that are none.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInputError(
            "{where} is not valid YAML ({reason})", "correct that line", "settings.yaml", where=where, reason=reason
        ) from error
    if not isinstance(values, dict):
        raise BadInputError(
            "{where} is no list of settings", "write lines such as 'key: value'", "settings.no_mapping", where=where
        )
    if _count(values) > _MOST_VALUES:
        raise BadInputError(
            "{where} repeats itself by references (&, *) too often",
            "write its values out",
            "settings.references",
            where=where,
        )
    return values


def _count(values: object) -> int:
    """How many values there are when every reference is followed; stops counting when there are too many.

    A few lines of references to references stand for more values than fit into any memory, and every message that
    quotes one would write them all.
    """
    waiting, count = [values], 0
    while waiting and count <= _MOST_VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    return count
