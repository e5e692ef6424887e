"""VTK's readers in a process of their own: a damaged .vtp or .vtk makes them write beyond their memory.

The child sends arrays without pickle, or nothing: a crash, too much memory or too much time end the child alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import BadInputError
from ..core.mesh import TriangleSurface
from .itk_image import damaged

_MOST_SECONDS, _MOST_PROCESSOR_SECONDS = 120.0, 20  # damaged counts make VTK count for minutes
_MOST_BYTES, _MOST_BYTES_PER_BYTE = 2 << 30, 30  # of memory: for VTK itself, and for each byte of the file
_NO_FACES_CODE = 3
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # of Windows
# The parent's search path, not the current folder, in which a file may be called like a module.
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from ReShapeITLib.io.vtk_process import child; child(sys.argv[1])"


def read_with_vtk(path: Path, most_seconds: float = _MOST_SECONDS) -> tuple[TriangleSurface, str]:
    """The mesh of a .vtp or .vtk in the file's frame, and what the file's field "SPACE" says ("" where it has none).

    Raises:
        BadInputError: the file is damaged or has no faces, or reading takes too much memory or time.
    """
    search = [*filter(None, sys.path), str(Path(__file__).parents[2])]
    command = [sys.executable, "-c", _PROGRAM, str(path.absolute()), *search]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    nowhere = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command,
            check=False,
            env=environment,
            timeout=most_seconds,
            creationflags=_NO_WINDOW,
            stdin=nowhere,
            stdout=subprocess.PIPE,
            stderr=nowhere,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            "Reading {input} takes more than {seconds} s, it is damaged or too large",
            "export it again with fewer faces",
            "surface.slow",
            input=path,
            seconds=f"{most_seconds:g}",
        ) from error
    if done.returncode == _NO_FACES_CODE:
        raise BadInputError(
            "{input} has no usable faces",
            "give a surface mesh of triangles or polygons",
            "surface.unusable",
            input=path,
        )
    try:
        stream = io.BytesIO(done.stdout)
        vertices, faces, normals, names = (np.load(stream, allow_pickle=False) for _ in range(4))
        frame, *names = names.tolist()
        data = {name: np.load(stream, allow_pickle=False) for name in names}
        return TriangleSurface(vertices, faces, normals, data), frame
    except (ValueError, EOFError, TypeError) as error:
        raise damaged(path) from error


def child(path: str) -> None:
    """Read a file and send it: vertices, faces, normals, the frame before the names of the point data, and the data."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # VTK prints there
    polydata = _read(Path(path))
    if polydata is None:
        sys.exit(1)
    try:
        surface = TriangleSurface.from_vtk(polydata)
    except (BadInputError, ValueError, AttributeError, TypeError):
        sys.exit(_NO_FACES_CODE)
    space = polydata.GetFieldData().GetAbstractArray("SPACE")
    named = space.GetValue(0) if space and space.IsA("vtkStringArray") and space.GetNumberOfValues() else ""
    sent, data = io.BytesIO(), surface.point_data
    for array in (surface.vertices_ras, surface.faces, surface.normals, np.array([named, *data]), *data.values()):
        np.save(sent, array, allow_pickle=False)
    with out:
        out.write(sent.getbuffer())


def _read(path: Path) -> Any:
    """``vtkPolyData``, None where VTK meets an error."""
    from vtkmodules.util.numpy_support import vtk_to_numpy  # noqa: F401 (loads before memory is limited)
    from vtkmodules.vtkIOLegacy import vtkPolyDataReader
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    reader = vtkXMLPolyDataReader() if path.suffix.lower() == ".vtp" else vtkPolyDataReader()
    reader.SetFileName(str(path))
    _limit_resources(_MOST_BYTES + _MOST_BYTES_PER_BYTE * path.stat().st_size)
    with vtk_errors(reader, reader.GetExecutive()) as errors:
        reader.Update()
    return None if errors or reader.GetErrorCode() else reader.GetOutput()


def _limit_resources(n_bytes: int) -> None:
    """Limit memory and processor time of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows, where the parent's limit of time is all
        return
    for limit, wanted in (
        (resource.RLIMIT_AS, n_bytes),
        (resource.RLIMIT_CPU, _MOST_PROCESSOR_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        most = resource.getrlimit(limit)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS knows RLIMIT_AS and refuses it
            resource.setrlimit(limit, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


@contextlib.contextmanager
def vtk_errors(*algorithms: Any) -> Iterator[list[str]]:
    """Collect what VTK has to complain about, in a list that is complete when the block ends.

    Objects tell of errors by events (a listener keeps them off the console); but that the data of a legacy file ends
    early comes as a general warning only, which reaches nothing but the output window.
    """
    from vtkmodules.vtkCommonCore import vtkOutputWindow, vtkStringOutputWindow

    errors: list[str] = []
    for algorithm in algorithms:
        algorithm.AddObserver("ErrorEvent", lambda _object, event: errors.append(event))
    window, before = vtkStringOutputWindow(), vtkOutputWindow.GetInstance()
    vtkOutputWindow.SetInstance(window)
    try:
        yield errors
    finally:
        vtkOutputWindow.SetInstance(before)
        if "error" in window.GetOutput().lower():
            errors.append(window.GetOutput())
