"""Rivals that read the image: on a bright ball in noise, and where there is nothing to read."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.image.band import Image, working_grid
from Testing.Studies import image_rivals
from Testing.Studies.image_cases import Case
from Testing.Studies.image_rivals import BY_IMAGE, by_image


def dice(a, b) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture
def ball_case(monkeypatch):
    """Makes a case: a true ball of 20 mm, a given ball that is 3 mm too small and 2 mm beside it, and an image."""

    def make(bright: float) -> Case:
        grid = working_grid((np.full(3, -30.0), np.full(3, 30.0)))
        cells = np.argwhere(np.ones(grid.shape_kji, dtype=bool))
        points = grid.ijk_to_ras_points(cells[:, ::-1])
        truth = (np.linalg.norm(points, axis=1) - 20.0).reshape(grid.shape_kji).astype(np.float32)
        given = (np.linalg.norm(points - (2.0, 0.0, 0.0), axis=1) - 17.0).reshape(grid.shape_kji).astype(np.float32)
        noise = np.random.default_rng(0).normal(0.0, 8.0, grid.shape_kji)
        voxels = (np.where(truth < 0, 100.0 * bright, 20.0 * bright) + noise * bright).astype(np.float32)
        monkeypatch.setattr(image_rivals, "ct_of", lambda patient: Image(voxels, grid))
        return Case("nobody", "spleen", "given", grid, given, given, truth)

    return make


@pytest.mark.parametrize("name", list(BY_IMAGE))
def test_a_bright_ball_is_found_between_the_seeds(name, ball_case):
    case = ball_case(1.0)
    truth = case.truth_mm < 0
    assert dice(case.given_mm < 0, truth) < 0.85
    assert dice(by_image(case, name), truth) > 0.99


@pytest.mark.parametrize("name", list(BY_IMAGE))
def test_an_image_of_one_value_leaves_the_given_organ(name, ball_case):
    case = ball_case(0.0)
    assert np.array_equal(by_image(case, name), case.given_mm < 0)
