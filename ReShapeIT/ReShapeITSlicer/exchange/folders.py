"""Temporary folders of runs: made for this user alone, removed when Windows or an antivirus lets go of their files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

PREFIX, MARKER = "reshapeit-", "reshapeit-exchange.json"
PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LEFTOVER_S = 24 * 3600


def removeLeftovers(folder: str | None = None) -> int:
    """Remove what runs of earlier sessions could not; returns how many folders went.

    Leftovers carry the marker of ``Exchange`` and belong to a process that is gone, or are older than a day.

    :param folder: the temporary folder that the runs used; None for the system's.
    """
    try:
        found = [path for path in Path(folder or tempfile.gettempdir()).glob(f"{PREFIX}*") if not path.is_symlink()]
    except OSError:
        return 0
    return sum(_removed(path) for path in found if path not in _open and _isLeftover(path))


_open: set[Path] = set()  # folders of runs of this process


def newFolder(parent: str | None) -> Path:
    """A folder that nobody else may read, with the marker of its owner.

    :raises OSError: there is no place for it.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    _open.add(folder)
    (folder / MARKER).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
    return folder


def removeFolder(folder: Path) -> None:
    """Remove a folder of a run; what something still holds is tried again for some seconds, in the background."""
    if not _removed(folder):
        threading.Thread(target=_removeSoon, args=(folder,), daemon=True).start()


def _isLeftover(folder: Path) -> bool:
    try:
        owner = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        age = time.time() - (folder / MARKER).stat().st_mtime
        isOwn = sys.platform == "win32" or folder.stat().st_uid == os.getuid()
        gone = owner["host"] == socket.gethostname() and not _isRunning(int(owner["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isOwn and (gone or age > LEFTOVER_S)


def _isRunning(pid: int) -> bool:
    """Whether there is such a process; True where nobody here can tell."""
    try:
        import psutil
    except ImportError:
        if sys.platform == "win32":  # os.kill would end it there
            return True
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True
    return psutil.pid_exists(pid)


def _removed(folder: Path) -> bool:
    """Remove a folder as far as that is possible; the marker goes last, so that a later session knows what is left."""
    for path in folder.glob("*"):
        if path.name != MARKER:
            with contextlib.suppress(OSError):
                path.unlink()
    if {path.name for path in folder.glob("*")} <= {MARKER}:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        return False
    _open.discard(folder)
    return True


def _removeSoon(folder: Path) -> None:
    for pause in PAUSES_S:
        time.sleep(pause)
        if _removed(folder):
            return
    _open.discard(folder)
