"""Where ReShapeITLib is, and how a Python process of its own finds it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def libraryFolders() -> list[str]:
    """Folders that hold ReShapeITLib: beside the scripted modules of an installed extension, or a checkout's root."""
    return [str(folder) for folder in Path(__file__).resolve().parents[1:3] if (folder / "ReShapeITLib").is_dir()]


def addLibraryToPath() -> None:
    """Make ReShapeITLib importable in this process."""
    for folder in libraryFolders():
        if folder not in sys.path:
            sys.path.append(folder)


def pythonProgram() -> str:
    """PythonSlicer within Slicer, else the Python that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


def processEnvironment(changes=None) -> dict[str, str]:
    """Environment of a Python process that finds ReShapeITLib and writes UTF-8 at once.

    :param changes: environment variables on top of those of this process.
    """
    merged = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **(changes or {})}
    given = [merged["PYTHONPATH"]] if merged.get("PYTHONPATH") else []
    return {**merged, "PYTHONPATH": os.pathsep.join([*libraryFolders(), *given])}
