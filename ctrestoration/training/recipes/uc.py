"""UC: train on pixels weighted by what the network's own first epochs disagreed about; see `losses.uncertainty`.

Stage `warm` trains with the plain loss and keeps the weights of every epoch; stage `main` begins again (or goes on)
with the weighted one. Where the literature is silent, every choice is a setting; its controls are the other values of
`map`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.losses import uncertainty as uc
from ctrestoration.training import snapshots
from ctrestoration.training.config import Strict
from ctrestoration.training.keys import derive
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.randomness import seed_everything
from ctrestoration.training.recipes._base import (
    HU_SCALE,
    ImageConfig,
    ImageMethod,
    StageConfig,
    outside_metal,
    pixel_loss,
)

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    warm: StageConfig = Field(
        default=StageConfig(epochs=5, hand_on="last"), description="Plain loss; the weights of every epoch are kept."
    )
    main: StageConfig = Field(default=StageConfig(epochs=95), description="The weighted loss.")


class Config(ImageConfig):
    """Uncertainty-constraint loss: a warm-up, then training weighted by its uncertainty."""

    name: Literal["uc"]
    map: Literal["uncertainty", "shuffled", "gradient", "error", "none"] = Field(
        default="uncertainty",
        description="What weights the pixels. Controls: the same values at random pixels, the image gradient, the "
        "error of the last warm-up epoch; none: the plain loss with the same number of epochs.",
    )
    weighting: Literal["u", "one_plus_u", "rmse_plus_u"] = Field(
        default="one_plus_u", description="W = U, W = 1 + strength U, or the plain RMSE plus the RMSE weighted by U."
    )
    strength: float = Field(default=1.0, gt=0, le=1000, description="Lambda, the factor of U.")
    normalized: bool = Field(
        default=True, description="Divide W by its mean in each image; off, a gain may be a hidden learning rate."
    )
    weigh: Literal["squared_error", "residual"] = Field(
        default="squared_error", description="What W multiplies under the root."
    )
    clip: float | None = Field(
        default=None, gt=0.5, le=1, description="Quantile of U that counts as 1, against single pixels; none: maximum."
    )
    restart: Literal["scratch", "continue"] = Field(
        default="scratch", description="main begins with new weights of the same seed, or with those of the warm-up."
    )
    stages: Stages = Field(default=Stages(), description="Lengths and rates.")

    def create(self, run: RunConfig) -> Uncertain:
        """The method that these settings describe."""
        return Uncertain(
            self, (self.stages.warm.stage("warm", ("g",), run), self.stages.main.stage("main", ("g",), run))
        )


class Uncertain(ImageMethod):
    """See the module's docstring."""

    settings: Config

    def __init__(self, settings: Config, stages: tuple[Stage, ...]) -> None:
        super().__init__(settings, stages)
        self._seed = 0
        self._early: list[nn.Module] = []

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`."""
        self._config, self._seed = config, config.seed
        return super().build(config)

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """Read the networks of the warm-up, and begin again with the weights that it began with."""
        if stage.name != "main":
            return
        self._early = snapshots.load(run, "warm", parts.modules["g"])
        if self.settings.restart == "scratch":
            device = next(parts.modules["g"].parameters()).device
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                seed_everything(self._seed, "build")
                fresh = super().build(self._config).modules["g"]
            parts.modules["g"].load_state_dict(fresh.state_dict())

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """Keep the weights of every epoch of the warm-up."""
        if stage.name == "warm":
            snapshots.save(run, "warm", epoch, parts.modules["g"])

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """RMSE, plain in the warm-up and weighted after it."""
        output, outside = self.restore(batch, parts), outside_metal(batch)
        if stage.name == "warm" or self.settings.map == "none":
            return Losses(pixel_loss("rmse", output, batch["target"], outside))
        counted = (outside >= 0.5).to(output.dtype)
        weights = uc.pixel_weights(
            self._map(batch, counted),
            self.settings.weighting,
            self.settings.strength,
            self.settings.normalized,
            counted,
        )
        losses = uc.weighted_rmse(
            output / HU_SCALE,
            batch["target"] / HU_SCALE,
            weights,
            counted,
            on=self.settings.weigh,
            add_plain=self.settings.weighting == "rmse_plus_u",
        )
        return Losses(losses.mean(), {"mean_weight": uc.masked_mean(weights, counted).mean().detach()})

    @torch.no_grad()
    def _map(self, batch: Batch, counted: Tensor) -> Tensor:
        """U or one of its controls, [sample, 1, row, column]; never a function of the network in training."""
        exclude = 1.0 - counted
        if self.settings.map == "gradient":
            return uc.gradient_map(batch["input"], exclude)
        early = [Parts({"g": network}, {}) for network in self._early]
        if self.settings.map == "error":
            return uc.error_map(self.restore(batch, early[-1]), batch["target"], exclude)
        outputs = torch.stack([self.restore(batch, parts) for parts in early])
        found = uc.uncertainty_map(outputs, exclude, self.settings.clip)
        if self.settings.map == "shuffled":
            found = uc.shuffled(found, [derive(self._seed, "shuffled", int(index)) for index in batch["index"]])
        return found
