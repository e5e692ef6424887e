"""Stand-ins for the widgets of CTK and Slicer that the extension uses, with the originals' properties and signals."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled area that looks like ctkCollapsibleButton."""

    contentsCollapsed = QtCore.Signal(bool)
    HEADER = 26

    def __init__(self, parent=None):
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, self.HEADER, 0, 0)

    def setText(self, text):
        self._text = text
        self.update()

    def setCollapsed(self, collapsed):
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self.setMaximumHeight(self.HEADER if collapsed else 16777215)
            self.contentsCollapsed.emit(collapsed)

    text = QtCore.Property(str, lambda self: self._text, setText)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, setCollapsed)

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
        self._box.setRange(0.0, 99.0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.valueChanged.connect(self._on_slider)
        self._box.valueChanged.connect(self._on_box)

    def _on_slider(self, steps):
        low, high = self._box.minimum(), self._box.maximum()
        self._box.setValue(low + (high - low) * steps / self.STEPS)

    def _on_box(self, value):
        low, high = self._box.minimum(), self._box.maximum()
        blocker = QtCore.QSignalBlocker(self._slider)
        self._slider.setValue(round(self.STEPS * (value - low) / max(high - low, 1e-12)))
        blocker.unblock()
        self.valueChanged.emit(value)

    def setValue(self, value):
        self._box.setValue(value)

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._box.minimum(), lambda self, v: self._box.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._box.maximum(), lambda self, v: self._box.setMaximum(v))
    singleStep = QtCore.Property(float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v))
    decimals = QtCore.Property(int, lambda self: self._box.decimals(), lambda self, v: self._box.setDecimals(v))


class qMRMLWidget(QtWidgets.QWidget):
    """Hands a scene on to all qMRML widgets in it, as the signal connections of a .ui file do."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        for child in self.findChildren(QtWidgets.QWidget):
            if isinstance(child, qMRMLNodeComboBox):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """The nodes of some classes in a scene; a node that leaves the scene leaves the box."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._current, self._types, self._tags = None, None, [], []
        self._flags = {"noneEnabled": False, "addEnabled": True, "removeEnabled": True, "showChildNodeTypes": True}
        self.currentIndexChanged.connect(self._on_index)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._tags = [scene.AddObserver(event, lambda caller, event: self._fill()) for event in events]
        self._fill()

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def currentNodeId(self):
        return self._current or ""

    def setCurrentNode(self, node):
        self._choose(node.GetID() if node is not None else None)

    def _choose(self, node_id):
        if node_id == self._current:
            return
        self._current = node_id
        blocker = QtCore.QSignalBlocker(self)
        self.setCurrentIndex(max(self.findData(node_id or ""), 0))
        blocker.unblock()
        self.currentNodeChanged.emit(self.currentNode())

    def _fill(self):
        ids = []
        blocker = QtCore.QSignalBlocker(self)
        self.clear()
        if self._flags["noneEnabled"]:
            self.addItem("None", "")
        for kind in self._types if self._scene else ():
            for index in range(self._scene.GetNumberOfNodesByClass(kind)):
                node = self._scene.GetNthNodeByClass(index, kind)
                if not node.GetHideFromEditors():
                    self.addItem(node.GetName(), node.GetID())
                    ids.append(node.GetID())
        self.setCurrentIndex(self.findData(self._current or ""))
        blocker.unblock()
        if self._current and self._current not in ids:
            self._choose(None)
        if not self._current and ids and not self._flags["noneEnabled"]:
            self._choose(ids[0])

    def _on_index(self, index):
        self._choose(self.itemData(index) or None)

    def _set_types(self, types):
        self._types = list(types)
        self._fill()

    def _flag(name):
        return QtCore.Property(
            bool, lambda self: self._flags[name], lambda self, value: self._flags.__setitem__(name, value)
        )

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)
    noneEnabled, addEnabled = _flag("noneEnabled"), _flag("addEnabled")
    removeEnabled, showChildNodeTypes = _flag("removeEnabled"), _flag("showChildNodeTypes")


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The frame of a scripted module's panel: calls its Python widget; what that raises is printed, not raised."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._entered, self._python = False, None

    isEntered = QtCore.Property(bool, lambda self: self._entered)

    def self(self):
        return self._python


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The main window; the application gives it its module selector."""

    def moduleSelector(self):
        return self.selector


# Classes of which the wrapper's connectors only ask the type.
NAMES_ONLY = (
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
    "qMRMLRangeWidget",
    "qMRMLSubjectHierarchyComboBox",
    "qMRMLCheckableNodeComboBox",
)
WIDGETS = [ctkCollapsibleButton, ctkSliderWidget, qMRMLWidget, qMRMLNodeComboBox, qSlicerScriptedLoadableModuleWidget]
