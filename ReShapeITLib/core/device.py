"""Which device computes, and why; and how many threads the processor gives."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from .errors import DEVICE_UNUSABLE, BadInputError

if TYPE_CHECKING:
    import torch

    Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Device:
    """A device torch can use.

    Args:
        name: "cpu", "cuda" or "mps".
        reason: why it was chosen, for the report.
    """

    name: str
    reason: str


def choose_device(wanted: str = "auto") -> Device:
    """The device to compute on; a GPU is tried out, because being listed does not mean that torch supports it.

    Args:
        wanted: "cpu", "cuda", "mps", or "auto": CUDA where it works, else the processor.

    Raises:
        BadInputError: the wanted device does not exist or does not work.
    """
    if wanted == "cpu":
        return Device("cpu", "asked for")
    problem = _problem_with("cuda" if wanted == "auto" else wanted)
    if wanted == "auto":
        return Device("cpu", problem) if problem else Device("cuda", f"{_gpu_name()} is there")
    if problem:
        raise BadInputError(
            "--device {device} cannot be used: {reason}",
            "use --device cpu or auto",
            DEVICE_UNUSABLE,
            device=wanted,
            reason=problem,
        )
    return Device(wanted, "asked for")


def module_on(module: Module, device: str | torch.device) -> Module:
    """The module itself where its weights are on ``device`` already, else a copy there.

    ``Module.to`` moves the module itself, and loaded weights are kept for the next refinement, which may be elsewhere.
    """
    import torch

    here = {weights.device.type for weights in module.parameters()}
    if here <= {torch.device(device).type}:
        return module
    moved: Module = deepcopy(module).to(device)
    return moved


def is_out_of_memory(error: BaseException) -> bool:
    """True where torch says in one of its ways (the Apple GPU and cuBLAS have their own) that a GPU is full."""
    text = str(error)
    full = type(error).__name__ == "OutOfMemoryError" or "out of memory" in text or "ALLOC_FAILED" in text
    return isinstance(error, RuntimeError) and full


def free_cached_memory() -> None:
    """Give back what torch keeps for later on the GPUs that are there."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, where the C library keeps it for later (glibc)."""
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def limit_cpu_threads(most: int = 8, at_once: int = 1) -> int:
    """Leave one core to the rest of the machine; returns the threads torch then uses.

    With as many threads as cores, one other busy program makes torch many times slower. ``OMP_NUM_THREADS`` rules.

    Args:
        most: threads, at most.
        at_once: pieces of work that share them, each in a thread of its own.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(most, _physical_cores() - 1) // at_once))
    return int(torch.get_num_threads())


@contextmanager
def limited_cpu_threads() -> Iterator[None]:
    """Within the block as ``limit_cpu_threads``; afterwards torch has the threads it had, which are its caller's."""
    import torch

    threads = torch.get_num_threads()
    limit_cpu_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def free_memory_bytes() -> int:
    """Memory that programs can have without anything being swapped out."""
    import psutil

    return int(psutil.virtual_memory().available)


def _physical_cores() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _problem_with(name: str) -> str:
    """Why torch cannot compute on "cuda" or "mps"; empty where it can."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        return "there is no CUDA device" if built else "this torch was built without CUDA"
    if name == "mps" and not torch.backends.mps.is_available():
        return "there is no Apple GPU that torch can use"
    try:
        float(torch.ones(8, 8, device=name).mm(torch.ones(8, 8, device=name)).sum())
    except RuntimeError as error:
        return f"a first computation on it failed ({str(error).splitlines()[0]})"
    return ""


def _gpu_name() -> str:
    import torch

    return str(torch.cuda.get_device_name())
