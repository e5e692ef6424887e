"""Metrics against shapes with known answers, and against the surface-distance package."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from ReShapeITLib.cli import metrics as metrics_command
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.metrics import (
    chamfer_distance,
    compare_masks,
    compare_surfaces,
    earth_movers_distances,
    evaluate,
)
from ReShapeITLib.metrics.surfels import is_surfel, neighbourhood_codes, surfel_areas_mm2, surfel_distances_mm

UNIT_GRID = ImageGeometry.from_parts((30, 30, 30), (1, 1, 1))
ANISOTROPIC_GRID = ImageGeometry.from_parts((60, 56, 24), (0.8, 1.0, 2.5))


def ball(geometry, radius_mm, centre_mm=None):
    """Mask of a ball, around the middle of the grid unless told otherwise."""
    k, j, i = np.indices(geometry.shape_kji)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    centre_mm = points.mean(axis=0) if centre_mm is None else np.asarray(centre_mm)
    return (np.linalg.norm(points - centre_mm, axis=1) < radius_mm).reshape(geometry.shape_kji)


def box(geometry, start_kji, stop_kji):
    mask = np.zeros(geometry.shape_kji, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(start_kji, stop_kji, strict=True))] = True
    return mask


def random_blobs(rng, geometry, level=0.02):
    return ndimage.gaussian_filter(rng.normal(size=geometry.shape_kji), 2) > level


def sphere_surface(radius_mm=1.0, subdivisions=5):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius_mm)
    return TriangleSurface.from_triangles(mesh.vertices, mesh.faces)


def mm_metrics(metrics):
    return np.array([metrics.hd95_mm, metrics.assd_mm])


# Masks


def test_identical_masks_agree_perfectly(rng):
    mask = random_blobs(rng, ANISOTROPIC_GRID)
    metrics = compare_masks(mask, mask.copy(), ANISOTROPIC_GRID, 0.0)
    assert (metrics.dsc, metrics.nsd, metrics.hd95_mm, metrics.assd_mm) == (1.0, 1.0, 0.0, 0.0)


def test_a_box_shifted_by_a_quarter_of_its_length_has_dice_three_quarters():
    reference = box(UNIT_GRID, (5, 5, 5), (15, 15, 13))
    shifted = box(UNIT_GRID, (5, 5, 7), (15, 15, 15))
    assert compare_masks(reference, shifted, UNIT_GRID, 1.0).dsc == 0.75


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.6)])
def test_concentric_spheres_are_apart_by_the_difference_of_their_radii(spacing_mm):
    size = [int(50 / spacing) for spacing in spacing_mm]
    geometry = ImageGeometry.from_parts(size, spacing_mm)
    inner, outer = ball(geometry, 20), ball(geometry, 22)
    metrics = compare_masks(inner, outer, geometry, 3.0)
    assert 2.0 - 0.5 * max(spacing_mm) < metrics.assd_mm < 2.0  # surfels reach half a voxel to either side
    assert metrics.hd95_mm == pytest.approx(2.0, abs=0.5 * max(spacing_mm))
    assert metrics.nsd > 0.99
    assert compare_masks(inner, outer, geometry, 1.0).nsd < 0.25
    assert metrics.dsc == pytest.approx(2 * 20**3 / (20**3 + 22**3), abs=0.005)


def test_a_face_moved_by_four_slices_counts_by_its_area():
    spacing_k_mm = 2.5
    geometry = ImageGeometry.from_parts((50, 50, 30), (1, 1, spacing_k_mm))
    reference, longer = box(geometry, (5, 5, 5), (15, 45, 45)), box(geometry, (5, 5, 5), (19, 45, 45))
    metrics = compare_masks(reference, longer, geometry, 4 * spacing_k_mm)
    assert metrics.hd95_mm == pytest.approx(4 * spacing_k_mm)  # both far faces are over 5 % of their surface
    assert metrics.nsd == 1.0  # a distance of exactly the tolerance is agreement
    # Out of reach then: the moved face, and of the old one the part that is also 10 mm away from the side walls.
    surface_mm2, out_of_reach_mm2 = 2 * 40 * 40 + 4 * 40 * 25 + 2 * 40 * 40 + 4 * 40 * 35, 40 * 40 + 20 * 20
    nsd = compare_masks(reference, longer, geometry, 4 * spacing_k_mm - 0.01).nsd
    assert nsd == pytest.approx(1 - out_of_reach_mm2 / surface_mm2, abs=0.02)


def test_swapping_reference_and_test_changes_nothing(rng):
    a, b = random_blobs(rng, ANISOTROPIC_GRID), random_blobs(rng, ANISOTROPIC_GRID)
    there, back = compare_masks(a, b, ANISOTROPIC_GRID, 2.0), compare_masks(b, a, ANISOTROPIC_GRID, 2.0)
    np.testing.assert_allclose(list(asdict(there).values()), list(asdict(back).values()), rtol=1e-12)


def test_doubling_the_spacing_doubles_all_distances(rng):
    a, b = random_blobs(rng, ANISOTROPIC_GRID), random_blobs(rng, ANISOTROPIC_GRID)
    doubled = ImageGeometry.from_parts(ANISOTROPIC_GRID.size_ijk, 2 * ANISOTROPIC_GRID.spacing_mm)
    once, twice = compare_masks(a, b, ANISOTROPIC_GRID, 1.5), compare_masks(a, b, doubled, 3.0)
    np.testing.assert_allclose(2 * mm_metrics(once), mm_metrics(twice), rtol=1e-12)
    assert (once.dsc, once.nsd) == pytest.approx((twice.dsc, twice.nsd), rel=1e-12)


def test_orientation_and_handedness_change_nothing(rng):
    a, b = random_blobs(rng, ANISOTROPIC_GRID), random_blobs(rng, ANISOTROPIC_GRID)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    plain = compare_masks(a, b, ANISOTROPIC_GRID, 2.0)
    for direction in (axes, -axes):
        oblique = ImageGeometry.from_parts(
            ANISOTROPIC_GRID.size_ijk, ANISOTROPIC_GRID.spacing_mm, (-900.0, 300.0, 70.0), direction
        )
        turned = compare_masks(a, b, oblique, 2.0)
        np.testing.assert_allclose(list(asdict(plain).values()), list(asdict(turned).values()), rtol=1e-9)


def test_a_mask_at_the_border_of_the_image_is_closed_there():
    tight = ImageGeometry.from_parts((12, 12, 12), (1, 1, 2))
    roomy = tight.cropped((-9, -7, -5), (40, 30, 20))
    full, half = box(tight, (0, 0, 0), (12, 12, 12)), box(tight, (0, 0, 0), (12, 12, 6))
    padding = ((5, 3), (7, 11), (9, 19))
    in_roomy = compare_masks(np.pad(full, padding), np.pad(half, padding), roomy, 1.0)
    assert compare_masks(full, half, tight, 1.0) == in_roomy


def test_an_empty_test_mask_scores_zero_and_infinitely_far():
    empty = np.zeros(UNIT_GRID.shape_kji, dtype=bool)
    metrics = compare_masks(ball(UNIT_GRID, 8), empty, UNIT_GRID, 2.0)
    assert (metrics.dsc, metrics.nsd, metrics.hd95_mm, metrics.assd_mm) == (0.0, 0.0, math.inf, math.inf)


def test_an_empty_reference_is_an_error():
    empty = np.zeros(UNIT_GRID.shape_kji, dtype=bool)
    with pytest.raises(BadInputError, match="reference mask is empty"):
        compare_masks(empty, ball(UNIT_GRID, 8), UNIT_GRID, 2.0)


def test_a_mask_of_another_grid_is_an_error():
    mask = ball(UNIT_GRID, 8)
    with pytest.raises(BadInputError, match="test mask has the shape"):
        compare_masks(mask, mask[1:], UNIT_GRID, 2.0)


@pytest.mark.parametrize("tolerance_mm", [-1.0, math.nan, math.inf])
def test_a_tolerance_that_is_no_length_is_an_error(tolerance_mm):
    mask = ball(UNIT_GRID, 8)
    with pytest.raises(BadInputError, match="tolerance"):
        compare_masks(mask, mask, UNIT_GRID, tolerance_mm)


# Surfels


def test_the_surfels_of_a_box_have_the_area_of_a_box_with_cut_edges():
    a, b, c = 2.0, 3.0, 0.5  # spacing along i, j, k
    codes = neighbourhood_codes(np.ones((6, 5, 4), dtype=bool))
    area = surfel_areas_mm2(np.diag([a, b, c]))[codes].sum()
    u, v, w = 3 * a, 4 * b, 5 * c  # extent between the outermost voxel centres
    faces = 2 * (u * v + v * w + w * u)
    edges = 4 * (u * math.hypot(b, c) + v * math.hypot(a, c) + w * math.hypot(a, b)) / 2
    corners = 8 * math.sqrt((b * c) ** 2 + (a * c) ** 2 + (a * b) ** 2) / 8
    assert area == pytest.approx(faces + edges + corners, rel=1e-12)


def test_a_mask_and_its_complement_have_the_same_surfel_areas():
    areas = surfel_areas_mm2(np.diag([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(areas, areas[::-1])
    assert areas[0] == 0 and areas[1:-1].min() > 0


@pytest.mark.parametrize("shear", [0.0, 0.4])
def test_surfel_distances_are_exact_near_and_far_on_any_grid(rng, shear):
    ijk_to_mm = np.array([[0.7, 0.0, shear], [0.0, 1.0, 0.0], [0.0, shear, 2.0]])
    geometry = ImageGeometry.from_parts((40, 40, 40), (1, 1, 1))
    whole = ball(geometry, 18)
    cut = whole & (np.arange(40) > 22)[:, None, None]  # leaves a face deep inside the ball
    surfels_whole, surfels_cut = (is_surfel(neighbourhood_codes(mask)) for mask in (whole, cut))
    points_whole, points_cut = (np.argwhere(s)[:, ::-1] @ ijk_to_mm.T for s in (surfels_whole, surfels_cut))
    exact = cdist(points_whole, points_cut).min(axis=1)
    distances = surfel_distances_mm(surfels_whole, surfels_cut, ijk_to_mm)
    assert exact.max() > 12 * np.linalg.det(ijk_to_mm) ** (1 / 3)
    np.testing.assert_allclose(distances, exact, atol=1e-10)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (3.1, 0.9, 1.7)])
@pytest.mark.parametrize("shapes", ["blobs", "half of a ball"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_surface_metrics_equal_those_of_surface_distance(rng, spacing_mm, shapes):
    oracle = pytest.importorskip("surface_distance", reason="the surface-distance package is not installed")
    geometry = ImageGeometry.from_parts((44, 40, 36), spacing_mm)
    if shapes == "blobs":
        a, b = random_blobs(rng, geometry), random_blobs(rng, geometry, level=0.03)
    else:
        a = ball(ImageGeometry.from_parts((44, 40, 36), (1, 1, 1)), 16)
        b = a & (np.arange(36) > 16)[:, None, None]
    metrics = compare_masks(a, b, geometry, 2.03)
    distances = oracle.compute_surface_distances(a, b, spacing_mm[::-1])
    areas = distances["surfel_areas_gt"].sum(), distances["surfel_areas_pred"].sum()
    averages = oracle.compute_average_surface_distance(distances)
    assert metrics.hd95_mm == pytest.approx(oracle.compute_robust_hausdorff(distances, 95), abs=1e-9)
    assert metrics.nsd == pytest.approx(oracle.compute_surface_dice_at_tolerance(distances, 2.03), abs=1e-9)
    assert metrics.assd_mm == pytest.approx(np.dot(averages, areas) / np.sum(areas), abs=1e-9)
    assert metrics.dsc == oracle.compute_dice_coefficient(a, b)


# Points


def test_chamfer_of_a_slightly_shifted_lattice_is_twice_the_squared_shift():
    lattice = np.argwhere(np.ones((6, 7, 8))).astype(float)
    assert chamfer_distance(lattice, lattice + [0.1, 0.2, 0.0]) == pytest.approx(2 * 0.05, rel=1e-12)


def test_chamfer_adds_both_directions():
    one, two = np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    assert chamfer_distance(one, two) == 1.0 + (1.0 + 9.0) / 2


def test_earth_movers_distance_of_a_translated_set_is_the_translation(rng):
    points = rng.normal(size=(200, 3))
    moved = rng.permutation(points + [1.0, 2.0, 2.0])
    mean, squared = earth_movers_distances(points, moved)
    assert mean == pytest.approx(3.0, rel=1e-12)
    assert squared == pytest.approx(200 * 9.0, rel=1e-12)


def test_each_earth_movers_distance_has_its_own_best_bijection():
    a = np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    b = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    straight = np.linalg.norm(a - b, axis=1)
    crossed = np.linalg.norm(a - b[::-1], axis=1)
    mean, squared = earth_movers_distances(a, b)
    assert mean == pytest.approx(min(straight.mean(), crossed.mean()))
    assert squared == pytest.approx(min((straight**2).sum(), (crossed**2).sum()))
    assert (straight.mean() < crossed.mean()) != ((straight**2).sum() > (crossed**2).sum())


def test_an_earth_movers_distance_needs_equally_many_points(rng):
    with pytest.raises(ValueError, match="equally many"):
        earth_movers_distances(rng.normal(size=(5, 3)), rng.normal(size=(6, 3)))


def test_chamfer_of_concentric_spheres_is_twice_the_squared_gap_in_radii():
    metrics = compare_surfaces(sphere_surface(50.0), sphere_surface(60.0), n_emd=200)
    assert metrics.cd == pytest.approx(2 * 0.2**2, rel=0.02)
    assert metrics.emd_mean > 0.2


def test_two_samplings_of_one_sphere_are_apart_by_the_documented_floor():
    metrics = compare_surfaces(sphere_surface(), sphere_surface())
    assert metrics.cd == pytest.approx(2 * 4 / 30_000, rel=0.05)  # 1 / (pi density), both ways
    assert metrics.emd_mean == pytest.approx(0.113, abs=0.025)


def test_surface_metrics_do_not_depend_on_size_and_place():
    reference, test = sphere_surface(1.0, 3), sphere_surface(1.25, 3)
    moved = Similarity(64.0, np.eye(3), np.array([128.0, -256.0, 1024.0]))
    here = compare_surfaces(reference, test, n_cd=2000, n_emd=100)
    there = compare_surfaces(reference.transformed(moved), test.transformed(moved), n_cd=2000, n_emd=100)
    np.testing.assert_allclose(here, there, rtol=1e-9)


def test_the_seed_fixes_the_sampled_points():
    surfaces = sphere_surface(1.0, 3), sphere_surface(1.25, 3)
    results = [compare_surfaces(*surfaces, n_cd=500, n_emd=50, seed=seed) for seed in (1, 1, 2)]
    assert results[0] == results[1] != results[2]


def test_surfaces_without_faces_are_an_error_as_reference_and_infinitely_far_as_test():
    empty = TriangleSurface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    assert compare_surfaces(sphere_surface(), empty) == (math.inf, math.inf, math.inf)
    with pytest.raises(BadInputError, match="reference surface is empty"):
        compare_surfaces(empty, sphere_surface())


# All metrics of a pair


def test_evaluate_measures_voxels_and_surfaces():
    geometry = ImageGeometry.from_parts((44, 44, 44), (1, 1, 1))
    reference, test = ball(geometry, 15), ball(geometry, 18)
    metrics = evaluate(reference, test, geometry, nsd_tolerance_mm=1.5)
    assert metrics.cd_x100 == pytest.approx(100 * 2 * 0.2**2, rel=0.1)
    assert metrics.emd > 0.15
    assert metrics.assd_mm == compare_masks(reference, test, geometry, 1.5).assd_mm


def test_evaluate_uses_the_given_surfaces():
    mask, sphere = ball(UNIT_GRID, 8), sphere_surface(8.0)
    metrics = evaluate(mask, mask, UNIT_GRID, sphere, sphere_surface(12.0))
    assert metrics.dsc == 1.0
    assert metrics.cd == pytest.approx(2 * 0.5**2, rel=0.02)


def test_a_false_speck_is_not_cleaned_away_before_it_is_measured():
    mask = ball(UNIT_GRID, 8)
    with_speck = mask.copy()
    with_speck[1, 1:3, 1:3] = True  # 4 mm^3, less than the cleaning of surfaces keeps
    clean, dirty = (evaluate(mask, test, UNIT_GRID).cd for test in (mask, with_speck))
    assert dirty > 1.25 * clean


def test_an_empty_segmentation_is_evaluated_and_written_without_infinities():
    metrics = evaluate(ball(UNIT_GRID, 8), np.zeros(UNIT_GRID.shape_kji, dtype=bool), UNIT_GRID)
    assert metrics.cd == metrics.emd == metrics.emd_squared == metrics.hd95_mm == math.inf
    written = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert written["hd95_mm"] is None and written["dsc"] == 0.0


# Command


@pytest.fixture
def files(tmp_path):
    """Two label maps with label 3 (balls of 8 and 9 mm), as paths."""
    paths = [tmp_path / name for name in ("truth.nii.gz", "result.nrrd")]
    for path, radius_mm in zip(paths, (8, 9), strict=True):
        labels = 3 * ball(UNIT_GRID, radius_mm).astype(np.uint8)
        write_labels(LabelVolume.from_array(labels, UNIT_GRID), path)
    return [str(path) for path in paths]


def run_command(*words):
    parser = argparse.ArgumentParser()
    metrics_command.add_arguments(parser)
    return metrics_command.run(parser.parse_args(words))


def test_the_command_prints_aligned_numbers_with_units(files, capsys):
    assert run_command(*files, "--tolerance", "1.5") == 0
    lines = capsys.readouterr().out.splitlines()
    expected = compare_masks(ball(UNIT_GRID, 8), ball(UNIT_GRID, 9), UNIT_GRID, 1.5)
    assert lines[0].split() == ["DSC", f"{100 * expected.dsc:.2f}", "%"]
    assert lines[1].startswith("NSD at 1.5 mm")
    assert len({line.index(f" {line.split()[-1]}") for line in lines if line.endswith(" mm")}) == 1


def test_the_command_writes_json(files, tmp_path, capsys):
    target = tmp_path / "metrics.json"
    assert run_command(*files, "--output", str(target)) == 0
    written = json.loads(target.read_text(encoding="utf-8"))
    assert written["reference"] == files[0] and written["nsd_tolerance_mm"] == 2.0
    capsys.readouterr()
    assert run_command(*files, "--output", "-") == 0
    assert json.loads(capsys.readouterr().out) == written


def test_the_command_counts_a_missing_label_as_an_empty_segmentation(files, tmp_path, capsys):
    other = str(tmp_path / "other.nrrd")
    write_labels(LabelVolume.from_array(5 * ball(UNIT_GRID, 8).astype(np.uint8), UNIT_GRID), other)
    assert run_command(files[0], other, "--label", "3", "--output", "-") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["dsc"] == 0.0 and json.loads(output.out)["hd95_mm"] is None
    assert "no voxels of the label" in output.err
    assert run_command(files[0], other, "--label", "3", "--test-label", "5") == 0
    with pytest.raises(BadInputError, match="no segment"):
        run_command(files[0], other, "--test-label", "6")


def test_the_command_refuses_files_on_different_grids(files, tmp_path):
    other = str(tmp_path / "other.nrrd")
    shifted = ImageGeometry.from_parts((30, 30, 30), (1, 1, 1), (0, 0, 0.5))
    write_labels(LabelVolume.from_array(ball(UNIT_GRID, 8), shifted), other)
    with pytest.raises(BadInputError, match="other.nrrd lies on another voxel grid than .*truth.nii.gz"):
        run_command(files[0], other)
