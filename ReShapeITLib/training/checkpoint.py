"""Checkpoints as safetensors: everything that the next step depends on, nothing pickled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from ..core.errors import BadInputError
from ..io.atomic import atomic_path


def save_checkpoint(path: Path, model, codes: dict, optimiser, generator, extra: dict, step: int, config: dict) -> None:
    """Write parameters, codes, Adam's moments, random state and ``extra`` tensors, by way of a temporary file."""
    from safetensors.torch import save

    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    tensors |= {f"codes.{k}": v.detach().cpu().contiguous() for k, v in codes.items()}
    for index, state in optimiser.state_dict()["state"].items():
        moments = {k: torch.as_tensor(v).cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}
        tensors |= {f"adam.{index}.{k}": v for k, v in moments.items()}
    tensors |= {f"extra.{k}": v.detach().cpu().contiguous() for k, v in extra.items()}
    tensors["generator"] = generator.get_state()
    with atomic_path(path) as temporary:
        metadata = {"step": str(step), "config": json.dumps(config, sort_keys=True), "sha256": _digest(tensors)}
        # Not save_file: it leaves a file that nobody but its owner may read.
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_checkpoint(path: Path, model, codes: dict, optimiser, generator, config: dict) -> tuple[int, dict]:
    """Put a checkpoint back into place; returns the step it was written after and its ``extra`` tensors.

    Raises:
        BadInputError: the file is damaged or belongs to a run with another configuration.
    """
    metadata, tensors = _read(path)
    if metadata.get("config") != json.dumps(config, sort_keys=True):
        raise BadInputError(
            "The checkpoint {path} was written with other settings",
            "give the same ones or another output folder",
            "checkpoint.settings",
            path=path,
        )
    try:
        _put_weights(tensors, model, codes)
        state = optimiser.state_dict()
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                state["state"].setdefault(int(index), {})[name] = value
        optimiser.load_state_dict(state)
        generator.set_state(tensors["generator"])
        step = int(metadata["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadInputError(
            "The checkpoint {path} lacks parts of a run", "delete it to start anew", "checkpoint.parts", path=path
        ) from error
    return step, {k[6:]: v for k, v in tensors.items() if k.startswith("extra.")}


def load_weights(path: Path, model, codes: dict) -> None:
    """Put the weights and codes of a checkpoint into place, to start another run with them.

    Raises:
        BadInputError: the file is damaged, or its sizes or number of cases differ.
    """
    _, tensors = _read(path)
    try:
        _put_weights(tensors, model, codes)
    except (RuntimeError, KeyError) as error:
        raise BadInputError(
            "The checkpoint {path} has other sizes or cases than this run",
            "start without it",
            "checkpoint.sizes",
            path=path,
        ) from error


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}
    except (SafetensorError, OSError) as error:
        raise BadInputError(
            "The checkpoint {path} is absent or damaged", "delete it to start anew", "checkpoint.damaged", path=path
        ) from error
    # Checkpoints of the first versions have no checksum.
    if "sha256" in metadata and metadata["sha256"] != _digest(tensors):
        raise BadInputError(
            "The checkpoint {path} is damaged, its checksum differs",
            "delete it to start anew",
            "checkpoint.checksum",
            path=path,
        )
    return metadata, tensors


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy())
    return digest.hexdigest()


def _put_weights(tensors: dict, model, codes: dict) -> None:
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    with torch.no_grad():
        for name, parameter in codes.items():
            parameter.copy_(tensors[f"codes.{name}"])
