"""The stand-ins for the Segment Editor have the methods and arguments of Slicer's own sources."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

from Testing.Slicer import segment_editor, slicer_python
from Testing.Slicer.segment_editor import qSlicerSegmentEditorAbstractEffect, qSlicerSegmentEditorScriptedEffect

EFFECT = slicer_python.ROOT / "ReShapeIT" / "ReShapeITEffect" / "SegmentEditorAnatomyEffect.py"
STAND_IN = slicer_python.ROOT / "Testing" / "Slicer" / "stand_ins" / f"{segment_editor.BASE}.py"


@pytest.fixture(scope="module")
def folder():
    found = segment_editor.effects_folder()
    if found is None:
        pytest.skip("there is no checkout of Slicer with its editor effects to compare with: make slicer-source")
    return found


@pytest.fixture(scope="module")
def headers(folder) -> str:
    names = ("qSlicerSegmentEditorAbstractEffect.h", "qSlicerSegmentEditorScriptedEffect.h")
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def numbers_of_arguments(headers: str, method: str) -> set[int]:
    """How many arguments a method of the headers takes; all that its overloads and defaults allow."""
    found = set()
    for arguments in re.findall(rf"\b{method}\(([^)]*)\)", headers):
        parts = [part for part in arguments.split(",") if part.strip()]
        optional = sum("=" in part for part in parts)
        found |= set(range(len(parts) - optional, len(parts) + 1))
    return found


def methods_of(kind: type) -> dict[str, inspect.Signature]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(function) for name, function in members if not name.startswith("_")}


def test_each_method_of_the_stand_in_is_one_of_slicers_with_as_many_arguments(headers):
    methods = methods_of(qSlicerSegmentEditorScriptedEffect)
    assert len(methods) > 10
    for name, signature in methods.items():
        parameters = list(signature.parameters.values())[1:]
        optional = sum(parameter.default is not parameter.empty for parameter in parameters)
        taken = set(range(len(parameters) - optional, len(parameters) + 1))
        assert taken & numbers_of_arguments(headers, name), name


def test_the_modes_are_slicers_in_slicers_order(headers):
    (names,) = re.findall(r"enum ModificationMode\s*\{([^}]*)\}", headers)
    order = [name.strip() for name in names.split(",") if name.strip()]
    assert [getattr(qSlicerSegmentEditorAbstractEffect, name) for name in order] == list(range(len(order)))


def test_the_modes_are_those_of_the_real_logic():
    import slicer

    for name in ("ModificationModeSet", "ModificationModeAdd", "ModificationModeRemove", "ModificationModeRemoveAll"):
        ours, theirs = (
            getattr(kind, name) for kind in (qSlicerSegmentEditorAbstractEffect, slicer.vtkSlicerSegmentEditorLogic)
        )
        assert ours == theirs


def test_the_effect_has_the_methods_that_slicer_calls(folder):
    source = (folder / "qSlicerSegmentEditorScriptedEffect.cxx").read_text(encoding="utf-8")
    called = set(re.findall(r'declareMethod\(Self::\w+, "(\w+)"\)', source))
    (kind,) = [node for node in ast.parse(EFFECT.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    methods = {node.name: len(node.args.args) - 1 for node in kind.body if isinstance(node, ast.FunctionDef)}
    public = {name for name in methods if not name.startswith("_")}
    assert public <= called and {"clone", "icon", "helpText", "setupOptionsFrame", "setMRMLDefaults"} <= public
    takes_one = {"createCursor", "interactionNodeModified"}
    assert all(methods[name] == (name in takes_one) for name in public)


def test_the_class_is_found_as_slicer_looks_for_it(folder):
    """Slicer takes the file's name for the class and adds Effect where that is not its end."""
    source = (folder / "qSlicerSegmentEditorScriptedEffect.cxx").read_text(encoding="utf-8")
    assert 'className.endsWith("Effect")' in source and "sourceDir.dirName()" in source
    assert EFFECT.stem.endswith("Effect") and f"class {EFFECT.stem}(" in EFFECT.read_text(encoding="utf-8")


def test_the_base_class_has_what_the_stand_in_has(folder):
    theirs = (folder / "Python" / "SegmentEditorEffects" / f"{segment_editor.BASE}.py").read_text(encoding="utf-8")

    def methods(text: str) -> dict[str, list[str]]:
        (kind,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        functions = [node for node in kind.body if isinstance(node, ast.FunctionDef)]
        return {node.name: [argument.arg for argument in node.args.args] for node in functions}

    ours = methods(STAND_IN.read_text(encoding="utf-8"))
    assert ours and {name: methods(theirs).get(name) for name in ours} == ours


def test_the_module_of_effects_has_the_name_that_slicer_gives_it(folder):
    text = (folder / "Python" / "SegmentEditorEffects" / "__init__.py").read_text(encoding="utf-8")
    assert "import qSlicerSegmentationsEditorEffectsPythonQt" in text and "instance.self().register()" in text
