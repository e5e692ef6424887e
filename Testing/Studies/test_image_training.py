"""Training of the image's network: the same cells and the same seed give the same network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ReShapeITLib.image.features import NAMES
from Testing.Studies.image_training import BATCH, trained


@pytest.fixture
def cells(tmp_path):
    """Cells of a patient whose organ is where the first feature is below 0."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2 * BATCH, len(NAMES))).astype(np.float16)
    np.savez(tmp_path / "btcv_0005__liver__truth0.npz", x=x, t=(3.0 * x[:, 0]).astype(np.float16))
    return tmp_path


def test_two_trainings_with_one_seed_give_one_network_and_with_another_seed_another(cells):
    state = torch.random.get_rng_state()
    first, again, other = (trained(cells, ["btcv_0005"], seed=seed) for seed in (3, 3, 4))
    torch.random.set_rng_state(state)
    for (weight, bias), (weight_again, bias_again) in zip(first.layers, again.layers, strict=True):
        assert torch.equal(weight, weight_again)
        assert torch.equal(bias, bias_again)
    assert not torch.equal(first.layers[0][0], other.layers[0][0])


def test_it_learns_what_the_cells_say(cells):
    model = trained(cells, ["btcv_0005"])
    x = np.zeros((2, len(NAMES)), dtype=np.float32)
    x[:, 0] = -2.0, 2.0
    inside, outside = model.probability(x, "liver")
    assert inside > 0.5 > outside
