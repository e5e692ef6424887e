"""Where an image moves a surface: on spheres, whose edges are known."""

from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.image.decision import moved_surface
from ReShapeITLib.image.model import numbers_beside

NUMBERS = numbers_beside(Path(__file__).resolve().parents[2] / "Resources" / "Image" / "ct.safetensors")


@pytest.fixture
def from_centre_mm():
    """(K, J, I) distance from the middle of a grid of 2 mm cells."""
    axes = [2.0 * (np.arange(n) - n // 2) for n in (52, 50, 54)]
    return np.sqrt(sum(np.square(a) for a in np.meshgrid(*axes, indexing="ij"))).astype(np.float32)


def probability(distance_mm):
    """What a sure image says of an organ with that signed distance."""
    return (0.5 - 0.5 * np.tanh(distance_mm / 1.2)).astype(np.float32)


def band(distance_mm):
    return np.abs(distance_mm) < 12.0


def radius_of(distance_mm):
    return (2.0**3 * np.clip(0.5 - distance_mm / 2.0, 0, 1).sum() * 3 / (4 * np.pi)) ** (1 / 3)


@pytest.mark.parametrize("off_mm", [-4.0, 4.0])
def test_a_sphere_that_is_too_small_or_too_large_all_round_goes_to_the_edge(from_centre_mm, off_mm):
    shape = from_centre_mm - (30.0 + off_mm)
    moved = moved_surface(probability(from_centre_mm - 30.0), band(shape), shape, NUMBERS)
    assert radius_of(shape + moved.correction_mm) == pytest.approx(30.0, abs=0.4)
    assert moved.moved_share > 0.95
    assert (moved.added_ml > 35 and moved.removed_ml == 0) if off_mm < 0 else moved.removed_ml > 35


def test_a_surface_on_the_edge_stays_to_the_bit_although_single_cells_contradict(from_centre_mm, rng):
    shape = from_centre_mm - 30.0
    noisy = np.where(rng.random(shape.shape) < 0.05, 1.0 - probability(shape), probability(shape))
    moved = moved_surface(noisy.astype(np.float32), band(shape), shape, NUMBERS)
    assert moved.correction_mm is None and moved.moved_share == 0.0


def test_only_the_side_that_is_off_moves(from_centre_mm):
    x_mm = 2.0 * (np.arange(from_centre_mm.shape[2]) - from_centre_mm.shape[2] // 2)
    bump = 5.0 * np.exp(-0.5 * np.square((x_mm - 30.0) / 8.0)).astype(np.float32)
    organ, shape = from_centre_mm - 30.0 - bump, from_centre_mm - 30.0
    moved = moved_surface(probability(organ), band(shape), shape, NUMBERS)
    assert (moved.correction_mm[:, :, x_mm < 0] == 0).all()
    after = shape + moved.correction_mm < 0
    assert np.count_nonzero(after ^ (organ < 0)) < 0.4 * np.count_nonzero((shape < 0) ^ (organ < 0))


def test_an_image_that_does_not_know_the_organ_has_no_say(from_centre_mm):
    shape = from_centre_mm - 30.0
    unsure = np.full(shape.shape, 0.3, dtype=np.float32)
    moved = moved_surface(unsure, shape > -40, shape, NUMBERS)
    assert moved.correction_mm is None and moved.inside < NUMBERS.least_inside


def test_no_piece_comes_that_does_not_touch_the_organ(from_centre_mm):
    shape = from_centre_mm - 26.0
    k, j, i = np.indices(shape.shape)
    away = np.sqrt((k - 26) ** 2 + (j - 25) ** 2 + (i - 48) ** 2) * 2.0 - 6.0
    both = np.minimum(from_centre_mm - 30.0, away).astype(np.float32)
    moved = moved_surface(probability(both), shape < 40, shape, NUMBERS)
    after = shape + moved.correction_mm < 0
    assert not after[26, 25, 48]
    assert radius_of(shape + moved.correction_mm) == pytest.approx(30.0, abs=0.5)


def test_what_lies_deep_inside_goes_only_on_strong_evidence(from_centre_mm):
    shape = from_centre_mm - 30.0
    organ = np.maximum(shape, 20.0 - from_centre_mm + 0 * shape)  # a shell, 10 mm thick
    weak = np.where(organ < 0, 0.9, 0.35).astype(np.float32)
    moved = moved_surface(weak, shape > -40, shape, NUMBERS)
    after = shape if moved.correction_mm is None else shape + moved.correction_mm
    assert (after[from_centre_mm < 20] < 0).all()
