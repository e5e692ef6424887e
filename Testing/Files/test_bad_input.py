"""Every kind of bad input ends with its exit code, one line that names the culprit, and no output file."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.io.volumes import write_labels
from Testing.tiny_template import ORGAN, patient


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> Path:
    """Folder with good.nrrd (label 1) and several.nrrd (labels 1 and 4)."""
    folder = tmp_path_factory.mktemp("masks")
    mask, geometry = patient(np.random.default_rng(3))
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), folder / "good.nrrd")
    several = mask.astype(np.uint8)
    several[mask & (np.arange(mask.shape[2]) > mask.shape[2] // 2)] = 4
    write_labels(LabelVolume.from_array(several, geometry), folder / "several.nrrd")
    return folder


@pytest.fixture
def refine(tmp_path, tiny_template_file, capsys, request):
    """Run ``reshapeit refine``, and check exit code, the one line on stderr and that nothing was written."""

    def run(source, *options, code: int = 2, says: tuple[str, ...], template=tiny_template_file, output="out.nrrd"):
        before = set(tmp_path.rglob("*"))
        target = tmp_path / output
        arguments = ["refine", str(source), "--template", str(template), "--output", str(target), "--device", "cpu"]
        assert main([*arguments, "--preset", "draft", *options]) == code
        check_line(capsys, says)
        assert set(tmp_path.rglob("*")) == before

    return run


def check_line(capsys, says: tuple[str, ...]) -> None:
    text = capsys.readouterr().err
    assert text.startswith("reshapeit: ") and text.count("\n") == 1, text
    for words in says:
        assert words in text, text


def save_image(array: np.ndarray, path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


# The input: its contents


def test_an_empty_label_map(refine, tmp_path):
    path = save_image(np.zeros((8, 8, 8), np.uint8), tmp_path / "empty.nrrd")
    refine(path, says=("empty.nrrd", "no labels", "choose another"))


def test_an_empty_segment(refine, tmp_path, masks):
    mask, geometry = patient(np.random.default_rng(3))
    segments = (Segment(1, "organ", "s1"), Segment(2, "nothing yet", "s2"))
    volume = LabelVolume((mask.astype(np.uint8),), geometry, segments)
    write_labels(volume, tmp_path / "case.seg.nrrd")
    refine(tmp_path / "case.seg.nrrd", "--label", "2", says=("case.seg.nrrd", "'2'", "empty", "choose another"))


def test_a_label_that_is_not_there(refine, masks):
    refine(masks / "good.nrrd", "--label", "7", says=("good.nrrd", "7", "choose from 1"))


def test_a_segment_name_that_is_not_there(refine, masks):
    refine(masks / "good.nrrd", "--label", "spleen", says=("good.nrrd", "'spleen'", "choose from"))


def test_several_labels_without_a_choice(refine, masks):
    refine(masks / "several.nrrd", says=("several.nrrd", "1, 4", "--label"))


def test_a_mask_of_three_voxels(refine, tmp_path):
    array = np.zeros((8, 8, 8), np.uint8)
    array[4, 4, 3:6] = 1
    refine(save_image(array, tmp_path / "specks.nrrd"), says=("specks.nrrd", "only 3 voxels", "choose another"))


def test_fractional_voxels(refine, tmp_path):
    path = save_image(np.full((8, 8, 8), 0.5, np.float32), tmp_path / "soft.nrrd")
    refine(path, says=("soft.nrrd", "fractional", "label map"))


def test_nan_voxels(refine, tmp_path):
    array = np.zeros((8, 8, 8), np.float32)
    array[1, 1, 1] = np.nan
    refine(save_image(array, tmp_path / "nan.nrrd"), says=("nan.nrrd", "NaN", "label map"))


def test_a_2d_image(refine, tmp_path):
    path = save_image(np.ones((8, 8), np.uint8), tmp_path / "flat.nrrd")
    refine(path, says=("flat.nrrd", "2D", "3D"))


def test_a_4d_image(refine, tmp_path):
    image = sitk.JoinSeries([sitk.GetImageFromArray(np.ones((8, 8, 8), np.uint8))] * 2)
    sitk.WriteImage(image, str(tmp_path / "movie.nrrd"))
    refine(tmp_path / "movie.nrrd", says=("movie.nrrd", "4D", "3D"))


def test_an_image_without_geometry(refine, tmp_path):
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n\n"
    (tmp_path / "bare.nrrd").write_bytes(header.encode() + bytes(64))
    refine(tmp_path / "bare.nrrd", says=("bare.nrrd", "spacing", "geometry"))


# The input: its file


def test_a_missing_file(refine, tmp_path):
    refine(tmp_path / "absent.nrrd", says=("absent.nrrd", "There is no", "check the path"))


def test_a_folder_in_the_place_of_a_file(refine, tmp_path):
    (tmp_path / "folder.nrrd").mkdir()
    refine(tmp_path / "folder.nrrd", says=("folder.nrrd", "no masks", "give a folder"))


def test_a_truncated_file(refine, tmp_path, masks):
    content = (masks / "good.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(content[:-20])
    refine(tmp_path / "cut.nrrd", says=("cut.nrrd", "damaged", "export it again"))


def test_a_file_of_another_kind(refine, tmp_path):
    (tmp_path / "letter.nii.gz").write_text("dear colleague")
    refine(tmp_path / "letter.nii.gz", says=("letter.nii.gz", "damaged"))


def test_an_unknown_input_extension(refine, tmp_path):
    (tmp_path / "case.xyz").write_text("x")
    refine(tmp_path / "case.xyz", says=("case.xyz", "extension", ".nrrd"))


# The output


def test_an_unknown_output_extension(refine, masks):
    refine(masks / "good.nrrd", output="out.png", says=("out.png", "extension", ".nrrd"))


def test_an_unknown_surface_extension(refine, masks, tmp_path):
    surface = str(tmp_path / "mesh.step")
    refine(masks / "good.nrrd", "--surface", surface, says=("mesh.step", "extension", ".vtp"))


def test_an_output_folder_that_is_not_there(refine, masks):
    refine(masks / "good.nrrd", output="absent/out.nrrd", says=("out.nrrd", "does not exist", "create it"))


def test_a_report_folder_that_is_not_there(refine, masks, tmp_path):
    report = str(tmp_path / "absent" / "r.json")
    refine(masks / "good.nrrd", "--report", report, says=("r.json", "does not exist", "create it"))


def test_one_file_for_two_outputs(refine, masks, tmp_path):
    report = str(tmp_path / "out.nrrd")
    refine(masks / "good.nrrd", "--report", report, says=("out.nrrd", "two outputs", "a file of its own"))


def test_a_folder_that_may_not_be_written(refine, masks, monkeypatch):
    def refused(self, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "touch", refused)
    refine(masks / "good.nrrd", says=("out.nrrd", "write-protected", "another folder"))


def test_a_full_disk(refine, masks, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(os, "replace", full)
    refine(masks / "good.nrrd", says=("out.nrrd", "disk is full", "another folder"))


# The template


def test_an_unknown_template_name(refine, masks, tiny_run, monkeypatch):
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", str(tiny_run))
    refine(masks / "good.nrrd", template="gizzard", says=("'gizzard'", "choose", ORGAN))


def test_a_missing_template_file(refine, masks, tmp_path):
    refine(masks / "good.nrrd", template=tmp_path / "no.safetensors", says=("no.safetensors", "reshapeit templates"))


def test_a_template_with_one_flipped_bit(refine, masks, tmp_path, tiny_template_file):
    content = bytearray(tiny_template_file.read_bytes())
    content[-1000] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(content)
    says = ("flipped.safetensors", "checksum", "fresh copy")
    refine(masks / "good.nrrd", template=tmp_path / "flipped.safetensors", says=says)


def test_a_template_that_is_a_pickle(refine, masks, tmp_path):
    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps({"weights": [1.0]}))
    refine(masks / "good.nrrd", template=path, says=("evil.safetensors", "not a template", "fresh copy"))


def test_a_template_of_another_format(refine, masks, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "future.safetensors"
    save_file({"a": np.zeros(1)}, path, metadata={"template": '{"format": "reshapeit-template-99"}', "sha256": ""})
    refine(masks / "good.nrrd", template=path, says=("future.safetensors", "another format", "reads"))


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ("1=a,=b", ("malformed at '=b'", "LABEL=NAME")),
        ("1=a,4", ("malformed at '4'", "LABEL=NAME")),
        ("1=a,,4=b", ("malformed", "LABEL=NAME")),
        ("1=a,1=b", ("label 1 twice", "once")),
    ],
)
def test_a_malformed_template_mapping(refine, masks, mapping, says):
    refine(masks / "several.nrrd", template=mapping, says=(f"'{mapping}'", *says))


def test_a_mapping_together_with_a_label(refine, masks):
    refine(masks / "several.nrrd", "--label", "1", template="1=a,4=b", says=("1=a,4=b", "leave out --label"))


def test_a_mapping_that_names_one_segment_by_number_and_name(refine, tmp_path, tiny_template_file):
    mask, geometry = patient(np.random.default_rng(3))
    volume = LabelVolume((mask.astype(np.uint8),), geometry, (Segment(1, "organ", "s1"),))
    write_labels(volume, tmp_path / "case.seg.nrrd")
    mapping = f"1={tiny_template_file},organ={tiny_template_file}"
    refine(tmp_path / "case.seg.nrrd", template=mapping, says=("'1'", "'organ'", "same segment", "once"))


# The organ


def test_another_organ_is_refused(refine, tmp_path):
    array = np.zeros((60, 60, 60), np.uint8)
    array[5:55, 5:55, 5:55] = 1
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((6.0, 6.0, 6.0))
    sitk.WriteImage(image, str(tmp_path / "huge.nrrd"))
    refine(tmp_path / "huge.nrrd", code=3, says=("huge.nrrd", "Label '1'", f"does not look like {ORGAN}", "--force"))


# The options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--preset", "best"), ("--preset", "'best'", "draft")),
        (("--device", "abacus"), ("--device", "'abacus'", "cpu")),
        (("--seed", "-1"), ("--seed", "'-1'", "whole number")),
        (("--progress", "loud"), ("--progress", "'loud'", "json")),
    ],
)
def test_a_bad_option(refine, masks, options, says):
    refine(masks / "good.nrrd", *options, says=says)


def test_cuda_where_there_is_none(refine, masks):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    refine(masks / "good.nrrd", "--device", "cuda", says=("--device cuda", "CUDA", "--device cpu"))


# Preparing and training


@pytest.fixture
def train(tmp_path, tiny_run, capsys):
    """Run ``reshapeit train`` on the samples of the tiny run, and check exit code and the one line on stderr."""

    def run(says: tuple[str, ...], data=tiny_run / "samples", config="", organ=ORGAN):
        (tmp_path / "config.yaml").write_text(config or (tiny_run / "config.yaml").read_text())
        arguments = ["train", "--data", str(data), "--output", str(tmp_path / "run"), "--device", "cpu"]
        options = ["--config", str(tmp_path / "config.yaml"), "--template-out", str(tmp_path / "t.safetensors")]
        assert main([*arguments, *options, "--organ", organ]) == 2
        check_line(capsys, says)
        assert not (tmp_path / "t.safetensors").exists()

    return run


def test_an_unknown_key_in_the_configuration(train):
    train(("config.yaml", "'learning_speed'", "known"), config="optimiser: {learning_speed: 1}")


def test_a_configuration_that_is_no_yaml(train):
    train(("config.yaml", "not valid YAML"), config="optimiser: {steps: [")


def test_a_value_of_the_wrong_type(train):
    train(("config.yaml", "'steps'", "whole number"), config="optimiser: {steps: many}")


def test_an_empty_folder_of_samples(train, tmp_path):
    (tmp_path / "nothing").mkdir()
    train((str(tmp_path / "nothing"), "no prepared shapes", "reshapeit prepare"), data=tmp_path / "nothing")


def test_a_damaged_samples_file(train, tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.samples.safetensors").write_bytes(b"broken")
    train(("a.samples.safetensors", "sample the shape again"), data=tmp_path / "samples")


def test_an_organ_without_a_name(train):
    train(("organ", "--organ"), organ="../liver")


def test_a_damaged_checkpoint(train, tmp_path, tiny_run):
    shutil.copytree(tiny_run / "run", tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    train((str(path), "damaged", "delete it"))


def test_a_checkpoint_of_other_settings(train, tmp_path, tiny_run):
    shutil.copytree(tiny_run / "run", tmp_path / "run")
    config = (tiny_run / "config.yaml").read_text().replace("hidden: 32", "hidden: 16")
    train((str(tmp_path / "run"), "other settings", "another output folder"), config=config)


def prepare(capsys, says: tuple[str, ...], *arguments) -> None:
    assert main(["prepare", *map(str, arguments)]) == 2
    check_line(capsys, says)


def test_preparing_a_folder_without_label_files(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    prepare(capsys, ("empty", "no label files", ".nrrd"), tmp_path / "empty", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_preparing_two_files_of_one_case(capsys, tmp_path, masks):
    shutil.copy(masks / "good.nrrd", tmp_path / "good.nrrd")
    files = (masks / "good.nrrd", tmp_path / "good.nrrd")
    prepare(capsys, ("'good'", "rename one"), *files, "--output", tmp_path / "out")


def test_preparing_a_file_that_lacks_the_label(capsys, tmp_path, masks):
    prepare(capsys, ("good.nrrd", "9"), masks / "good.nrrd", "--label", "9", "--output", tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_preparing_into_the_samples_of_other_cases(capsys, tiny_run, masks):
    before = set((tiny_run / "samples").iterdir())
    says = ("samples", "other cases", "empty folder")
    prepare(capsys, says, masks / "good.nrrd", "--output", tiny_run / "samples")
    assert set((tiny_run / "samples").iterdir()) == before


def test_a_share_of_near_points_beyond_one(capsys, tmp_path, masks):
    options = ("--near-surface-fraction", "1.5", "--output", tmp_path / "out")
    prepare(capsys, ("near_surface_fraction", "between 0 and 1"), masks / "good.nrrd", *options)
