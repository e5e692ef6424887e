"""What this extension meets of Slicer's own Python, as JSON: signatures, and what a series of small actions gives.

    RESHAPEIT_SLICER_SOURCE=stand-ins python -m Testing.Slicer.behaviours

``Testing/Slicer/test_slicer_contract.py`` compares the stand-ins' answers with those of a checkout.
"""

import enum
import inspect
import json
import tempfile
from pathlib import Path
from typing import Annotated

from .application import Application

# Members that the stand-ins must have with the same parameters.
CLASSES = {
    "slicer.parameterNodeWrapper.serializers": ("ObservedList", "ObservedDict"),
    "slicer.ScriptedLoadableModule": (
        "ScriptedLoadableModule",
        "ScriptedLoadableModuleWidget",
        "ScriptedLoadableModuleLogic",
        "ScriptedLoadableModuleTest",
    ),
    "SampleData": ("SampleDataSource", "SampleDataLogic"),
}
FUNCTIONS = {
    "slicer.i18n": ("tr", "translate"),
    "slicer.cli": ("run", "runSync", "createNode", "setNodeParameters", "cancel"),
    "SampleData": ("downloadSample", "downloadSamples"),
}
# What a checkout has beyond the stand-ins: built-in samples, screenshots of buttons, helpers that are not called.
NOT_NEEDED = {
    "registerBuiltInSampleDataSources",
    "registerDevelopmentSampleDataSources",
    "registerTestingDataSources",
    "registerBuiltInUrlRewriteRules",
    "categoryTitle",
    "categoryForSource",
    "humanFormatSize",
    "reportHook",
    "loadScene",
}


class Kind(enum.Enum):
    """Choices of a combo box."""

    PLAIN = "plain"
    FANCY = "fancy"

    def label(self):
        return self.value.upper()


def signatures() -> dict[str, list[str]]:
    """Parameters by dotted name."""
    found = {}
    for module, names in CLASSES.items():
        for name in names:
            kind = _find(module, name)
            for member, function in inspect.getmembers(kind, inspect.isfunction):
                if member in vars(kind) and _is_compared(member):
                    found[f"{name}.{member}"] = _parameters(function)
    for module, names in FUNCTIONS.items():
        for name in names:
            found[f"{module}.{name}"] = _parameters(_find(module, name))
    return found


def _is_compared(member: str) -> bool:
    """Not private, and none of the old ways to one certain sample each."""
    if member.startswith("download"):
        return any(word in member for word in ("Sample", "From", "File"))
    return (member == "__init__" or not member.startswith("_")) and member not in NOT_NEEDED


def behaviours(folder: Path) -> dict[str, object]:
    """Result, or type of the exception, of each action."""
    import slicer

    application = Application(folder)
    answers: dict[str, object] = {}

    def tell(name, action):
        try:
            answers[name] = _plain(action())
        except Exception as error:  # noqa: BLE001 - the error is the answer
            answers[name] = f"raises {type(error).__name__}"

    _parameter_node(tell, slicer)
    _widgets(tell, slicer)
    _logic(tell, slicer)
    _samples(tell, slicer, folder)
    application.quit()
    return answers


def _wrapper(slicer):
    from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        segmentation: slicer.vtkMRMLSegmentationNode
        names: list[str]
        chosen: dict[str, str]
        kind: Kind = Kind.FANCY
        flag: bool = False
        opacity: Annotated[float, WithinRange(0, 1)] = 0.25
        count: Annotated[int, Default(7)]
        text: str = "a"

    return Parameters


def _parameter_node(tell, slicer) -> None:
    kind, node = _wrapper(slicer), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    one = kind(node)
    tell(
        "defaults",
        lambda: [one.segmentation, one.names, one.chosen, one.kind.name, one.flag, one.opacity, one.count, one.text],
    )
    tell("stored", lambda: {name: node.GetParameter(name) for name in sorted(node.GetParameterNames())})
    one.chosen = {"a": "liver", "b": ""}
    tell("get", lambda: one.chosen.get("a"))
    tell("get of nothing", lambda: one.chosen.get("c"))
    tell("get with a default", lambda: one.chosen.get("c", ""))
    tell("pop with a default", lambda: one.chosen.pop("c", ""))
    tell("setdefault", lambda: one.chosen.setdefault("d", "x"))
    tell("update", lambda: one.chosen.update({"e": "y"}))
    tell("after", lambda: dict(kind(node).chosen))
    tell("equal", lambda: [one.chosen == dict(one.chosen), one.chosen != {}])
    tell("or", lambda: one.chosen | {})
    tell("copy", lambda: one.chosen.copy())
    tell("json", lambda: json.dumps(one.chosen))
    one.names = ["x", "y"]
    tell("append", lambda: [one.names.append("z"), list(kind(node).names)])
    tell("plus", lambda: one.names + ["q"])
    tell("contains", lambda: ["x" in one.names, one.names.index("y"), one.names == ["x", "y", "z"]])
    tell("list copy", lambda: one.names.copy())
    tell("shorter", lambda: [setattr(one, "names", ["x"]), sorted(node.GetParameterNames())])
    tell("wrong type", lambda: setattr(one, "flag", "yes"))
    tell("none", lambda: setattr(one, "text", None))
    tell("out of range", lambda: setattr(one, "opacity", 1.5))
    tell("wrong element", lambda: setattr(one, "names", [1]))
    tell("wrong enum", lambda: setattr(one, "kind", "plain"))
    tell("unknown enum in the node", lambda: [node.SetParameter("kind", "NONE"), kind(node)])
    node.SetParameter("kind", "PLAIN")
    tell("read again", lambda: one.kind.name)
    tell("unknown name", lambda: one.getValue("nothing"))
    _events(tell, slicer, kind, node)


def _events(tell, slicer, kind, node) -> None:
    import vtk

    one, seen = kind(node), []
    tag = one.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: seen.append(list(one.names)))
    one.names = ["p", "q"]
    one.names = ["p", "q"]
    with slicer.util.NodeModify(one):
        one.flag, one.text = True, "t"
    one.chosen["k"] = "v"
    one.RemoveObserver(tag)
    tell("events", lambda: seen)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    one.segmentation = segmentation
    slicer.mrmlScene.RemoveNode(segmentation)
    tell("a node that is gone", lambda: one.segmentation)


def _widgets(tell, slicer) -> None:
    import ctk
    import qt

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    one = _wrapper(slicer)(node)
    box, combo, slider, selector = qt.QCheckBox(), qt.QComboBox(), ctk.ctkSliderWidget(), slicer.qMRMLNodeComboBox()
    selector.setMRMLScene(slicer.mrmlScene)
    mapping = {"flag": box, "kind": combo, "opacity": slider, "segmentation": selector}
    for name, widget in mapping.items():
        widget.setProperty("SlicerParameterName", name)
    ui = type("", (), {})()
    ui.__dict__.update({f"{name}Widget": widget for name, widget in mapping.items()})
    tag = one.connectGui(ui)

    def state():
        return [box.checked, combo.currentText, slider.value, slider.maximum, selector.nodeTypes]

    tell("connected", state)
    box.checked, combo.currentIndex, slider.value = True, 0, 0.5
    tell("from the widgets", lambda: [one.flag, one.kind.name, one.opacity])
    one.flag, one.kind, one.opacity = False, Kind.FANCY, 0.75
    tell("to the widgets", state)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    selector.setCurrentNode(segmentation)
    tell("node", lambda: one.segmentation.GetName())
    one.disconnectGui(tag)
    box.checked = True
    tell("disconnected", lambda: one.flag)
    tell("disconnect again", lambda: one.disconnectGui(tag))
    tell("no connector", lambda: one.connectParametersToGui({"flag": qt.QLineEdit()}))
    tell("unknown parameter", lambda: one.connectParametersToGui({"nothing": box}))


def _logic(tell, slicer) -> None:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class SomethingLogic(ScriptedLoadableModuleLogic):
        pass

    logic = SomethingLogic()
    node = logic.getParameterNode()
    tell("parameter node", lambda: [node.GetName(), node.GetAttribute("ModuleName"), node.GetSingletonTag()])
    tell("the same again", lambda: logic.getParameterNode() is node)
    tell("all", lambda: len(logic.getAllParameterNodes()))
    node.SetParameter("a", "b")
    slicer.mrmlScene.Clear(0)
    tell("after closing", lambda: [logic.getParameterNode() is node, logic.getParameterNode().GetParameter("a")])


def _samples(tell, slicer, folder: Path) -> None:
    import SampleData

    file = folder / "x.nrrd"
    file.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n" + bytes(8))
    made = []

    def downloader(source):
        made.append(source.sampleName)
        return ["made"]

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Mine",
        sampleName="One",
        uris=[file.as_uri()],
        fileNames=["y.nrrd"],
        nodeNames=["Y"],
        customDownloader=downloader,
    )
    cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    tell("nothing is called at registration", lambda: made)
    tell("sample", lambda: SampleData.downloadSample("One").GetName())
    tell("the downloader is not asked", lambda: made)
    tell("in the cache", lambda: (cache / "y.nrrd").is_file())
    tell("no storage node is left", lambda: slicer.util.getNode("Y").GetStorageNode())
    tell("unknown sample", lambda: SampleData.downloadSample("Two"))
    tell("unknown samples", lambda: SampleData.downloadSamples("Two"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Mine",
        sampleName="Three",
        uris=[(folder / "absent.nrrd").as_uri()],
        fileNames=["z.nrrd"],
        nodeNames=["Z"],
    )
    tell("a file that is not there", lambda: SampleData.downloadSamples("Three"))
    rules = SampleData.SampleDataLogic.registerUrlRewriteRule
    tell("rule", lambda: rules("mine", lambda url: file.as_uri() if url == "made:three" else url))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Mine", sampleName="Four", uris="made:three", fileNames="w.nrrd", nodeNames="W"
    )
    tell("a rewritten address", lambda: [node.GetName() for node in SampleData.downloadSamples("Four")])
    tell("a rule that is none", lambda: rules("mine", 3))
    source = slicer.modules.sampleDataSources["Mine"][0]
    tell("source", lambda: [source.sampleDescription, source.nodeNames, source.checksums, source.loadFiles])
    wrong = {"uris": ["a", "b"], "fileNames": ["a"]}
    tell("unequal lengths", lambda: SampleData.SampleDataSource(**wrong))


def _find(module: str, name: str):
    import importlib

    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        # The stand-in for a package is one module.
        return getattr(importlib.import_module(module.rpartition(".")[0]), name)


def _parameters(function) -> list[str]:
    described = []
    for parameter in inspect.signature(function).parameters.values():
        default = "" if parameter.default is inspect.Parameter.empty else f"={parameter.default!r}"
        described.append(f"{parameter.kind.description} {parameter.name}{default}")
    return described


def _plain(value):
    """Something JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    try:
        return [_plain(item) for item in value]
    except TypeError:
        return type(value).__name__


def main() -> None:
    """Print both."""
    with tempfile.TemporaryDirectory() as folder:
        answers = behaviours(Path(folder))
    print(json.dumps({"signatures": signatures(), "behaviours": answers}))


if __name__ == "__main__":
    main()
