"""Headers of NIfTI files come back to the byte, whatever they hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import read_labels, write_labels

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"
NEEDS_CASES = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside this checkout")
TYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
VALUES = st.floats(-500, 500, width=32)


def affine_of(seed: int, mirrored: bool, shear: float) -> np.ndarray:
    """A random affine of 32-bit numbers."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(rng=rng).as_matrix() * rng.uniform(0.4, 5, 3) * (1, 1, -1 if mirrored else 1)
    matrix[:3, 1] += shear * matrix[:3, 0]
    matrix[:3, 3] = rng.uniform(-400, 400, 3)
    return matrix.astype(np.float32).astype(np.float64)


@st.composite
def images(draw):
    """A NIfTI image of nibabel with labels 0..3 and anything in its header that the format allows."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    shape = draw(st.tuples(*[st.integers(2, 4)] * 3)) + (1,) * draw(st.integers(0, 4))
    labels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 4, shape)
    slope, inter = draw(st.sampled_from([(None, None), (1, 0), (0.5, 0), (2, 1), (1 / 3, 0), (0.1, -3), (3.5e-6, 0)]))
    stored = labels if slope is None else np.rint((labels - inter) / slope)
    lows, highs = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not (lows <= stored.min() and stored.max() <= highs) or (slope == 2):
        slope, inter, stored = None, None, labels  # the type cannot hold the scaled labels
    kind = draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]))
    header = kind.header_class(endianness=draw(st.sampled_from("<>")))
    header.set_data_dtype(dtype.newbyteorder(header.endianness))
    codes = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any))
    affine = affine_of(draw(st.integers(0, 10**6)), draw(st.booleans()), draw(st.sampled_from([0, 0, 0.2, -0.5])))
    image = kind(stored.astype(dtype), affine, header)
    image.set_sform(affine, codes[0])
    moved = affine_of(draw(st.integers(0, 10**6)), draw(st.booleans()), 0) if draw(st.booleans()) else affine
    image.set_qform(moved, codes[1])
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    image.header.set_xyzt_units(*draw(st.sampled_from([("mm", "sec"), ("mm", None), (None, None), ("micron", "msec")])))
    image.header["descrip"] = draw(st.binary(max_size=79))
    image.header["aux_file"] = draw(st.binary(max_size=23))
    image.header.set_intent(
        draw(st.sampled_from(["none", "label", "estimate"])), name=draw(st.text("abc_", max_size=9))
    )
    image.header["cal_max"], image.header["toffset"] = draw(VALUES), draw(VALUES)
    image.header["pixdim"][4:] = draw(st.lists(st.floats(0, 9, width=32), min_size=4, max_size=4))
    image.header["dim_info"] = draw(st.integers(0, 63))
    for code, content in draw(st.lists(st.tuples(st.sampled_from([4, 6, 40]), st.binary(max_size=40)), max_size=3)):
        image.header.extensions.append(Nifti1Extension(code, content))
    return image


def header_bytes(path: Path) -> bytes:
    """Everything before the voxels, unpacked."""
    with nibabel.openers.ImageOpener(path) as stream:
        return stream.read(int(nibabel.load(path).dataobj.offset))


@settings(max_examples=200, deadline=None, database=None)
@given(image=images(), compressed=st.sampled_from([".nii", ".nii", ".nii.gz"]))
def test_200_random_headers_come_back_as_they_were(tmp_path_factory, image, compressed):
    folder = tmp_path_factory.getbasetemp()
    before, after = folder / f"before{compressed}", folder / f"after{compressed}"
    nibabel.save(image, before)
    volume = read_labels(before)
    write_labels(volume, after)
    old, new = nibabel.load(before), nibabel.load(after)
    assert header_bytes(after) == header_bytes(before)
    assert new.header == old.header and type(new) is type(old)
    assert np.array_equal(np.asanyarray(new.dataobj.get_unscaled()), np.asanyarray(old.dataobj.get_unscaled()))
    assert np.array_equal(new.affine, old.affine)
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, old.affine, rtol=0, atol=1e-4)


def test_200_headers_are_of_every_kind():
    kinds: Counter = Counter()

    @settings(max_examples=200, deadline=None, database=None)
    @given(images())
    def count(image):
        qform, sform = image.header.get_qform(coded=True)[0], image.header.get_sform(coded=True)[0]
        kinds["qform alone"] += sform is None
        kinds["sform alone"] += qform is None
        kinds["forms differ"] += qform is not None and sform is not None and not np.allclose(qform, sform)
        kinds["mirrored"] += np.linalg.det(image.affine) > 0
        kinds["scaled"] += image.header.get_slope_inter()[0] not in (None, 1.0)
        kinds["more than 3 axes"] += image.ndim > 3
        kinds["extensions"] += bool(image.header.extensions)
        kinds["floats"] += image.get_data_dtype().kind == "f"
        kinds["NIfTI-2"] += isinstance(image, nibabel.Nifti2Image)
        kinds["big-endian"] += image.header.endianness == ">"

    count()
    assert len(kinds) == 10 and min(kinds.values()) >= 10, kinds


def image_of(affine=None, labels=None, sform: int = 1, qform: int = 1) -> nibabel.Nifti1Image:
    """A small image with both forms."""
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3 if labels is None else labels
    affine = np.diag([1.0, 2, 3, 1]) if affine is None else affine
    image = nibabel.Nifti1Image(labels, affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    return image


def test_forms_that_differ_are_told_and_the_sform_is_used(tmp_path):
    image = image_of()
    moved = np.diag([1.0, 2, 3, 1])
    moved[:3, 3] = 20, -15, 30
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_labels(tmp_path / "a.nii")
    assert np.array_equal(volume.geometry.ijk_to_ras, np.diag([1.0, 2, 3, 1]))
    assert [told.code for told in volume.notices] == ["nifti.forms_differ"]
    assert volume.notices[0].fields["gap_mm"] == "39.1" and "sform is used" in volume.notices[0]


def test_forms_that_differ_by_rounding_are_not_told(tmp_path):
    image = image_of(affine_of(3, False, 0))
    nibabel.save(image, tmp_path / "a.nii")
    assert read_labels(tmp_path / "a.nii").notices == ()


def test_a_quaternion_rounded_beyond_one_is_read_as_the_reference_implementation_reads_it(tmp_path):
    nibabel.save(image_of(np.diag([-2.0, -2, 2, 1]), sform=0), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[264:268] = np.float32(1.001).tobytes()  # quatern_d, which is 1 for half a turn about the third axis
    (tmp_path / "a.nii").write_bytes(content)
    matrix = read_labels(tmp_path / "a.nii").geometry.ijk_to_ras
    np.testing.assert_allclose(matrix, np.diag([-2.0, -2, 2, 1]), atol=1e-6)


def test_a_part_of_the_image_gets_a_header_of_its_own_grid_and_keeps_the_rest(tmp_path):
    image = image_of()
    image.header["descrip"] = b"kept"
    image.header.extensions.append(Nifti1Extension(6, b"a comment"))
    nibabel.save(image, tmp_path / "a.nii")
    part = read_labels(tmp_path / "a.nii").cropped((slice(1, 4), slice(1, 3), slice(0, 2)))
    write_labels(part, tmp_path / "b.nii")
    found = nibabel.load(tmp_path / "b.nii")
    assert found.shape == (2, 2, 3) and found.header["descrip"] == b"kept"
    assert np.array_equal(found.affine[:3, 3], [0, 2, 3])
    assert [e.get_content().strip(b"\0") for e in found.header.extensions] == [b"a comment"]
    assert np.array_equal(np.asarray(found.dataobj), np.asarray(image.dataobj)[0:2, 1:3, 1:4])


def test_labels_that_the_stored_type_does_not_hold_are_stored_in_their_own(tmp_path):
    nibabel.save(image_of(), tmp_path / "a.nii")
    volume = read_labels(tmp_path / "a.nii")
    larger = LabelVolume((volume.layers[0].astype(np.int32) * 1000,), volume.geometry, file_header=volume.file_header)
    write_labels(larger, tmp_path / "b.nii")
    found = nibabel.load(tmp_path / "b.nii")
    assert found.get_data_dtype() == np.int32
    assert np.array_equal(np.asarray(found.dataobj), np.asarray(image_of().dataobj).astype(int) * 1000)


def test_a_pair_of_files_is_read_and_written_as_one(tmp_path):
    image = nibabel.Nifti1Pair(np.asarray(image_of().dataobj), image_of().affine)
    image.header["descrip"] = b"a pair"
    nibabel.save(image, tmp_path / "a.img")
    for name in ("a.img", "a.hdr"):
        write_labels(read_labels(tmp_path / name), tmp_path / "b.nii.gz")
        found = nibabel.load(tmp_path / "b.nii.gz")
        assert np.array_equal(np.asarray(found.dataobj), np.asarray(image.dataobj))
        assert found.header["descrip"] == b"a pair" and np.array_equal(found.affine, image.affine)
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(BadInputError, match=r"a\.img is one of two files, and a\.hdr is missing"):
        read_labels(tmp_path / "a.img")
    with pytest.raises(BadInputError, match=r"\.nii\.gz"):
        write_labels(read_labels(tmp_path / "b.nii.gz"), tmp_path / "c.img")


def test_an_analyze_file_is_told_from_nifti(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(BadInputError, match="Analyze file, which does not say left from right; convert"):
        read_labels(tmp_path / "a.hdr")


def test_the_grid_of_another_format_is_written_in_both_forms(tmp_path):
    affine = affine_of(7, True, 0)
    write_labels(LabelVolume((np.ones((5, 4, 3), np.int16),), ImageGeometry(affine, (3, 4, 5))), tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    for form, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(form, affine, atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


@NEEDS_CASES
@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.nii.gz") if not path.name.startswith("17")))
def test_the_header_of_a_real_file_comes_back(tmp_path, name):
    volume = read_labels(DATA / name)
    write_labels(volume, tmp_path / "out.nii.gz")
    assert header_bytes(tmp_path / "out.nii.gz") == header_bytes(DATA / name)
    old, new = nibabel.load(DATA / name), nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asanyarray(new.dataobj), np.asanyarray(old.dataobj)) and new.shape == old.shape
    assert bool(volume.notices) == name.startswith(("02", "04"))
