"""One step: every optimizer's turn, micro-batches, mixed precision, and the check that nothing became NaN."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import nullcontext

import torch
from torch import nn

from ctrestoration.errors import InputError
from ctrestoration.training.config import OptimConfig
from ctrestoration.training.hardware import Choices
from ctrestoration.training.method import Batch, Method, Parts, Stage
from ctrestoration.training.ranks import Ranks
from ctrestoration.training.recipes._base import matches


class NonFiniteError(Exception):
    """Loss or gradient is NaN or infinite; the update was not applied."""

    def __init__(self, what: str, indices: list[int]) -> None:
        super().__init__(what)
        self.what = what
        self.indices = indices


def make_optimizers(parts: Parts, stage: Stage, settings: OptimConfig, device: torch.device) -> None:
    """New optimizers for a stage, over the parameters that move in it; their moments start at zero."""
    parts.optimizers.clear()
    names = [f"{name}.{key}" for name, module in parts.modules.items() for key, _ in module.named_parameters()]
    for pattern in stage.frozen:
        if not any(matches(name, (pattern,)) for name in names):
            example = ", ".join(names[:1])
            raise InputError(f"method.stages.{stage.name}.frozen: {pattern!r} fits no parameter such as {example}.")
    for name in dict.fromkeys(stage.turns):
        moving = [parameter for _, parameter in owned(parts, name, stage)]
        if not moving:
            raise InputError(f"method.stages.{stage.name}.frozen leaves the optimizer {name!r} nothing to move.")
        rate = stage.learning_rates[name]
        if settings.name == "sgd":
            parts.optimizers[name] = torch.optim.SGD(
                moving, lr=rate, momentum=settings.betas[0], weight_decay=settings.weight_decay
            )
            continue
        kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
        parts.optimizers[name] = kind(
            moving, lr=rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=device.type == "cuda"
        )


def owned(parts: Parts, optimizer: str, stage: Stage) -> list[tuple[str, nn.Parameter]]:
    """Names "module.parameter" and parameters that an optimizer moves in a stage."""
    named = [
        (f"{module}.{name}", parameter)
        for module in parts.owners[optimizer]
        for name, parameter in parts.modules[module].named_parameters()
    ]
    return [(name, parameter) for name, parameter in named if not matches(name, stage.frozen)]


class Updater:
    """Applies steps.

    Args:
        method: whose losses.
        parts: what moves.
        settings: clipping.
        choices: precision and memory layout.
        ranks: peers to average gradients with.
        device: where batches go.
    """

    def __init__(
        self, method: Method, parts: Parts, settings: OptimConfig, choices: Choices, ranks: Ranks, device: torch.device
    ) -> None:
        self.method = method
        self.parts = parts
        self.settings = settings
        self.choices = choices
        self.ranks = ranks
        self.device = device

    def step(self, stage: Stage, batch: Batch, micro_batches: int, rate_factor: float) -> dict[str, float]:
        """One step on this process's share of the batch; returns the recorded values.

        Raises:
            NonFiniteError: on every process, where one of them met NaN or infinity.
        """
        indices = [int(index) for index in batch["index"]]
        batch = self.to_device(batch)
        values: dict[str, float] = {}
        self.set_modes(stage)
        for turn in stage.turns:
            values.update(self._turn(stage, turn, batch, indices, micro_batches, rate_factor))
        self.ranks.share_buffers(self.parts.modules.values())
        return values

    def pass_through(self, stage: Stage, batch: Batch, modules: Collection[str], micro_batches: int) -> None:
        """Let a batch pass through some networks as in a step, without an update.

        Args:
            stage: whose losses.
            batch: this process's share.
            modules: only turns that move one of these are taken.
            micro_batches: parts of the batch.
        """
        batch = self.to_device(batch)
        for turn in dict.fromkeys(stage.turns):
            if not set(self.parts.owners[turn]) & set(modules):
                continue
            for part in _micro(batch, micro_batches):
                # With gradients, though nobody asks for them: some losses contain one.
                with self.autocast():
                    self.method.step(stage, turn, part, self.parts)

    def to_device(self, batch: Batch) -> Batch:
        """Move a batch, in the memory layout that was chosen."""
        moved = {}
        for name, tensor in batch.items():
            target = tensor.to(self.device, non_blocking=True)
            if target.ndim == 4 and self.choices.channels_last:
                target = target.contiguous(memory_format=torch.channels_last)
            moved[name] = target
        return moved

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """The precision that networks run in."""
        if self.choices.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _turn(
        self, stage: Stage, turn: str, batch: Batch, indices: list[int], micro_batches: int, rate_factor: float
    ) -> dict[str, float]:
        moving = owned(self.parts, turn, stage)
        self._set_trainable({id(parameter) for _, parameter in moving})
        optimizer = self.parts.optimizers[turn]
        optimizer.zero_grad(set_to_none=True)
        values = self._backward(stage, turn, batch, micro_batches)
        gradients = [parameter.grad for _, parameter in moving if parameter.grad is not None]
        self.ranks.average(gradients)
        parameters = [parameter for _, parameter in moving]
        norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm or math.inf))
        bad = not math.isfinite(norm) or not all(math.isfinite(value) for value in values.values())
        if self.ranks.maximum([float(bad)], self.device)[0]:
            shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
            raise NonFiniteError(f"{shown}, length of the gradient {norm:g} in the turn of {turn!r}", indices)
        rate = stage.learning_rates[turn] * rate_factor
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        values[f"lr_{turn}" if len(set(stage.turns)) > 1 else "lr"] = rate
        return values

    def _backward(self, stage: Stage, turn: str, batch: Batch, micro_batches: int) -> dict[str, float]:
        """Accumulate the gradient over the micro-batches; returns mean values."""
        sums: dict[str, float] = {}
        label = f"{turn}_loss" if len(set(stage.turns)) > 1 else "loss"
        for part in _micro(batch, micro_batches):
            with self.autocast():
                losses = self.method.step(stage, turn, part, self.parts)
            (losses.total / micro_batches).backward()
            for name, value in {label: losses.total, **losses.values}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / micro_batches
        return sums

    def set_modes(self, stage: Stage) -> None:
        """What does not move in this stage, networks or layers, is in evaluation mode: running statistics stay too."""
        moving = {id(parameter) for turn in set(stage.turns) for _, parameter in owned(self.parts, turn, stage)}
        for module in self.parts.modules.values():
            module.train(any(id(parameter) in moving for parameter in module.parameters()))
            if not stage.frozen:
                continue
            for layer in module.modules():
                parameters = list(layer.parameters())
                if parameters and not any(id(parameter) in moving for parameter in parameters):
                    layer.eval()

    def _set_trainable(self, moving: set[int]) -> None:
        """Only what this turn moves needs gradients: the others save the work, and stay out of the average."""
        for module in self.parts.modules.values():
            for parameter in module.parameters():
                parameter.requires_grad_(id(parameter) in moving)


def _micro(batch: Batch, parts: int) -> Iterator[Batch]:
    """A batch in so many parts."""
    size = len(batch["index"]) // parts
    for start in range(0, size * parts, size):
        yield {name: tensor[start : start + size] for name, tensor in batch.items()}
