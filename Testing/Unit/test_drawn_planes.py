"""Sparse annotations as people draw them: planes across several axes, brushes that spill over, strokes, outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.distance.between_slices import SparseAnnotation
from ReShapeITLib.distance.combinators import FunctionDistance
from ReShapeITLib.distance.drawn_planes import Drawing, looks_sparse, read_drawing
from ReShapeITLib.io.volumes import read_labels
from Testing.tiny_template import ellipsoid_mask

GEOMETRY = ImageGeometry.from_parts((60, 50, 40), (1.0, 1.2, 2.0), (-30.0, -30.0, -40.0))
RADII_MM = np.array([24.0, 20.0, 30.0])
WHOLE = ellipsoid_mask(GEOMETRY, np.zeros(3), RADII_MM)
SHOWN = [8, 14, 20, 27]


def drawn(**planes: list[int]) -> np.ndarray:
    """The ellipsoid on some axial, coronal and sagittal slices."""
    mask = np.zeros_like(WHOLE)
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        for number in planes.get(name, []):
            np.moveaxis(mask, axis, 0)[number] |= np.moveaxis(WHOLE, axis, 0)[number]
    return mask


def planes_of(drawing: Drawing) -> dict[int, list[int]]:
    return {planes.axis: planes.numbers.tolist() for planes in drawing.families}


def with_spill(mask: np.ndarray, reach: int) -> np.ndarray:
    """A brush touched a strip of the next slices, too."""
    for number in SHOWN:
        mask[number + 1 : number + 1 + reach, :, 26:34] |= WHOLE[number, :, 26:34]
    return mask


def oblique_plane() -> np.ndarray:
    k, j, _ = np.indices(WHOLE.shape)
    distance_mm = np.abs((k - 20) * 2.0 * 0.7 + (j - 25) * 1.2 * 0.7)
    return WHOLE & (distance_mm < 0.9)


def test_slices_across_several_axes_are_each_found():
    drawing = read_drawing(drawn(axial=SHOWN, coronal=[22], sagittal=[20, 40]))
    assert planes_of(drawing) == {0: SHOWN, 2: [20, 40], 1: [22]}
    assert next(iter(planes_of(drawing))) == 0 and not drawing.marks.any()


def test_two_slices_that_cross_are_enough():
    assert planes_of(read_drawing(drawn(axial=[20], coronal=[25]))) == {0: [20], 1: [25]}


@pytest.mark.parametrize("reach", [1, 2])
def test_strips_of_a_brush_that_spilled_over_are_marks_and_no_slices(reach):
    drawing = read_drawing(with_spill(drawn(axial=SHOWN), reach))
    assert planes_of(drawing) == {0: SHOWN}
    assert np.unique(np.argwhere(drawing.marks)[:, 0]).tolist() == sorted(
        number + step for number in SHOWN for step in range(1, reach + 1)
    )


def test_a_stroke_on_a_slice_of_its_own_is_a_mark():
    mask = drawn(axial=[8, 14, 27])
    mask[20, 20:26, 25:35] = True
    drawing = read_drawing(mask)
    assert planes_of(drawing) == {0: [8, 14, 27]} and drawing.marks.sum() == 60


def test_slices_that_are_drawn_in_pairs_all_count():
    pairs = [9, 10, 19, 20, 29, 30]
    assert planes_of(read_drawing(drawn(axial=pairs))) == {0: pairs}


def test_the_trace_of_an_oblique_plane_is_a_mark():
    mask = drawn(axial=SHOWN) | oblique_plane()
    drawing = read_drawing(mask)
    assert planes_of(drawing) == {0: SHOWN}
    np.testing.assert_array_equal(np.delete(drawing.marks, SHOWN, axis=0), np.delete(oblique_plane(), SHOWN, axis=0))


def test_outlines_are_filled():
    mask = drawn(axial=SHOWN)
    outlines = mask & ~np.stack([ndimage.binary_erosion(layer, iterations=2) for layer in mask])
    drawing = read_drawing(outlines)
    assert planes_of(drawing) == {0: SHOWN}
    np.testing.assert_array_equal(drawing.sections, mask)


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (WHOLE, "sparse.no_gap"),
        (np.zeros_like(WHOLE), "sparse.empty"),
        (drawn(sagittal=[30]), "sparse.one_slice"),
        (oblique_plane(), "sparse.no_planes"),
    ],
    ids=["whole", "empty", "one slice", "one oblique plane"],
)
def test_what_cannot_be_completed_is_refused_for_its_own_reason(mask, code):
    with pytest.raises(BadInputError) as refused:
        read_drawing(mask)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("mask", "sparse"),
    [
        (drawn(axial=SHOWN), True),
        (drawn(axial=SHOWN, coronal=[22]), True),
        (with_spill(drawn(axial=SHOWN), 1), True),
        (WHOLE, False),
        (WHOLE[::8], False),
        (np.pad(WHOLE, ((0, 60), (0, 0), (0, 0))) | np.pad(WHOLE, ((60, 0), (0, 0), (0, 0))), False),
    ],
    ids=["axial", "two axes", "spilled", "whole", "few thick slices", "two pieces"],
)
def test_a_drawing_on_few_slices_is_recognised_and_a_whole_organ_is_not(mask, sparse):
    assert looks_sparse(mask) is sparse


@pytest.mark.parametrize(
    "mask",
    [
        drawn(axial=SHOWN, coronal=[22], sagittal=[20, 40]),
        with_spill(drawn(axial=SHOWN), 2),
        drawn(axial=SHOWN) | oblique_plane(),
        drawn(axial=[20], coronal=[25]),
    ],
    ids=["three axes", "spilled", "oblique", "two crossing"],
)
def test_the_distance_and_a_bent_field_have_the_sign_of_all_that_was_drawn(mask):
    annotation = SparseAnnotation.of(mask, GEOMETRY)
    centre = np.zeros(3)
    field = FunctionDistance(lambda points: np.linalg.norm(points, axis=1) - 12.0, (centre - 12.0, centre + 12.0))
    drawing = read_drawing(mask)
    known = np.logical_or.reduce([planes.voxels(mask.shape) for planes in drawing.families]) | drawing.marks
    points = GEOMETRY.ijk_to_ras_points(np.argwhere(known)[:, ::-1])
    for distance in (annotation.distance, annotation.through_contours(field)):
        np.testing.assert_array_equal(distance.sdf_mm(points) < 0, mask[known])


def test_planes_across_a_second_axis_bring_the_distance_closer_to_the_organ():
    kji = np.argwhere(ndimage.binary_dilation(WHOLE, iterations=4))
    points, truth = GEOMETRY.ijk_to_ras_points(kji[:, ::-1]), WHOLE[tuple(kji.T)]
    wrong = [
        (SparseAnnotation.of(mask, GEOMETRY).distance.sdf_mm(points) < 0) != truth
        for mask in (drawn(axial=[12, 27]), drawn(axial=[12, 27], coronal=[15, 25, 35], sagittal=[20, 30, 40]))
    ]
    assert wrong[1].sum() < 0.7 * wrong[0].sum()


def test_known_is_also_what_lies_near_planes_across_other_axes_and_on_marks():
    annotation = SparseAnnotation.of(with_spill(drawn(axial=SHOWN, coronal=[22]), 1), GEOMETRY)
    ijk = np.array([[30, 30, 11], [30, 22, 11], [30, 25, 15], [45, 30, 15]], dtype=float)
    assert annotation.known_at(GEOMETRY.ijk_to_ras_points(ijk), 0.5).tolist() == [False, True, True, False]


def case(shared_data: Path, name: str) -> tuple[np.ndarray, ImageGeometry]:
    path = shared_data / "cases" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the cases beside this checkout")
    volume = read_labels(path)
    return volume.mask(1), volume.geometry


def test_of_the_real_drawing_with_spilled_strips_the_same_slices_count_as_without_them(shared_data):
    spilled, _ = case(shared_data, "10_sparse_brush_touches_neighbour_slice.nii.gz")
    clean, _ = case(shared_data, "10b_sparse_baseline.nii.gz")
    assert planes_of(read_drawing(spilled)) == planes_of(read_drawing(clean)) == {0: [11, 16, 21, 27]}
    assert looks_sparse(spilled) and looks_sparse(clean)


def test_of_the_real_drawing_on_axial_and_coronal_slices_both_count(shared_data):
    mask, _ = case(shared_data, "11_sparse_axial_plus_coronal.nii.gz")
    assert planes_of(read_drawing(mask)) == {0: [10, 16, 22, 28], 1: [39]} and looks_sparse(mask)
