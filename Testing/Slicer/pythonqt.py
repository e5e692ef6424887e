"""Modules ``qt`` and ``ctk`` on PySide6 that behave as PythonQt, which Slicer uses, does.

PythonQt differs from PySide in what breaks scripts: a property is an attribute (``label.text``, ``box.checked = True``)
and hides the method of its name, enumerations are ints, a slot gets as many arguments as it takes, signals are also
connected by signature (``button.connect("clicked()", slot)``), and an exception in a slot is printed, not raised.
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
import traceback
import weakref
from types import ModuleType
from typing import ClassVar

# Before PySide6 is imported: enumerations that are ints.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x0f")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

PARTS = (QtCore, QtGui, QtWidgets)
# Tracebacks of exceptions in slots, which PythonQt prints: a test that finds one here has found a fault.
slot_errors: list[str] = []

_classes: dict[type, type] = {}
_proxies: weakref.WeakValueDictionary[int, Proxy] = weakref.WeakValueDictionary()
_connections: dict[tuple[int, str], list[tuple[object, object]]] = {}


class Proxy:
    """One Qt object or value as PythonQt would show it."""

    _qt_class = None

    def __init__(self, *arguments, **named):
        self._adopt(self._qt_class(*map(unwrapped, arguments), **{key: unwrapped(v) for key, v in named.items()}))

    @classmethod
    def _of(cls, qt_object):
        proxy = cls.__new__(cls)
        proxy._adopt(qt_object)
        return proxy

    def _adopt(self, qt_object) -> None:
        object.__setattr__(self, "_qt", qt_object)
        if isinstance(qt_object, QtCore.QObject):
            _proxies[_pointer(qt_object)] = self

    def __getattr__(self, name: str):
        if name == "_qt":
            raise AttributeError(name)
        qt_object = self._qt
        if isinstance(qt_object, QtCore.QObject):
            if name == "className":
                return lambda: qt_object.metaObject().className()
            if _is_property(qt_object, _property_name(name)):
                return wrapped(qt_object.property(_property_name(name)))
        value = getattr(qt_object, name)
        if isinstance(value, QtCore.SignalInstance):
            return Signal(qt_object, name)
        return _method(value) if callable(value) and not isinstance(value, type) else value

    def __setattr__(self, name: str, value) -> None:
        qt_object, qt_name = self._qt, _property_name(name)
        if isinstance(qt_object, QtCore.QObject) and _is_property(qt_object, qt_name):
            if not qt_object.setProperty(qt_name, unwrapped(value)):
                raise ValueError(f"{type(self).__name__}.{name} does not take {value!r}")
            return
        object.__setattr__(self, name, value)

    def connect(self, signature: str, slot) -> bool:
        """Connect a signal given as "clicked()" or "currentIndexChanged(int)"."""
        return Signal(self._qt, *_signal_parts(signature)).connect(slot)

    def disconnect(self, signature: str, slot) -> bool:
        """Undo ``connect``."""
        return Signal(self._qt, *_signal_parts(signature)).disconnect(slot)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        if isinstance(self._qt, QtCore.QObject):
            return isinstance(other._qt, QtCore.QObject) and _pointer(self._qt) == _pointer(other._qt)
        return self._qt == other._qt

    def __hash__(self) -> int:
        return _pointer(self._qt) if isinstance(self._qt, QtCore.QObject) else id(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__} (PythonQt on {self._qt!r})"


class ProxyClass(type):
    """Class attributes and static functions of the Qt class: ``QTimer.singleShot``, ``QMessageBox.Ok``."""

    def __getattr__(cls, name: str):
        if name.startswith("__") or cls._qt_class is None:
            raise AttributeError(name)
        value = getattr(cls._qt_class, name)
        return _method(value) if callable(value) and not isinstance(value, type | enum.Enum) else value


class Signal:
    """A signal of an object."""

    def __init__(self, qt_object, name: str, arguments: str | None = None):
        self._object, self._name = qt_object, name
        signal = getattr(qt_object, name, None)
        if not isinstance(signal, QtCore.SignalInstance):
            raise ValueError(f"{type(qt_object).__name__} has no signal {name}")
        self._signal = signal
        if arguments is not None:
            signatures = [m.methodSignature().data().decode() for m in _signals(qt_object)]
            # A signal that passes nodes is one of a stand-in, whose arguments Qt knows as PyObject.
            if f"{name}({arguments})" not in signatures and f"{name}(PyObject)" not in signatures:
                raise ValueError(f"{type(qt_object).__name__} has no signal {name}({arguments})")
            with_types = [s for s in signatures if s.startswith(f"{name}(")]
            if len(with_types) > 1 and arguments in ("int", "QString", "bool"):
                self._signal = signal[{"int": int, "QString": str, "bool": bool}[arguments]]

    def connect(self, function) -> bool:
        """Call ``function`` with as many of the signal's arguments as it takes."""
        most = _most_arguments(function)

        def slot(*arguments):
            arguments = [wrapped(value) for value in arguments]
            try:
                function(*(arguments if most is None else arguments[:most]))
            except BaseException:  # noqa: BLE001 - as PythonQt, which prints it and goes on
                slot_errors.append(traceback.format_exc())
                traceback.print_exc()

        self._signal.connect(slot)
        self._known().append((function, slot))
        return True

    def disconnect(self, function=None) -> bool:
        """Disconnect a function, or all; an unknown one is not complained about, as in PythonQt."""
        found = [pair for pair in self._known() if function is None or pair[0] == function]
        for pair in found:
            self._signal.disconnect(pair[1])
            self._known().remove(pair)
        return bool(found)

    def emit(self, *arguments) -> None:
        """Send the signal."""
        self._signal.emit(*map(unwrapped, arguments))

    __call__ = emit

    def _known(self) -> list:
        return _connections.setdefault((_pointer(self._object), self._name), [])


def wrapped(value):
    """A value of PySide6 as PythonQt would give it."""
    if isinstance(value, Proxy):
        return value
    if isinstance(value, QtCore.QObject):
        known = _proxies.get(_pointer(value))
        if known is not None and shiboken6.isValid(known._qt):
            return known
        return class_for(type(value))._of(value)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(wrapped(item) for item in value)
    if isinstance(value, enum.Enum):
        return value
    module = type(value).__module__
    return class_for(type(value))._of(value) if module.startswith("PySide6") else value


def unwrapped(value):
    """A value of PythonQt for PySide6."""
    if isinstance(value, Proxy):
        return value._qt
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(unwrapped(item) for item in value)
    return value


def class_for(qt_class: type) -> type:
    """The PythonQt class of a PySide6 class; one for each, so that types can be compared."""
    if qt_class not in _classes:
        base = qt_class.__mro__[1]
        parent = class_for(base) if base.__module__.startswith("PySide6") else Proxy
        name = qt_class.__name__
        _classes[qt_class] = ProxyClass(name, (parent,), {"_qt_class": qt_class, "__module__": "PythonQt"})
    return _classes[qt_class]


def qt_module() -> ModuleType:
    """The module ``qt``, with an application that runs."""
    module = ModuleType("qt")
    module._application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])

    def find(name: str):
        if name == "QUiLoader":
            return UiLoader
        if name == "Qt":
            return QtCore.Qt
        for part in PARTS:
            if hasattr(part, name):
                value = getattr(part, name)
                return class_for(value) if isinstance(value, type) and not issubclass(value, enum.Enum) else value
        raise AttributeError(f"qt has no {name}")

    module.__getattr__ = find
    return module


class UiLoader:
    """``qt.QUiLoader`` that knows the stand-ins for widgets of CTK and Slicer."""

    custom: ClassVar[list[type]] = []
    _kept: ClassVar[list] = []

    def load(self, file):
        """The top widget of a .ui file; a widget of an unknown class is an error."""
        loader = QtUiTools.QUiLoader()
        for kind in self.custom:
            loader.registerCustomWidget(kind)
        # Signals that pass nodes are connected in the file by C++ types that Qt does not know here.
        QtCore.qInstallMessageHandler(lambda kind, context, text: None)
        widget = loader.load(unwrapped(file))
        QtCore.qInstallMessageHandler(None)
        if widget is None:
            raise RuntimeError(loader.errorString())
        self._kept.append((loader, widget))  # Python must not delete what Qt owns
        return wrapped(widget)


def _pointer(qt_object) -> int:
    return shiboken6.getCppPointer(qt_object)[0]


def _property_name(name: str) -> str:
    return "objectName" if name == "name" else name


def _is_property(qt_object, name: str) -> bool:
    return qt_object.metaObject().indexOfProperty(name) >= 0 or name.encode() in [
        bytes(known) for known in qt_object.dynamicPropertyNames()
    ]


def _signal_parts(signature: str) -> tuple[str, str]:
    name, parenthesis, arguments = signature.partition("(")
    if not parenthesis:
        raise ValueError(f"a signal is connected by its signature, such as clicked(), not '{signature}'")
    return name, arguments.rstrip(")")


def _signals(qt_object) -> list:
    meta = qt_object.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    return [method for method in methods if method.methodType() == QtCore.QMetaMethod.Signal]


def _method(function):
    def call(*arguments, **named):
        return wrapped(function(*map(unwrapped, arguments), **{key: unwrapped(v) for key, v in named.items()}))

    call.__name__ = getattr(function, "__name__", "call")
    return call


def _most_arguments(function) -> int | None:
    """How many arguments PythonQt would pass; None for all that there are."""
    plain = inspect.unwrap(function.__func__) if inspect.ismethod(function) else function
    if not inspect.isfunction(plain):
        return None
    code = plain.__code__
    if code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - inspect.ismethod(function)


def install(widgets: list[type]) -> None:
    """Put ``qt`` and ``ctk`` in place.

    Args:
        widgets: stand-ins for the classes of CTK and Slicer under their names, PySide6 classes.
    """
    if "qt" in sys.modules:
        return
    UiLoader.custom = widgets
    sys.modules["qt"] = qt_module()
    ctk, known = ModuleType("ctk"), {kind.__name__: kind for kind in widgets}

    def find(name: str):
        if not name.startswith("ctk"):
            raise AttributeError(f"ctk has no {name}")
        # A class of which only the name is asked, as a connector does that tells widgets apart.
        return class_for(known.setdefault(name, type(name, (QtWidgets.QWidget,), {})))

    ctk.__getattr__ = find
    sys.modules["ctk"] = ctk
