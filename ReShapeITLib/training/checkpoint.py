"""Checkpoints as safetensors: everything that the next step depends on, nothing pickled."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..atomic import atomic_path
from ..errors import BadInputError


def save_checkpoint(path: Path, model, codes: dict, optimiser, generator, extra: dict, step: int, config: dict) -> None:
    """Write parameters, codes, Adam's moments, random state and ``extra`` tensors, by way of a temporary file."""
    from safetensors.torch import save_file

    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    tensors |= {f"codes.{k}": v.detach().cpu().contiguous() for k, v in codes.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": torch.as_tensor(v).cpu().clone() for k, v in state.items()}
    tensors |= {f"extra.{k}": v.detach().cpu().contiguous() for k, v in extra.items()}
    tensors["generator"] = generator.get_state()
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"step": str(step), "config": json.dumps(config, sort_keys=True)})


def load_checkpoint(path: Path, model, codes: dict, optimiser, generator, config: dict) -> tuple[int, dict]:
    """Put a checkpoint back into place; returns the step it was written after and its ``extra`` tensors.

    Raises:
        BadInputError: the file is damaged or belongs to a run with another configuration.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata()
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"The checkpoint {path} is damaged ({error}); delete it to start anew.") from error
    if metadata.get("config") != json.dumps(config, sort_keys=True):
        raise BadInputError(
            f"The checkpoint {path} was written with other settings; give the same ones or another output folder."
        )
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    with torch.no_grad():
        for name, parameter in codes.items():
            parameter.copy_(tensors[f"codes.{name}"])
    state = optimiser.state_dict()
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, index, name = key.split(".")
            state["state"].setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(state)
    generator.set_state(tensors["generator"])
    return int(metadata["step"]), {k[6:]: v for k, v in tensors.items() if k.startswith("extra.")}
