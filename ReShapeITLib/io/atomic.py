"""Writing files so that a failed write never harms what was there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import CANNOT_WRITE, DISK_FULL, BadInputError

OTHER_FORMAT = "output.format"
FULL = (errno.ENOSPC, errno.EDQUOT)
FilePath = str | os.PathLike[str]
COMPOUND_SUFFIXES = (".seg.nrrd", ".nii.gz")


def file_suffix(path: FilePath) -> str:
    """Suffix of ``path`` in lower case, ``.nii.gz`` and ``.seg.nrrd`` as one suffix."""
    name = Path(path).name.lower()
    for suffix in COMPOUND_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return Path(name).suffix


def require_file(path: FilePath, what: str = "file") -> Path:
    """``path`` as a Path, or BadInputError where it is missing, a folder or unreadable."""
    path = Path(path)
    if path.is_dir():
        raise BadInputError("{path} is a folder", "give the path of a {what}", "input.folder", path=path, what=what)
    if not path.is_file():
        raise BadInputError("There is no {what} {path}", "check the path", "input.missing", path=path, what=what)
    if not os.access(path, os.R_OK):
        raise BadInputError(
            "The {what} {path} may not be read", "change its permissions", "input.protected", path=path, what=what
        )
    return path


@contextlib.contextmanager
def atomic_path(target: FilePath, suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that takes its place when the block ends without an error.

    The temporary name ends like the target (``suffix`` overrides), so writers that choose the format by the
    name work. It is removed when the block fails, and ``target`` is then as it was.

    Raises:
        BadInputError: the operating system refused (missing folder, no permission, disk full ...).
    """
    target = Path(target)
    if target.is_dir():
        raise cannot_write(target, "it is a folder", "give a file name")
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
        raise refused(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(target: FilePath) -> None:
    """Raise what ``atomic_path`` would raise for ``target``, before any work is done for it."""
    with contextlib.suppress(_Probe), atomic_path(target):
        raise _Probe


class _Probe(Exception):
    """Leaves ``atomic_path`` without writing."""


def make_folder(folder: FilePath) -> None:
    """Make a folder with those above it, where it is not there yet.

    Raises:
        BadInputError: the operating system refused.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(error, folder) from error


def cannot_write(target: FilePath, reason: str, way: str) -> BadInputError:
    """What to raise where an output cannot be written, which is no fault of the input's; ``way`` is what to do."""
    return BadInputError("Cannot write {path}: {reason}", "{way}", CANNOT_WRITE, path=target, reason=reason, way=way)


def not_in_this_format(target: FilePath, reason: str, instead: str) -> BadInputError:
    """What to raise where the output's format does not hold what is to be written; ``instead`` is one that does."""
    words, hint = "{path} cannot hold the result: {reason}", "write {instead} instead"
    return BadInputError(words, hint, OTHER_FORMAT, path=target, reason=reason, instead=instead)


def came_out_broken(target: FilePath) -> BadInputError:
    """What to raise where a file that was written cannot be read again."""
    reason = "the file came out broken, perhaps because the disk is full"
    return cannot_write(target, reason, "free some space or choose another folder")


def refused(error: OSError, target: Path) -> BadInputError:
    """What the operating system said, with what to do about it."""
    if error.errno == errno.ENOENT and not target.parent.is_dir():
        return cannot_write(target, f"the folder {target.parent} does not exist", "create it first")
    if error.errno in (*FULL, errno.EFBIG):
        words, hint = "Cannot write {path}: the disk is full", "free some space or choose another folder"
        return BadInputError(words, hint, DISK_FULL, path=target)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"the folder {target.parent} or the file is write-protected"
        return cannot_write(target, reason, "choose another folder")
    if error.errno == errno.ENAMETOOLONG:
        return cannot_write(target, "the name is too long", "choose a shorter one")
    return cannot_write(target, error.strerror or str(error), "choose another place")
