"""UC: train on pixels weighted by what the network's own first epochs disagreed about; see `losses.uncertainty`.

Stage `warm` trains with the plain loss and keeps the weights of every epoch; stage `main` begins again (or goes on)
with the weighted one. Where the literature is silent, every choice is a setting; its controls are the other values of
`map`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.losses import uncertainty as uc
from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._base import (
    HU_SCALE,
    ImageConfig,
    ImageMethod,
    StageConfig,
    outside_metal,
    pixel_loss,
)
from ctrestoration.training.recipes._uncertainty import EarlyNetworks, UncertaintySettings
from ctrestoration.training.sources import is_fixed

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    warm: StageConfig = Field(
        default=StageConfig(epochs=5, hand_on="last"), description="Plain loss; the weights of every epoch are kept."
    )
    main: StageConfig = Field(default=StageConfig(epochs=95), description="The weighted loss.")


class Config(ImageConfig, UncertaintySettings):
    """Uncertainty-constraint loss: a warm-up, then training weighted by its uncertainty."""

    name: Literal["uc"]
    stages: Stages = Field(default=Stages(), description="Lengths and rates.")

    @model_validator(mode="after")
    def _epochs_can_disagree(self) -> Config:
        self.refuse_short(self.stages.warm.epochs)
        return self

    def create(self, run: RunConfig) -> Uncertain:
        """The method that these settings describe."""
        return Uncertain(
            self, (self.stages.warm.stage("warm", ("g",), run), self.stages.main.stage("main", ("g",), run))
        )


class Uncertain(ImageMethod):
    """See the module's docstring."""

    settings: Config
    early: EarlyNetworks

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`."""

        def fresh() -> Parts:
            return super(Uncertain, self).build(config)

        fixed = is_fixed(config.data.train)
        self.early = EarlyNetworks(self.settings, config.seed, lambda: fresh().modules["g"], fixed)
        return fresh()

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `EarlyNetworks.enter`."""
        self.early.enter(stage, run, parts)

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """See `EarlyNetworks.epoch_end`."""
        self.early.epoch_end(stage, epoch, run, parts)

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """RMSE, plain in the warm-up and weighted after it."""
        output, outside = self.restore(batch, parts), outside_metal(batch)
        if stage.name == "warm" or self.settings.map == "none":
            return Losses(pixel_loss("rmse", output, batch["target"], outside))
        counted = (outside >= 0.5).to(output.dtype)
        weights = self.early.weights(
            batch, counted, lambda network, part: self.restore(part, Parts({"g": network}, {}))
        )
        losses = uc.weighted_rmse(
            output / HU_SCALE,
            batch["target"] / HU_SCALE,
            weights,
            counted,
            on=self.settings.weigh,
            beside_plain=self.settings.beside_plain,
        )
        return Losses(losses.mean(), {"mean_weight": uc.counted_mean(weights, counted).mean()})
