"""Several networks in one file: the weights that they share, and what each of them adds.

Networks that go back to one ancestor differ little. Their mean is kept in eight bits, and of each member the difference
in whole steps, deflated, which takes about two bits a weight. A member is named like a file in a folder,
``abdomen.safetensors/liver``. :mod:`restoration_training.joining` makes such files.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from ..io.weights_file import WeightsKind, in_eight_bits, whole_weights
from .table import SEVERAL

SHARED, STEPS, STEP = "shared", ".steps", ".step"
# A weight with no more numbers is kept by each member for itself.
FEW = 10_000
KIND = WeightsKind(SEVERAL, "file of restoration networks", "reinstall the program", "reshapeit-restorations-1")


class Difference(NamedTuple):
    """What a member adds to a shared weight.

    Args:
        steps: whole numbers in the weight's shape, from -127 to 127.
        step: by what they are multiplied.
    """

    steps: torch.Tensor
    step: float


def shared_tensors(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's tensors for the weights that its members share."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        tensors |= in_eight_bits(f"{SHARED}/{name}", weight, 0, torch.half)
    return tensors


def shared_weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a file's members share, in single precision."""
    start = f"{SHARED}/"
    return whole_weights({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})


def member_tensors(
    member: str, differences: Mapping[str, Difference], own: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A file's tensors for one member.

    Args:
        member: its name.
        differences: of each shared weight.
        own: weights that it shares with nobody.
    """
    tensors = {f"{member}/{name}": weight.detach().half() for name, weight in own.items()}
    for name, (steps, step) in differences.items():
        deflated = zlib.compress(steps.to(torch.int8).contiguous().numpy().tobytes(), 9)
        tensors[f"{member}/{name}{STEPS}"] = torch.from_numpy(np.frombuffer(deflated, dtype=np.uint8).copy())
        tensors[f"{member}/{name}{STEP}"] = torch.tensor([step], dtype=torch.float32)
    return tensors


def member_weights(tensors: Mapping[str, torch.Tensor], member: str) -> dict[str, torch.Tensor]:
    """The weights of one member in single precision.

    Raises:
        KeyError, ValueError: parts are missing or damaged.
    """
    weights = shared_weights(tensors)
    for name, weight in weights.items():
        deflated = tensors[f"{member}/{name}{STEPS}"].numpy().tobytes()
        try:
            told = zlib.decompressobj().decompress(deflated, weight.numel() + 1)
        except zlib.error as error:
            raise ValueError(f"{member}/{name}: {error}") from error
        steps = torch.from_numpy(np.frombuffer(told, dtype=np.int8).copy()).reshape(weight.shape)
        weights[name] = weight + steps * tensors[f"{member}/{name}{STEP}"]
    start = f"{member}/"
    own = {n.removeprefix(start): t.float() for n, t in tensors.items() if n.startswith(start)}
    return weights | {n: t for n, t in own.items() if not n.endswith((STEPS, STEP))}
