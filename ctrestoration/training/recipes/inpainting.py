"""Inpainting: a network completes the metal trace of a sinogram, first by pixel losses, then against a discriminator.

The completed sinogram is yhat = (1 - m) x + m G(x, m), with G the NMAR-completed sinogram plus what the network adds.
Stage `pretrain_g` minimizes the squared error in the trace, and that of the image through the exact FBP; stage
`adversarial` goes on against a conditional discriminator of patches (Isola et al., CVPR 2017, eq. 4, with the pixel
losses weighted by lambda). Weights are chosen by trace and image errors, never by what a discriminator says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ctrestoration.correct.inpainting import CHANNELS, PATH_UNIT_MM, refuse_partial_turn
from ctrestoration.errors import InputError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.networks import settings_classes
from ctrestoration.networks._operator import MU_WATER, nominal_lengths
from ctrestoration.physics._torch_fbp import ReconstructionOperator
from ctrestoration.training.config import DataPath, Strict, Window, one_of
from ctrestoration.training.method import Batch, Collapse, Losses, Parts, Stage
from ctrestoration.training.recipes._base import (
    StageConfig,
    masked_mean,
    outside_metal,
    psnr,
    start_from_identity,
)
from ctrestoration.training.recipes.adversarial import cross_entropy, patch_discriminator

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

NetworkConfig: Any = one_of(settings_classes("sinogram"))


class Stages(Strict):
    """The stages of this recipe."""

    pretrain_g: StageConfig = Field(default=StageConfig(epochs=50), description="The generator alone, squared errors.")
    adversarial: StageConfig | None = Field(
        default=StageConfig(epochs=50), description="Generator against discriminator; none: left out."
    )


class Config(Strict):
    """Sinogram inpainting (source `sinograms`)."""

    name: Literal["inpainting"]
    network: NetworkConfig = Field(default={"name": "sinogram_unet"}, description="The generator.")
    initial_weights: DataPath | None = Field(
        default=None, description="A .safetensors file to start from; none: random, adding nothing to NMAR."
    )
    window: Window = Field(default=(-1000.0, 1604.0), description="Fixed HU window of the validation PSNR.")
    image_weight: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of the squared image error, in (HU / 1000)^2, through the FBP."
    )
    pixel_weight: float = Field(
        default=100.0, ge=0, le=1e6, description="Lambda: weight of trace and image errors beside the adversarial loss."
    )
    g_steps_per_d: int = Field(default=1, ge=1, le=10, description="Generator steps for each discriminator step.")
    d_width: int = Field(default=32, ge=2, le=256, description="Channels of the discriminator's first layer.")
    collapse_below: float = Field(
        default=1e-3, ge=0, description="Warn where the discriminator's loss stays below this ..."
    )
    collapse_steps: int = Field(default=200, ge=1, description="... for so many steps in a row.")
    stages: Stages = Field(default=Stages(), description="Lengths, rates, and what is frozen.")

    def create(self, run: RunConfig) -> Inpainting:
        """The method that these settings describe."""
        judged = ("trace_rmse", "lower")
        stages = [self.stages.pretrain_g.stage("pretrain_g", ("g",), run, *judged)]
        if self.stages.adversarial is not None:
            turns = ("d", *("g",) * self.g_steps_per_d)
            stages.append(self.stages.adversarial.stage("adversarial", turns, run, *judged))
        return Inpainting(self, tuple(stages))


class Inpainting:
    """See the module's docstring. Batches are those of `training.sources.sinograms`."""

    exports: tuple[str, ...] = ("g",)
    task = "mar"

    def __init__(self, settings: Config, stages: tuple[Stage, ...]) -> None:
        self.settings, self.stages = settings, stages
        self.collapse: Collapse | None = Collapse("d_loss", settings.collapse_below, settings.collapse_steps)
        self._fbp: ReconstructionOperator | None = None
        self._lengths = 1.0

    def build(self, config: RunConfig) -> Parts:
        """Generator `g` and discriminator `d`.

        Raises:
            InputError: the data are no sinograms, or of less than a full turn.
        """
        from ctrestoration.physics.presets import scanner_preset

        source = config.data.train
        if source.name != "sinograms":
            raise InputError(
                f"The recipe inpainting trains on sinograms: data.train.name must be sinograms, not {source.name}."
            )
        scanner = scanner_preset(source.preset)
        grid = scanner.image_grid((source.size, source.size), (source.pixel_mm, source.pixel_mm))
        geometry = scanner.geometry(grid)
        refuse_partial_turn(geometry.arc)
        self._fbp = ReconstructionOperator(geometry, grid, scanner.fbp_window)
        self._lengths = nominal_lengths(grid)
        network: nn.Module = self.settings.network.build(in_channels=CHANNELS, out_channels=1)
        start_from_identity(network)
        if self.settings.initial_weights is not None:
            from ctrestoration.models.weights import load_into

            load_into(network, self.settings.initial_weights)
        modules: dict[str, nn.Module] = {"g": network}
        owners: dict[str, tuple[str, ...]] = {"g": ("g",)}
        if self.settings.stages.adversarial is not None:
            modules["d"], owners["d"] = patch_discriminator(self.settings.d_width, 3), ("d",)
        return Parts(modules, owners)

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `Method.enter`: nothing to prepare."""

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """See `Method.epoch_end`: nothing to keep."""

    def complete(self, batch: Batch, parts: Parts) -> Tensor:
        """The completed sinogram [sample, 1, view, bin]; outside the trace the measured one, bit for bit."""
        scale = self._lengths
        seen = torch.cat([batch["filled"] * scale, batch["trace"], batch["path"] * (scale / PATH_UNIT_MM)], dim=1)
        added = parts.modules["g"](seen).float() / scale
        return torch.where(batch["trace"][:, 1:2] >= 0.5, batch["filled"][:, 1:2] + added, batch["sinogram"])

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """One turn of the generator or of the discriminator."""
        if turn == "d":
            with torch.no_grad():
                fake = self.complete(batch, parts)
            real_score, fake_score = (self._score(batch, one, parts) for one in (batch["target_sinogram"], fake))
            return Losses(0.5 * (cross_entropy(real_score, 1.0) + cross_entropy(fake_score, 0.0)))
        completed = self.complete(batch, parts)
        image = self._image_error(batch, completed)
        difference, trace = self._lengths * (completed - batch["target_sinogram"]), batch["trace"][:, 1:2]
        if stage.name == "pretrain_g":
            squared = masked_mean(difference**2, trace).mean()
            return Losses(squared + self.settings.image_weight * image, {"trace_mse": squared, "image_mse": image})
        absolute = masked_mean(difference.abs(), trace).mean()
        adversarial = cross_entropy(self._score(batch, completed, parts), 1.0)
        pixel = absolute + self.settings.image_weight * image
        total = adversarial + self.settings.pixel_weight * pixel
        return Losses(total, {"g_adversarial": adversarial, "trace_l1": absolute, "image_mse": image})

    def _image_error(self, batch: Batch, completed: Tensor) -> Tensor:
        """Mean squared error of the image outside metal in (HU / 1000)^2: FBP is linear, so that of the difference."""
        error = self._change(completed - batch["target_sinogram"]) / 1000.0
        return masked_mean(error**2, outside_metal(batch)).mean()

    def _change(self, difference: Tensor) -> Tensor:
        """What a difference of sinograms is in the image, HU."""
        assert self._fbp is not None  # noqa: S101 - build made it
        return self._fbp.reconstruct(difference) * (1000.0 / MU_WATER)

    def _score(self, batch: Batch, candidate: Tensor, parts: Parts) -> Tensor:
        scale = self._lengths
        middle = [batch["filled"][:, 1:2] * scale, batch["trace"][:, 1:2], candidate * scale]
        score: Tensor = parts.modules["d"](torch.cat(middle, dim=1))
        return score.float()

    def restore(self, batch: Batch, parts: Parts) -> Tensor:
        """The corrected image in HU; metal as it was."""
        change = self._change(self.complete(batch, parts) - batch["sinogram"])
        return batch["input"] + outside_metal(batch) * change

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """RMSE of line integrals in the trace; PSNR and RMSE of the image outside metal; the same of NMAR."""
        trace, target = batch["trace"][:, 1:2], batch["target_sinogram"]
        completed, image = self.complete(batch, parts), self.restore(batch, parts)
        outside, window = outside_metal(batch), self.settings.window
        return {
            "trace_rmse": masked_mean((completed - target) ** 2, trace).sqrt(),
            "nmar_trace_rmse": masked_mean((batch["filled"][:, 1:2] - target) ** 2, trace).sqrt(),
            "psnr_db": psnr(image, batch["target"], outside, window),
            "nmar_psnr_db": psnr(batch["nmar"], batch["target"], outside, window),
            "rmse_hu": masked_mean((image - batch["target"]) ** 2, outside).sqrt(),
        }

    def preview(self, stage: Stage, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """See `Method.preview`."""
        pictures = [batch["input"], self.restore(batch, parts), batch["target"]]
        return [picture[0, 0].float().cpu().numpy() for picture in pictures]

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        options = self.settings.network.options(in_channels=CHANNELS, out_channels=1)
        return {
            "network": {"name": self.settings.network.name, "options": options},
            "task": self.task,
            "input": "sinograms of three adjacent slices, see ctrestoration.correct.inpainting",
            "output": "what to add to the NMAR-completed sinogram in the trace",
        }
