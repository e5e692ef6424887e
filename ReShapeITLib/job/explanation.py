"""Any error in words for the user, with a code and an exit code."""

from __future__ import annotations

from ..core.device import is_out_of_memory
from ..core.errors import (
    DISK_FULL,
    MISSING_PACKAGE,
    OUT_OF_MEMORY,
    BadInputError,
    CancelledError,
    ReShapeITError,
)
from ..io.atomic import FULL

CPU_MEMORY_IS_FULL = ("can't allocate memory", "not enough memory")  # torch's, on Windows the second


def explained(error: BaseException) -> ReShapeITError:
    """An error in words for the user: what happened and what to do, with its exit code."""
    if isinstance(error, ReShapeITError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return CancelledError("cancelled", "nothing was written", "cancelled")
    if is_out_of_memory(error):
        return ReShapeITError(
            "The GPU has too little free memory", "use --device cpu or close other programs", OUT_OF_MEMORY
        )
    if isinstance(error, MemoryError) or any(words in str(error) for words in CPU_MEMORY_IS_FULL):
        return ReShapeITError(
            "There is too little free memory", "close other programs, crop the input or use a draft", OUT_OF_MEMORY
        )
    if isinstance(error, ImportError):
        return _missing_package(error)
    if isinstance(error, RuntimeError) and "Numpy is not available" in str(error):  # torch's words
        return ReShapeITError(
            "PyTorch {torch} was built for NumPy 1 and does not work with NumPy {numpy}",
            "install numpy<2 or torch>=2.3",
            "torch_numpy",
            torch=_version("torch"),
            numpy=_version("numpy"),
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return BadInputError(
            "The disk is full ({path})",
            "free some space or choose another folder",
            DISK_FULL,
            path=error.filename or error,
        )
    if isinstance(error, OSError) and error.filename:
        return BadInputError(
            "{path}: {reason}",
            "check the path and its permissions",
            "file.refused",
            path=error.filename,
            reason=error.strerror,
        )
    return ReShapeITError(
        "Unexpected {kind}: {reason}",
        "run again with --debug to see where",
        "unexpected",
        kind=type(error).__name__,
        reason=error,
    )


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _missing_package(error: ImportError) -> ReShapeITError:
    package = (error.name or "").partition(".")[0]
    hint = "install ReShapeITLib's requirements again"
    if isinstance(error, ModuleNotFoundError):
        return ReShapeITError("The Python package {package} is missing", hint, MISSING_PACKAGE, package=package)
    words = "The Python package {package} cannot be loaded ({reason})"
    package = package or "that is asked for"
    return ReShapeITError(words, hint, MISSING_PACKAGE, package=package, reason=error)
