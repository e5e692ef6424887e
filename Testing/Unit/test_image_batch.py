"""Which image a case of a batch has, and that a changed image makes its results old."""

import numpy as np
import pytest

from ReShapeITLib.batch.cases import BatchOptions, read_cases
from ReShapeITLib.batch.records import fingerprint
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import write_labels

OPTIONS = BatchOptions(template="spleen")


@pytest.fixture
def patient(tmp_path):
    """Folder ``s0001`` with ``segmentations/spleen.nii.gz`` and ``ct.nii.gz``."""
    masks = tmp_path / "in" / "s0001" / "segmentations"
    masks.mkdir(parents=True)
    voxels = np.zeros((6, 6, 6), np.uint8)
    voxels[2:4, 2:4, 2:4] = 1
    write_labels(LabelVolume((voxels,), ImageGeometry.from_parts((6, 6, 6), (1, 1, 1))), masks / "spleen.nii.gz")
    (masks.parent / "ct.nii.gz").write_bytes(b"one image")
    return masks.parent


def test_the_ct_beside_a_folder_of_masks_is_its_image(patient, tmp_path):
    (case,) = read_cases(patient.parent, tmp_path / "out", OPTIONS)
    assert case.options.image == str(patient / "ct.nii.gz")
    (patient / "ct.nii.gz").unlink()
    (case,) = read_cases(patient.parent, tmp_path / "out", OPTIONS)
    assert case.options.image == ""


def test_a_table_names_the_image_of_each_case_from_its_own_folder(patient, tmp_path):
    table = tmp_path / "in" / "cases.csv"
    mask = "s0001/segmentations/spleen.nii.gz"
    table.write_text(f"input,name,image\n{mask},a,s0001/ct.nii.gz\n{mask},b,\n")
    first, second = read_cases(table, tmp_path / "out", OPTIONS)
    assert first.options.image == str(patient / "ct.nii.gz") and second.options.image == ""


def test_other_voxels_of_the_image_make_a_case_open_again_and_another_path_does_not(patient, tmp_path):
    def told():
        (case,) = read_cases(patient.parent, tmp_path / "out", OPTIONS)
        return fingerprint(case)

    before = told()
    patient.rename(patient.with_name("s0002"))
    assert told() == before
    (patient.with_name("s0002") / "ct.nii.gz").write_bytes(b"another image")
    assert told() != before


def test_a_table_names_the_points_of_each_case_and_other_points_make_it_open_again(patient, tmp_path):
    table = tmp_path / "in" / "cases.csv"
    table.write_text("input,name,include,exclude\ns0001/segmentations/spleen.nii.gz,a,in.csv,\n")

    def told(name="in.csv", words="r,a,s\n2,2,2\n"):
        (table.parent / name).write_text(words)
        (case,) = read_cases(table, tmp_path / "out", OPTIONS)
        return fingerprint(case)

    before = told()
    (case,) = read_cases(table, tmp_path / "out", OPTIONS)
    assert case.options.include == str(table.parent / "in.csv") and case.options.exclude == ""
    assert told() == before and told(words="r,a,s\n3,2,2\n") != before
    (table.parent / "in.csv").write_text("r,a,s\n2,2,2\n")
    table.write_text(table.read_text().replace("in.csv,", ",in.csv"))
    assert told() != before  # the same point, now no organ
