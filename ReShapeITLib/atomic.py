"""Writing files so that a failed write never harms what was there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from .errors import BadInputError

COMPOUND_SUFFIXES = (".seg.nrrd", ".nii.gz")


def file_suffix(path) -> str:
    """Suffix of ``path`` in lower case, ``.nii.gz`` and ``.seg.nrrd`` as one suffix."""
    name = Path(path).name.lower()
    for suffix in COMPOUND_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return Path(name).suffix


def require_file(path, what: str = "file") -> Path:
    """``path`` as a Path, or BadInputError where it is missing, a folder or unreadable."""
    path = Path(path)
    if path.is_dir():
        raise BadInputError(f"{path} is a folder: give the path of a {what}.")
    if not path.is_file():
        raise BadInputError(f"There is no {what} {path}: check the path.")
    if not os.access(path, os.R_OK):
        raise BadInputError(f"The {what} {path} may not be read: change its permissions.")
    return path


@contextlib.contextmanager
def atomic_path(target, suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that takes its place when the block ends without an error.

    The temporary name ends like the target (``suffix`` overrides), so writers that choose the format by the
    name work. It is removed when the block fails, and ``target`` is then as it was.

    Raises:
        BadInputError: the operating system refused (missing folder, no permission, disk full ...).
    """
    target = Path(target)
    if target.is_dir():
        raise BadInputError(f"Cannot write {target}: it is a folder, give a file name.")
    ending = file_suffix(target) if suffix is None else suffix
    # Not mkstemp: its 0600 permissions would end up on the result instead of the user's default.
    temporary = target.with_name(f".tmp-{secrets.token_hex(6)}{ending}")
    try:
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
        temporary.touch()  # a folder that takes no files is told here, in the same words for every writer
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise BadInputError(f"Cannot write {target}: {_remedy(error, target)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(target) -> None:
    """Raise what ``atomic_path`` would raise for ``target``, before any work is done for it."""
    with contextlib.suppress(_Probe), atomic_path(target):
        raise _Probe


class _Probe(Exception):
    """Leaves ``atomic_path`` without writing."""


def _remedy(error: OSError, target: Path) -> str:
    """What the operating system said, with what to do about it."""
    if error.errno == errno.ENOENT and not target.parent.is_dir():
        return f"the folder {target.parent} does not exist, create it first."
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full, free some space or choose another folder."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder {target.parent} or the file is write-protected, choose another folder."
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long, choose a shorter one."
    return f"{error.strerror or error}, choose another place."
