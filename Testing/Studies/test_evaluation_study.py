"""Study files: what they may say, what they are told otherwise, and who may not be evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.restoration.model import RestorationInfo, RestorationModel
from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork
from ReShapeITLib.templates.template import read_shape_sha256
from Testing.Studies.cases_for_tests import make_study, sphere, study_values, write_cases, write_mask, write_template
from Testing.Studies.evaluation.families import Clean, Coarse, Damage, Predictions
from Testing.Studies.evaluation.patients import check_patients
from Testing.Studies.evaluation.study import MethodEntry, read_study

TEMPLATE = Path("template.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_cases(folder)
    return folder


def read(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_values(TEMPLATE, **changes)), encoding="utf-8")
    return read_study(path)


def test_paths_are_taken_from_the_folder_of_the_file(folder):
    study = read(folder)
    assert study.cases == {"a": folder / "truths" / "a.nrrd", "b": folder / "truths" / "b.nrrd"}
    assert study.families == (Predictions("predictions", str(folder / "nets"), ("island", "right")),)


def test_a_truth_in_a_folder_of_its_own_is_a_case_of_the_folders_name(folder):
    for case in ("p1", "p2"):
        (folder / case).mkdir()
        (folder / case / "truth.nii.gz").touch()
    cases = read(folder, truths={"folder": ".", "cases": ["p1", "p2"]}).cases
    assert cases == {case: folder / case / "truth.nii.gz" for case in ("p1", "p2")}


def test_truths_may_be_a_list_of_files(folder):
    assert list(read(folder, truths=["truths/b.nrrd"]).cases) == ["b"]


def write_study_on_base(folder, **values):
    """A study in a folder of its own that takes the rest from ``study.yaml`` beside that folder."""
    (folder / "study.yaml").write_text(yaml.safe_dump(study_values(TEMPLATE)), encoding="utf-8")
    (folder / "more").mkdir(exist_ok=True)
    path = folder / "more" / "study.yaml"
    path.write_text(yaml.safe_dump({"base": "../study.yaml", **values}), encoding="utf-8")
    return path


def test_what_a_study_does_not_say_is_as_in_its_base(folder):
    base, study = read(folder), read_study(write_study_on_base(folder, families=[{"kind": "clean"}], seed=3))
    assert (study.families, study.seed) == ((Clean("clean"),), 3)
    assert study.organ == base.organ and study.methods == base.methods
    assert Path(study.template).resolve() == Path(base.template).resolve()
    assert [path.resolve() for path in study.truths] == [path.resolve() for path in base.truths]


def test_paths_of_a_study_with_a_base_are_taken_from_its_own_folder(folder):
    study = read_study(write_study_on_base(folder, template="t.safetensors", truths=["../truths/b.nrrd"]))
    assert Path(study.template) == folder / "more" / "t.safetensors" and list(study.cases) == ["b"]


def test_a_base_that_has_a_base_is_refused(folder):
    path = write_study_on_base(folder)
    (folder / "more" / "third.yaml").write_text("base: study.yaml\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="has a base itself"):
        read_study(path.with_name("third.yaml"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base": 5}, "'base' must name another study's file, not 5"),
        ({"base": "none.yaml"}, "base none.yaml cannot be read"),
        ({"organ": ""}, "must name the organ"),
        ({"truths": None}, "truths"),
        ({"families": None}, "'families' must be a list"),
    ],
)
def test_what_is_wrong_in_a_study_with_a_base_is_told(folder, changes, told):
    with pytest.raises(BadInputError, match=told):
        read_study(write_study_on_base(folder, **changes))


def test_every_family_has_a_name_of_its_own(folder):
    families = [
        {"kind": "clean"},
        {"kind": "coarse", "voxel_mm": 3},
        {"kind": "coarse", "slice_mm": 5.0},
        {"kind": "damage", "damage": "bite"},
        {"kind": "damage", "damage": "bite", "level": "severe", "name": "B"},
    ]
    assert read(folder, families=families).families == (
        Clean("clean"),
        Coarse("3 mm voxels", 3.0),
        Coarse("5 mm slices", 0.0, 5.0),
        Damage("bite middle", "bite"),
        Damage("B", "bite", "severe"),
    )


def test_a_method_may_have_options_and_another_name(folder):
    methods = ["median", {"name": "median", "as": "wide median", "kernel_mm": 5.0}]
    expected = (MethodEntry("median", "median"), MethodEntry("wide median", "median", {"kernel_mm": 5.0}))
    assert read(folder, methods=methods).methods == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"organs": "liver"}, "'organs' is not a setting"),
        ({"organ": 5}, "'organ' must be text, not 5"),
        ({"organ": ""}, "must name the organ"),
        ({"seed": "x"}, "'seed' must be a whole number"),
        ({"nsd_tolerance_mm": -1.0}, "'nsd_tolerance_mm' must be at least 0"),
        ({"training_cases_check": 1}, "'training_cases_check' must be true or false"),
        ({"preset": "quick"}, "preset 'quick' is unknown; use one of draft, standard, fine"),
        ({"truths": []}, "must name label files under 'truths'"),
        ({"truths": "truths"}, "truths: this must be a list of names"),
        ({"truths": ["truths/c.nrrd"]}, "truths: there is no file"),
        ({"truths": {"folder": "truths"}}, "give a list of files, or 'folder' and 'cases'"),
        ({"truths": {"folder": "truths", "cases": ["c"]}}, "has 0 label files named c"),
        ({"truths": ["truths/a.nrrd", "truths/a.nrrd"]}, "the case 'a' is named twice"),
        ({"same_patient": ["a"]}, "'same_patient' must hold"),
        ({"families": []}, "'families' must be a list with at least one entry"),
        ({"families": ["clean"]}, "a family must hold settings"),
        ({"families": [{"kind": "sparse"}]}, "'gap_mm'"),
        ({"families": [{"kind": "odd"}]}, "family odd: there is no such kind"),
        ({"families": [{"kind": "clean", "level": "mild"}]}, "family clean: 'level' is not a setting"),
        ({"families": [{"kind": "clean", "name": ""}]}, "'name' must not be empty"),
        ({"families": [{"kind": "clean"}, {"kind": "clean"}]}, "the family 'clean' is named twice"),
        ({"families": [{"kind": "damage", "damage": "bit"}]}, "'damage' must be one of bite"),
        ({"families": [{"kind": "damage", "damage": "bite", "level": "3"}]}, "'level' one of mild"),
        ({"families": [{"kind": "coarse"}]}, "either 'voxel_mm' or 'slice_mm'"),
        ({"families": [{"kind": "coarse", "voxel_mm": 3.0, "slice_mm": 5.0}]}, "either 'voxel_mm' or 'slice_mm'"),
        ({"families": [{"kind": "predictions", "names": ["x"]}]}, "give 'folder' and 'names'"),
        ({"families": [{"kind": "predictions", "folder": "nets", "names": ["x", "x"]}]}, "prediction 'x' is named"),
        ({"methods": "median"}, "'methods' must be a list"),
        ({"methods": [{"kernel_mm": 3}]}, "a method must be a name"),
        ({"methods": [{"name": "median", "as": 3}]}, "'as' must be text"),
        ({"methods": ["median", "median"]}, "the method 'median' is named twice"),
        ({"methods": ["input"]}, "the method 'input' is named twice"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(folder, changes, told):
    with pytest.raises(BadInputError) as caught:
        read(folder, **changes)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "told"), [("a: [", "is not valid YAML"), ("- 5", "write lines such as 'key: value'")])
def test_a_file_that_is_no_study_is_refused(tmp_path, text, told):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=told):
        read_study(path)


def test_a_missing_study_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="cannot be read"):
        read_study(tmp_path / "study.yaml")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return write_template(tmp_path_factory.mktemp("template") / "test_organ.safetensors")


def test_a_template_file_is_looked_for_from_the_study_s_folder(folder, template):
    assert make_study(folder, "../t/organ.safetensors").template == str(folder / "../t/organ.safetensors")
    assert make_study(folder, template).template == str(template)
    assert make_study(folder, "~/organ.safetensors").template == str(Path.home() / "organ.safetensors")
    assert make_study(folder, "organ").template == "organ"


def test_a_case_that_the_template_was_trained_on_is_refused(tmp_path, template):
    write_cases(tmp_path, ("a", "case3"))
    study = make_study(tmp_path, template, truths=["truths/a.nrrd", "truths/case3.nrrd"])
    with pytest.raises(BadInputError, match="was trained on the patient of the case case3"):
        check_patients(study)
    check_patients(replace(study, training_cases_check=False))


def test_a_training_patient_under_another_name_is_refused(folder, template):
    check_patients(make_study(folder, template, same_patient={"a": "other"}))
    with pytest.raises(BadInputError, match="the case a"):
        check_patients(make_study(folder, template, same_patient={"a": "case0"}))


def test_a_case_that_a_rival_may_learn_from_is_refused(folder, template):
    write_mask(folder / "training" / "b.nrrd", *sphere())
    study = make_study(folder, template, training=["training/b.nrrd"])
    with pytest.raises(BadInputError, match="A method of the study was trained on the patient of the case b"):
        check_patients(study)


def test_a_case_that_the_named_restoration_network_was_trained_on_is_refused(tmp_path, template):
    write_cases(tmp_path)
    network = RestorationNetwork(NetworkOptions(organs=("test_organ",), channels=(4, 4, 4), blocks=(1, 1, 1)))
    for cases in (["a"], ["c"]):
        info = RestorationInfo("CC0-1.0", "nowhere", {"test_organ": cases}, {"test_organ": read_shape_sha256(template)})
        RestorationModel(info, network).save(tmp_path / f"learnt_{cases[0]}.safetensors")
    check_patients(make_study(tmp_path, template, restoration="learnt_c.safetensors"))
    with pytest.raises(BadInputError, match="learnt_a.safetensors was trained on the patient of the case a"):
        check_patients(make_study(tmp_path, template, restoration="learnt_a.safetensors"))
    with pytest.raises(BadInputError, match="There is no restoration file"):
        check_patients(make_study(tmp_path, template, restoration="absent.safetensors"))
