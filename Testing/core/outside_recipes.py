"""A recipe that is not in the package, as the next issues need it: what the engine has to make easy, and keep exact."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._base import HU_SCALE, ImageMethod, pixel_loss
from ctrestoration.training.runfile import RunConfig


class TaskAdaptive(ImageMethod):
    """A segmenter `t` of the metal first; then `g` through the frozen `t`."""

    exports = ("g", "t")

    def __init__(self, inner: Any) -> None:
        rates = {"g": 1e-3, "t": 1e-2}
        stages = (Stage("segment", 2, ("t",), rates, metric="dice"), Stage("reconstruct", 2, ("g",), rates))
        super().__init__(inner.settings, stages)

    def build(self, config: RunConfig) -> Parts:
        parts = super().build(config)
        parts.modules["t"] = self.settings.network.build(in_channels=1, out_channels=1)
        parts.owners["t"] = ("t",)
        return parts

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        if stage.name == "segment":
            return Losses(1 - self._dice(batch["input"], batch, parts).mean())
        output = self.restore(batch, parts)
        task = 1 - self._dice(output, batch, parts).mean()
        pixels = pixel_loss("mse", output, batch["target"], torch.ones_like(output))
        return Losses(0.9 * pixels + 0.1 * task, {"pixels": pixels, "task": task})

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        if stage.name == "segment":
            return {"dice": self._dice(batch["input"], batch, parts)}
        return super().validate(stage, batch, parts)

    def _dice(self, image: Tensor, batch: Batch, parts: Parts) -> Tensor:
        found = torch.sigmoid(parts.modules["t"](image / HU_SCALE).float()).flatten(1)
        truth = batch["metal"].flatten(1)
        return (2 * (found * truth).sum(1) + 1) / (found.sum(1) + truth.sum(1) + 1)
