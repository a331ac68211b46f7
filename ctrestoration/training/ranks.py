"""Several processes that train one network together, started by torchrun; with one process everything is a no-op.

Gradients are averaged in one all-reduce after backward instead of by DistributedDataParallel: recipes with several
networks and turns leave parameters unused in some turns, which that wrapper forbids or searches for at each step.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed, nn

from ctrestoration.training.randomness import State


class Ranks:
    """This process among its peers.

    Attributes:
        rank: number of this process, 0 is the one that writes files.
        world: number of processes.
        local: number of this process on its machine.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.local = int(os.environ.get("LOCAL_RANK", 0))

    @property
    def first(self) -> bool:
        """Whether this process writes the run directory."""
        return self.rank == 0

    def start(self, device: torch.device) -> None:
        """Join the group. Waiting for rank 0's validation may take long, hence the timeout."""
        if self.world > 1 and not distributed.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=datetime.timedelta(hours=2))

    def stop(self) -> None:
        """Leave the group."""
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

    def maximum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The largest of each value over all processes."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
        return [float(value) for value in tensor]

    def from_first(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Rank 0's values."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.broadcast(tensor, 0)
        return [float(value) for value in tensor]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place, in one message."""
        if self.world == 1:
            return
        listed = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in listed])
        distributed.all_reduce(flat)
        flat /= self.world
        start = 0
        for tensor in listed:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def share_buffers(self, modules: Iterable[nn.Module]) -> None:
        """Give every process rank 0's running statistics: each one sees other samples."""
        if self.world == 1:
            return
        for module in modules:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)

    def gather_states(self, state: State, device: torch.device) -> list[State]:
        """The random states of all processes, in rank order, on every process."""
        if self.world == 1:
            return [state]
        states: list[State] = [{} for _ in range(self.world)]
        for name, tensor in state.items():
            moved = tensor.to(device)
            gathered = [torch.empty_like(moved) for _ in range(self.world)]
            distributed.all_gather(gathered, moved)
            for target, value in zip(states, gathered, strict=True):
                target[name] = value.cpu()
        return states
