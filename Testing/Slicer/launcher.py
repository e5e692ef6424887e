"""A stand-in for PythonSlicer, which is a CTKAppLauncher: it runs Python as its child and passes the output on.

    python Testing/Slicer/launcher.py PROGRAM ARGUMENT ...

Like the original it ends with the child's exit code, but with 1 and a line on stderr where the child was killed or
crashed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ABNORMAL = "error: [{}] exit abnormally - Report the problem."


def main(argv: list[str]) -> int:
    """Run a program; returns the launcher's exit code."""
    code = subprocess.call(argv)
    if code < 0 or code >= 0xC0000000:  # a signal, on Windows an exception
        print(ABNORMAL.format(argv[0]), file=sys.stderr, flush=True)
        return 1
    return code


def python_launcher(folder: Path, program: str = sys.executable) -> str:
    """An executable file in a folder that runs a Python as PythonSlicer does; returns its path.

    Args:
        folder: where it goes.
        program: the Python, or what stands for it.
    """
    path = Path(folder, "PythonSlicer")
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).resolve()}" "{program}" "$@"\n')
    path.chmod(0o755)
    return str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
