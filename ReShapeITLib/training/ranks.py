"""Several processes on one training run, as ``torchrun`` starts them: each takes its share of a step's shapes.

All draw the same batch from the same random state, each computes the loss of its shapes, gradients are averaged, and
every process makes the same step: the loss curve is that of one process but for the order of sums.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from dataclasses import dataclass, replace

import torch

from ..core.errors import ReShapeITError
from .data import PointBatch

_MEETING_S = 600.0


@dataclass(frozen=True)
class Ranks:
    """This process among its equals.

    Args:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls, device: str) -> Ranks:
        """What torchrun says; one process alone where it says nothing.

        Args:
            device: "cuda" or "cpu", which decides how the processes talk to each other.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        from torch import distributed

        # A process that waits for a dead one inside the library sees no cancel request; checkpoints are never half.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not distributed.is_initialized():
            store, rank, size = next(distributed.rendezvous("env://"))
            backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
            distributed.init_process_group(backend, store=meet(store, rank, size), rank=rank, world_size=size)
        return cls(distributed.get_rank(), size)

    @property
    def is_first(self) -> bool:
        """True for the process that writes files and talks to the user."""
        return self.rank == 0

    def device(self, device: str) -> str:
        """The GPU of this process where there are several processes on GPUs, else the device itself."""
        if self.size == 1 or device != "cuda":
            return device
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"

    def share(self, batch: PointBatch) -> tuple[PointBatch, float]:
        """The shapes of this process, and the weight of their mean: averaged over the processes, the weighted means
        are the mean over the batch. A process without shapes gets one with weight 0."""
        n = len(batch.shapes)
        own = torch.arange(n)[self.rank :: self.size]
        weight = len(own) * self.size / n
        own = own if len(own) else torch.zeros(1, dtype=torch.long)
        own = own.to(batch.shapes.device)
        return replace(
            batch, shapes=batch.shapes[own], points=batch.points[own], normals=batch.normals[own], sdf=batch.sdf[own]
        ), weight

    def average_gradients(self, parameters: list[torch.Tensor]) -> None:
        """Make the gradients, in place, the mean over all processes; one message for all of them."""
        if self.size == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self._mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for parameter, gradient, part in zip(parameters, gradients, parts, strict=True):
            parameter.grad = part.reshape(gradient.shape)

    def average(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        """The mean of each number over all processes."""
        if self.size == 1:
            return values
        flat = self._mean(torch.tensor(list(values.values()), dtype=torch.float32, device=device))
        return dict(zip(values, flat.tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()

    def leave(self) -> None:
        """Part with the others; without this gloo's threads abort a process that ends."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _mean(self, flat: torch.Tensor) -> torch.Tensor:
        torch.distributed.all_reduce(flat)
        return flat / self.size


def meet(store: torch.distributed.Store, rank: int, size: int, seconds: float = _MEETING_S) -> torch.distributed.Store:
    """A part of torchrun's store that only processes which live now know.

    After a restart torchrun hands out the store of before, where the addresses of killed processes still are, and
    whoever reads one of those waits for the dead (pytorch issue 135712). So each process gives itself a name that never
    was, and the first one tells every name it finds, until all have answered, which part of the store is theirs.

    Args:
        store: that all processes reach.
        rank: of this process, below ``size``.
        size: how many processes there are.
        seconds: that the first one waits for the others.

    Raises:
        ReShapeITError: some did not come.
    """
    name = uuid.uuid4().hex
    if rank:
        store.set(f"name/{rank}", name)
        part = store.get(f"part/{name}").decode()
        store.set(f"{part}/{rank}", "here")
        return torch.distributed.PrefixStore(part, store)
    missing, end = set(range(1, size)), time.monotonic() + seconds
    while missing:
        for other in missing:
            if store.check([f"name/{other}"]):
                store.set(f"part/{store.get(f'name/{other}').decode()}", name)
        missing = {other for other in missing if not store.check([f"{name}/{other}"])}
        if missing and time.monotonic() > end:
            raise ReShapeITError(
                "Processes {missing} of {size} did not come",
                "start torchrun again",
                "train.processes",
                missing=sorted(missing),
                size=size,
            )
        time.sleep(0.01)
    return torch.distributed.PrefixStore(name, store)
