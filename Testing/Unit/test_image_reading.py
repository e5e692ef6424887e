"""Images from files: which are refused, and which count as a CT."""

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.image.band import Image
from ReShapeITLib.image.reading import modality, read_image

SHAPE = (12, 14, 16)


@pytest.fixture
def written(tmp_path):
    def write(voxels, name="ct.nii.gz"):
        import SimpleITK

        image = SimpleITK.GetImageFromArray(voxels)
        image.SetSpacing((0.8, 0.8, 3.0))
        SimpleITK.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_a_ct_of_any_format_comes_with_its_values_and_spacing(written, rng, name):
    voxels = rng.integers(-1000, 1000, SHAPE).astype(np.int16)
    image = read_image(written(voxels, name))
    assert np.array_equal(image.voxels, voxels)
    assert image.geometry.spacing_mm == pytest.approx((0.8, 0.8, 3.0))


def test_a_label_map_is_told_from_an_image(written, rng):
    with pytest.raises(BadInputError, match="labels, not an image") as error:
        read_image(written(rng.integers(0, 9, SHAPE).astype(np.uint8)))
    assert error.value.code == "image.labels"


def test_an_image_of_one_value_is_refused(written):
    with pytest.raises(BadInputError) as error:
        read_image(written(np.full(SHAPE, -40, np.int16)))
    assert error.value.code == "image.constant"


def test_values_that_are_not_finite_are_refused(written, rng):
    voxels = rng.normal(0, 100, SHAPE).astype(np.float32)
    voxels[voxels > 0] = np.nan
    with pytest.raises(BadInputError) as error:
        read_image(written(voxels))
    assert error.value.code == "image.not_finite"


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInputError, match=r"ct\.nii"):
        read_image(tmp_path / "ct.nii")


@pytest.mark.parametrize(
    "name, low, organ, expected",
    [
        ("whole scan", -1000, 110.0, "CT"),
        ("clipped to a window", -125, 60.0, "CT"),
        ("MR, magnitudes", 0, 300.0, ""),
        ("MR, normalised to SD", -2, 1.0, ""),
        ("organ brighter than any contrast", -1000, 900.0, ""),
    ],
)
def test_only_hounsfield_units_count_as_a_ct(name, low, organ, expected, rng):
    voxels = np.where(rng.random(SHAPE) < 0.3, low, organ).astype(np.float32)
    image = Image(voxels, ImageGeometry.from_parts(SHAPE[::-1], (1, 1, 1)))
    assert modality(image, organ) == expected
