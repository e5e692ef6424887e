"""Names of labels that a NIfTI file carries, and how a segment is asked for."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from ReShapeITLib.io.volumes import read_labels, write_labels

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"
NEEDS_CASES = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside this checkout")
TABLE = (
    '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><Date><![CDATA[2013-07-14]]></Date>'
    '<VolumeInformation Index="0"><LabelTable>{}</LabelTable></VolumeInformation></CaretExtension>'
)
LABEL = '<Label Key="{}" Red="{}" Green="0.5" Blue="0" Alpha="1"><![CDATA[{}]]></Label>'


def nifti_with(content: bytes, path: Path, code: int = 0) -> Path:
    """A file with labels 0, 1 and 2 and one extension."""
    image = nibabel.Nifti1Image((np.arange(60) % 3).reshape(3, 4, 5).astype(np.uint8), np.diag([1.0, 2, 3, 1]))
    image.header.extensions.append(Nifti1Extension(code, content))
    nibabel.save(image, path)
    return path


def table(*labels: tuple) -> bytes:
    return TABLE.format("".join(LABEL.format(*label) for label in labels)).encode()


@pytest.mark.parametrize("code", [0, 30])
def test_the_names_of_totalsegmentators_extension_are_segments(tmp_path, code):
    content = table((1, 1, "spleen"), (2, 0.25, "größe & <rest>"), (9, 0, "absent"))
    volume = read_labels(nifti_with(content, tmp_path / "a.nii.gz", code))
    assert [(s.label, s.name, s.color) for s in volume.segments] == [
        (1, "spleen", (1.0, 0.5, 0.0)),
        (2, "größe & <rest>", (0.25, 0.5, 0.0)),
        (9, "absent", (0.0, 0.5, 0.0)),
    ]
    assert np.array_equal(volume.mask("spleen"), volume.layers[0] == 1)
    write_labels(volume, tmp_path / "b.nii.gz")
    again = nibabel.load(tmp_path / "b.nii.gz").header.extensions
    assert [e.get_code() for e in again] == [code] and content in bytes(again[0].content)
    assert read_labels(tmp_path / "b.nii.gz").segments == volume.segments


@pytest.mark.parametrize("content", [None, b"a comment", table((0, 0, "background"))])
def test_names_of_segments_are_written_to_nifti_beside_what_is_there(tmp_path, content):
    source = tmp_path / "a.nii"
    if content is None:
        nibabel.save(nibabel.Nifti1Image((np.arange(60) % 3).reshape(3, 4, 5).astype(np.uint8), np.eye(4)), source)
    else:
        nifti_with(content, source, 6)
    named = read_labels(source).with_segments({1: "spleen", 2: "größe & <rest>\n"})
    write_labels(named, tmp_path / "b.nii.gz")
    image = nibabel.load(tmp_path / "b.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), np.asarray(nibabel.load(source).dataobj))
    assert [e.get_code() for e in image.header.extensions] == [30] + [6] * (content is not None)
    found = ElementTree.fromstring(bytes(image.header.extensions[0].content)).iter("Label")
    assert [(label.get("Key"), label.text.strip()) for label in found] == [("1", "spleen"), ("2", "größe & <rest>")]
    assert [(s.label, s.name) for s in read_labels(tmp_path / "b.nii.gz").segments] == [
        (1, "spleen"),
        (2, "größe & <rest>"),
    ]


def test_a_file_without_names_gets_none(tmp_path):
    source = nifti_with(b"a comment", tmp_path / "a.nii", 6)
    write_labels(read_labels(source), tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()


def test_the_names_go_into_a_seg_nrrd(tmp_path):
    volume = read_labels(nifti_with(table((1, 1, "spleen"), (2, 1, "liver")), tmp_path / "a.nii"))
    write_labels(volume, tmp_path / "b.seg.nrrd")
    assert [s.name for s in read_labels(tmp_path / "b.seg.nrrd").segments] == ["spleen", "liver"]


@pytest.mark.parametrize(
    "content",
    [
        b"a comment",
        table((1, 1, "spleen"))[:-20],
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + table((1, 1, "spleen")),
        table(("one", 1, "spleen")),
        table((0, 0, "background")),
    ],
)
def test_an_extension_that_is_no_sound_table_names_nothing_and_comes_back(tmp_path, content):
    volume = read_labels(nifti_with(content, tmp_path / "a.nii"))
    assert volume.segments == () and volume.label_values() == (1, 2)
    write_labels(volume, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


@NEEDS_CASES
def test_a_totalsegmentator_file_is_read_with_its_names(tmp_path):
    volume = read_labels(next(DATA.glob("06_*.nii.gz")))
    names = {s.label: s.name for s in volume.segments}
    assert names[1] == "spleen" and names[5] == "liver" and len(names) == 7


@NEEDS_CASES
def test_layers_that_do_not_overlap_are_written_to_nifti_with_new_numbers_and_a_warning(tmp_path):
    volume = read_labels(next(DATA.glob("09_*")))
    with pytest.warns(UserWarning, match="new label numbers: kidney 1 -> 2"):
        write_labels(volume, tmp_path / "a.nii.gz")
    flat = read_labels(tmp_path / "a.nii.gz")
    assert np.array_equal(flat.mask(1), volume.mask("spleen")) and np.array_equal(flat.mask(2), volume.mask("kidney"))
    assert [(segment.label, segment.name) for segment in flat.segments] == [(1, "spleen"), (2, "kidney")]


@NEEDS_CASES
def test_segments_with_numeric_ids_and_equal_names_are_found_by_id(tmp_path):
    volume = read_labels(next(DATA.glob("08_*")))
    assert [np.count_nonzero(volume.mask(which)) > 1000 for which in ("0", "id:0", "id:1")] == [True] * 3
    write_labels(volume, tmp_path / "a.seg.nrrd")
    again = read_labels(tmp_path / "a.seg.nrrd")
    assert [(s.id, s.name, s.label, s.layer, s.tags) for s in again.segments] == [
        (s.id, s.name, s.label, s.layer, s.tags) for s in volume.segments
    ]
    assert again.header == volume.header
