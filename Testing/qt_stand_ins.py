"""``import_qt()``: the panel's packages importable without the application."""

from __future__ import annotations

from types import ModuleType


def import_qt() -> ModuleType:
    """The module ``qt``; ImportError where PySide6 or slicer-core is absent."""
    from Testing.Slicer import slicer_python

    slicer_python.install()
    import qt

    return qt
