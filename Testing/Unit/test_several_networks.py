"""Several restoration networks in one file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.restoration.model import RestorationInfo, RestorationModel
from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork
from ReShapeITLib.restoration.several import STEPS
from ReShapeITLib.restoration.store import ChosenNetworks, chosen_networks, restoration_sha256
from ReShapeITLib.restoration.table import SPARSE, WHOLE, NetworkTable, network_name
from ReShapeITLib.restoration_training.joining import join, rounded

OPTIONS = NetworkOptions(organs=("liver",), channels=(8, 16, 48), blocks=(1, 1, 1))
INFO = RestorationInfo("CC0-1.0", "generated", {"liver": ["case0"]}, {"liver": "1" * 64})
SIZE = (16, 16, 16)


def batches(model):
    """Smooth fields, as distances are."""
    for seed in range(4):
        coarse = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
        given, template = 2.0 * torch.nn.functional.interpolate(coarse, size=SIZE, mode="trilinear")[0]
        yield given[None], torch.ones(1, *SIZE), template[None], torch.tensor([1])


@pytest.fixture(scope="module")
def family():
    """A network for whole organs, and one for sparse annotations that goes back to it."""
    torch.manual_seed(0)
    first = RestorationNetwork(OPTIONS)
    for parameter in first.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    second = RestorationNetwork(OPTIONS)
    for own, of_first in zip(second.parameters(), first.parameters(), strict=True):
        own.data = of_first.data + 0.003 * torch.randn_like(own)
    whole, sparse = (RestorationModel(INFO, n.requires_grad_(False).eval()) for n in (first, second))
    return {"whole": whole, "sparse": replace(sparse, info=replace(INFO, few_slices=True))}


@pytest.fixture(scope="module")
def file(family, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "liver.safetensors"
    join(path, family, batches, 0.02)
    return path


def test_rounding_of_inputs_that_go_together_hardly_changes_the_answers():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 1, generator=generator, dtype=torch.float64) + 0.1 * torch.randn(
        500, 40, generator=generator, dtype=torch.float64
    )
    matrix = torch.randn(6, 40, generator=generator, dtype=torch.float64)
    moments = inputs.T @ inputs / len(inputs)
    answers = inputs @ matrix.T
    error = (inputs @ (0.5 * rounded(matrix, moments, 0.5)).T - answers).square().mean()
    plain = (inputs @ (0.5 * torch.round(matrix / 0.5)).T - answers).square().mean()
    assert error < 0.2 * plain


def test_inputs_that_do_not_go_together_are_rounded_to_the_nearest():
    matrix = torch.randn(3, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(rounded(matrix, torch.eye(10, dtype=torch.float64), 0.1), torch.round(matrix / 0.1))


def test_networks_in_one_file_answer_like_the_single_ones(family, file):
    for member, model in family.items():
        again = RestorationModel.load(file / member)
        assert again.info == model.info
        for batch in batches(model):
            answers, expected = again.network(*batch), model.network(*batch)
            assert (answers - expected).abs().max() < 0.05 * expected.std()


def test_what_a_network_adds_takes_less_than_half_a_byte_a_weight(file):
    tensors = load_file(file)
    steps = {name: tensor for name, tensor in tensors.items() if name.endswith(STEPS)}
    weights = sum(tensors["shared/" + name.split("/")[1].removesuffix(STEPS)].numel() for name in steps)
    assert sum(tensor.numel() for tensor in steps.values()) < 0.5 * weights


def test_a_network_that_the_file_does_not_have_is_refused(file):
    with pytest.raises(BadInputError, match=r"liver.safetensors lacks parts .*absent"):
        RestorationModel.load(file / "absent")


def test_an_altered_file_of_several_is_refused(file, tmp_path):
    content = bytearray(file.read_bytes())
    content[-5] ^= 255
    (tmp_path / "liver.safetensors").write_bytes(content)
    with pytest.raises(BadInputError, match="checksum"):
        RestorationModel.load(tmp_path / "liver.safetensors" / "whole")


def test_a_table_names_networks_in_a_file_of_several(file, monkeypatch):
    digest = restoration_sha256(file / "whole")
    table = NetworkTable().with_network("liver.safetensors/whole", digest, WHOLE, INFO.templates)
    table.with_network("liver.safetensors/sparse", digest, SPARSE, INFO.templates).write(file.parent)
    monkeypatch.setenv("RESHAPEIT_RESTORATION", str(file.parent))
    assert chosen_networks("auto", "1" * 64) == ChosenNetworks(file / "whole")
    sparse = chosen_networks("auto", "1" * 64, sparse=True)
    assert sparse == ChosenNetworks(file / "sparse")
    assert RestorationModel.load_chosen(sparse).info.few_slices
    assert network_name(sparse.restoration) == "liver.safetensors/sparse"


def test_who_names_a_file_of_several_is_told_its_networks(file):
    with pytest.raises(BadInputError, match="holds several networks; name one of them: .*/sparse, .*/whole"):
        chosen_networks(str(file), "1" * 64)
    assert chosen_networks(str(file / "whole"), "1" * 64) == ChosenNetworks(file / "whole")
    with pytest.raises(BadInputError, match="was not trained with this template"):
        chosen_networks(str(file / "whole"), "2" * 64)
