"""The command-line module: its description as Slicer's own parser reads it, and the script as Slicer starts it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.io.surfaces import read_surface
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.options import DEVICES, PRESETS
from ReShapeITLib.templates.store import available_templates
from Testing.tiny_template import patient

FOLDER = Path(__file__).resolve().parents[2] / "ReShapeIT" / "ReShapeITRefine"
SCRIPT, DESCRIPTION = FOLDER / "ReShapeITRefine.py", FOLDER / "ReShapeITRefine.xml"
NON_COMMERCIAL = " (non-commercial)"
# Slicer's own parser lies in the slicer-core wheel without headers: these declarations are all the test needs of it.
# Both classes only have members of the library's own; the room is more than a ModuleDescription takes.
CALL_PARSER = """
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
struct ModuleDescription {
  alignas(16) unsigned char room[16384];
  ModuleDescription();
  const std::string& GetTitle() const;
  const std::string& GetCategory() const;
  const std::string& GetVersion() const;
  bool HasParameter(const std::string&) const;
  std::string GetParameterDefaultValue(const std::string&) const;
};
struct ModuleDescriptionParser { int Parse(const std::string&, ModuleDescription&); };
int main(int count, char** words) {
  std::ifstream file(words[1]);
  std::stringstream text;
  text << file.rdbuf();
  auto* description = new ModuleDescription;
  ModuleDescriptionParser parser;
  std::cout << parser.Parse(text.str(), *description) << "\\n" << description->GetTitle() << "\\n"
            << description->GetCategory() << "\\n" << description->GetVersion() << "\\n";
  for (int i = 2; i < count; ++i)
    std::cout << description->HasParameter(words[i]) << " " << description->GetParameterDefaultValue(words[i]) << "\\n";
}
"""


def parameters() -> list[ElementTree.Element]:
    """All parameter elements of the description."""
    groups = ElementTree.parse(DESCRIPTION).getroot().findall("parameters")
    return [element for group in groups for element in group if element.tag not in ("label", "description")]


def script_module():
    """The script, imported."""
    spec = importlib.util.spec_from_file_location("ReShapeITRefine", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def temporary_file(folder: Path, node_id: str, extension: str = ".nrrd") -> str:
    """Where vtkSlicerCLIModuleLogic puts the data of a node: process number and id, with letters in place of digits."""
    letters = str.maketrans("0123456789", "ABCDEFGHIJ")
    return f"{folder}/{str(os.getpid()).translate(letters)}_{node_id.translate(letters)}{extension}"


def command_line(values: dict[str, str]) -> list[str]:
    """Arguments in the order and style in which vtkSlicerCLIModuleLogic writes them.

    Numbers and choices always; a switch where it is true; texts and files where they are not empty; nodes that are
    chosen; last what has an index. A file for returned values is asked for where an output has neither flag nor index.
    """
    flagged, indexed = [], {}
    for element in parameters():
        name, flag = element.findtext("name"), f"--{element.findtext('longflag')}"
        value = values.get(name, element.findtext("default") or "")
        if element.find("index") is not None:
            indexed[int(element.findtext("index"))] = value
        elif element.tag == "boolean":
            flagged += [flag] if value == "true" else []
        elif value or element.tag in ("integer", "string-enumeration"):
            flagged += [flag, value]
    return [*flagged, *(indexed[index] for index in sorted(indexed))]


def run_script(values: dict[str, str], *more: str, **options) -> subprocess.CompletedProcess:
    """The script in a process of its own, in a folder from which nothing of this project can be imported."""
    command = [sys.executable, str(SCRIPT), *more, *command_line(values)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, encoding="utf-8", **options, check=False
    )


def run_here(values: dict[str, str], capsys) -> subprocess.CompletedProcess:
    """The script in this process, for what does not depend on a process of its own."""
    code = script_module().main(command_line(values))
    told = capsys.readouterr()
    return subprocess.CompletedProcess([], code, told.out, told.err)


def seen_by_slicer(stdout: str) -> str:
    """What is left of the output when Slicer has taken its progress tags out, by the expressions that it uses."""
    names = ("progress", "stage-progress", "name", "comment", "time", "start", "end")
    for name in names:
        stdout = re.sub(rf"<filter-{name}>[^<]*</filter-{name}>[ \t\n\r]*", "", stdout)
    return stdout


@pytest.fixture(scope="module")
def call_parser(tmp_path_factory):
    """``call_parser(description, *names)``: what the parser of the slicer-core wheel reads, a line each."""
    spec = importlib.util.find_spec("slicer_core")
    folder = Path(next(iter(spec.submodule_search_locations))) / "third_party.libs" if spec else Path("absent")
    library, compiler = folder / "libModuleDescriptionParser.so", shutil.which("g++")
    if not library.is_file() or not compiler:
        pytest.skip("Slicer's own parser needs the slicer-core wheel for Linux and g++")
    build = tmp_path_factory.mktemp("parser")
    (build / "call.cxx").write_text(CALL_PARSER)
    program = build / "call"
    flags = ["-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0", "-Wl,--allow-shlib-undefined"]
    built = subprocess.run(
        [compiler, *flags, build / "call.cxx", library, "-o", program], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip(f"the parser cannot be linked here: {built.stderr.strip().splitlines()[-1]}")

    def call(description: Path, *names: str) -> list[str]:
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
        command = [program, description, *names]
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return output.rstrip("\n").split("\n")

    return call


def test_slicers_own_parser_reads_the_description(call_parser):
    names = [element.findtext("name") for element in parameters()]
    code, title, category, version, *found = call_parser(DESCRIPTION, *names)
    assert (code, title, category, version) == ("0", "ReShapeIT Refine", "Segmentation", "0.1.0")
    defaults = [(element.findtext("default") or "").strip() for element in parameters()]
    assert [line.partition(" ")[::2] for line in found] == [("1", default) for default in defaults]


def test_slicers_own_parser_refuses_a_broken_description(call_parser, tmp_path):
    broken = tmp_path / "broken.xml"
    broken.write_text(DESCRIPTION.read_text(encoding="utf-8").replace("</parameters>", "", 1), encoding="utf-8")
    assert call_parser(broken)[0] != "0"


def test_the_description_has_what_slicers_parser_does_not_insist_on():
    root = ElementTree.parse(DESCRIPTION).getroot()
    for tag in ("category", "title", "description", "version", "documentation-url", "license", "contributor"):
        assert root.findtext(tag, "").strip(), tag
    names, flags, indices = [], [], []
    for element in parameters():
        name = element.findtext("name")
        names.append(name)
        assert name.isidentifier() and element.findtext("label") and element.findtext("description"), name
        if element.find("index") is None:
            flags.append(element.findtext("longflag"))
        else:
            indices.append(int(element.findtext("index")))
        if element.tag in ("image", "geometry", "file"):
            assert element.findtext("channel") in ("input", "output"), name
        if element.tag == "string-enumeration":
            assert element.findtext("default") in [choice.text for choice in element.findall("element")], name
        if element.tag == "boolean":
            assert element.findtext("default") == "false", name
    assert len(set(names)) == len(names) and len(set(flags)) == len(flags) and None not in flags
    assert indices == list(range(len(indices)))


def test_description_and_script_have_the_same_arguments_and_defaults():
    actions = script_module().parser()._actions
    shown = [action for action in actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    known = {action.option_strings[0][2:] if action.option_strings else action.dest: action for action in shown}
    for element in parameters():
        flag = element.findtext("longflag") or element.findtext("name")
        action = known.pop(flag)
        kebab = re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", flag)
        options = {f"--{flag}", f"--{kebab}"}  # as the description has it, and as the reshapeit command has it
        assert element.find("index") is not None or set(action.option_strings) == options
        default = element.findtext("default") or None
        assert element.tag == "boolean" or str(action.default) == str(default), flag
        if action.choices:
            assert list(action.choices) == [choice.text for choice in element.findall("element")]
    assert not known


def test_choices_are_those_of_the_library_and_licences_are_told():
    from ReShapeITLib.templates.template import read_info

    choices = {e.findtext("name"): [c.text for c in e.findall("element")] for e in parameters()}
    assert choices["preset"] == list(PRESETS) and choices["device"] == list(DEVICES)
    shipped = {name: path for name, path in available_templates().items() if path.parent.name == "Templates"}
    marked = {name + NON_COMMERCIAL * read_info(path)[0].non_commercial for name, path in shipped.items()}
    assert set(choices["template"]) == marked


def test_the_script_tells_its_description_on_every_console():
    command = [sys.executable, str(SCRIPT), "--xml"]
    told = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert told.stdout == DESCRIPTION.read_bytes() and not told.stderr


def test_slicer_asks_for_no_file_of_returned_values():
    # It would for an output that has neither flag nor index.
    outputs = [element for element in parameters() if element.findtext("channel") == "output"]
    assert len(outputs) == 3
    assert all(element.findtext("longflag") or element.findtext("index") for element in outputs)


@pytest.fixture(scope="module")
def two_organs(tmp_path_factory) -> Path:
    """A label map in which labels 4 and 5 are patients of the test template, side by side."""
    mask, geometry = patient(np.random.default_rng(11))
    array = np.zeros((*mask.shape[:2], 2 * mask.shape[2]), np.uint8)
    array[:, :, : mask.shape[2]][mask] = 4
    array[:, :, mask.shape[2] :][mask] = 5
    path = tmp_path_factory.mktemp("cli") / "two.nrrd"
    write_labels(LabelVolume.from_array(array, geometry.cropped((0, 0, 0), array.shape[::-1])), path)
    return path


def test_the_script_refines_as_slicer_would_run_it(two_organs, tiny_template_file, tmp_path):
    values = {
        "inputVolume": str(two_organs),
        "outputVolume": str(tmp_path / "out.nrrd"),
        "surface": str(tmp_path / "out.vtp"),
        "report": str(tmp_path / "out.json"),
        "templates": f"4={tiny_template_file},5={tiny_template_file}",
        "preset": "draft",
        "device": "cpu",
    }
    done = run_script(values, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("<filter-start>") and "<filter-end><filter-name>ReShapeIT</filter-name>" in done.stdout
    fractions = [float(line.split(">")[1].split("<")[0]) for line in lines if line.startswith("<filter-progress>")]
    assert len(fractions) > 10 and fractions == sorted(fractions) and fractions[-1] == 1.0
    before, after = read_labels(two_organs), read_labels(tmp_path / "out.nrrd")
    assert np.array_equal(after.geometry.ijk_to_ras, before.geometry.ijk_to_ras) and after.label_values() == (4, 5)
    surface = read_surface(tmp_path / "out.vtp")
    assert surface.is_closed and set(np.unique(surface.point_data["label"])) == {4, 5}
    assert {"signed_change_mm", "confidence"} <= set(surface.point_data)
    volume_ml = sum(organ["volume_after_ml"] for organ in json.loads((tmp_path / "out.json").read_text())["organs"])
    assert surface.volume_mm3 / 1000 == pytest.approx(volume_ml, rel=0.05)


def test_slicer_logs_no_error_after_a_good_run_and_sees_only_sentences(two_organs, tiny_template_file, tmp_path):
    values = {
        "inputVolume": str(two_organs),
        "outputVolume": temporary_file(tmp_path, "vtkMRMLLabelMapVolumeNode12"),
        "label": "4",
        "template": str(tiny_template_file),
        "preset": "draft",
        "device": "cpu",
    }
    own = ["--returnparameterfile", str(tmp_path / "x.params"), "--processinformationaddress", "0x7f", "--echo"]
    done = run_script(values, *own, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    left = seen_by_slicer(done.stdout)
    assert "filter-" not in left and "label 4" in left
    assert {path.name for path in tmp_path.iterdir()} == {Path(values["outputVolume"]).name}


def test_names_outside_ascii_and_blanks_do_not_matter(two_organs, tiny_template_file, tmp_path):
    folder = tmp_path / "Dr. Müller & Söhne 肝"
    folder.mkdir()
    shutil.copy(two_organs, folder / "Leber größer.nrrd")
    values = {
        "inputVolume": str(folder / "Leber größer.nrrd"),
        "outputVolume": str(folder / "aus gabe.nrrd"),
        "label": "4",
        "template": str(shutil.copy(tiny_template_file, folder / "Милт.safetensors")),
        "report": str(folder / "отчёт.json"),
        "surface": str(folder / "面.vtp"),
        "preset": "draft",
        "device": "cpu",
    }
    done = run_script(values, env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} >= {"aus gabe.nrrd", "отчёт.json", "面.vtp"}
    again = run_script({**values, "label": "9"}, env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert again.returncode == 2 and "gr\\xf6\\xdfer" in again.stderr


def test_bad_input_is_one_line_and_writes_nothing(two_organs, tmp_path):
    done = run_script(
        {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), "label": "9", "device": "cpu"}
    )
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert len(done.stderr.splitlines()) == 1 and "9" in done.stderr and done.stderr.startswith("ReShapeIT: ")
    comments = re.findall("<filter-comment>(.*)</filter-comment>", done.stdout)
    assert f"ReShapeIT: {comments[-1]}" == done.stderr.strip() and seen_by_slicer(done.stdout) == ""


def test_a_mistyped_flag_is_refused_in_one_sentence(two_organs, tmp_path):
    done = run_script({"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd")}, "--lable", "4")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert re.fullmatch(r"ReShapeIT: Unrecognized arguments: --lable.*; --help lists the arguments\.\n", done.stderr)


NON_COMMERCIAL_CHOICES = (
    {"label": "4", "template": "lung_middle_lobe_right (non-commercial)"},
    {"templates": "4=lung_middle_lobe_right"},
)


@pytest.mark.parametrize("choice", NON_COMMERCIAL_CHOICES, ids=["one organ", "several organs"])
def test_a_non_commercial_template_is_refused_without_the_word_for_it(choice, two_organs, tmp_path, capsys):
    done = run_here({"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), **choice}, capsys)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert "non-commercial use only" in done.stderr and "--non-commercial" in done.stderr


def test_a_non_commercial_template_is_used_with_the_word_for_it(two_organs, tmp_path):
    values = {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), **NON_COMMERCIAL_CHOICES[0]}
    done = run_script({**values, "device": "cpu", "preset": "draft", "nonCommercial": "true"})
    assert done.returncode in (0, 3) and "--non-commercial" not in done.stderr
    assert "non-commercial use only" in done.stdout  # the licence is told all the same


def test_a_killed_run_leaves_nothing_behind(two_organs, tiny_template_file, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    values = {
        "inputVolume": str(two_organs),
        "outputVolume": temporary_file(temporary, "vtkMRMLLabelMapVolumeNode1"),
        "surface": temporary_file(temporary, "vtkMRMLModelNode4", ".vtp"),
        "label": "4",
        "template": str(tiny_template_file),
        "device": "cpu",
        "preset": "fine",
    }
    command = [sys.executable, str(SCRIPT), *command_line(values)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.startswith("<filter-progress>0.2"):
                process.kill()  # as Slicer cancels
                break
    assert process.returncode not in (0, 1) and not list(temporary.iterdir())


def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(two_organs, tiny_template_file, tmp_path):
    values = {
        "inputVolume": str(two_organs),
        "outputVolume": str(tmp_path / "out.nrrd"),
        "label": "4",
        "template": str(tiny_template_file),
        "device": "cpu",
        "preset": "draft",
    }
    command = [sys.executable, str(SCRIPT), *command_line(values)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1 and errors == ""


@pytest.mark.parametrize("reference", [True, False], ids=["with its scan", "without a scan"])
def test_a_segmentation_node_keeps_its_segments_and_has_room(reference, tiny_template_file, tmp_path):
    pytest.importorskip("slicer", reason="segmentation nodes need slicer-core")
    from Testing.Slicer.scene import new_scene

    world = new_scene(tmp_path)
    given, masks = overlapping_segmentation(world.scene, tmp_path, reference)
    values = {
        "inputVolume": temporary_file(tmp_path, given.GetID()),
        "outputVolume": temporary_file(tmp_path, "vtkMRMLSegmentationNode7"),
        "templates": f"Größere Leber={tiny_template_file}",
        "preset": "draft",
        "device": "cpu",
    }
    assert stored(given, values["inputVolume"], "WriteData")
    tight = read_labels(values["inputVolume"]).geometry.size_ijk
    assert (tight == masks[0].shape[::-1]) == reference
    done = run_script(values, cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == "" and "Gr\\xf6\\xdfere Leber" in done.stdout, done.stderr
    refined = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert stored(refined, values["outputVolume"], "ReadData")
    segments = [refined.GetSegmentation().GetNthSegment(index) for index in range(2)]
    assert [segment.GetName() for segment in segments] == ["Größere Leber", "Rest"]
    assert segments[0].GetColor() == pytest.approx((0.25, 0.5, 0.75))
    volume = read_labels(values["outputVolume"])
    room = np.subtract(volume.geometry.size_ijk, tight)
    assert (room == 0).all() if reference else (room == 2 * 10).all()  # voxels of 3 mm
    assert volume.mask("Rest").sum() == masks[1].sum() and len(volume.layers) == 2
    for name in ("Größere Leber", "Rest"):
        assert voxels_in_node(refined, name) == volume.mask(name).sum() > 1000


def test_overlapping_segments_are_refused_for_a_label_map_node(tiny_template_file, tmp_path, capsys):
    layers, geometry = np.zeros((2, 30, 30, 30), np.uint8), ImageGeometry.from_parts((30, 30, 30), (2, 2, 2), (0, 0, 0))
    layers[:, 5:25, 5:25, 5:25] = 1
    segments = (Segment(1, "one", "a", layer=0), Segment(1, "two", "b", layer=1))
    write_labels(LabelVolume(tuple(layers), geometry, segments), tmp_path / "given.seg.nrrd")
    values = {
        "inputVolume": str(tmp_path / "given.seg.nrrd"),
        "device": "cpu",
        "templates": f"one={tiny_template_file}",
        "outputVolume": temporary_file(tmp_path, "vtkMRMLLabelMapVolumeNode1"),
    }
    done = run_here(values, capsys)
    assert done.returncode == 2 and "overlapping segments" in done.stderr
    output = next(element for element in parameters() if element.findtext("name") == "outputVolume")
    assert "Overlapping segments need a segmentation" in output.findtext("description")


def overlapping_segmentation(scene, folder: Path, reference: bool):
    """A segmentation node of two overlapping segments, the first a patient of the test template; and their voxels.

    With ``reference`` it knows the grid that it was drawn on.
    """
    mask, geometry = patient(np.random.default_rng(11))
    masks = mask, np.roll(mask, 4, axis=2)
    segments = (Segment(1, "Größere Leber", "a", (0.25, 0.5, 0.75), 0), Segment(1, "Rest", "b", (1, 0, 0), 1))
    layers = tuple(voxels.astype(np.uint8) for voxels in masks)
    write_labels(LabelVolume(layers, geometry, segments), folder / "given.seg.nrrd")
    write_labels(LabelVolume(layers[:1], geometry), folder / "grid.nrrd")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert stored(node, str(folder / "given.seg.nrrd"), "ReadData")
    if reference:
        grid = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        assert stored(grid, str(folder / "grid.nrrd"), "ReadData")
        node.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    return node, masks


def voxels_in_node(node, name: str) -> int:
    """How many voxels a segment has in the scene."""
    import slicer
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(node.GetSegmentation().GetSegmentIdBySegmentName(name), image)
    return int(np.count_nonzero(vtk_to_numpy(image.GetPointData().GetScalars())))


def stored(node, path: str, action: str) -> bool:
    """Write or read a node's data as the application does for command-line modules."""
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    storage.SetFileName(path)
    storage.ConfigureForDataExchange()
    return bool(getattr(storage, action)(node))


def test_a_missing_package_is_told_with_what_to_do(two_organs, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='torch')")
    values = {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), "label": "4"}
    done = run_script(values, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and "package torch is missing" in done.stderr and "ReShapeIT module" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_package_that_cannot_be_loaded_is_told_with_what_to_do(two_organs, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('DLL load failed', name='torch._C')")
    values = {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), "label": "4"}
    done = run_script(values, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and "torch" in done.stderr and "ReShapeIT module" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_script_without_its_library_asks_to_install_the_extension_again(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    command = [sys.executable, "-S", str(tmp_path / SCRIPT.name), "in.nrrd", "out.nrrd"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "install the ReShapeIT extension again" in done.stderr


@pytest.mark.parametrize("folder", ["cli-modules", "cli-modules/Release"], ids=["installed", "built on Windows"])
def test_an_extension_finds_the_library_beside_its_scripted_modules(folder, tmp_path):
    version = tmp_path / "lib" / "Slicer-5.12"
    library = version / "qt-scripted-modules" / "ReShapeITLib"
    for made in (version / folder, library):
        made.mkdir(parents=True)
    (library / "__init__.py").write_text("")
    shutil.copy(SCRIPT, version / folder)
    # This environment's own, editable install of the library is known, too.
    code = "import sys, ReShapeITRefine as m; m.addLibraryToPath(); import ReShapeITLib; print(ReShapeITLib.__file__)"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=version / folder, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()).parent == library
