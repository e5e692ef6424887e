"""Weights with a description in one safetensors file and a SHA-256 over both: how templates and networks are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import BadInputError
from .atomic import atomic_path

if TYPE_CHECKING:
    import torch

_SCALE = ".scale"


@dataclass(frozen=True)
class WeightsKind:
    """One kind of such files.

    Args:
        key: of the description in the file's metadata.
        called: for messages, "template file".
        otherwise: for messages, what to do where there is none.
        format: written into the description; files of another one are refused.
    """

    key: str
    called: str
    otherwise: str
    format: str

    def write(self, path: str | Path, tensors: dict[str, torch.Tensor], description: dict) -> str:
        """Write a file by way of a temporary one; returns its SHA-256.

        Raises:
            BadInputError: the file cannot be written.
        """
        from safetensors.torch import save

        text = json.dumps({"format": self.format, **description}, sort_keys=True)
        digest = tensor_digest(tensors, text)
        with atomic_path(path) as temporary:
            # Not save_file: it leaves a file that nobody but its owner may read.
            temporary.write_bytes(save(tensors, metadata={self.key: text, "sha256": digest}))
        return digest

    def read(
        self, path: str | Path, wanted: Callable[[str], bool] | None = None
    ) -> tuple[dict, str, dict[str, torch.Tensor]]:
        """The description, the SHA-256 and the tensors of a file.

        Args:
            wanted: says by name which tensors to read; the SHA-256 is verified only where all are (None).

        Raises:
            BadInputError: the file is absent, damaged, altered or of another kind or format.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise BadInputError(
                "There is no {kind} {path}",
                "{otherwise}",
                "weights.missing",
                kind=self.called,
                path=path,
                otherwise=self.otherwise,
            )
        try:
            with safe_open(path, framework="pt") as handle:
                metadata = handle.metadata() or {}
                names = [name for name in handle.keys() if wanted is None or wanted(name)]
                tensors = {name: handle.get_tensor(name) for name in names}
            description = json.loads(metadata[self.key])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise BadInputError(
                "{path} is not a {kind} or is damaged",
                "get a fresh copy of it",
                "weights.damaged",
                path=path,
                kind=self.called,
            ) from error
        if not isinstance(description, dict) or description.pop("format", None) != self.format:
            raise BadInputError(
                "{path} is a {kind} of another format than this version reads ({format})",
                "get the one of this version",
                "weights.format",
                path=path,
                kind=self.called,
                format=self.format,
            )
        digest = metadata.get("sha256", "")
        if wanted is None and tensor_digest(tensors, metadata[self.key]) != digest:
            raise BadInputError(
                "The {kind} {path} does not match its checksum",
                "get a fresh copy of it",
                "weights.checksum",
                kind=self.called,
                path=path,
            )
        return description, digest, tensors

    def lacks_parts(self, path: str | Path, error: Exception) -> BadInputError:
        """What to raise where a file is whole, but something cannot be made of its tensors or description."""
        what = str(error).splitlines()[-1].strip()
        return BadInputError(
            "The {kind} {path} lacks parts ({what})",
            "get a fresh copy of it",
            "weights.parts",
            kind=self.called,
            path=path,
            what=what,
        )


def tensor_digest(tensors: dict[str, torch.Tensor], text: str) -> str:
    """SHA-256 over a description and named tensors, in an order of its own."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def in_eight_bits(name: str, tensor: torch.Tensor, many: int, small: torch.dtype) -> dict[str, torch.Tensor]:
    """A weight matrix or convolution as 8-bit whole numbers and a scale for each row; up to ``many`` as ``small``.

    ``whole_weights`` gives them back, off by half a step of a row at most.
    """
    import torch

    tensor = tensor.detach().cpu().contiguous()
    if tensor.ndim < 2 or tensor.numel() <= many:
        return {name: tensor.to(small, copy=True)}
    rows = tensor.float().flatten(1)
    mantissa, exponent = torch.frexp(rows.abs().amax(dim=1, keepdim=True) / 127.0)
    # Few binary digits: their product with a whole number is exact, so a file that is loaded and saved stays the same.
    scale = torch.ldexp(torch.ceil(mantissa * 2048.0) / 2048.0, exponent)
    steps = torch.where(scale > 0, rows / scale, torch.zeros_like(rows))
    return {name: torch.round(steps).to(torch.int8).reshape(tensor.shape), name + _SCALE: scale.squeeze(1)}


def whole_weights(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in single precision from the tensors of a file."""
    whole = {}
    for name, tensor in tensors.items():
        if name.endswith(_SCALE):
            continue
        whole[name] = tensor.float()
        if name + _SCALE in tensors:
            whole[name] *= tensors[name + _SCALE].reshape(-1, *[1] * (tensor.ndim - 1))
    return whole
