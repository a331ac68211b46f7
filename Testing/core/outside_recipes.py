"""Two recipes as the next issues need them, each in a few lines: what the engine has to make easy, and keep exact.

`Uncertain` warms up, keeps the weights of each epoch, begins again from scratch, and weights pixels by what the kept
networks disagree about. `TaskAdaptive` trains a segmenter, freezes it, and trains a restoration network through it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.losses.uncertainty import pixel_weights, uncertainty_map
from ctrestoration.training import snapshots
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.randomness import seed_everything
from ctrestoration.training.recipes._base import HU_SCALE, ImageMethod, outside_metal, pixel_loss
from ctrestoration.training.runfile import RunConfig


class Uncertain(ImageMethod):
    """Warm-up with snapshots, then training from scratch with their uncertainty as weight."""

    def __init__(self, inner: Any) -> None:
        stages = (Stage("warm", 2, ("g",), {"g": 1e-3}), Stage("main", 2, ("g",), {"g": 1e-3}))
        super().__init__(inner.settings, stages)
        self.snapshots: list[torch.nn.Module] = []

    def build(self, config: RunConfig) -> Parts:
        self.config = config
        return super().build(config)

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        if stage.name == "main":
            self.snapshots = snapshots.load(run, "warm", parts.modules["g"])
            with torch.random.fork_rng(devices=[]):
                seed_everything(self.config.seed, "build")
                parts.modules["g"].load_state_dict(super().build(self.config).modules["g"].state_dict())

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        if stage.name == "warm":
            snapshots.save(run, "warm", epoch, parts.modules["g"])

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        weights = outside = outside_metal(batch)
        if stage.name == "main":
            with torch.no_grad():
                outputs = torch.stack([self.restore(batch, Parts({"g": one}, {})) for one in self.snapshots])
            weights = outside * pixel_weights(uncertainty_map(outputs, batch["metal"]))
        return Losses(pixel_loss("rmse", self.restore(batch, parts), batch["target"], weights))


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
