"""The command-line module: its description as Slicer's own parser reads it, and the script as Slicer starts it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.cli.common import DEVICES, PRESETS
from ReShapeITLib.labels import LabelVolume
from ReShapeITLib.surface_io import read_surface
from ReShapeITLib.template_store import available_templates
from ReShapeITLib.volume_io import read_labels, write_labels
from Testing.tiny_template import patient

FOLDER = Path(__file__).resolve().parents[1] / "ReShapeIT" / "ReShapeITRefine"
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


def command_line(values: dict[str, str]) -> list[str]:
    """Arguments in the order and style in which vtkSlicerCLIModuleLogic writes them."""
    flagged, indexed = [], {}
    for element in parameters():
        name = element.findtext("name")
        value = values.get(name, element.findtext("default") or "")
        if element.find("index") is not None:
            indexed[int(element.findtext("index"))] = value
        elif element.tag == "boolean":
            flagged += [f"--{element.findtext('longflag')}"] if value == "true" else []
        elif value or element.tag in ("integer", "string-enumeration"):
            flagged += [f"--{element.findtext('longflag')}", value]
    return [*flagged, *(indexed[index] for index in sorted(indexed))]


def run_script(values: dict[str, str], **options) -> subprocess.CompletedProcess:
    """The script in a process of its own, in a folder from which nothing of this project can be imported."""
    command = [sys.executable, str(SCRIPT), *command_line(values)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


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
        [compiler, *flags, build / "call.cxx", library, "-o", program], capture_output=True, text=True
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
    known = {action.dest: action for action in script_module().parser()._actions if action.dest != "help"}
    for element in parameters():
        flag = element.findtext("longflag") or element.findtext("name")
        action = known.pop(flag)
        assert element.find("index") is not None or action.option_strings == [f"--{flag}"]
        default = element.findtext("default") or None
        assert element.tag == "boolean" or str(action.default) == str(default), flag
        if action.choices:
            assert list(action.choices) == [choice.text for choice in element.findall("element")]
    assert not known


def test_choices_are_those_of_the_library_and_licences_are_told():
    from ReShapeITLib.template import read_info

    choices = {e.findtext("name"): [c.text for c in e.findall("element")] for e in parameters()}
    assert choices["preset"] == list(PRESETS) and choices["device"] == list(DEVICES)
    shipped = {name: path for name, path in available_templates().items() if path.parent.name == "Templates"}
    marked = {name + NON_COMMERCIAL * read_info(path)[0].non_commercial for name, path in shipped.items()}
    assert set(choices["template"]) == marked


def test_the_script_tells_its_description():
    told = subprocess.run([sys.executable, str(SCRIPT), "--xml"], capture_output=True, text=True, check=True).stdout
    assert ElementTree.fromstring(told.encode()).findtext("title") == "ReShapeIT Refine"


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
        "inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"),
        "surface": str(tmp_path / "out.vtp"), "report": str(tmp_path / "out.json"),
        "templates": f"4={tiny_template_file},5={tiny_template_file}", "preset": "draft", "device": "cpu",
    }  # fmt: skip
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


def test_bad_input_is_one_line_and_writes_nothing(two_organs, tmp_path):
    done = run_script(
        {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), "label": "9", "device": "cpu"}
    )
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert len(done.stderr.splitlines()) == 1 and "9" in done.stderr


def test_the_choice_of_a_non_commercial_template_says_so(two_organs, tmp_path):
    values = {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), "label": "4"}
    done = run_script(
        {**values, "template": "lung_middle_lobe_right (non-commercial)", "preset": "draft", "device": "cpu"}
    )
    assert "non-commercial use only" in done.stdout
    assert done.returncode in (0, 3)


def test_a_missing_package_is_told_with_what_to_do(two_organs, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='torch')")
    values = {"inputVolume": str(two_organs), "outputVolume": str(tmp_path / "out.nrrd"), "label": "4"}
    done = run_script(values, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and "package torch is missing" in done.stderr and "ReShapeIT module" in done.stderr


def test_an_installed_extension_finds_the_library_beside_its_scripted_modules(tmp_path):
    installed = tmp_path / "lib" / "Slicer-5.12" / "cli-modules"
    installed.mkdir(parents=True)
    library = installed.parent / "qt-scripted-modules" / "ReShapeITLib"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("")
    shutil.copy(SCRIPT, installed)
    # -S: without this environment's own, editable install of the library
    code = "import sys, ReShapeITRefine as m; m.addLibraryToPath(); import ReShapeITLib; print(ReShapeITLib.__file__)"
    told = subprocess.run([sys.executable, "-S", "-c", code], cwd=installed, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()).parent == library
