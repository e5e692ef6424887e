"""The panel under a real Qt without the application: PySide6 as ``qt``, stand-ins for the few CTK and qMRML widgets.

``import_qt()`` puts the modules ``qt``, ``ctk`` and ``slicer.i18n`` in place, ``load_panel()`` loads ReShapeIT.ui.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

UI_FILE = Path(__file__).resolve().parents[1] / "ReShapeIT" / "Resources" / "UI" / "ReShapeIT.ui"


def import_qt() -> ModuleType:
    """PySide6 under the name ``qt``, with a running application; ImportError where PySide6 or slicer-core is absent."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if "qt" not in sys.modules:
        qt = ModuleType("qt")
        parts = [importlib.import_module(f"PySide6.{name}") for name in ("QtCore", "QtGui", "QtWidgets")]
        qt.__getattr__ = lambda name: _first_attribute(parts, name)
        qt.application = qt.QApplication.instance() or qt.QApplication([])
        sys.modules["qt"] = qt
    _import_slicer()
    return sys.modules["qt"]


def _first_attribute(modules: list[ModuleType], name: str):
    for module in modules:
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"Qt has no {name}")


def _import_slicer() -> None:
    import slicer

    if "slicer.i18n" not in sys.modules:
        translations = ModuleType("slicer.i18n")
        translations.tr = lambda text: text
        translations.translate = lambda context, text: text
        sys.modules["slicer.i18n"] = slicer.i18n = translations


def stand_in_widgets() -> list[type]:
    """Classes for the custom widgets of the .ui file, under their names."""
    from PySide6 import QtCore, QtGui, QtWidgets

    class ctkCollapsibleButton(QtWidgets.QWidget):
        """A titled area that looks like ctkCollapsibleButton."""

        HEADER = 26

        def __init__(self, parent=None):
            super().__init__(parent)
            self._text, self.collapsed = "", False
            self.setContentsMargins(0, self.HEADER, 0, 0)

        def _get_text(self):
            return self._text

        def _set_text(self, text):
            self._text = text
            self.update()

        text = QtCore.Property(str, _get_text, _set_text)

        def paintEvent(self, event):
            painter, header = QtGui.QPainter(self), QtCore.QRect(0, 0, self.width(), self.HEADER - 4)
            palette = self.palette()
            painter.fillRect(header, palette.color(QtGui.QPalette.Button).darker(106))
            painter.setPen(palette.color(QtGui.QPalette.ButtonText))
            font = self.font()
            font.setBold(True)
            painter.setFont(font)
            painter.drawText(header.adjusted(24, 0, 0, 0), QtCore.Qt.AlignVCenter, self._text)
            triangle = [QtCore.QPointF(8, 8), QtCore.QPointF(17, 8), QtCore.QPointF(12.5, 15)]
            painter.setBrush(palette.color(QtGui.QPalette.ButtonText))
            painter.drawPolygon(QtGui.QPolygonF(triangle))

    class ctkSliderWidget(QtWidgets.QWidget):
        """Slider and spin box as in ctkSliderWidget."""

        valueChanged = QtCore.Signal(float)
        STEPS = 1000

        def __init__(self, parent=None):
            super().__init__(parent)
            layout = QtWidgets.QHBoxLayout(self)
            layout.setContentsMargins(0, 0, 0, 0)
            self._slider, self._box = QtWidgets.QSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
            self._slider.setMaximum(self.STEPS)
            self._box.setMaximum(1.0)
            layout.addWidget(self._slider, 1)
            layout.addWidget(self._box)
            self._slider.valueChanged.connect(lambda steps: self._box.setValue(steps / self.STEPS))
            self._box.valueChanged.connect(self._on_box)

        def _on_box(self, value):
            self._slider.setValue(round(self.STEPS * value))
            self.valueChanged.emit(value)

        def _get_value(self):
            return self._box.value()

        def setValue(self, value):
            self._box.setValue(value)

        value = QtCore.Property(float, _get_value, setValue)
        maximum = QtCore.Property(float, lambda self: self._box.maximum(), lambda self, v: self._box.setMaximum(v))
        singleStep = QtCore.Property(
            float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v)
        )

    class qMRMLNodeComboBox(QtWidgets.QComboBox):
        """Shows one node's name."""

    class qMRMLWidget(QtWidgets.QWidget):
        """Holds the others; the real one hands the scene on."""

        mrmlSceneChanged = QtCore.Signal(object)

    return [qMRMLWidget, qMRMLNodeComboBox, ctkCollapsibleButton, ctkSliderWidget]


def load_panel():
    """The panel's top widget and its named widgets as attributes of one object."""
    from PySide6 import QtCore, QtUiTools, QtWidgets

    loader, classes = QtUiTools.QUiLoader(), stand_in_widgets()
    for stand_in in classes:
        loader.registerCustomWidget(stand_in)
    file = QtCore.QFile(str(UI_FILE))
    file.open(QtCore.QFile.ReadOnly)
    top = loader.load(file)
    file.close()
    if top is None:
        raise RuntimeError(f"{UI_FILE} cannot be loaded: {loader.errorString()}")
    widgets = top.findChildren(QtWidgets.QWidget)
    ui = SimpleNamespace(**{widget.objectName(): widget for widget in widgets if widget.objectName().isidentifier()})
    ui.keptAlive = (loader, classes, top)
    return top, ui


def default_parameters(**chosen) -> SimpleNamespace:
    """What a new parameter node says, without the application's parameter node wrapper."""
    from ReShapeITPanel.choices import Device, OverlapPolicy, Preset, ResultMode

    values = {
        "segmentation": None, "selected": [], "templates": {}, "preset": Preset.STANDARD, "device": Device.AUTO,
        "resultMode": ResultMode.NEW_SEGMENTS, "overlapPolicy": OverlapPolicy.KEEP_NEIGHBOURS, "keepUnion": False,
        "sparse": False, "force": False, "nonCommercialAccepted": False,
    }  # fmt: skip
    return SimpleNamespace(**{**values, **chosen})


def fill_choices(ui) -> None:
    """Fill the combo boxes as the parameter node wrapper does."""
    from ReShapeITPanel.choices import Device, OverlapPolicy, Preset, ResultMode

    boxes = {
        ui.presetComboBox: Preset, ui.deviceComboBox: Device, ui.resultModeComboBox: ResultMode,
        ui.overlapPolicyComboBox: OverlapPolicy,
    }  # fmt: skip
    for box, choices in boxes.items():
        box.clear()
        box.addItems([choice.label() for choice in choices])
