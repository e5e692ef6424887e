"""The network that says from a cell's features how likely it is the organ, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..core.errors import BadInputError
from ..io.weights_file import WeightsKind, whole_weights
from .decision import ImageNumbers
from .features import NAMES
from .files import NUMBERS, SUFFIX

_KIND = WeightsKind("image", "image network", "reinstall the program or name its folder", "reshapeit-image-1")
_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class ImageModelInfo:
    """What is known about a network beside its weights.

    Args:
        modality: of the images it has seen, "CT".
        organs: group of each organ; both kidneys are one.
        licence: SPDX name of the licence that labels and images put on the weights.
        source: the data sets.
        cases: training patients.
        features: names of its inputs.
        training: how it was trained.
    """

    modality: str
    organs: dict[str, int]
    licence: str
    source: str
    cases: list[str]
    features: list[str] = field(default_factory=lambda: list(NAMES))
    training: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImageModel:
    """A trained network, ready to use.

    Args:
        info: organs, origin, licence.
        layers: weight (out, in) and bias (out,) of each layer; SiLU stands between two.
        mean, deviation: (F,) of each feature in training.
        numbers: what the evidence must reach, of every organ alike.
        name: of the file.
    """

    info: ImageModelInfo
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    mean: torch.Tensor
    deviation: torch.Tensor
    numbers: ImageNumbers
    name: str = ""

    def probability(self, features: np.ndarray, organ: str) -> np.ndarray:
        """(N,) float32 P(organ) of (N, F) features."""
        columns = [NAMES.index(name) for name in self.info.features]
        group = torch.zeros(1, max(self.info.organs.values()) + 1)
        group[0, self.info.organs[organ]] = 1.0
        told = np.empty(len(features), dtype=np.float32)
        with torch.no_grad():
            for first in range(0, len(features), _ROWS_AT_ONCE):
                part = slice(first, first + _ROWS_AT_ONCE)
                x = (torch.from_numpy(features[part][:, columns]) - self.mean) / self.deviation
                x = torch.cat([x, group.expand(len(x), -1)], dim=1)
                for weight, bias in self.layers[:-1]:
                    x = torch.nn.functional.silu(torch.nn.functional.linear(x, weight, bias))
                told[part] = torch.sigmoid(torch.nn.functional.linear(x, *self.layers[-1]))[:, 0].numpy()
        return told

    def write(self, path: str | Path) -> str:
        """Write weights and description, in half precision; returns the file's SHA-256."""
        tensors = {"mean": self.mean, "deviation": self.deviation}
        for number, (weight, bias) in enumerate(self.layers):
            tensors |= {f"{number}.weight": weight.half(), f"{number}.bias": bias.half()}
        return _KIND.write(path, tensors, {f.name: getattr(self.info, f.name) for f in fields(self.info)})


@lru_cache(maxsize=8)
def image_model(path: Path, numbers: ImageNumbers | None = None) -> ImageModel:
    """The network of a file, with the numbers beside it where none are given.

    Raises:
        BadInputError: file or numbers are absent, damaged or of another format.
    """
    description, _, tensors = _KIND.read(path)
    try:
        info, weights = ImageModelInfo(**description), whole_weights(tensors)
        count = sum(name.endswith(".weight") for name in weights)
        layers = tuple((weights[f"{n}.weight"], weights[f"{n}.bias"]) for n in range(count))
        if not set(info.features) <= set(NAMES):
            raise KeyError("features of another version")
        numbers = numbers or numbers_beside(path)
        return ImageModel(info, layers, weights["mean"], weights["deviation"], numbers, path.name)
    except (KeyError, TypeError) as error:
        raise _KIND.lacks_parts(path, error) from error


def numbers_beside(path: Path) -> ImageNumbers:
    """The numbers that go with the network of a file.

    Raises:
        BadInputError: there are none, or they are damaged.
    """
    file = path.with_name(NUMBERS)
    try:
        told = json.loads(file.read_text(encoding="utf-8"))[path.name.removesuffix(SUFFIX)]
        return ImageNumbers(**_tuples(told))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        words, hint = "{input}, which says how certain an image must be, is absent or damaged", "reinstall the program"
        raise BadInputError(words, hint, "image.numbers", input=file) from error


def _tuples(numbers: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in numbers.items()}
