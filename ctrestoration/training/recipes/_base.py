"""What every recipe's settings share, and what image-to-image recipes have in common."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.networks.unet import UNet
from ctrestoration.training.config import DataPath, LearningRate, PositiveInt, Strict
from ctrestoration.training.method import Batch, Collapse, Losses, Parts, Stage

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

HU_SCALE = 1000.0
"""Networks see HU / 1000: water 0, air -1, dense bone about 1.5."""


class StageConfig(Strict):
    """One stage of a recipe."""

    epochs: PositiveInt = Field(default=10, description="Passes over the training data.")
    lr: LearningRate | dict[str, LearningRate] | None = Field(
        default=None,
        description="Learning rate of this stage, for all optimizers or by optimizer name; none: optim.lr.",
    )
    frozen: tuple[str, ...] = Field(
        default=(), description="Parameters that do not move, as patterns such as 'g.encoder*'."
    )

    def stage(self, name: str, turns: tuple[str, ...], run: RunConfig) -> Stage:
        """The engine's view of this stage."""
        given = self.lr if isinstance(self.lr, dict) else {}
        common = self.lr if isinstance(self.lr, float) else run.optim.lr
        rates = {turn: given.get(turn, common) for turn in turns}
        return Stage(name, self.epochs, turns, rates, self.frozen)


class UNetConfig(Strict):
    """A U-Net; see `ctrestoration.networks.unet`."""

    name: Literal["unet"] = Field(default="unet", description="Which network.")
    widths: tuple[PositiveInt, ...] = Field(
        default=(32, 64, 128, 256, 256), min_length=2, max_length=7, description="Channels by level."
    )
    norm: Literal["batch", "instance", "none"] = Field(
        default="batch", description="Normalization after each convolution."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of channels dropped in training.")

    def build(self, in_channels: int = 1, out_channels: int = 1) -> UNet:
        """The network with fresh weights."""
        return UNet(**self.model_dump(exclude={"name"}), in_channels=in_channels, out_channels=out_channels)

    def options(self, in_channels: int = 1, out_channels: int = 1) -> dict[str, object]:
        """The arguments by which `networks.build_network` makes it again."""
        settings = self.model_dump(mode="json", exclude={"name"})
        return {**settings, "in_channels": in_channels, "out_channels": out_channels}


# A union of one for now: each further network adds its settings class here.
NetworkConfig = Annotated[UNetConfig, Field(description="The network to train.")]


class ImageConfig(Strict):
    """Settings that every image-to-image recipe has."""

    network: NetworkConfig = Field(default=UNetConfig(), description="The network to train.")
    initial_weights: DataPath | None = Field(
        default=None, description="A .safetensors file to start from; none: random."
    )
    window: tuple[float, float] = Field(
        default=(-1000.0, 1604.0), description="Fixed HU window of the validation PSNR."
    )


class ImageMethod:
    """Common parts of image-to-image recipes: network `g` predicts what to add to the input image (residual).

    Batches hold "input" and "target" [sample, 1, row, column] in HU, and "metal" (1 where there is metal) which is
    left out of losses and metrics.
    """

    collapse: Collapse | None = None
    exports: tuple[str, ...] = ("g",)

    def __init__(self, settings: ImageConfig, stages: tuple[Stage, ...]) -> None:
        self.settings = settings
        self.stages = stages

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`."""
        network = self.settings.network.build()
        for parameter in network.head.parameters():  # a residual of zero: training starts from the input itself
            nn.init.zeros_(parameter)
        if self.settings.initial_weights is not None:
            from ctrestoration.models.weights import load_into

            load_into(network, self.settings.initial_weights)
        return Parts({"g": network}, {"g": ("g",)})

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `Method.enter`: nothing to prepare."""

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """See `Method.epoch_end`: nothing to keep."""

    def restore(self, batch: Batch, parts: Parts) -> Tensor:
        """The corrected image in HU."""
        image = batch["input"]
        return image + HU_SCALE * parts.modules["g"](image / HU_SCALE).float()

    def validate(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """PSNR in the fixed window and RMSE in HU outside the metal, of the output and of the input."""
        output = self.restore(batch, parts)
        outside = outside_metal(batch)
        return {
            "psnr_db": psnr(output, batch["target"], outside, self.settings.window),
            "input_psnr_db": psnr(batch["input"], batch["target"], outside, self.settings.window),
            "rmse_hu": masked_mean((output - batch["target"]) ** 2, outside).sqrt(),
            "input_rmse_hu": masked_mean((batch["input"] - batch["target"]) ** 2, outside).sqrt(),
        }

    def preview(self, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """See `Method.preview`."""
        pictures = [batch["input"], self.restore(batch, parts), batch["target"]]
        return [picture[0, 0].float().cpu().numpy() for picture in pictures]

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        return {
            "network": {"name": self.settings.network.name, "options": self.settings.network.options()},
            "task": "mar",
            "input": "image in HU / 1000, one slice",
            "output": "what to add to the input, HU / 1000",
        }


def outside_metal(batch: Batch) -> Tensor:
    """Weights [sample, 1, row, column]: 1 outside metal, 0 in it."""
    if "metal" in batch:
        return 1.0 - batch["metal"]
    return torch.ones_like(batch["target"])


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the weighted pixels of each sample, [sample]."""
    total = (values * weights).flatten(1).sum(1)
    return total / weights.flatten(1).sum(1).clamp(min=1)


def psnr(image: Tensor, target: Tensor, weights: Tensor, window: tuple[float, float]) -> Tensor:
    """PSNR in dB [sample] of images clipped to a fixed HU window, whose width is the peak."""
    low, high = window
    error = masked_mean((image.clamp(low, high) - target.clamp(low, high)) ** 2, weights)
    return 10 * torch.log10((high - low) ** 2 / error.clamp(min=1e-12))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a parameter name "module.parameter" fits one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


__all__ = [
    "Batch",
    "Collapse",
    "ImageConfig",
    "ImageMethod",
    "Losses",
    "NetworkConfig",
    "Parts",
    "Stage",
    "StageConfig",
]
