"""A Slicer application to test in: ReShapeIT.py itself, as the application loads, opens, leaves and unloads it.

Scene, logics and nodes are slicer-core's own; qt is PySide6 with PythonQt's behaviour; Slicer's Python is that of a
checkout or a stand-in, see ``slicer_python``. What slicer-core lacks (windows, settings, readers and writers, the
command-line module's logic) is here in the shape in which scripts meet it.

Use the fixture ``application`` of ``Testing/conftest.py``::

    def test_something(application):
        widget = application.open()          # as by the module selector
        application.wait(lambda: ...)        # lets the application work
        assert application.slot_errors() == []
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

from . import pythonqt, segment_editor, slicer_python
from .scene import new_scene

MODULE = slicer_python.ROOT / "ReShapeIT"
# Longest time that a test lets the application work.
PATIENCE_S = 300.0


class Application:
    """One application with an empty scene.

    Args:
        folder: where its settings, cache and temporary files go.
    """

    def __init__(self, folder):
        slicer_python.install()
        import slicer

        from .cli_logic import CommandLineModule

        self.folder = Path(folder)
        for name in ("temporary", "cache"):
            (self.folder / name).mkdir(exist_ok=True)
        self._slicer, self._saved = slicer, {}
        self.world = new_scene(self.folder / "temporary")
        self.scene, self.logics = self.world.scene, self.world.logics
        self._remote = self._remote_io()
        self.qt = SlicerApplication(self)
        self.module_manager = ModuleManager()
        self.dialogs: list[str] = []
        self.answer = True
        pythonqt.slot_errors.clear()
        # What an observer of VTK raises is printed through this, not raised.
        self._hook, sys.excepthook = sys.excepthook, _keep_error
        self._put("mrmlScene", self.scene)
        self._put("app", self.qt)
        self._put("modules", SimpleNamespace(segmentations=_with_logic(self.logics["Segmentations"])))
        self._put("selfTests", {})
        self._put("qSlicerScriptedLoadableModule", ScriptedModule)
        self._put("qSlicerScriptedLoadableModuleWidget", ModuleFrame)
        slicer.modules.colors = _with_logic(self.world.app.GetColorLogic())
        slicer.modules.volumes = _with_logic(self.logics["Volumes"])
        slicer.modules.markups = _with_logic(self.logics["Markups"])
        self._windows()
        self._questions()
        segment_editor.forget()
        segment_editor.install()
        self.module = self._load_module()
        slicer.modules.reshapeitrefine = CommandLineModule(self.scene, self.folder / "temporary")
        self.module_manager.add("ReShapeITRefine", slicer.modules.reshapeitrefine)
        self.qt.startupCompleted()
        self._closed = False

    # What a person does

    def open(self):
        """Select the module; its Python widget."""
        self._slicer.util.selectModule("ReShapeIT")
        return self.module.widgetRepresentation().self()

    def leave(self) -> None:
        """Select another module."""
        self._slicer.util.selectModule("Welcome")

    def close_scene(self) -> None:
        """*File > Close scene*."""
        self.scene.Clear(0)
        self.work()

    def save(self, folder) -> Path:
        """*File > Save* with all that was modified, as the dialog would; the scene file."""
        return self.qt.coreIOManager().save_all(Path(folder))

    def load(self, path) -> None:
        """Open a scene file in place of the scene."""
        self.close_scene()
        self._slicer.util.loadScene(str(path))
        self.work()

    def quit(self) -> None:
        """Close the application: modules are unloaded, then the scene goes."""
        if self._closed:
            return
        self._closed = True
        self.leave()
        self.qt._signals.aboutToQuit()
        self.module_manager.unload_all()
        self.scene.Clear(1)
        self.work()
        self._restore()

    # What tests do

    def work(self, rounds: int = 3) -> None:
        """Let the application handle what waits."""
        for _ in range(rounds):
            self.qt.processEvents()

    def wait(self, condition, seconds: float = PATIENCE_S) -> None:
        """Let the application work until a condition holds.

        Raises:
            AssertionError: it does not hold in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the application did not get there in time"
            self.qt.processEvents()
            time.sleep(0.01)

    def slot_errors(self) -> list[str]:
        """Tracebacks of what slots, observers and the module's functions raised so far."""
        return list(pythonqt.slot_errors)

    @staticmethod
    def mask(node, segmentId: str, grid):
        """(K, J, I) bool voxels of a segment on a grid."""
        from ReShapeITSlicer.segmentVoxels import segmentMask

        return segmentMask(node.GetSegmentation(), segmentId, grid)

    def node_ids(self) -> list[str]:
        """Ids of all nodes of the scene, in its order."""
        return [self.scene.GetNthNode(index).GetID() for index in range(self.scene.GetNumberOfNodes())]

    # Parts

    def _load_module(self):
        sys.modules.pop("ReShapeIT", None)
        python = importlib.import_module("ReShapeIT")
        module = ScriptedModule(python, MODULE / "ReShapeIT.py", self.scene)
        self._slicer.modules.reshapeit = module
        self.module_manager.add("ReShapeIT", module)
        return module

    def _windows(self) -> None:
        from .widgets import qSlicerMainWindow

        window = qSlicerMainWindow()
        window.setObjectName("qSlicerMainWindow")
        window.selector = SimpleNamespace(selectModule=self.module_manager.select)
        self.main_window = pythonqt.wrapped(window)

    def _questions(self) -> None:
        """Dialogs that would wait for a person: what they say is kept, ``answer`` is the answer."""
        util = self._slicer.util

        def asked(text, *arguments, **named):
            self.dialogs.append(text)
            return self.answer

        for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "infoDisplay", "warningDisplay", "errorDisplay"):
            self._saved[("util", name)] = getattr(util, name)
            setattr(util, name, asked)
        for name, value in (("mainWindow", lambda: self.main_window), ("moduleSelector", self._selector)):
            self._saved[("util", name)] = getattr(util, name)
            setattr(util, name, value)

    def _selector(self):
        return self.main_window.moduleSelector()

    def _remote_io(self):
        logic = self._slicer.vtkMRMLRemoteIOLogic()
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.world.app)
        logic.GetCacheManager().SetRemoteCacheDirectory(str(self.folder / "cache"))
        logic.AddDataIOToScene()
        return logic

    def _put(self, name: str, value) -> None:
        self._saved[("slicer", name)] = getattr(self._slicer, name, None)
        setattr(self._slicer, name, value)

    def _restore(self) -> None:
        sys.excepthook = self._hook
        for (where, name), value in self._saved.items():
            target = self._slicer if where == "slicer" else self._slicer.util
            if value is None:
                delattr(target, name)
            else:
                setattr(target, name, value)


class SlicerApplication:
    """``slicer.app``.

    Args:
        application: the Application.
    """

    applicationName, applicationVersion, revision = "Slicer", "5.12.3", "0"

    def __init__(self, application: Application):
        from PySide6 import QtCore

        class Signals(QtCore.QObject):
            startupCompleted = QtCore.Signal()
            aboutToQuit = QtCore.Signal()

        self._owner = application
        self._signals = pythonqt.wrapped(Signals())
        self.temporaryPath = str(application.folder / "temporary")
        self.cachePath = str(application.folder / "cache")
        self.slicerHome = str(application.folder)
        self._io = IoManager(application.scene, application.logics)

    def connect(self, signature, slot):
        """Connect to a signal of the application."""
        return self._signals.connect(signature, slot)

    def disconnect(self, signature, slot):
        """Undo connect."""
        return self._signals.disconnect(signature, slot)

    def startupCompleted(self) -> None:
        """The signal."""
        self._signals.startupCompleted()

    def moduleManager(self):
        """qSlicerModuleManager."""
        return self._owner.module_manager

    def coreIOManager(self):
        """qSlicerCoreIOManager."""
        return self._io

    ioManager = coreIOManager

    def applicationLogic(self):
        """vtkSlicerApplicationLogic."""
        return self._owner.world.app

    def mrmlScene(self):
        """The scene."""
        return self._owner.scene

    def settings(self):
        """QSettings of this application's folder."""
        import qt

        return qt.QSettings(str(self._owner.folder / "Slicer.ini"), qt.QSettings.IniFormat)

    userSettings = revisionUserSettings = settings

    def processEvents(self, *flags) -> None:
        """Handle what waits."""
        import qt

        qt.QCoreApplication.processEvents()
        qt.QCoreApplication.sendPostedEvents(None, int(qt.QEvent.DeferredDelete))

    def testingEnabled(self) -> bool:
        """A person sits there, as far as the module can tell."""
        return False

    def commandOptions(self):
        """What the application was started with."""
        return SimpleNamespace(noMainWindow=False, testingEnabled=False)

    def clipboard(self):
        """QClipboard."""
        import qt

        return qt.QApplication.clipboard()

    def setOverrideCursor(self, cursor) -> None:
        """A wait cursor."""

    def restoreOverrideCursor(self) -> None:
        """The usual cursor."""

    def translate(self, context, text):
        """English."""
        return text

    def topLevelWidgets(self):
        """The main window."""
        return [self._owner.main_window]

    def layoutManager(self):
        """There are no views here."""
        return

    def moduleDocumentationUrl(self, name) -> str:
        """Where the documentation is."""
        return f"https://slicer.readthedocs.io/{name}"


class ModuleManager:
    """``slicer.app.moduleManager()`` and the module selector."""

    def __init__(self):
        from PySide6 import QtCore

        class Signals(QtCore.QObject):
            moduleAboutToBeUnloaded = QtCore.Signal(str)

        self._signals, self._modules, self._shown = pythonqt.wrapped(Signals()), {}, None

    def add(self, name: str, module) -> None:
        """A module that was loaded."""
        self._modules[name] = module

    def module(self, name):
        """The module of a name, or None."""
        return self._modules.get(name)

    def connect(self, signature, slot):
        """Connect to a signal."""
        return self._signals.connect(signature, slot)

    def disconnect(self, signature, slot):
        """Undo connect."""
        return self._signals.disconnect(signature, slot)

    def select(self, name: str) -> None:
        """Show a module in place of the one that is shown."""
        if self._shown is not None and self._shown != name:
            self._modules[self._shown].widgetRepresentation().frame_exit()
        self._shown = name if name in self._modules else None
        if self._shown:
            self._modules[name].widgetRepresentation().frame_enter()

    def unload_all(self) -> None:
        """As the application does when it closes."""
        for name in self._modules:
            self._signals.moduleAboutToBeUnloaded(name)


class ScriptedModule:
    """qSlicerScriptedLoadableModule: the module's Python class and its widget.

    Args:
        python: the imported file.
        path: of the file.
        scene: vtkMRMLScene.
    """

    def __init__(self, python, path: Path, scene):
        self.name, self.path, self._scene, self._frame = path.stem, str(path), scene, None
        # The C++ module has these for Python to set.
        self.title, self.icon, self.hidden = "", None, False
        self._python_module = getattr(python, self.name)(self)

    def logic(self):
        """The C++ logic of a scripted module is of no use to scripts."""
        return

    def widgetRepresentation(self):
        """The module's panel, made when it is first asked for."""
        if self._frame is None:
            self._frame = ModuleFrame(self, self._scene)
            self._frame.setup()
        return self._frame

    def createNewWidgetRepresentation(self):
        """Another panel."""
        frame = ModuleFrame(self, self._scene)
        frame.setup()
        return frame


class ModuleFrame:
    """qSlicerScriptedLoadableModuleWidget around the Python widget; what that raises is logged, as in Slicer.

    Args:
        module: ScriptedModule.
        scene: vtkMRMLScene.
    """

    def __init__(self, module: ScriptedModule, scene):
        import qt

        from .widgets import qSlicerScriptedLoadableModuleWidget

        self._module, self._raw = module, qSlicerScriptedLoadableModuleWidget()
        self.widget = pythonqt.wrapped(self._raw)
        self.widget.setLayout(qt.QVBoxLayout())
        self.widget.setMRMLScene(scene)
        self._python = None

    def setup(self) -> None:
        """Make the Python widget from the source that is loaded now."""
        import slicer

        name = self._module.name
        kind = getattr(sys.modules[name], f"{name}Widget")
        self._python = self._called(lambda: kind(self.widget))
        self._raw._python = self._python
        self._raw.reload = self.reload
        setattr(slicer.modules, f"{name}Widget", self._python)
        self._called(lambda: self._python.setup())

    def reload(self) -> None:
        """Python's widget anew."""
        self.setup()
        if self._raw._entered:
            self._called(lambda: self._python.enter())

    def frame_enter(self) -> None:
        """The module is shown."""
        self._raw._entered = True
        self._called(lambda: self._python.enter())

    def frame_exit(self) -> None:
        """Another module is shown."""
        self._raw._entered = False
        self._called(lambda: self._python.exit())

    def self(self):
        """The Python widget."""
        return self._python

    def children(self):
        """Widgets in the frame."""
        return self.widget.children()

    def layout(self):
        """Layout of the frame."""
        return self.widget.layout()

    @staticmethod
    def _called(function):
        try:
            return function()
        except Exception:  # noqa: BLE001 - as PythonQt, which prints it and goes on
            pythonqt.slot_errors.append(traceback.format_exc())
            traceback.print_exc()
            return None


class IoManager:
    """``slicer.app.coreIOManager()`` for volumes, segmentations and scenes.

    Args:
        scene: vtkMRMLScene.
        logics: by name.
    """

    def __init__(self, scene, logics):
        self._scene, self._logics = scene, logics

    def fileType(self, path) -> str:
        """Kind of a file by its name."""
        name = str(path).lower()
        if name.endswith((".mrml", ".mrb")):
            return "SceneFile"
        return "SegmentationFile" if name.endswith(".seg.nrrd") else "VolumeFile"

    def loadNodes(self, fileType, properties, loadedNodes=None, userMessages=None) -> bool:
        """Load a file."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            self._scene.SetURL(path)
            self._scene.SetRootDirectory(os.path.dirname(path))
            return bool(self._scene.Import(userMessages))
        if not os.path.isfile(path):
            return False
        node = self._segmentation(path) if fileType == "SegmentationFile" else self._volume(path, properties)
        if node is None:
            return False
        name = properties.get("name")
        if name and node.GetName() != name:
            node.SetName(self._scene.GetUniqueNameByString(name))
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        return True

    def saveNodes(self, fileType, properties, userMessages=None) -> bool:
        """Write the scene's XML alone, as saveScene does for a .mrml file."""
        path = str(properties["fileName"])
        if fileType != "SceneFile" or not path.endswith(".mrml"):
            logging.error("only .mrml files are written here")
            return False
        self._scene.SetRootDirectory(os.path.dirname(path))
        return bool(self._scene.Commit(path, userMessages))

    def save_all(self, folder: Path) -> Path:
        """As the save dialog: nodes without a file and those modified since are written, then the scene."""
        folder.mkdir(parents=True, exist_ok=True)
        self._scene.SetRootDirectory(str(folder))
        for index in range(self._scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
            node = self._scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
            if not node.GetSaveWithScene() or node.GetHideFromEditors() or node.IsA("vtkMRMLColorNode"):
                continue
            storage = node.GetStorageNode()
            if storage is not None and storage.GetFileName() and not node.GetModifiedSinceRead():
                continue
            if storage is None:
                node.AddDefaultStorageNode()
                storage = node.GetStorageNode()
                if storage is None:
                    continue
            extension = storage.GetDefaultWriteFileExtension()
            storage.SetFileName(str(folder / f"{node.GetName()}.{extension}"))
            storage.WriteData(node)
        path = folder / "scene.mrml"
        self._scene.Commit(str(path))
        return path

    def _segmentation(self, path: str):
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage = self._scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(path)
        node.SetAndObserveStorageNodeID(storage.GetID())
        if not storage.ReadData(node):
            return None
        node.CreateDefaultDisplayNodes()
        return node

    def _volume(self, path: str, properties):
        name = properties.get("name") or Path(path).name.partition(".")[0]
        options = 1 if properties.get("labelmap") else 0
        return self._logics["Volumes"].AddArchetypeVolume(path, name, options)


def _keep_error(kind, error, trace) -> None:
    pythonqt.slot_errors.append("".join(traceback.format_exception(kind, error, trace)))
    traceback.print_exception(kind, error, trace)


def _with_logic(logic):
    return SimpleNamespace(logic=lambda: logic)
