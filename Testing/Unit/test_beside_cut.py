"""Beside a face of the image that cuts an organ nothing is added within the image; elsewhere all is as before."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.combinators import BlendedField, FunctionDistance, WithinImage
from ReShapeITLib.distance.surface import DistanceGrid, surface_from_mask
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.refinement.truncation import Truncation, expected_within_image, find_truncation, grid_points
from ReShapeITLib.restoration.model import RestorationModel
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import ellipsoid_mask, patient

CELL_MM = 2.0
GEOMETRY = ImageGeometry.from_parts((41, 41, 41), (CELL_MM,) * 3, (-40.0, -40.0, -40.0))
FACE = Truncation(np.array([[0.0, 0.0, 11.0]]), np.array([[0.0, 0.0, 1.0]]), n_faces=1)
POINTS = grid_points(GEOMETRY)
RADIUS_MM = 20.0


def ball_mm(centre, radius_mm: float) -> np.ndarray:
    return (np.linalg.norm(POINTS - np.asarray(centre), axis=1) - radius_mm).reshape(GEOMETRY.shape_kji)


def heights() -> np.ndarray:
    return POINTS[:, 2].reshape(GEOMETRY.shape_kji)


def cut_ball_mm() -> np.ndarray:
    return np.maximum(ball_mm((0, 0, 0), RADIUS_MM), heights() - 11.0)


def within(given_mm: np.ndarray, expected_mm: np.ndarray, cut: Truncation = FACE) -> np.ndarray:
    return expected_within_image(given_mm, expected_mm, GEOMETRY, cut, reach_mm=8.0, least_mm=1.0)


def test_the_foot_of_a_wider_continuation_is_not_added():
    given_mm = cut_ball_mm()
    wider_mm = np.minimum(ball_mm((0, 0, 0), RADIUS_MM), ball_mm((0, 0, 18.0), 24.0))
    rim = (given_mm > 0) & (wider_mm < 0) & (heights() < 11.0)
    assert rim.sum() > 100
    np.testing.assert_array_equal(within(given_mm, wider_mm)[rim], given_mm[rim])
    assert (within(given_mm, wider_mm)[heights() > 11.0] == given_mm[heights() > 11.0]).all()


def test_what_is_missing_mostly_away_from_the_face_is_still_expected():
    whole_mm = cut_ball_mm()
    bitten_mm = np.maximum(whole_mm, -ball_mm((18.0, 0, -4.0), 12.0))
    bite = (bitten_mm > 0) & (whole_mm < 0)
    assert bite.any()
    np.testing.assert_array_equal(within(bitten_mm, whole_mm)[bite], whole_mm[bite])


def test_what_is_too_much_beside_the_face_still_goes():
    organ_mm = cut_ball_mm()
    leak_mm = np.minimum(organ_mm, ball_mm((22.0, 0, 6.0), 7.0))
    leak = (leak_mm < 0) & (organ_mm > 0) & (heights() < 11.0)
    np.testing.assert_array_equal(within(leak_mm, organ_mm)[leak], organ_mm[leak])


def test_a_blended_field_has_another_weight_within_the_image():
    def all_over(value: float) -> DistanceGrid:
        return DistanceGrid(np.full(GEOMETRY.shape_kji, value, dtype=np.float32), GEOMETRY)

    given, expected = (
        FunctionDistance(lambda p, mm=mm: np.full(len(p), mm), (np.zeros(3), np.ones(3))) for mm in (2.0, -6.0)
    )
    field = BlendedField(given, expected, all_over(1.0), WithinImage(all_over(0.25), FACE.within_image))
    points = np.array([[0.0, 0.0, 10.0], [0.0, 0.0, 12.0]])
    assert field.weight_at(points).tolist() == [0.25, 1.0]
    assert field.sdf_mm(points).tolist() == [0.0, -6.0]


@pytest.mark.parametrize(("axis", "side"), [(0, -1), (0, 1), (1, 1), (2, -1)])
def test_faces_of_the_image_come_first_and_tell_how_far_beyond_a_point_lies(axis, side):
    mask = ellipsoid_mask(GEOMETRY, np.zeros(3), RADIUS_MM)
    keep = [slice(None)] * 3
    keep[axis] = slice(15, None) if side < 0 else slice(0, 26)
    start = np.array([s.start or 0 for s in keep])
    part = mask[tuple(keep)]
    geometry = GEOMETRY.cropped(start[::-1], part.shape[::-1])
    cut = find_truncation(part, geometry, surface_from_mask(part, geometry))
    assert cut.n_faces == 1
    beyond = np.zeros((1, 3))
    beyond[0, 2 - axis] = side * 14.0
    assert cut.way_beyond_image_mm(beyond)[0] == pytest.approx(3.0)
    assert not cut.within_image(beyond)[0] and cut.within_image(np.zeros((1, 3)))[0]


@pytest.mark.parametrize(("axis", "side"), [(0, 1), (2, -1)])
def test_of_an_organ_that_the_image_cuts_the_last_layers_stay_as_they_are(axis, side, tiny_template_file):
    mask, geometry = patient(np.random.default_rng(5))
    used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    middle = int(used[0] + 0.6 * len(used)) if side > 0 else int(used[0] + 0.4 * len(used))
    keep = [slice(None)] * 3
    keep[axis] = slice(0, middle) if side > 0 else slice(middle, None)
    start = np.array([s.start or 0 for s in keep])
    part = mask[tuple(keep)]
    around = geometry.cropped(start[::-1], part.shape[::-1])
    template = OrganTemplate.load(tiny_template_file)
    refined = refine(part, around, template, REFINE_PRESETS["draft"], force=True).mask(around)
    last = np.moveaxis(refined & ~part, axis, 0)[-3:] if side > 0 else np.moveaxis(refined & ~part, axis, 0)[:3]
    assert last.sum() == 0


def test_the_real_liver_that_the_border_cuts_gets_no_rim(shared_data):
    path = shared_data / "cases" / "12_liver_cut_by_border.nii.gz"
    if not path.exists():
        pytest.skip("the cut liver is not among the cases beside this checkout")
    volume = read_labels(path)
    file = find_template("liver")
    template, network = OrganTemplate.load(file), RestorationModel.for_template(file)
    liver = volume.mask(5)
    refined = refine(liver, volume.geometry, template, REFINE_PRESETS["draft"], force=True, restoration=network)
    added = (refined.mask(volume.geometry) & ~liver)[:3]
    assert added.sum() * volume.geometry.voxel_volume_mm3 < 100.0
