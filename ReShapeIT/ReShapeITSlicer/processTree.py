"""A child process with all its descendants, which can be ended at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

CREATE_NO_WINDOW, CREATE_NEW_PROCESS_GROUP = 0x08000000, 0x00000200  # subprocess has these names on Windows only


def quietProcess(ownGroup: bool = False) -> dict:
    """Keyword arguments for ``subprocess.run`` and ``Popen`` of a child that opens no console window on Windows.

    :param ownGroup: also a session (on Windows a process group) of its own, which ``killTree`` needs.
    """
    if sys.platform == "win32":
        return {"creationflags": CREATE_NO_WINDOW | (CREATE_NEW_PROCESS_GROUP if ownGroup else 0)}
    return {"start_new_session": True} if ownGroup else {}


def startProcess(command, environment, stdin: int = subprocess.DEVNULL) -> subprocess.Popen:
    """Start a program in a session of its own with text pipes, so that it can be ended with all its children.

    :param stdin: ``subprocess.PIPE`` for a program that is told something.
    """
    return subprocess.Popen(
        command,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        **quietProcess(ownGroup=True),
    )


def killTree(process: subprocess.Popen, seconds: float = 1.0) -> bool:
    """End a process and everything it started; True where it is gone within the time."""
    descendants = _descendants(process.pid)
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # taskkill may hang; there are other ways below
        if sys.platform == "win32":
            if process.poll() is None:
                command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
                subprocess.run(command, check=False, capture_output=True, timeout=seconds, **quietProcess())
        else:
            # Its session has its own group, which outlives the process as long as a child is left in it.
            os.killpg(process.pid, signal.SIGKILL)
    for child in descendants:
        with contextlib.suppress(Exception):  # it went by itself
            child.kill()
    with contextlib.suppress(OSError):
        process.kill()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    # Windows removes no file that a descendant still holds.
    return sys.platform != "win32" or _areGone(descendants, seconds)


def _areGone(processes: list, seconds: float) -> bool:
    if not processes:
        return True
    import psutil

    return not psutil.wait_procs(processes, timeout=seconds)[1]


def _descendants(pid: int) -> list:
    """psutil's processes below this one; where psutil is not installed the process group has to do."""
    try:
        import psutil
    except ImportError:
        return []
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
