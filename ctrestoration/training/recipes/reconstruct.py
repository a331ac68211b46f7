"""Reconstruct: a network learns the full-dose image from the low-dose one, pixel by pixel: the base network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._base import StageConfig
from ctrestoration.training.recipes._lowdose import LowDoseConfig, LowDoseMethod

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    reconstruct: StageConfig = Field(default=StageConfig(), description="The one stage.")


class Config(LowDoseConfig):
    """Low-dose reconstruction by a pixel loss."""

    name: Literal["reconstruct"]
    loss: Literal["mse", "l1", "rmse"] = Field(
        default="mse",
        description="mse: as published; rmse: the mean of each slice's own root, for data of several doses, whose "
        "noisiest slices would be all that counts.",
    )
    stages: Stages = Field(default=Stages(), description="Length and rates.")

    def create(self, run: RunConfig) -> Reconstruct:
        """The method that these settings describe."""
        return Reconstruct(self, (self.stages.reconstruct.stage("reconstruct", ("g",), run),))


class Reconstruct(LowDoseMethod):
    """See the module's docstring."""

    settings: Config

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """The pixel loss, over the whole slice."""
        return Losses(self.pixels(self.restore(batch, parts), batch, self.settings.loss))
