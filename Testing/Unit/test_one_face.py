"""One face: the public names of the library, ``refine``, and options that are the same wherever they are offered."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import ReShapeITLib
from ReShapeITLib.cli.main import build_parser
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.job.job import run_refine_job
from ReShapeITLib.job.options import (
    ALIGNMENTS,
    BATCH,
    COMMAND,
    CONSOLE,
    DEVICES,
    MODULE,
    OPTIONS,
    PANEL,
    PRESETS,
    PYTHON,
    RefineSettings,
    option_values,
    options_of,
)
from ReShapeITLib.job.request import RefineJob
from Testing.tiny_template import ORGAN, label_volume, patient, with_licence

ROOT = Path(__file__).resolve().parents[2]
MODULE_XML = ROOT / "ReShapeIT" / "ReShapeITRefine" / "ReShapeITRefine.xml"
PANEL_UI = ROOT / "ReShapeIT" / "Resources" / "UI" / "ReShapeIT.ui"


def test_importing_the_library_imports_nothing_of_it_or_of_others():
    code = (
        "import sys, ReShapeITLib; mine = [name for name in sys.modules if name.startswith('ReShapeITLib.')]; "
        "assert not mine and not {'numpy', 'torch', 'vtk', 'SimpleITK'} & set(sys.modules), mine"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_public_name_is_listed_and_comes_from_where_type_checkers_see_it():
    tree = ast.parse(Path(ReShapeITLib.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name: imported.module for imported in guarded.body for name in imported.names}
    assert seen == ReShapeITLib._FILE_OF and sorted(seen) == sorted(ReShapeITLib.__all__)
    assert set(ReShapeITLib.__all__) <= set(dir(ReShapeITLib))
    assert all(getattr(ReShapeITLib, name) is not None for name in ReShapeITLib.__all__)


def test_the_documented_names_are_the_public_ones():
    table = ReShapeITLib.__doc__.split("==\n")[1]
    documented = [line.split()[0] for line in table.splitlines() if not line.startswith("=")]
    assert sorted(documented) == sorted(ReShapeITLib.__all__)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    used = re.findall(r"^ *from ReShapeITLib import (.+)$", readme, re.MULTILINE)
    assert used and {name.strip() for line in used for name in line.split(",")} <= set(ReShapeITLib.__all__)


def test_an_unknown_name_is_refused_as_of_any_module():
    with pytest.raises(AttributeError, match="'ReShapeITLib' has no attribute 'sharpen'"):
        ReShapeITLib.sharpen  # noqa: B018 - asking for it is the test


@pytest.fixture(scope="module")
def case():
    """Mask and geometry of a patient the template has not seen."""
    return patient(np.random.default_rng(11), (4.0, 4.0, 4.0))


def refined(case, template, **options) -> np.ndarray:
    """Voxels of the case by the public ``refine``."""
    mask, geometry = case
    return ReShapeITLib.refine(mask, geometry, template, preset="draft", device="cpu", **options).mask(geometry)


def test_refine_gives_the_voxels_that_the_command_gives(
    case, tiny_template_file, restoration_file, tmp_path, monkeypatch
):
    from ReShapeITLib.restoration.store import enter_network

    folder = tmp_path / "networks"
    folder.mkdir()
    network = folder / restoration_file.name
    network.write_bytes(restoration_file.read_bytes())
    enter_network(network)
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(folder))
    write_labels(label_volume(*case), tmp_path / "case.nrrd")
    job = RefineJob(
        tmp_path / "case.nrrd",
        {1: str(tiny_template_file)},
        tmp_path / "out.nrrd",
        preset="draft",
        device="cpu",
        seed=3,
    )
    result = run_refine_job(job)
    assert result.report.organs[0].restoration == network.name
    template = ReShapeITLib.OrganTemplate.load(tiny_template_file)
    for given in (tiny_template_file, template):
        assert np.array_equal(refined(case, given, seed=3), result.volume.mask(1))
    model = ReShapeITLib.RestorationModel.load(network)
    assert np.array_equal(refined(case, template, seed=3, restoration=model), result.volume.mask(1))


def test_the_readmes_python_lines_run(case, tiny_template_file, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("### Python")[1]
    lines = [line for line in readme.split("\n![")[0].splitlines() if line.startswith("    ")]
    write_labels(label_volume(*case), tmp_path / "prediction.nii.gz")
    code = textwrap.dedent("\n".join(lines)).replace("prediction.nii.gz", str(tmp_path / "prediction.nii.gz"))
    names: dict = {}
    exec(code.replace('"pancreas"', repr(str(tiny_template_file))), names)
    assert names["voxels"].any() and names["surface"].is_closed
    assert np.abs(names["distance"]).max() < 1.0, "the surface is where the distance is 0"


def test_what_refine_cannot_do_is_told_in_one_sentence(case, tiny_template_file, restoration_file, tmp_path):
    mask, geometry = case
    with pytest.raises(BadInputError, match="The mask has the shape"):
        ReShapeITLib.refine(mask[1:], geometry, tiny_template_file)
    with pytest.raises(BadInputError, match="preset is 'rough'; choose one of draft, standard, fine"):
        ReShapeITLib.refine(mask, geometry, tiny_template_file, preset="rough")
    with pytest.raises(BadInputError, match="leave these out"):
        ReShapeITLib.refine(mask, geometry, tiny_template_file, sparse=True, options=ReShapeITLib.RefineOptions())
    with pytest.raises(BadInputError, match="no template named 'gizzard'"):
        ReShapeITLib.refine(mask, geometry, "gizzard")
    other = replace(ReShapeITLib.RestorationModel.load(restoration_file))
    other = replace(other, info=replace(other.info, templates={ORGAN: "0" * 64}))
    with pytest.raises(BadInputError, match="not trained with this template"):
        refined(case, tiny_template_file, restoration=other)
    restricted = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    with pytest.raises(BadInputError, match="say so with non_commercial=True"):
        refined(case, restricted)


def test_options_of_ones_own_take_the_place_of_a_preset(case, tiny_template_file):
    mask, geometry = case
    own = replace(ReShapeITLib.REFINE_PRESETS["draft"], seed=3)
    shape = ReShapeITLib.refine(mask, geometry, tiny_template_file, options=own, device="cpu", restoration="none")
    assert np.array_equal(shape.mask(geometry), refined(case, tiny_template_file, seed=3, restoration="none"))


def defaults(place: str) -> dict:
    """Declared defaults of what a place offers."""
    return {option.name: option.default for option in options_of(place)}


def others(place: str) -> dict:
    """For each option of a place a value that is not its default."""
    another = {bool: lambda o: True, int: lambda o: 7, str: lambda o: o.choices[-1] if o.choices else "none"}
    return {option.name: another[type(option.default)](option) for option in options_of(place)}


def test_the_declared_choices_are_those_that_the_library_has():
    from ReShapeITLib.core.device import choose_device
    from ReShapeITLib.interaction.alignment import BACKENDS

    assert tuple(ReShapeITLib.REFINE_PRESETS) == PRESETS and tuple(BACKENDS) == ALIGNMENTS
    assert choose_device(DEVICES[0]).name in DEVICES


def test_refine_has_the_declared_options_and_defaults():
    parameters = inspect.signature(ReShapeITLib.refine).parameters.values()
    keywords = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    own = {"image", "options", "progress", "notice"}
    assert {name: value for name, value in keywords.items() if name not in own} == defaults(PYTHON)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (COMMAND, ["refine", "in.nrrd", "--template", "liver", "--output", "out.nrrd"]),
        (BATCH, ["batch", "in", "--template", "liver", "--out", "out"]),
    ],
)
def test_the_commands_offer_the_declared_options(place, words):
    assert option_values(build_parser().parse_args(words)) == defaults(place)
    for name, value in others(place).items():
        words += [OPTIONS[name].flag] if value is True else [OPTIONS[name].flag, str(value)]
    assert option_values(build_parser().parse_args(words)) == others(place)


def test_an_option_outside_its_range_or_choices_is_refused():
    parser = build_parser()
    words = ["refine", "in.nrrd", "--template", "liver", "--output", "out.nrrd"]
    for wrong in (["--seed", "-1"], ["--seed", str(2**31)], ["--preset", "rough"], ["--device", "abacus"]):
        with pytest.raises(BadInputError, match=wrong[0]):
            parser.parse_args([*words, *wrong])
    with pytest.raises(BadInputError, match="device is 'abacus'"):
        RefineSettings(device="abacus")


def test_slicers_console_has_the_declared_options_and_hands_them_to_the_command():
    from ReShapeITSlicer.options import DEVICES as SLICER_DEVICES
    from ReShapeITSlicer.options import PRESETS as SLICER_PRESETS
    from ReShapeITSlicer.options import RefinementOptions

    assert (SLICER_PRESETS, SLICER_DEVICES) == (PRESETS, DEVICES)
    of_the_scene = {"resultMode", "overlapPolicy"}
    told = {one.name: one.default for one in fields(RefinementOptions) if one.name not in of_the_scene}
    assert told == {OPTIONS[name].slicer_name: value for name, value in defaults(CONSOLE).items()}
    chosen = RefinementOptions(**{OPTIONS[name].slicer_name: value for name, value in others(CONSOLE).items()})
    words = ["refine", "in.nrrd", "--template", "liver", "--output", "out.nrrd", *chosen.arguments()]
    assert option_values(build_parser().parse_args(words)) == {**defaults(COMMAND), **others(CONSOLE)}


def test_the_panel_has_the_declared_options(application):
    from ReShapeITPanel import choices
    from ReShapeITPanel.parameterNode import ReShapeITParameterNode

    node = application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = ReShapeITParameterNode(node)
    for option in options_of(PANEL):
        value = getattr(parameters, option.slicer_name)
        assert (value.value if option.choices else value) == option.default, option.name
    for kind, name in ((choices.Preset, "preset"), (choices.Device, "device")):
        assert {choice.value for choice in kind} == set(OPTIONS[name].choices)


def panel_labels() -> dict[str, str]:
    """Text beside or on the widget of each option of the panel, by the name of its parameter."""
    layout = next(one for one in ElementTree.parse(PANEL_UI).iter("layout") if one.get("name") == "optionsLayout")
    rows: dict[str, list] = {}
    for item in layout.findall("item"):
        if item.find("widget") is not None:
            rows.setdefault(item.get("row"), []).append(item.find("widget"))
    found = {}
    for widgets in rows.values():
        parameter = widgets[-1].findtext("property[@name='SlicerParameterName']/string")
        texts = [widget.findtext("property[@name='text']/string") for widget in widgets]
        if parameter:
            found[parameter] = next(text for text in reversed(texts) if text).removesuffix(":")
    return found


def test_the_panel_calls_the_options_by_their_declared_names():
    told = {option.slicer_name: option.label for option in options_of(PANEL)}
    assert panel_labels().items() >= told.items()


def test_the_users_guide_explains_every_option_of_the_panel():
    text = (ROOT / "docs" / "SLICER.md").read_text(encoding="utf-8")
    section = text.split("## What the options do")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)[1:]
    assert sorted(rows) == sorted(panel_labels().values())


@pytest.mark.parametrize("option", options_of(MODULE), ids=lambda option: option.name)
def test_the_command_line_modules_description_has_the_declared_element(option):
    """``python -m ReShapeITLib.job.options`` prints what belongs there."""
    assert textwrap.indent(option.xml(), "    ") in MODULE_XML.read_text(encoding="utf-8")


def test_the_command_line_module_offers_no_other_options():
    of_files_and_organs = {
        "inputVolume",
        "outputVolume",
        "image",
        "surface",
        "report",
        "template",
        "label",
        "templates",
    }
    names = {element.text for element in ElementTree.parse(MODULE_XML).iter("name")}
    assert names - of_files_and_organs == {option.slicer_name for option in options_of(MODULE)}


def test_every_option_of_the_panel_and_the_module_has_a_label():
    assert all(option.label for place in (PANEL, MODULE) for option in options_of(place))


def test_help_shows_each_option_with_its_sentence_and_default(capsys):
    with pytest.raises(SystemExit):
        build_parser("refine").parse_args(["refine", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    parser = argparse.ArgumentParser()
    for option in options_of(COMMAND):
        action = parser.add_argument(option.flag, **option.argument())
        assert option.help in action.help and " ".join(action.help.split()) in told, option.name


def test_refine_leaves_torchs_threads_as_the_caller_set_them(tiny_template_file, monkeypatch):
    import torch

    from ReShapeITLib.core import device

    # Without the variable the library sets the threads; two cores leave it one.
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(device, "_physical_cores", lambda: 2)
    mask, geometry = patient(np.random.default_rng(11), (5.0, 5.0, 5.0))
    before, during = torch.get_num_threads(), set()

    class Watched(Progress):
        def stage(self, name, fraction, message=""):
            during.add(torch.get_num_threads())

    torch.set_num_threads(before + 1)
    try:
        ReShapeITLib.refine(
            mask,
            geometry,
            tiny_template_file,
            preset="draft",
            device="cpu",
            restoration="none",
            progress=Watched(),
        )
        assert during == {1} and torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
