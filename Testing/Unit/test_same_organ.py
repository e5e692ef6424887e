"""One organ told in different ways is refined to one organ in one place: a spleen of the shipped template, damaged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.damage.shapes import combined
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.job.demo import draw_patient
from ReShapeITLib.job.job import RefineJob, run_refine_job
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate

ORGAN = "spleen"


@pytest.fixture(scope="module")
def damaged():
    """(K, J, I) bool and geometry of a damaged patient."""
    truth, geometry = draw_patient(OrganTemplate.load(find_template(ORGAN)), seed=3)
    return combined(truth, geometry, np.random.default_rng(3)), geometry


@pytest.fixture(scope="module")
def refine(tmp_path_factory):
    """Refines a mask by way of a file, and gives the refined mask."""

    def refined(mask: np.ndarray, geometry: ImageGeometry, label: int = 1, suffix: str = ".nrrd") -> np.ndarray:
        folder = tmp_path_factory.mktemp("same")
        path = folder / f"in{suffix}"
        write_labels(LabelVolume.from_array(mask.astype(np.int16) * label, geometry), path)
        job = RefineJob(input=path, templates={label: ORGAN}, output=folder / "out.nrrd", preset="draft", device="cpu")
        return run_refine_job(job).volume.mask(label)

    return refined


@pytest.fixture(scope="module")
def plain(damaged, refine):
    """The refined mask as it comes without any change."""
    return refine(*damaged)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


def placed(geometry: ImageGeometry, world: np.ndarray) -> ImageGeometry:
    """The geometry of the same voxels after the patient was moved by a (4, 4) matrix."""
    return ImageGeometry(world @ geometry.ijk_to_ras, geometry.size_ijk)


def test_the_refinement_changes_something(damaged, plain):
    assert 0.6 < dice(damaged[0], plain) < 0.985


def test_another_label_is_the_same_organ(damaged, plain, refine):
    assert (refine(*damaged, label=117) == plain).all()


def test_another_file_format_is_the_same_organ(damaged, plain, refine):
    assert dice(refine(*damaged, suffix=".nii.gz"), plain) > 0.999


def test_a_patient_elsewhere_on_the_table_is_the_same_organ(damaged, plain, refine):
    world = np.eye(4)
    world[:3, 3] = (310.3, -39.8, -1200.1)  # far, and by no whole voxel
    assert dice(refine(damaged[0], placed(damaged[1], world)), plain) > 0.995


def test_a_patient_who_lies_turned_is_the_same_organ(damaged, plain, refine):
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("xyz", (8, -6, 0), degrees=True).as_matrix()
    assert dice(refine(damaged[0], placed(damaged[1], world)), plain) > 0.98


@pytest.mark.parametrize(("order", "flips"), [((1, 0, 2), (True, False, False)), ((2, 1, 0), (True, True, True))])
def test_voxels_stored_along_other_axes_are_the_same_organ(damaged, plain, refine, order, flips):
    mask, geometry = damaged
    matrix = geometry.ijk_to_ras[:, [*order, 3]].copy()
    turned = np.transpose(mask.T, order)  # (I, J, K) in the new order
    back = plain.T.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            matrix[:3, 3] += matrix[:3, axis] * (turned.shape[axis] - 1)
            matrix[:3, axis] *= -1.0
            turned, back = np.flip(turned, axis), np.flip(back, axis)
    found = refine(np.ascontiguousarray(turned.T), ImageGeometry(matrix, turned.shape))
    assert dice(found, back.T) > 0.99


def test_voxels_split_in_two_are_the_same_organ(damaged, plain, refine):
    mask, geometry = damaged
    fine = mask.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    halves = np.diag([0.5, 0.5, 0.5, 1.0])
    halves[:3, 3] = -0.25
    found = refine(fine, ImageGeometry(geometry.ijk_to_ras @ halves, fine.shape[::-1]))
    coarse = found.reshape(*(x for n in mask.shape for x in (n, 2))).mean(axis=(1, 3, 5)) >= 0.5
    assert dice(coarse, plain) > 0.98


def test_more_room_around_is_the_same_organ(damaged, plain, refine):
    mask, geometry = damaged
    room = (9, 14, 5)
    wide = np.pad(mask, [(n, n) for n in room])
    found = refine(wide, geometry.cropped([-n for n in room[::-1]], wide.shape[::-1]))
    inner = tuple(slice(n, -n) for n in room)
    assert dice(found[inner], plain) > 0.995 and found.sum() == found[inner].sum()
