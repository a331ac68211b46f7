"""Adversarial: a pixel loss first, then the same network against a discriminator that judges patches.

The smallest recipe with two stages and two optimizers, after the conditional GAN of Isola et al., "Image-to-image
translation with conditional adversarial networks", CVPR 2017, eq. 4: generator loss = adversarial + lambda * L1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Collapse, Losses, Parts, Stage
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

    pretrain_g: StageConfig = Field(default=StageConfig(), description="The generator alone, squared error.")
    adversarial: StageConfig = Field(default=StageConfig(), description="Generator against discriminator.")


class Config(ImageConfig):
    """Pixel loss first, then adversarial training."""

    name: Literal["adversarial"]
    pixel_weight: float = Field(
        default=100.0, ge=0, description="Lambda: weight of the L1 pixel loss beside the adversarial one."
    )
    g_steps_per_d: int = Field(default=1, ge=1, le=10, description="Generator steps for each discriminator step.")
    d_width: int = Field(default=16, ge=2, le=256, description="Channels of the discriminator's first layer.")
    collapse_below: float = Field(
        default=1e-3, ge=0, description="Warn where the discriminator's loss stays below this ..."
    )
    collapse_steps: int = Field(default=200, ge=1, description="... for so many steps in a row.")
    stages: Stages = Field(default=Stages(), description="Lengths and rates.")

    def create(self, run: RunConfig) -> Adversarial:
        """The method that these settings describe."""
        turns = ("d", *("g",) * self.g_steps_per_d)
        stages = (
            self.stages.pretrain_g.stage("pretrain_g", ("g",), run),
            self.stages.adversarial.stage("adversarial", turns, run),
        )
        return Adversarial(self, stages)


class Adversarial(ImageMethod):
    """See the module's docstring."""

    settings: Config

    def __init__(self, settings: Config, stages: tuple[Stage, ...]) -> None:
        super().__init__(settings, stages)
        self.collapse = Collapse("d_loss", settings.collapse_below, settings.collapse_steps)

    def build(self, config: RunConfig) -> Parts:
        """Generator `g` and discriminator `d`."""
        parts = super().build(config)
        parts.modules["d"] = patch_discriminator(self.settings.d_width)
        parts.owners["d"] = ("d",)
        return parts

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """One turn of the generator or of the discriminator."""
        outside = outside_metal(batch)
        if turn == "d":
            with torch.no_grad():
                fake = self.restore(batch, parts)
            real_score, fake_score = self._score(batch, batch["target"], parts), self._score(batch, fake, parts)
            loss = 0.5 * (cross_entropy(real_score, 1.0) + cross_entropy(fake_score, 0.0))
            return Losses(loss)
        output = self.restore(batch, parts)
        if stage.name == "pretrain_g":
            return Losses(pixel_loss("mse", output, batch["target"], outside))
        pixel = pixel_loss("l1", output, batch["target"], outside)
        adversarial = cross_entropy(self._score(batch, output, parts), 1.0)
        total = adversarial + self.settings.pixel_weight * pixel
        return Losses(total, {"g_adversarial": adversarial, "g_pixel": pixel})

    def _score(self, batch: Batch, image: Tensor, parts: Parts) -> Tensor:
        pair = torch.cat([batch["input"], image], dim=1) / HU_SCALE
        score: Tensor = parts.modules["d"](pair)
        return score.float()


def patch_discriminator(width: int, channels: int = 2) -> nn.Module:
    """Scores overlapping patches of (input, candidate): two strided convolutions and one that decides."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 3, 1, 1),
    )


def cross_entropy(score: Tensor, truth: float) -> Tensor:
    """Of a discriminator's scores (before the sigmoid) against real (1) or fake (0)."""
    return functional.binary_cross_entropy_with_logits(score, torch.full_like(score, truth))
