"""Images from folders of DICOM files: rescaled, oblique, shuffled, and what is told of broken series."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="DICOM files need pydicom")
from pydicom.uid import CTImageStorage, generate_uid

from ReShapeITLib.core.errors import MISSING_PACKAGE, BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.image.reading import read_image

from .test_dicom import GRID, dataset, save

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) @ GRID.direction_ras
OBLIQUE = ImageGeometry.from_parts(GRID.size_ijk, GRID.spacing_mm, (40.0, -30.0, 100.0), TURN)


def ct_series(folder, voxels, names, slope=1.0, intercept=0.0, grid=GRID) -> Path:
    """Folder of a series on a grid that stores ``voxels``, its slices in files of other names."""
    folder.mkdir()
    uid = generate_uid()
    for k, name in names.items():
        one = dataset(CTImageStorage, "CT")
        one.SeriesInstanceUID, one.InstanceNumber = uid, 1
        (one.Rows, one.Columns), one.PixelSpacing, one.SliceThickness = voxels.shape[1:], [2.0, 1.5], 3.0
        place = grid.ijk_to_ras_points(np.array([[0.0, 0.0, k]]))[0]
        one.ImageOrientationPatient = (grid.direction_ras[:, :2].T * (-1, -1, 1)).round(9).ravel().tolist()
        one.ImagePositionPatient = (place * (-1, -1, 1)).round(6).tolist()
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 0, 1
        one.PhotometricInterpretation, one.RescaleSlope, one.RescaleIntercept = "MONOCHROME2", slope, intercept
        one.PixelData = voxels[k].astype(np.uint16).tobytes()
        save(one, folder / name)
    return folder


@pytest.fixture
def stored(rng) -> np.ndarray:
    return rng.integers(0, 4000, GRID.shape_kji)


@pytest.fixture
def names(rng) -> dict[int, str]:
    """A file for each slice, whose names have another order than the slices."""
    return {k: f"IM{place:03d}" for k, place in enumerate(rng.permutation(GRID.size_ijk[2]))}


@pytest.mark.parametrize("slope, intercept, kind", [(1, -1024, np.int16), (2, -1024, np.int16), (0.5, -3, np.float32)])
def test_a_folder_of_a_ct_in_any_order_is_an_image_in_hu(tmp_path, stored, names, slope, intercept, kind):
    folder = ct_series(tmp_path / "ct", stored, names, slope, intercept)
    (folder / "notes.txt").write_text("no image")
    image = read_image(folder)
    assert image.voxels.dtype == kind and np.array_equal(image.voxels, slope * stored + intercept)
    assert np.allclose(image.geometry.ijk_to_ras, GRID.ijk_to_ras, atol=1e-4)


def test_an_oblique_series_lies_where_its_numbers_say(tmp_path, stored, names):
    image = read_image(ct_series(tmp_path / "ct", stored, names, grid=OBLIQUE))
    assert np.allclose(image.geometry.ijk_to_ras, OBLIQUE.ijk_to_ras, atol=1e-3)


def test_series_with_slices_missing_twice_or_of_several_kinds_are_told(tmp_path, stored, names):
    lacking = ct_series(tmp_path / "lacking", stored, {k: name for k, name in names.items() if k != 3})
    twice = ct_series(tmp_path / "twice", stored, names)
    one = pydicom.dcmread(twice / names[2])
    save(one, twice / "again")
    two = ct_series(tmp_path / "two", stored, names)
    one.SeriesInstanceUID = generate_uid()
    save(one, two / "another")
    for folder, words in (
        (lacking, "lacks 1 of 8 slices; export the whole series again"),
        (twice, "several slices of one place"),
        (two, "holds 2 DICOM series of images"),
    ):
        with pytest.raises(BadInputError, match=words):
            read_image(folder)
    one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(one, two / "another")
    assert read_image(two).voxels.shape == GRID.shape_kji  # an overview does not count


def test_without_pydicom_one_sentence_says_how_to_get_it(tmp_path, stored, names, monkeypatch):
    folder = ct_series(tmp_path / "ct", stored, names)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BadInputError, match=r"pip install 'ReShapeITLib\[dicom\]'") as told:
        read_image(folder)
    assert told.value.code == MISSING_PACKAGE
