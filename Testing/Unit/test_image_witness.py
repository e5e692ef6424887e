"""Organ and image together: what is said where the image has no say, and what comes where it has."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.image.band import Image, sampled_distance, working_grid
from ReShapeITLib.image.features import NAMES
from ReShapeITLib.image.model import ImageModel, ImageModelInfo, image_model, numbers_beside
from ReShapeITLib.image.witness import agreed_with_image, check_covers_organ

from .test_image_features import CENTRE_RAS, image_of_sphere, sphere

NOISE = 40.0
SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Image" / "ct.safetensors"
HALF_WAY_SD = 0.5 * (110.0 + 80.0) / NOISE / 0.7  # sampling on coarser cells takes a third of the noise


@pytest.fixture
def model():
    """Believes the brightness of a cell, and nothing else."""
    weight = torch.zeros(1, len(NAMES) + 1)
    weight[0, NAMES.index("sd_0")] = 3.0
    info = ImageModelInfo("CT", {"spleen": 0}, "CC-BY-4.0", "made", ["a"])
    layers = ((weight, torch.tensor([3.0 * HALF_WAY_SD])),)
    ones = torch.ones(len(NAMES))
    return ImageModel(info, layers, 0.0 * ones, ones, numbers_beside(SHIPPED))


def agreed(image, model, given_mm=17.0, organ="spleen", shape=None):
    told = []
    given = sphere(given_mm)
    shape = shape or given
    found = agreed_with_image(given, shape, shape.bounds_ras, image, organ, told.append, model)
    return found, given, [notice.code for notice in told]


def test_a_given_organ_that_is_too_small_all_round_grows_to_the_edge(rng, model):
    found, _, told = agreed(image_of_sphere(20.0, rng, noise=NOISE), model)
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    assert (found.distance.sdf_mm(CENTRE_RAS + 18.0 * directions) < 0).mean() > 0.98
    assert (found.distance.sdf_mm(CENTRE_RAS + 20.6 * directions) > 0).all()
    assert found.said.status == "used" and found.said.added_ml > 8 and not told
    assert (found.bounds_ras[1] > CENTRE_RAS + 18.5).all()


def test_a_given_organ_on_the_edge_stays_itself(rng, model):
    found, given, told = agreed(image_of_sphere(20.0, rng, noise=NOISE), model, 20.0)
    assert found.distance is given and found.said.status == "unchanged" and not told


def test_an_image_that_shows_no_organ_in_most_of_the_given_one_has_no_say(rng, model):
    found, given, told = agreed(image_of_sphere(20.0, rng, noise=NOISE), model, 24.5)
    assert found.distance is given and found.said.status == "uncertain" and told == ["image.uncertain"]


def test_an_mr_is_left_out_and_that_is_said(rng, model):
    found, given, told = agreed(image_of_sphere(20.0, rng, inside=300.0, outside=120.0), model)
    assert found.distance is given and told == ["image.modality"]


def test_an_organ_without_a_model_is_left_to_shape(rng, model):
    found, given, told = agreed(image_of_sphere(20.0, rng, noise=NOISE), model, organ="lung_upper_lobe_left")
    assert found.distance is given and told == ["image.no_model"]


@pytest.mark.parametrize("shift_mm, code", [(500.0, "image.no_overlap"), (62.0, "image.in_part")])
def test_an_image_that_does_not_cover_the_organ_is_refused(rng, model, shift_mm, code):
    image = image_of_sphere(20.0, rng, noise=NOISE)
    matrix = image.geometry.ijk_to_ras.copy()
    matrix[2, 3] += shift_mm
    with pytest.raises(BadInputError) as error:
        agreed(Image(image.voxels, ImageGeometry(matrix, image.geometry.size_ijk)), model)
    assert error.value.code == code


@pytest.mark.parametrize("shift_mm, code", [(500.0, "image.no_overlap"), (62.0, "image.in_part"), (0.0, "")])
def test_before_the_work_the_voxels_tell_that_an_image_does_not_cover_them(rng, shift_mm, code):
    image = image_of_sphere(20.0, rng, noise=NOISE)
    matrix = image.geometry.ijk_to_ras.copy()
    matrix[2, 3] += shift_mm
    moved = Image(image.voxels, ImageGeometry(matrix, image.geometry.size_ijk))
    grid = working_grid((CENTRE_RAS - 20.0, CENTRE_RAS + 20.0))
    mask = sampled_distance(sphere(20.0), grid) < 0
    check_covers_organ(moved, mask, grid, "lung_upper_lobe_left")  # of which no image network knows
    with pytest.raises(BadInputError) if code else nullcontext() as error:
        check_covers_organ(moved, mask, grid, "spleen")
    assert not code or error.value.code == code


def test_an_organ_that_shape_completes_beyond_the_image_is_not_refused(rng, model):
    image = image_of_sphere(20.0, rng, noise=NOISE)
    inside = image.geometry.box_around((CENTRE_RAS - 21.0, CENTRE_RAS + 21.0))
    cropped = Image(image.voxels[inside], image.geometry.of_box(inside))
    found, _, told = agreed(cropped, model, 20.0, shape=sphere(26.0))
    assert found.said.status and "image.in_part" not in told


def test_weights_come_back_from_their_file_with_the_numbers_beside_them(tmp_path, model, rng):
    path = tmp_path / "ct.safetensors"
    model.write(path)
    (tmp_path / "numbers.json").write_text(json.dumps({"ct": asdict(replace(model.numbers, shift_mm=(1.0, 2.0)))}))
    again = image_model(path)
    features = rng.normal(size=(50, len(NAMES))).astype(np.float32)
    assert np.allclose(again.probability(features, "spleen"), model.probability(features, "spleen"), atol=1e-3)
    assert again.numbers.shift_mm == (1.0, 2.0) and again.info == model.info


def test_numbers_that_are_damaged_are_told_with_their_file(tmp_path, model):
    model.write(tmp_path / "ct.safetensors")
    (tmp_path / "numbers.json").write_text('{"ct": {"unheard_of": 1}}')
    with pytest.raises(BadInputError, match=r"numbers\.json") as error:
        image_model(tmp_path / "ct.safetensors")
    assert error.value.code == "image.numbers"
