"""How small programs of the panel run in a Python of their own that finds ReShapeITLib."""

import os
import shutil
import sys
from pathlib import Path


def pythonProgram() -> str:
    """PythonSlicer within Slicer, else the Python that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


def libraryEnvironment() -> dict[str, str]:
    """Environment variables of such a program.

    ReShapeITLib lies beside the scripted modules of an installed extension, one folder up in a checkout.
    """
    roots = [str(folder) for folder in Path(__file__).resolve().parents[1:3] if (folder / "ReShapeITLib").is_dir()]
    given = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*roots, *given])}
