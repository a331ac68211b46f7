"""Supervised: an image network learns the clean image from the corrupted one, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._base import (
    HU_SCALE,
    ImageConfig,
    ImageMethod,
    StageConfig,
    masked_mean,
    outside_metal,
)

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    main: StageConfig = Field(default=StageConfig(), description="The one stage.")


class Config(ImageConfig):
    """Plain supervised training."""

    name: Literal["supervised"]
    loss: Literal["rmse", "mse", "l1"] = Field(
        default="rmse", description="Pixel loss, of values in HU / 1000 outside metal."
    )
    stages: Stages = Field(default=Stages(), description="Length and rates.")

    def create(self, run: RunConfig) -> Supervised:
        """The method that these settings describe."""
        return Supervised(self, (self.stages.main.stage("main", ("g",), run),))


class Supervised(ImageMethod):
    """See the module's docstring."""

    settings: Config

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """Mean over the samples of the pixel loss; rmse = the mean of each sample's own root."""
        difference = (self.restore(batch, parts) - batch["target"]) / HU_SCALE
        outside = outside_metal(batch)
        if self.settings.loss == "l1":
            losses = masked_mean(difference.abs(), outside)
        else:
            losses = masked_mean(difference**2, outside)
        if self.settings.loss == "rmse":
            losses = torch.sqrt(losses + 1e-12)  # the root has no finite slope at 0
        return Losses(losses.mean())
