"""Each damage does what it says, in mm, on any grid, and the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.shapes import DAMAGES, bite, holes, island, leak, truncation

# Oblique, left-handed, thick slices.
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
GEOMETRY = ImageGeometry.from_parts((90, 80, 36), (1.5, 1.5, 3.0), (10.0, 20.0, 30.0), -TURN)
CENTRE = GEOMETRY.ijk_to_ras_points(np.array([[45, 40, 18]]))[0]


def points_of(mask):
    return GEOMETRY.ijk_to_ras_points(np.argwhere(mask)[:, ::-1])


@pytest.fixture(scope="module")
def ball():
    k, j, i = np.indices(GEOMETRY.shape_kji).reshape(3, -1)
    distance = np.linalg.norm(GEOMETRY.ijk_to_ras_points(np.stack([i, j, k], axis=1)) - CENTRE, axis=1)
    return (distance <= 30).reshape(GEOMETRY.shape_kji)


def test_a_bite_removes_a_ball_at_the_surface(ball, rng):
    lost = points_of(ball & ~bite(ball, GEOMETRY, rng, radius_mm=12.0))
    middle = 0.5 * (lost.min(axis=0) + lost.max(axis=0))
    assert np.linalg.norm(lost - middle, axis=1).max() < 14.5
    assert np.linalg.norm(lost - CENTRE, axis=1).max() > 28.0


def test_a_leak_reaches_its_length_outwards_and_removes_nothing(ball, rng):
    leaked = leak(ball, GEOMETRY, rng, radius_mm=6.0, length_mm=20.0)
    assert (leaked & ball).sum() == ball.sum()
    furthest = np.linalg.norm(points_of(leaked) - CENTRE, axis=1).max()
    assert furthest == pytest.approx(30 + 20 + 6, abs=5.0)


def test_an_island_is_a_piece_of_its_own(ball, rng):
    pieces, count = ndimage.label(island(ball, GEOMETRY, rng, radius_mm=5.0, gap_mm=5.0), np.ones((3, 3, 3)))
    assert count == 2
    volume = np.bincount(pieces.ravel())[1:].min() * GEOMETRY.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.25)


def test_holes_are_closed_on_all_sides(ball, rng):
    damaged = holes(ball, GEOMETRY, rng, count=3, radius_mm=4.0)
    assert damaged.sum() < ball.sum()
    assert np.array_equal(ndimage.binary_fill_holes(damaged), ball)


def test_truncation_cuts_the_share_off_in_the_direction(ball, rng):
    cut = truncation(ball, GEOMETRY, rng, share=0.25, direction_ras=[0.0, 0.0, 1.0])
    assert cut.sum() / ball.sum() == pytest.approx(0.75, abs=0.05)
    assert points_of(cut)[:, 2].max() < points_of(ball & ~cut)[:, 2].min()


@pytest.mark.parametrize("name", DAMAGES)
def test_the_same_seed_gives_the_same_damage(ball, name):
    once, again, other = (DAMAGES[name](ball, GEOMETRY, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(once, again) and once.dtype == bool
    assert not np.array_equal(once, ball)
    assert name == "truncation" or not np.array_equal(once, other)


def test_an_empty_mask_cannot_be_damaged(rng):
    with pytest.raises(BadInputError, match="empty"):
        bite(np.zeros(GEOMETRY.shape_kji, dtype=bool), GEOMETRY, rng)
