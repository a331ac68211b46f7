"""Supervised: an image network learns the clean image from the corrupted one, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._base import ImageConfig, ImageMethod, StageConfig, outside_metal, pixel_loss

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
        """The pixel loss outside metal."""
        output = self.restore(batch, parts)
        return Losses(pixel_loss(self.settings.loss, output, batch["target"], outside_metal(batch)))
