"""Damage by level scales with the organ, swaps keep what two organs hold together, coarse voxels are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.levels import KINDS, LEVELS, coarse_input, damage_input

# Oblique, left-handed, thick slices.
TURN = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
GEOMETRY = ImageGeometry.from_parts((64, 60, 40), (2.0, 2.0, 3.0), (10.0, 20.0, 30.0), TURN)
CENTRE = GEOMETRY.ijk_to_ras_points(np.array([[32, 30, 20]]))[0]


def ball(radius_mm: float, centre=CENTRE) -> np.ndarray:
    k, j, i = np.indices(GEOMETRY.shape_kji).reshape(3, -1)
    points = GEOMETRY.ijk_to_ras_points(np.stack([i, j, k], axis=1))
    return (np.linalg.norm(points - centre, axis=1) <= radius_mm).reshape(GEOMETRY.shape_kji)


@pytest.fixture(scope="module")
def halves():
    """Two organs that share a plane border: the halves of a ball."""
    whole = ball(36.0)
    lower = whole.copy()
    lower[20:] = False
    return lower, whole & ~lower


def damaged(mask, kind, level, seed=3, **more):
    return damage_input(mask, GEOMETRY, kind, level, np.random.default_rng(seed), **more)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_damage_and_another_level_another(halves, kind):
    organ, neighbour = halves
    once, again = (damaged(organ, kind, "middle", neighbours=[neighbour]) for _ in range(2))
    assert once.dtype == bool and once.any() and np.array_equal(once, again)
    changed = [(damaged(organ, kind, level, neighbours=[neighbour]) ^ organ).sum() for level in LEVELS]
    assert 0 < changed[0] < changed[1] < changed[2]


def test_a_swap_keeps_the_union_of_both_organs_and_happens_at_their_border(halves):
    organ, neighbour = halves
    gains = set()
    for seed in range(6):
        swapped = damaged(organ, "swap", "middle", seed, neighbours=[neighbour])
        gained, lost = swapped & ~organ, organ & ~swapped
        assert not (gained & ~neighbour).any()
        assert gained.any() != lost.any()
        # The ball's centre lies on the border, so what changed sides is one piece that touches the plane k = 20.
        planes = np.flatnonzero((gained | lost).any(axis=(1, 2)))
        assert planes.min() == 20 if gained.any() else planes.max() == 19
        gains.add(bool(gained.any()))
    assert gains == {True, False}


def test_a_swap_needs_a_neighbour_that_touches(halves):
    with pytest.raises(BadInputError, match="touching"):
        damaged(halves[0], "swap", "middle")
    corner = ball(6.0, GEOMETRY.ijk_to_ras_points(np.array([[4, 4, 36]]))[0])
    with pytest.raises(BadInputError, match="touching"):
        damaged(halves[0], "swap", "middle", neighbours=[corner])


def test_a_combined_damage_without_neighbours_swaps_nothing_and_still_damages():
    organ = ball(36.0)
    for seed in range(3):
        assert not np.array_equal(damaged(organ, "combined", "mild", seed), organ)


def test_a_truncation_takes_its_share_from_one_end():
    organ = ball(36.0)
    lost = organ & ~damaged(organ, "truncation", "middle")
    assert lost.sum() / organ.sum() == pytest.approx(0.2, abs=0.04)
    planes = np.flatnonzero(lost.any(axis=(1, 2)))
    ends = np.flatnonzero(organ.any(axis=(1, 2)))[[0, -1]]
    assert planes[0] == ends[0] or planes[-1] == ends[1]


def test_damage_scales_with_the_organ():
    shares = []
    for radius in (18.0, 36.0):
        organ = ball(radius)
        bites = [(organ & ~damaged(organ, "bite", "severe", seed)).sum() / organ.sum() for seed in range(4)]
        shares.append(np.mean(bites))
    assert shares[0] == pytest.approx(shares[1], rel=0.3)


def test_islands_are_pieces_of_their_own_and_holes_are_closed():
    organ = ball(30.0)
    islands = damaged(organ, "islands", "middle")
    assert ndimage.label(islands, np.ones((3, 3, 3)))[1] > 1 and not (organ & ~islands).any()
    holes = damaged(organ, "holes", "severe")
    assert holes.sum() < organ.sum() and np.array_equal(ndimage.binary_fill_holes(holes), organ)


@pytest.mark.parametrize(("kind", "level"), [("burn", "middle"), ("bite", "harsh")])
def test_unknown_kinds_and_levels_are_refused(kind, level):
    with pytest.raises(BadInputError, match="choose one of"):
        damaged(ball(20.0), kind, level)


def test_an_empty_mask_cannot_be_damaged():
    with pytest.raises(BadInputError, match="empty"):
        damaged(np.zeros(GEOMETRY.shape_kji, dtype=bool), "bite", "mild")


@pytest.mark.parametrize("voxel_mm", [(2.0, 2.0, 3.0), 1.0])
def test_coarse_input_at_the_grids_own_spacing_or_below_is_the_identity(voxel_mm):
    mask = np.random.default_rng(0).random(GEOMETRY.shape_kji) < 0.5
    assert np.array_equal(coarse_input(mask, GEOMETRY, voxel_mm), mask)


def test_coarse_input_is_made_of_bricks_that_were_at_least_half_full():
    mask = ball(30.0)
    coarse = coarse_input(mask, GEOMETRY, 6.0)
    bricks = mask.reshape(20, 2, 20, 3, 64, 1)[..., :63, :].reshape(20, 2, 20, 3, 21, 3)
    expected = bricks.mean(axis=(1, 3, 5)) >= 0.5 - 1e-9
    assert np.array_equal(coarse[:, :, :63], expected.repeat(2, 0).repeat(3, 1).repeat(3, 2))
    assert coarse.sum() == pytest.approx(mask.sum(), rel=0.05)


def test_coarse_slices_of_no_whole_number_of_voxels_take_the_slice_their_centre_lies_in():
    mask = np.zeros((7, 1, 1), dtype=bool)
    mask[1:3] = True
    geometry = ImageGeometry.from_parts((1, 1, 7), (1.0, 1.0, 2.0))
    # Slices of 5 mm: [0, 5) holds 2..5 of the organ's 2..6 mm, [5, 10) only the last millimetre.
    assert coarse_input(mask, geometry, (1.0, 1.0, 5.0)).ravel().tolist() == [True, True, False] + [False] * 4


def test_nothing_stays_nothing_on_coarse_voxels():
    assert not coarse_input(np.zeros(GEOMETRY.shape_kji, dtype=bool), GEOMETRY, 6.0).any()
