"""Slicer's own Python where there is a checkout of Slicer, stand-ins with the same signatures elsewhere.

``install()`` puts ``qt``, ``ctk``, ``slicer.i18n``, ``slicer.cli``, ``slicer.ScriptedLoadableModule``,
``slicer.parameterNodeWrapper`` and ``SampleData`` in place, once for the process. The environment variable
``RESHAPEIT_SLICER_SOURCE`` names a checkout, or says ``stand-ins``; without it ``~/.cache/reshapeit/Slicer`` is taken
where it is there (``make slicer-source``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

VARIABLE, STAND_INS = "RESHAPEIT_SLICER_SOURCE", "stand-ins"
CACHE = Path.home() / ".cache" / "reshapeit" / "Slicer"
PYTHON, SAMPLE_DATA = Path("Base", "Python", "slicer"), Path("Modules", "Scripted", "SampleData")
PARTS = ("i18n", "cli", "ScriptedLoadableModule", "parameterNodeWrapper")
ROOT = Path(__file__).resolve().parents[2]


def slicer_source() -> Path | None:
    """The checkout of Slicer to use; None for the stand-ins.

    Raises:
        FileNotFoundError: the environment variable names a folder that is no checkout.
    """
    named = os.environ.get(VARIABLE, "")
    if named == STAND_INS:
        return None
    source = Path(named) if named else CACHE
    if (source / PYTHON / "parameterNodeWrapper").is_dir() and (source / SAMPLE_DATA).is_dir():
        return source
    if named:
        raise FileNotFoundError(f"{VARIABLE} names {source}, which holds no {PYTHON} and {SAMPLE_DATA}")
    return None


def which_form() -> str:
    """One line for people: which of the two is used."""
    source = slicer_source()
    return f"Slicer's own Python ({source})" if source else "stand-ins for Slicer's own Python ('make slicer-source')"


def install() -> Path | None:
    """Put all of it in place; the checkout that is used, None for the stand-ins.

    Raises:
        ImportError: slicer-core or PySide6 is absent.
    """
    from . import pythonqt, widgets

    source = slicer_source()
    import slicer

    if getattr(slicer, "_reshapeit_form", None) is not None:
        return source
    pythonqt.install(widgets.WIDGETS)
    sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "ReShapeIT")) if path not in sys.path]
    for kind in widgets.WIDGETS:
        if not kind.__name__.startswith("ctk"):
            setattr(slicer, kind.__name__, pythonqt.class_for(kind))
    from PySide6 import QtWidgets

    for name in (*widgets.NAMES_ONLY, "qSlicerScriptedLoadableModule"):
        setattr(slicer, name, pythonqt.class_for(type(name, (QtWidgets.QWidget,), {})))
    if source:
        slicer.__path__ = [*slicer.__path__, str(source / PYTHON)]
        sys.path.append(str(source / SAMPLE_DATA))
    slicer.util = importlib.import_module("slicer.util")
    for part in PARTS:
        name = f"slicer.{part}"
        setattr(slicer, part, importlib.import_module(name) if source else _stand_in(name, part))
    if not source:
        _stand_in("SampleData", "SampleData")
    slicer._reshapeit_form = str(source or STAND_INS)
    return source


def _stand_in(name: str, part: str) -> ModuleType:
    """A stand-in as the module of this name."""
    path = Path(__file__).parent / "stand_ins" / f"{part}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
