"""OrganTemplate: everything that training learnt about one organ, in one safetensors file.

The file holds tensors and a JSON text, nothing that could be executed, and a SHA-256 over both. Temp, the biases and
the codes stay in single precision; the last weights of H, nine tenths of the numbers, are multiplied by small
activations and are stored as 8-bit whole numbers with a scale for each row.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..core.device import module_on
from ..core.errors import BadInputError
from ..core.licences import is_non_commercial
from ..field.deform_template import DeformTemplateField, FieldOptions
from ..io.weights_file import WeightsKind, in_eight_bits, tensor_digest, whole_weights

_KIND = WeightsKind("template", "template file", "'reshapeit templates' lists those there are", "reshapeit-template-1")


@dataclass(frozen=True)
class TemplateInfo:
    """What is known about a template beside its weights.

    Args:
        organ: TotalSegmentator's name.
        snomed_code: SNOMED CT concept of the organ.
        licence: SPDX name of the licence that the training labels put on the weights.
        source: the data sets the cases come from.
        cases: training cases.
        volumes_ml: volume of each training case.
        scales_mm: mm per unit length of each training case in the canonical frame.
        alignment_residuals_mm: mean distance of each training case to the aligned template.
        fit_residuals_mm: mean distance of each training case's surface to its own reconstruction.
        frame: how the unit frame is defined.
        training: settings, steps and command of the training run.
        shape_moments: of each training case (see ``shape_moments``); empty where they were not measured.
    """

    organ: str
    snomed_code: str
    licence: str
    source: str
    cases: list[str]
    volumes_ml: list[float]
    scales_mm: list[float]
    alignment_residuals_mm: list[float]
    fit_residuals_mm: list[float]
    frame: str
    training: dict = field(default_factory=dict)
    shape_moments: list[list[float]] = field(default_factory=list)

    @property
    def non_commercial(self) -> bool:
        """True where the licence forbids commercial use."""
        return is_non_commercial(self.licence)


@dataclass(frozen=True, eq=False)
class OrganTemplate:
    """A trained template, ready to use.

    Args:
        info: organ, origin, licence, distributions.
        model: Temp, Deform and H with frozen weights.
        alpha, beta: (n, code_size) codes of the training cases.
        points_unit: (M, 3) points on the template surface, evenly spread, unit frame.
        normals: (M, 3) outward normals there.
    """

    info: TemplateInfo
    model: DeformTemplateField
    alpha: torch.Tensor
    beta: torch.Tensor
    points_unit: np.ndarray
    normals: np.ndarray

    def to(self, device: str | torch.device) -> OrganTemplate:
        """The same template with its tensors on ``device``."""
        return OrganTemplate(
            self.info,
            module_on(self.model, device),
            self.alpha.to(device),
            self.beta.to(device),
            self.points_unit,
            self.normals,
        )

    def save(self, path: str | Path) -> str:
        """Write the file by way of a temporary one; returns its SHA-256.

        Raises:
            BadInputError: the file cannot be written.
        """
        return _KIND.write(path, self._tensors(), {"field": self.model.options.as_dict(), **asdict(self.info)})

    @property
    def shape_sha256(self) -> str:
        """What :func:`read_shape_sha256` reads from its file."""
        tensors = self._tensors()
        shape = {name: tensor for name, tensor in tensors.items() if _is_of_shape(name)}
        return tensor_digest(shape if len(shape) > 1 else tensors, "")

    def _tensors(self) -> dict[str, torch.Tensor]:
        """As the file holds them."""
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in self.model.state_dict().items():
            if name.startswith("hyper.") and name.endswith("weight"):
                tensors |= in_eight_bits(f"model.{name}", tensor, 100_000, torch.float32)
            else:
                tensors[f"model.{name}"] = _copied(tensor)
        tensors |= {"alpha": _copied(self.alpha), "beta": _copied(self.beta)}
        tensors["points_unit"] = torch.as_tensor(np.ascontiguousarray(self.points_unit), dtype=torch.float32)
        tensors["normals"] = torch.as_tensor(np.ascontiguousarray(self.normals), dtype=torch.float32)
        return tensors

    @classmethod
    def load(cls, path: str | Path) -> OrganTemplate:
        """Read and verify a template file.

        Raises:
            BadInputError: the file is absent, damaged, altered or of another format.
        """
        header, _, tensors = _KIND.read(path)
        try:
            model = DeformTemplateField(FieldOptions(**header.pop("field")))
            named = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
            model.load_state_dict(whole_weights(named))
            model.requires_grad_(False).eval()
            return cls(
                TemplateInfo(**header),
                model,
                tensors["alpha"],
                tensors["beta"],
                tensors["points_unit"].double().numpy(),
                tensors["normals"].double().numpy(),
            )
        except (KeyError, TypeError, RuntimeError) as error:
            raise _KIND.lacks_parts(path, error) from error


def read_info(path: str | Path) -> tuple[TemplateInfo, FieldOptions, str]:
    """Metadata, sizes and SHA-256 of a template file, without its tensors (so the SHA-256 is told, not verified).

    Raises:
        BadInputError: the file is absent, damaged or of another format.
    """
    header, digest, _ = _KIND.read(path, lambda name: False)
    try:
        options = FieldOptions(**header.pop("field"))
        return TemplateInfo(**header), options, digest
    except (KeyError, TypeError) as error:
        raise BadInputError(
            "The template file {path} has an incomplete description",
            "get a fresh copy",
            "template.incomplete",
            path=path,
        ) from error


def read_shape_sha256(path: str | Path) -> str:
    """SHA-256 of what restoration networks rely on, Temp and the points on its surface: templates trained with one Temp
    (``TrainingConfig.temp_from``) share it. Of all tensors where there is no Temp.

    Raises:
        BadInputError: the file is absent, damaged or of another format.
    """
    shape = _KIND.read(path, _is_of_shape)[2]
    return tensor_digest(shape if len(shape) > 1 else _KIND.read(path)[2], "")


def _is_of_shape(name: str) -> bool:
    return name == "points_unit" or name.startswith("model.temp.")


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().clone()
