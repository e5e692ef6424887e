"""Networks of one family in one file (:mod:`restoration.several`), so rounded that their answers stay.

A difference from the family's mean is rounded column after column, and what rounding changed in the answers of a layer
is made good in the columns that are still to come (Frantar et al., GPTQ, ICLR 2023), as far as the inputs of the layer
go together: the neighbours in a volume do so closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..restoration.model import RestorationModel
from ..restoration.network import RestorationNetwork
from ..restoration.several import FEW, KIND, Difference, member_tensors, shared_tensors, shared_weights

# Rows of a layer's inputs from one batch, share of the mean variance that is added to each, columns at once.
_ROWS, _DAMPING, _COLUMNS = 420, 0.01, 128
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def join(
    path: Path,
    members: Mapping[str, RestorationModel],
    batches: Callable[[RestorationModel], Iterable[Batch]],
    error: float,
    told: Callable[[str], None] = lambda text: None,
) -> str:
    """Write a file of several networks; returns its SHA-256.

    Args:
        path: to write.
        members: networks of one size by the name that they get.
        batches: what a network is asked (given, known, template, row of the organ), a dozen of its training batches.
        error: of a layer's answers by rounding without making good, as a share of their standard deviation.
        told: gets the name of each member that is done.

    Raises:
        BadInputError: the file cannot be written.
    """
    shared = {
        name: torch.stack([_weights(model.network)[name] for model in members.values()]).mean(dim=0)
        for name in _layers(next(iter(members.values())).network)
    }
    tensors = shared_tensors(shared)
    kept = shared_weights(tensors)
    described = {}
    for member, model in members.items():
        moments = _second_moments(model.network, batches(model))
        weights, layers = _weights(model.network), _layers(model.network)
        differences = {
            name: _difference(layers[name], weights[name], kept[name], moments[name], error) for name in shared
        }
        own = {name: weight for name, weight in weights.items() if name not in shared}
        tensors |= member_tensors(member, differences, own)
        described[member] = {"network": model.network.options.as_dict(), **asdict(model.info)}
        told(member)
    return KIND.write(path, tensors, {"members": described})


def _weights(network: RestorationNetwork) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in network.state_dict().items()}


def _layers(network: RestorationNetwork) -> dict[str, nn.Module]:
    """The convolutions with many weights, by the name of these."""
    convolutions = (nn.Conv3d, nn.ConvTranspose3d)
    found = {f"{name}.weight": m for name, m in network.named_modules() if isinstance(m, convolutions)}
    return {name: m for name, m in found.items() if m.weight.numel() > FEW}


def _second_moments(network: RestorationNetwork, batches: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """(K, K) mean products of the K inputs of every row of each layer's matrix."""
    rng, sums, counts = np.random.default_rng(0), {}, {}
    layers = _layers(network)

    def listen(name: str):
        def heard(layer, inputs, answer):
            rows = _inputs(layer, inputs[0].float(), rng)
            sums[name] = sums.get(name, 0.0) + (rows.T @ rows).double()
            counts[name] = counts.get(name, 0) + len(rows)

        return heard

    handles = [layer.register_forward_hook(listen(name)) for name, layer in layers.items()]
    with torch.no_grad():
        for batch in batches:
            network(*batch)
    for handle in handles:
        handle.remove()
    return {name: sums[name] / counts[name] for name in layers}


def _inputs(layer: nn.Module, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(N, K) inputs of the layer's matrix at some places of (B, C, Z, Y, X)."""
    if isinstance(layer, nn.ConvTranspose3d):
        rows = x.flatten(2).transpose(1, 2).flatten(0, 1)
        return rows[rng.choice(len(rows), min(_ROWS * len(x), len(rows)), replace=False)]
    size, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    x = nn.functional.pad(x, (padding,) * 6)
    for axis in (2, 3, 4):
        x = x.unfold(axis, size, stride)
    places = np.stack(
        np.unravel_index(
            rng.choice(int(np.prod(x.shape[2:5])) * len(x), _ROWS * len(x), replace=True), (len(x), *x.shape[2:5])
        )
    )
    b, z, y, i = (torch.from_numpy(p) for p in places)
    return x[b, :, z, y, i].flatten(1)


def _matrix(layer: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """(R, K) in double precision: what the layer's inputs are multiplied with."""
    rows = weight.flatten(1)
    return (rows.T if isinstance(layer, nn.ConvTranspose3d) else rows).double()


def _difference(
    layer: nn.Module, weight: torch.Tensor, shared: torch.Tensor, moments: torch.Tensor, error: float
) -> Difference:
    whole, base = _matrix(layer, weight), _matrix(layer, shared)
    variance = float(((whole @ moments) * whole).sum() / len(whole))
    # A step makes an error of step^2 / 12 in each weight.
    step = float(np.float32(error * (12.0 * variance / float(moments.diagonal().sum())) ** 0.5))
    steps = rounded(whole - base, moments, step)
    steps = steps.T if isinstance(layer, nn.ConvTranspose3d) else steps
    return Difference(steps.reshape(weight.shape), step)


def rounded(matrix: torch.Tensor, moments: torch.Tensor, step: float) -> torch.Tensor:
    """(R, K) whole numbers q of which q * step answers like the matrix.

    Args:
        matrix: (R, K) double.
        moments: (K, K) double mean products of its inputs.
        step: of the rounding.
    """
    left, n = matrix.clone(), len(moments)
    damped = moments + _DAMPING * moments.diagonal().mean() * torch.eye(n, dtype=moments.dtype)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    steps = torch.zeros_like(left)
    for first in range(0, n, _COLUMNS):
        last = min(first + _COLUMNS, n)
        block, errors = left[:, first:last], torch.zeros(len(left), last - first, dtype=left.dtype)
        for column in range(last - first):
            at = first + column
            steps[:, at] = torch.round(block[:, column] / step).clamp(-127, 127)
            errors[:, column] = (block[:, column] - steps[:, at] * step) / factor[at, at]
            block[:, column:] -= errors[:, column : column + 1] * factor[at, at:last]
        left[:, last:] -= errors @ factor[first:last, last:]
    return steps
