"""The Segment Editor's side of a scripted effect: masks, undo and voxels by Slicer's own vtkSlicerSegmentEditorLogic.

slicer-core lacks the Qt classes. ``install`` puts ``qSlicerSegmentationsEditorEffectsPythonQt``, the effects' factory
and ``SegmentEditorEffects`` in place, the last one Slicer's own where there is a checkout that has it. The contract of
what is here is checked against Slicer's headers in ``test_segment_editor_contract.py``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EFFECTS = Path("Modules", "Loadable", "Segmentations", "EditorEffects")
BASE = "AbstractScriptedSegmentEditorEffect"


class qSlicerSegmentEditorEffectFactory:
    """Knows the effects that were registered."""

    _instance = None

    def __init__(self):
        self.registered = []

    @classmethod
    def instance(cls):
        """The only one."""
        cls._instance = cls._instance or cls()
        return cls._instance

    def registerEffect(self, effectToRegister) -> bool:
        """Add an effect, once for each name."""
        if effectToRegister.name in [effect.name for effect in self.registered]:
            return False
        self.registered.append(effectToRegister)
        return True


class qSlicerSegmentEditorAbstractEffect:
    """Only its enumeration is asked by scripts."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)


class qSlicerSegmentEditorScriptedEffect:
    """What an effect's Python class holds as ``scriptedEffect``."""

    def __init__(self, parent=None):
        self.name, self.title, self.perSegment, self.requireSegments = "UnnamedScriptedEffect", "", True, True
        self._self, self._source, self._node, self._logic, self._layout, self._active = (
            None,
            "",
            None,
            None,
            None,
            False,
        )

    def setPythonSource(self, newPythonSource) -> bool:
        """Load a file as a module of its folder's name and make the class of the file's name."""
        path = Path(newPythonSource)
        module_name, class_name = path.parent.name, path.stem
        module = sys.modules.get(module_name)
        if not hasattr(module, class_name):
            spec = importlib.util.spec_from_file_location(module_name, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
        self._self, self._source = getattr(module, class_name)(self), newPythonSource
        return True

    def pythonSource(self) -> str:
        """The file."""
        return self._source

    def self(self):
        """The Python effect."""
        return self._self

    def parameterSetNode(self):
        """vtkMRMLSegmentEditorNode."""
        return self._node

    def setParameterSetNode(self, node) -> None:
        """Take an editor's node."""
        self._node = node

    def addOptionsWidget(self, newOptionsWidget) -> None:
        """Put a widget into the options frame."""
        self._layout.addWidget(newOptionsWidget)

    def saveStateForUndo(self) -> None:
        """A step of the editor's undo."""
        self._logic.SaveStateForUndo()

    def defaultModifierLabelmap(self):
        """An empty labelmap on the reference geometry."""
        return self._logic.GetModifierLabelmap() if self._logic.ResetModifierLabelmapToDefault() else None

    def modifySelectedSegmentByLabelmap(self, modifierLabelmap, modificationMode, bypassMasking=False) -> None:
        """Change the selected segment where the editor's mask lets."""
        node, logic = self._node, self._logic
        modes = (
            logic.ModificationModeSet,
            logic.ModificationModeAdd,
            logic.ModificationModeRemove,
            logic.ModificationModeRemoveAll,
        )
        self._logic.ModifySegmentByLabelmap(
            node.GetSegmentationNode(),
            node.GetSelectedSegmentID(),
            modifierLabelmap,
            modes[modificationMode],
            modifierLabelmap.GetExtent(),
            False,
            bypassMasking,
        )

    def parameter(self, name) -> str:
        """A parameter of this effect in the editor's node."""
        return self._node.GetAttribute(f"{self.name}.{name}") or ""

    def integerParameter(self, name) -> int:
        """The same as a number; 0 where it is none."""
        value = self.parameter(name)
        return int(value) if value.lstrip("-").isdigit() else 0

    def setParameter(self, name, value) -> None:
        """Keep a parameter."""
        self._node.SetAttribute(f"{self.name}.{name}", str(value))

    def setParameterDefault(self, name, value) -> None:
        """Keep a parameter where there is none."""
        if self._node.GetAttribute(f"{self.name}.{name}") is None:
            self.setParameter(name, value)


class Editor:
    """The Segment Editor over a segmentation, as a person uses it.

    Args:
        application: Application.
        segmentation, volume: nodes.
    """

    def __init__(self, application, segmentation, volume=None):
        import slicer

        self.application, self.node = application, application.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLApplicationLogic(application.world.app)
        self.logic.SetMRMLScene(application.scene)
        self.logic.SetSegmentEditorNode(self.node)
        self.logic.SetSegmentationHistory(slicer.vtkSegmentationHistory())
        self.logic.SetSegmentationNode(segmentation)
        self.logic.SetSourceVolumeNode(volume)
        self.effect = None

    def choose(self, name: str):
        """Press an effect's button; its Python object."""
        import qt

        (registered,) = [e for e in qSlicerSegmentEditorEffectFactory.instance().registered if e.name == name]
        effect = registered.self().clone()
        frame = qt.QFrame()
        effect._layout = qt.QVBoxLayout()
        frame.setLayout(effect._layout)
        effect._frame, effect._logic = frame, self.logic
        effect.setParameterSetNode(self.node)
        effect.self().setMRMLDefaults()
        effect.self().setupOptionsFrame()
        effect.self().activate()
        effect.self().updateGUIFromMRML()
        self.effect = effect
        return effect.self()

    def select(self, segment_id: str) -> None:
        """Select a segment in the editor's table."""
        self.node.SetSelectedSegmentID(segment_id)
        if self.effect is not None:
            self.effect.self().updateGUIFromMRML()

    def leave(self) -> None:
        """Press another effect's button."""
        self.effect.self().deactivate()

    def close(self) -> None:
        """The editor goes."""
        if self.effect is not None:
            self.effect.self().deactivate()
            self.effect.self().cleanup()
        self.effect = None


def effects_folder() -> Path | None:
    """Slicer's own folder of effects, where there is a checkout that has it."""
    from .slicer_python import slicer_source

    source = slicer_source()
    return source / EFFECTS if source and (source / EFFECTS / "Python").is_dir() else None


def install() -> None:
    """Put all of it in place, once for the process."""
    import slicer

    if "qSlicerSegmentationsEditorEffectsPythonQt" in sys.modules:
        return
    module = ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    module.qSlicerSegmentEditorScriptedEffect = qSlicerSegmentEditorScriptedEffect
    sys.modules[module.__name__] = module
    slicer.qSlicerSegmentEditorEffectFactory = qSlicerSegmentEditorEffectFactory
    slicer.qSlicerSegmentEditorAbstractEffect = qSlicerSegmentEditorAbstractEffect
    package = ModuleType("SegmentEditorEffects")
    folder = effects_folder()
    path = folder / "Python" / "SegmentEditorEffects" if folder else Path(__file__).parent / "stand_ins"
    spec = importlib.util.spec_from_file_location(f"SegmentEditorEffects.{BASE}", path / f"{BASE}.py")
    base = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(base)
    package.AbstractScriptedSegmentEditorEffect = getattr(base, BASE)
    sys.modules["SegmentEditorEffects"] = package


def forget() -> None:
    """Let a new application register its effects."""
    qSlicerSegmentEditorEffectFactory._instance = None
