"""What every recipe's settings share, and what image-to-image recipes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from ctrestoration.errors import InputError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.networks import settings_classes
from ctrestoration.networks._images import HU_SCALE, SEEN_HU, network_inputs
from ctrestoration.training.config import DataPath, LearningRate, PositiveInt, Strict, Window, one_of
from ctrestoration.training.method import Batch, Collapse, Parts, Stage
from ctrestoration.training.sources import images_of

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


CORRECTED = ("input", "nmar", "li", "prior", "guided")
"""The uncorrected image, and what corrections made of it: all are the target where there is no artifact."""


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

    hand_on: Literal["best", "last"] = Field(
        default="best", description="Which weights the next stage begins with, or the last one publishes."
    )

    def stage(
        self, name: str, turns: tuple[str, ...], run: RunConfig, metric: str = "psnr_db", better: str = "higher"
    ) -> Stage:
        """The engine's view of this stage.

        Raises:
            InputError: a learning rate for an optimizer that does not move in this stage.
        """
        given = self.lr if isinstance(self.lr, dict) else {}
        unknown = sorted(set(given) - set(turns))
        if unknown:
            known = ", ".join(sorted(set(turns)))
            raise InputError(f"method.stages.{name}.lr: no optimizer {', '.join(unknown)} moves here, only {known}.")
        common = self.lr if isinstance(self.lr, float) else run.optim.lr
        rates = {turn: given.get(turn, common) for turn in turns}
        return Stage(name, self.epochs, turns, rates, self.frozen, metric, better, self.hand_on)


NetworkConfig: Any = one_of(settings_classes("image"))


class ImageConfig(Strict):
    """Settings that every image-to-image recipe has."""

    network: NetworkConfig = Field(default={"name": "unet"}, description="The network to train.")
    initial_weights: DataPath | None = Field(
        default=None, description="A .safetensors file to start from; none: random."
    )
    window: Window = Field(default=(-1000.0, 1604.0), description="Fixed HU window of the validation PSNR.")
    inputs: tuple[Literal["input", "nmar", "li", "prior", "guided", "metal"], ...] = Field(
        default=("input",),
        min_length=1,
        description="What the network sees, one channel each: the uncorrected image, the same slice corrected by NMAR "
        "or LI, the metal mask; prior and guided are those of `networks.guided`, whose refining networks are trained "
        "so.",
    )
    added_to: Literal["input", "nmar", "li", "prior", "guided"] = Field(
        default="input", description="The image to which the network's output is added (residual)."
    )

    @model_validator(mode="after")
    def _sees_what_it_corrects(self) -> ImageConfig:
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs names one of {', '.join(self.inputs)} twice")
        if self.added_to not in self.inputs:
            raise ValueError(f"added_to {self.added_to} has to be one of inputs, which are {', '.join(self.inputs)}")
        return self


class ImageMethod:
    """Common parts of image-to-image recipes: network `g` predicts what to add to an image (residual).

    Batches hold "input" and "target" [sample, 1, row, column] in HU, and "metal" (1 where there is metal) which is
    left out of losses and metrics; beside them whatever the settings' `inputs` ask for.
    """

    collapse: Collapse | None = None
    exports: tuple[str, ...] = ("g",)
    task = "mar"

    def __init__(self, settings: ImageConfig, stages: tuple[Stage, ...]) -> None:
        self.settings = settings
        self.stages = stages

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`.

        Raises:
            InputError: the data do not hold what the network is to see.
        """
        for part in ("train", "validation"):
            refuse_missing(self.settings.inputs, getattr(config.data, part), f"data.{part}")
        network = self.settings.network.build(in_channels=len(self.settings.inputs), out_channels=1)
        start_from_identity(network)
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
        seen = network_inputs(batch, self.settings.inputs)
        return batch[self.settings.added_to] + HU_SCALE * parts.modules["g"](seen).float()

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """PSNR in the fixed window and RMSE in HU outside the metal, of the output and of the input.

        "clean_change_hu" is the RMSE by which a metal-free image without mask changes: it should stay as it is.
        """
        output = self.restore(batch, parts)
        outside = outside_metal(batch)
        clean = dict.fromkeys(CORRECTED, batch["target"])
        left = self.restore({**batch, **clean, "metal": torch.zeros_like(outside)}, parts)
        return {
            "psnr_db": psnr(output, batch["target"], outside, self.settings.window),
            "input_psnr_db": psnr(batch["input"], batch["target"], outside, self.settings.window),
            "rmse_hu": masked_mean((output - batch["target"]) ** 2, outside).sqrt(),
            "input_rmse_hu": masked_mean((batch["input"] - batch["target"]) ** 2, outside).sqrt(),
            "clean_change_hu": masked_mean((left - batch["target"]) ** 2, torch.ones_like(outside)).sqrt(),
        }

    def preview(self, stage: Stage, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """See `Method.preview`."""
        pictures = [batch["input"], self.restore(batch, parts), batch["target"]]
        return [picture[0, 0].float().cpu().numpy() for picture in pictures]

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        return {
            "network": {
                "name": self.settings.network.name,
                "options": self.settings.network.options(in_channels=len(self.settings.inputs), out_channels=1),
            },
            "task": self.task,
            "inputs": list(self.settings.inputs),
            "added_to": self.settings.added_to,
            "input": f"one slice: {', '.join(self.settings.inputs)}; HU / 1000 clipped to {SEEN_HU[0]:g} to "
            f"{SEEN_HU[1]:g} HU, metal 0 or 1",
            "output": f"what to add to {self.settings.added_to}, HU / 1000",
        }


def refuse_missing(inputs: Sequence[str], source: Any, place: str) -> None:
    """Refuse data that do not hold the corrected images a network is to see.

    Args:
        inputs: what it is to see.
        source: settings of the source, or None.
        place: of these settings in the run file.

    Raises:
        InputError: something is missing.
    """
    held = None if source is None else images_of(source)
    missing = [name for name in inputs if name in CORRECTED[1:] and held is not None and name not in held]
    if missing:
        names = ",".join(missing)
        raise InputError(
            f"method.inputs asks for {names}, which {place} does not hold: give {place}.corrected, or build the data "
            f"set with --with {names}."
        )


def start_from_identity(network: nn.Module) -> None:
    """Let a residual network begin with a residual of zero, where its last layer is called `head`."""
    head = getattr(network, "head", None)
    if isinstance(head, nn.Module):
        for parameter in head.parameters():
            nn.init.zeros_(parameter)


def pixel_loss(kind: str, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the samples of a pixel loss, of values in HU / 1000.

    Args:
        kind: "mse", "l1", or "rmse" = the mean of each sample's own root.
        output: [sample, 1, row, column] in HU.
        target: the same.
        weights: the same shape; 0 leaves a pixel out. An uncertainty map divided by its mean keeps the scale.
    """
    difference = (output - target) / HU_SCALE
    if kind == "l1":
        return masked_mean(difference.abs(), weights).mean()
    losses = masked_mean(difference**2, weights)
    if kind == "rmse":
        losses = torch.sqrt(losses + 1e-12)  # the root has no finite slope at 0
    return losses.mean()


def outside_metal(batch: Batch) -> Tensor:
    """Weights [sample, 1, row, column]: 1 outside metal, 0 in it.

    A pixel is metal from one half on, as it is for corrections: these put its measured value back, thousands of HU that
    no weight below one half would make small.
    """
    if "metal" in batch:
        return (batch["metal"] < 0.5).to(batch["metal"].dtype)
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
