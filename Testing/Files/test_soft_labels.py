"""Probabilities and images in the place of labels."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.label_values import check_no_image, integer_labels
from ReShapeITLib.io.volumes import read_labels, write_labels

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"
NEEDS_CASES = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside this checkout")
SHAPE = (6, 7, 8)  # k, j, i
AFFINE = np.diag([1.5, 2.0, 3.0, 1.0])


def softmax(count: int = 3) -> np.ndarray:
    """(class, K, J, I) that sum to 1."""
    values = np.random.default_rng(0).random((count, *SHAPE))
    return (values / values.sum(axis=0)).astype(np.float32)


def nifti(values: np.ndarray, path: Path) -> Path:
    """Values (..., K, J, I) as a file."""
    nibabel.save(nibabel.Nifti1Image(values.T, AFFINE), path)
    return path


def test_probabilities_of_one_organ_become_a_label_at_the_threshold(tmp_path):
    values = softmax()[1]
    for path in (nifti(values, tmp_path / "a.nii.gz"), tmp_path / "a.nrrd", tmp_path / "a.mha"):
        if not path.exists():
            sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
        with pytest.raises(BadInputError, match=f"{path.name} holds fractional values.*give --threshold P"):
            read_labels(path)
        assert np.array_equal(read_labels(path, 0.4).layers[0], values >= np.float32(0.4))


def test_classes_that_sum_to_one_start_with_the_background(tmp_path):
    values = softmax()
    expected = np.where(values.max(axis=0) >= 0.5, values.argmax(axis=0), 0)
    image = sitk.JoinSeries([sitk.GetImageFromArray(one) for one in values])
    vectors = sitk.GetImageFromArray(np.moveaxis(values, 0, -1), isVector=True)
    files = {nifti(values, tmp_path / "a.nii"): None, tmp_path / "b.nrrd": image, tmp_path / "c.mha": image}
    files |= {tmp_path / "d.nrrd": vectors, tmp_path / "e.mha": vectors}
    for path, written in files.items():
        if written is not None:
            sitk.WriteImage(written, str(path))
        volume = read_labels(path, 0.5)
        assert np.array_equal(volume.layers[0], expected), path
        assert "first is the background" in volume.notices[0] and volume.notices[0].fields["count"] == 3
    with pytest.raises(BadInputError, match="give --threshold P"):
        read_labels(tmp_path / "a.nii")


def test_classes_that_overlap_start_with_label_one(tmp_path):
    values = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float32)
    volume = read_labels(nifti(values, tmp_path / "a.nii"), 0.9)
    assert np.array_equal(volume.layers[0], np.where(values.max(axis=0) >= 0.9, values.argmax(axis=0) + 1, 0))
    assert "first is label 1" in volume.notices[0]


def test_the_output_of_probabilities_is_an_integer_file_on_their_grid(tmp_path):
    write_labels(read_labels(nifti(softmax(), tmp_path / "a.nii"), 0.5), tmp_path / "b.nii.gz")
    found = nibabel.load(tmp_path / "b.nii.gz")
    assert found.get_data_dtype() == np.uint8 and found.shape == SHAPE[::-1] and np.array_equal(found.affine, AFFINE)


@pytest.mark.parametrize("key", ["probabilities", "softmax"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_probabilities_of_nnunet_lie_on_the_grid_of_the_reference(tmp_path, key, suffix):
    values = softmax().astype(np.float16)
    np.savez_compressed(tmp_path / "a.npz", **{key: values})
    image = sitk.GetImageFromArray(np.zeros(SHAPE, np.int16))
    image.SetSpacing((1.5, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / f"ct{suffix}"))
    volume = read_labels(tmp_path / "a.npz", 0.5, tmp_path / f"ct{suffix}")
    assert np.array_equal(volume.layers[0], np.where(values.max(axis=0) >= 0.5, values.argmax(axis=0), 0))
    assert volume.geometry.spacing_mm.tolist() == [1.5, 2.0, 3.0]
    write_labels(volume, tmp_path / "b.nii.gz")
    assert nibabel.load(tmp_path / "b.nii.gz").get_data_dtype() == np.uint8


def test_what_is_wrong_with_an_npz_file_is_told(tmp_path):
    nifti(np.zeros((6, 7, 9), np.int16), tmp_path / "other.nii")
    np.savez(tmp_path / "a.npz", probabilities=softmax())
    np.savez(tmp_path / "b.npz", labels=softmax())
    (tmp_path / "c.npz").write_bytes(b"no archive")
    for name, options, words in (
        ("a.npz", {}, "give --threshold P"),
        ("a.npz", {"threshold": 0.5}, "give the image with --reference IMAGE"),
        ("a.npz", {"threshold": 0.5, "reference": tmp_path / "other.nii"}, "has 8 x 7 x 6 voxels and .* has 9 x 7 x 6"),
        ("b.npz", {"threshold": 0.5, "reference": tmp_path / "other.nii"}, "no probabilities of nnU-Net"),
        ("c.npz", {"threshold": 0.5, "reference": tmp_path / "other.nii"}, "damaged or no .npz file"),
        ("other.nii", {"threshold": 2}, "threshold 2 is not above 0"),
    ):
        with pytest.raises(BadInputError, match=words):
            read_labels(tmp_path / name, **options)


def test_a_threshold_for_labels_is_refused(tmp_path):
    path = nifti((np.arange(6 * 7 * 8) % 3).reshape(SHAPE).astype(np.uint8), tmp_path / "a.nii")
    with pytest.raises(BadInputError, match="values from 0 to 2, no probabilities; leave out --threshold"):
        read_labels(path, 0.5)


def test_values_within_a_thousandth_of_an_integer_are_that_integer():
    near = np.array([0.0, 0.9995, 2.9999999, -0.0004])
    assert integer_labels(near, "a.nii").tolist() == [0, 1, 3, 0]
    with pytest.raises(BadInputError, match="fractional"):
        integer_labels(np.array([0.0, 0.9985]), "a.nii")


def test_an_image_is_told_from_labels(tmp_path):
    noise = np.random.default_rng(0).normal(0, 100, (20, 30, 40))
    for values in (noise.astype(np.int16), np.clip(noise + 128, 0, 255).astype(np.uint8), noise.astype(np.float32)):
        with pytest.raises(BadInputError, match=r"a\.nii holds .*: this is an image, not a label map"):
            read_labels(nifti(values, tmp_path / "a.nii"))


def test_labels_resampled_with_interpolation_are_told_from_images():
    labels = np.kron(np.arange(27).reshape(3, 3, 3), np.ones((8, 8, 8)))
    between = 0.5 * (labels[:, :, 1:] + labels[:, :, :-1])
    with pytest.raises(BadInputError, match="between its labels, .* interpolation; resample .* nearest neighbour"):
        integer_labels(between, "a.nii")


def test_an_atlas_of_many_labels_is_no_image():
    blocks = np.kron(np.arange(1, 513).reshape(8, 8, 8), np.ones((4, 4, 4), int))
    check_no_image(blocks, "atlas.nii.gz")
    check_no_image(-blocks, "atlas.nii.gz")
    with pytest.raises(BadInputError, match="512 different values from 1 to 512"):
        check_no_image(np.random.default_rng(0).permuted(blocks.ravel()).reshape(blocks.shape), "noise.nii.gz")


@NEEDS_CASES
def test_a_ct_in_the_place_of_labels_is_told():
    with pytest.raises(BadInputError, match="this is an image, not a label map"):
        read_labels(next(DATA.glob("17_*")))


@NEEDS_CASES
def test_labels_stored_with_a_slope_are_read(tmp_path):
    assert read_labels(next(DATA.glob("05_*"))).label_values()[:3] == (1, 2, 3)


@pytest.mark.parametrize(
    "name, words",
    [
        ("a.mgz", "FreeSurfer volume, which is not read; convert it with FreeSurfer: mri_convert a.mgz a.nii.gz"),
        ("a.mnc", "MINC volume.*mnc2nii a.mnc a.nii"),
        ("a.gipl", "c3d a.gipl -o a.nii.gz"),
        ("a.mat", "without the geometry.*nibabel"),
        ("a.h5", "without the geometry.*nibabel"),
        ("a.jpg", "picture without the geometry.*3D Slicer"),
        ("a.nii.bz2", "packed file.*unpack"),
        ("a.xyz", "no known label map extension; use one of .nrrd"),
    ],
)
def test_files_that_are_not_read_are_told_with_what_converts_them(tmp_path, name, words):
    with pytest.raises(BadInputError, match=words):
        read_labels(tmp_path / name)
