"""Everything that a checkpoint has to hold so that the rest of the run is the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ctrestoration.errors import InputError
from ctrestoration.training.config import EmaConfig
from ctrestoration.training.method import Method, Parts


@dataclass
class Progress:
    """Where a run stands, and what it has met so far.

    Attributes:
        stage: index of the stage.
        epoch: within the stage, from 0.
        step_in_epoch: steps of this epoch that are done.
        step: steps of the run that are done.
        entered: whether the stage was entered; at a stage boundary the next one is still to be.
        lr_scale: factor on every learning rate, below 1 after rollbacks.
        rollbacks: how often the run went back after NaN.
        micro_batches: parts of each batch; grows after running out of memory.
        skipped: damaged samples so far.
        collapse: steps in a row with a collapsed adversary.
        best: the best validation value of this stage, or None.
        best_step: where it was reached.
        waiting: validations since the last improvement in this stage.
    """

    stage: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    entered: bool = False
    lr_scale: float = 1.0
    rollbacks: int = 0
    micro_batches: int = 1
    skipped: int = 0
    collapse: int = 0
    best: float | None = None
    best_step: int | None = None
    waiting: int = 0

    def begin_stage(self) -> None:
        """Stages are judged apart: the best of a pixel loss must not win over the adversarial stage after it."""
        self.entered, self.waiting, self.collapse = True, 0, 0
        self.best, self.best_step = None, None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Progress:
        """From plain values; unknown ones are ignored."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})


@dataclass
class Averages:
    """Exponential moving averages of the weights of some modules (Polyak and Juditsky 1992, with fixed decay).

    Floating-point buffers are averaged like parameters; counters are copied. Averages of running statistics do not fit
    averaged weights, so these are measured anew before the averages are used (`measured`).
    """

    decay: float
    shadows: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @classmethod
    def asked_for(cls, settings: EmaConfig | None, method: Method, parts: Parts) -> Averages | None:
        """Averages that start at the present weights; None where the run asks for none.

        Raises:
            InputError: the run file names networks that the recipe does not have.
        """
        if settings is None:
            return None
        names = method.exports if settings.modules is None else settings.modules
        unknown = sorted(set(names) - set(parts.modules))
        if unknown:
            known = ", ".join(sorted(parts.modules))
            raise InputError(f"ema.modules: this recipe has no network {', '.join(unknown)}; it has {known}.")
        shadows = {
            name: {key: value.detach().clone() for key, value in parts.modules[name].state_dict().items()}
            for name in names
        }
        return cls(settings.decay, shadows)

    @torch.no_grad()
    def update(self, parts: Parts) -> None:
        """Move the averages towards the present weights."""
        for name, shadow in self.shadows.items():
            for key, value in parts.modules[name].state_dict().items():
                if value.is_floating_point():
                    shadow[key].lerp_(value, 1 - self.decay)
                else:
                    shadow[key].copy_(value)

    @contextmanager
    def measured(self, parts: Parts) -> Iterator[bool]:
        """Measure running statistics of the averaged weights by whatever passes through them within the block.

        The layers between two normalizations know no scale, so the average of many weights is shorter than each of
        them, and what they put out varies less than any running statistic says: the longer the average, the more
        (Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018).

        Yields whether there is anything to measure: normalizations of batches, in training mode. Afterwards every
        module is as it was, whatever passing through changes in it.
        """
        layers = {
            (name, path): layer
            for name in self.shadows
            for path, layer in parts.modules[name].named_modules()
            if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
        }
        if not layers:
            yield False
            return
        momenta = [layer.momentum for layer in layers.values()]
        with _as_they_are(parts.modules), self.applied(parts):
            for layer in layers.values():
                layer.reset_running_stats()
                layer.momentum = None  # the plain mean over all batches
            try:
                yield True
            finally:
                for layer, momentum in zip(layers.values(), momenta, strict=True):
                    layer.momentum = momentum
            for (name, path), layer in layers.items():
                for key, value in layer.named_buffers(prefix=path):
                    self.shadows[name][key].copy_(value)

    @contextmanager
    def applied(self, parts: Parts) -> Iterator[None]:
        """Put the averages into the modules for the duration of a block."""
        with _as_they_are({name: parts.modules[name] for name in self.shadows}):
            for name, shadow in self.shadows.items():
                parts.modules[name].load_state_dict(shadow)
            yield


@contextmanager
def _as_they_are(modules: dict[str, nn.Module]) -> Iterator[None]:
    """After the block, weights and buffers are those of before."""
    present = {
        name: {key: value.clone() for key, value in module.state_dict().items()} for name, module in modules.items()
    }
    try:
        yield
    finally:
        for name, weights in present.items():
            modules[name].load_state_dict(weights)


def all_finite(modules: dict[str, nn.Module]) -> bool:
    """Whether no weight or running statistic is NaN or infinite."""
    return all(
        bool(torch.isfinite(tensor).all())
        for module in modules.values()
        for tensor in module.state_dict().values()
        if tensor.is_floating_point()
    )
