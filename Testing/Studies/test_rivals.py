"""Rivals on shapes with known answers: what each repairs, and what it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.interaction.alignment import AlignmentOptions
from ReShapeITLib.templates.template import OrganTemplate
from Testing.Studies.evaluation.methods import METHODS, make_methods
from Testing.Studies.evaluation.rivals_filters import kernel_voxels
from Testing.Studies.evaluation.rivals_ssm import ShapeModel, fit_to_mask, voxelised
from Testing.Studies.evaluation.rivals_ssm_build import ShapeBuildOptions, build_ssm, template_mesh
from Testing.tiny_template import ellipsoid_mask

TEMPLATE = Path(__file__).resolve().parents[2] / "Resources" / "Templates" / "pancreas.safetensors"
# Oblique, left-handed, thick slices.
TURN = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
GEOMETRY = ImageGeometry.from_parts((64, 60, 40), (2.0, 2.0, 3.0), (10.0, 20.0, 30.0), TURN)
CENTRE = GEOMETRY.ijk_to_ras_points(np.array([[32, 30, 20]]))[0]


def ball(radius_mm: float, offset_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    return ellipsoid_mask(GEOMETRY, CENTRE + offset_mm, np.full(3, radius_mm))


def run(entry, mask, organ="liver"):
    (method,) = make_methods([entry], organ, TEMPLATE).values()
    return method(mask, GEOMETRY).mask


def dice(a, b) -> float:
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


def test_the_input_is_returned_as_it_is():
    given = ball(20.0)
    returned = run("input", given)
    assert np.array_equal(returned, given) and returned is not given


def test_the_largest_piece_loses_the_far_ball_and_its_own_cavities():
    organ = ball(25.0)
    given = (organ & ~ball(6.0)) | ball(5.0, (42.0, 0.0, 0.0))
    assert np.array_equal(run("largest", given), organ)


@pytest.mark.parametrize(
    ("organ", "radius_mm", "gap_mm", "kept"),
    [
        ("liver", 12.0, 5.0, True),
        ("liver", 12.0, 16.0, False),
        ("liver", 4.0, 5.0, False),
        ("pancreas", 12.0, 16.0, True),
        ("pancreas", 7.0, 30.0, False),
    ],
)
def test_rules_keep_pieces_that_are_large_and_near_enough_for_the_organ(organ, radius_mm, gap_mm, kept):
    main, piece = ball(20.0, (-22.0, 0.0, 0.0)), ball(radius_mm, (-2.0 + gap_mm + radius_mm, 0.0, 0.0))
    assert np.array_equal(run("rules", main | piece, organ), main | piece if kept else main)


def test_median_and_gaussian_remove_a_thin_spike_and_keep_the_size():
    organ = ball(25.0)
    spiked = organ.copy()
    spiked[20, 30, :] = True
    for entry in ({"name": "median", "kernel_mm": 8}, {"name": "gaussian", "sd_mm": 3}):
        smooth = run(entry, spiked)
        assert not smooth[20, 30, :12].any() and dice(smooth, organ) > 0.97


def test_closing_fills_gaps_narrower_than_the_kernel_only():
    block = np.zeros(GEOMETRY.shape_kji, dtype=bool)
    block[10:30, 15:45, 15:45] = True
    slit = block.copy()
    slit[:, :, 28:30] = False
    assert np.array_equal(run({"name": "closing", "kernel_mm": 10}, slit), block)
    assert np.array_equal(run({"name": "closing", "kernel_mm": 3}, slit), slit)


@pytest.mark.parametrize("method", ["between_slices", "fill_between_slices"])
def test_what_lies_between_drawn_slices_is_filled(method):
    if method == "fill_between_slices":
        pytest.importorskip("slicer", reason="needs the Slicer core: pip install slicer-core")
    organ = ball(28.0)
    slices = np.flatnonzero(organ.any(axis=(1, 2)))
    drawn = np.zeros_like(organ)
    drawn[slices[1:-1:4]] = organ[slices[1:-1:4]]
    filled = run(method, drawn)
    within = slice(slices[1], slices[1:-1:4][-1] + 1)
    wrong = (filled ^ organ)[within].sum()
    assert wrong < 0.15 * organ[within].sum() and filled[within].any(axis=(1, 2)).all()


def test_kernels_are_odd_numbers_of_voxels_as_in_the_segment_editor():
    assert kernel_voxels(GEOMETRY, 5.0).tolist() == [3, 3, 1] and kernel_voxels(GEOMETRY, 0.5).tolist() == [1, 1, 1]


def test_filters_work_at_the_border_of_the_grid_and_on_nothing():
    half = np.zeros(GEOMETRY.shape_kji, dtype=bool)
    half[:10] = True
    nothing = np.zeros_like(half)
    for name in ("largest", "rules", "median", "gaussian", "closing"):
        assert run(name, half).sum() == pytest.approx(half.sum(), rel=0.25)
        assert not run(name, nothing).any()


def test_methods_take_labels_and_options_and_refuse_what_they_do_not_know():
    labels = make_methods(["input", {"name": "gaussian", "sd_mm": 2, "as": "blurred"}, "gaussian"], "liver", TEMPLATE)
    assert list(labels) == ["input", "blurred", "gaussian"]
    for wrong, message in (
        ([{"name": "gaussian", "kernel_mm": 2}], "does not take"),
        (["magic"], "no method"),
        (["input", "input"], "'input'"),
        ([{"name": "field", "fit": {"steps": 1}}], "no option 'steps'"),
        ([{"name": "ssm", "model": "absent.npz"}], "no training mask"),
        ([{"name": "field", "preset": "best"}], "no preset"),
    ):
        with pytest.raises(BadInputError, match=message):
            make_methods(wrong, "liver", TEMPLATE)
    assert set(METHODS) >= {"input", "largest", "rules", "ssm", "tim_paper", "field", "reshapeit"}


def ellipsoid(radii_mm):
    return ellipsoid_mask(GEOMETRY, CENTRE, np.asarray(radii_mm))


@pytest.fixture(scope="module")
def ellipsoids() -> ShapeModel:
    """A shape model of ellipsoids whose three axes vary on their own."""
    radii = np.array([45.0, 32.0, 22.0]) * (1.0 + 0.12 * np.random.default_rng(1).uniform(-1, 1, size=(7, 3)))
    middle = surface_from_mask(ellipsoid((45.0, 32.0, 22.0)), GEOMETRY)
    mesh = middle.transformed(Similarity(1.0 / 45.0, np.eye(3), -CENTRE / 45.0))
    alignment = AlignmentOptions(
        n_points=300, coarse_points=100, starts=("centroid",), expected_scale_mm=45.0, scale_log_sd=0.05
    )
    options = ShapeBuildOptions(n_points=3000, iterations=12)
    return build_ssm(((ellipsoid(r), GEOMETRY) for r in radii), mesh, alignment, options)


def test_a_shape_model_of_ellipsoids_reproduces_an_unseen_one(ellipsoids):
    assert 2 <= len(ellipsoids.sds) <= 6
    unseen = ellipsoid((47.0, 30.0, 23.0))
    fitted, surface = fit_to_mask(unseen, GEOMETRY, ellipsoids)
    assert dice(fitted, unseen) > 0.96 and surface.is_closed


def test_a_shape_model_completes_a_bitten_ellipsoid_and_ignores_an_island(ellipsoids):
    whole = ellipsoid((45.0, 32.0, 22.0))
    given = (whole & ~ball(16.0, (20.0, 20.0, 10.0))) | ball(6.0, (-40.0, 40.0, 30.0))
    fitted, _ = fit_to_mask(given, GEOMETRY, ellipsoids)
    assert dice(fitted, whole) > max(0.95, dice(given, whole))
    assert not (fitted & ball(5.0, (-40.0, 40.0, 30.0))).any()


def test_a_shape_model_is_the_same_after_saving(ellipsoids, tmp_path):
    ellipsoids.save(tmp_path / "model.npz")
    loaded = ShapeModel.load(tmp_path / "model.npz")
    assert np.array_equal(loaded.modes, ellipsoids.modes) and loaded.expected_scale_mm == ellipsoids.expected_scale_mm
    (tmp_path / "other.npz").write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="no shape model"):
        ShapeModel.load(tmp_path / "other.npz")


def test_voxels_of_a_surface_are_those_it_was_made_of():
    organ = ellipsoid((45.0, 32.0, 22.0))
    assert dice(voxelised(surface_from_mask(organ, GEOMETRY), GEOMETRY), organ) > 0.995


def test_the_papers_interaction_and_the_refinement_return_the_templates_own_organ():
    template = OrganTemplate.load(TEMPLATE)
    scale_mm = float(np.median(template.info.scales_mm))
    organ = template_mesh(template, 0.08).transformed(Similarity(scale_mm, np.eye(3), CENTRE))
    geometry = ImageGeometry.from_parts((60, 40, 40), (4.0, 4.0, 4.0), CENTRE - [120.0, 80.0, 80.0])
    given = voxelised(organ, geometry)
    few = {"fit": {"code_steps": 4, "weight_steps": 2, "surface_points": 100, "free_points": 50}}
    few |= {"alignment": {"n_points": 300, "coarse_points": 100}}
    coarse = {"surface_cell_mm": 8.0, **few}
    entries = [{"name": "tim_paper", **coarse}, {"name": "field", **coarse}]
    for name, method in make_methods(entries, "pancreas", TEMPLATE).items():
        result = method(given, geometry)
        assert result.mask.shape == given.shape and len(result.surface.faces)
        assert dice(result.mask, given) > (0.6 if name == "tim_paper" else 0.9)
