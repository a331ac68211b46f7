"""Unrolled: the interpretable MAR networks, every stage of which is supervised; with the UC loss or without.

InDuDoNet, InDuDoNet+ and MEPNet work on image and sinogram; DICDNet and OSCNet on the image. Losses as published, with
the weights of the papers' equations: images of all stages outside the metal, the last one with weight 1, and the
sinograms (dual domain) or the artifacts (dictionaries) beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from ctrestoration.errors import InputError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.losses.uncertainty import squared_error_factor
from ctrestoration.networks import settings_classes
from ctrestoration.networks._blocks import DualDomain
from ctrestoration.networks._operator import NetworkOperator, from_hu, to_hu
from ctrestoration.training.config import DataPath, Strict, Window, one_of
from ctrestoration.training.method import Batch, Collapse, Losses, Parts, Stage
from ctrestoration.training.recipes._base import StageConfig, masked_mean, outside_metal, psnr
from ctrestoration.training.recipes._uncertainty import EarlyNetworks, UncertaintySettings
from ctrestoration.training.sources import is_fixed

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

NetworkConfig: Any = one_of((*settings_classes("dual-domain"), *settings_classes("dictionary")))


class Stages(Strict):
    """The stages of this recipe."""

    warm: StageConfig = Field(
        default=StageConfig(epochs=5, hand_on="last"), description="Only with `uncertainty`: plain loss, epochs kept."
    )
    main: StageConfig = Field(default=StageConfig(epochs=100), description="The training.")


class Config(Strict):
    """Unrolled networks that work on scans (source `scans`)."""

    name: Literal["unrolled"]
    network: NetworkConfig = Field(default={"name": "indudonet"}, description="The network to train.")
    initial_weights: DataPath | None = Field(
        default=None, description="A .safetensors file to start from; none: random."
    )
    window: Window = Field(default=(-1000.0, 1604.0), description="Fixed HU window of the validation PSNR.")
    middle: float = Field(default=0.1, ge=0, le=1, description="Weight of each stage's loss but the last one's.")
    sinogram: float = Field(default=0.1, ge=0, le=100, description="Weight of the sinogram loss (dual domain).")
    absolute: float = Field(
        default=5e-4, ge=0, le=1, description="Weight of the absolute errors of image and artifact (dictionaries)."
    )
    uncertainty: UncertaintySettings | None = Field(
        default=None, description="Weight the image errors by the warm-up's uncertainty; none: plain."
    )
    stages: Stages = Field(default=Stages(), description="Lengths and rates.")

    @model_validator(mode="after")
    def _epochs_can_disagree(self) -> Config:
        if self.uncertainty is not None:
            self.uncertainty.refuse_short(self.stages.warm.epochs)
        return self

    def create(self, run: RunConfig) -> Unrolled:
        """The method that these settings describe."""
        stages = [self.stages.main.stage("main", ("g",), run)]
        if self.uncertainty is not None:
            stages.insert(0, self.stages.warm.stage("warm", ("g",), run))
        return Unrolled(self, tuple(stages))


class Unrolled:
    """See the module's docstring. Batches are those of `training.sources.scans`."""

    collapse: Collapse | None = None
    exports: tuple[str, ...] = ("g",)
    task = "mar"

    def __init__(self, settings: Config, stages: tuple[Stage, ...]) -> None:
        self.settings, self.stages = settings, stages
        self._early: EarlyNetworks | None = None
        self._operator: NetworkOperator | None = None
        self._every = 1

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`.

        Raises:
            InputError: the data are no scans.
        """
        given = config.data.train
        if not hasattr(given, "as_scans"):
            raise InputError(f"The recipe unrolled trains on scans: data.train.name must be scans, not {given.name}.")
        source = given.as_scans()
        if getattr(self.settings.network, "prior", None) == "nmar" and not source.nmar:
            raise InputError(
                "InDuDoNet+ (prior nmar) needs the NMAR prior: set data.train.nmar and data.validation.nmar."
            )
        self._every = source.every_nth_view
        if self._dual:
            self._operator = operator_of(source.preset, source.size, source.pixel_mm)
        if self.settings.uncertainty is not None:
            self._early = EarlyNetworks(self.settings.uncertainty, config.seed, self._fresh, is_fixed(given))
        return Parts({"g": self._fresh()}, {"g": ("g",)})

    @property
    def _dual(self) -> bool:
        return any(isinstance(self.settings.network, kind) for kind in settings_classes("dual-domain"))

    def _fresh(self) -> nn.Module:
        network: nn.Module = self.settings.network.build()
        if self.settings.initial_weights is not None:
            from ctrestoration.models.weights import load_into

            load_into(network, self.settings.initial_weights)
        return network

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `EarlyNetworks.enter`."""
        if self._early is not None:
            self._early.enter(stage, run, parts)

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """See `EarlyNetworks.epoch_end`."""
        if self._early is not None:
            self._early.epoch_end(stage, epoch, run, parts)

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """The published losses; the UC weights multiply the squared image errors only."""
        images, others = self._run(batch, parts.modules["g"])
        target, outside = from_hu(batch["target"]), outside_metal(batch)
        counted = (outside >= 0.5).to(target.dtype)
        factor, early = torch.ones_like(target), self._early
        if early is not None and stage.name != "warm" and early.settings.map != "none":
            weights = early.weights(batch, counted, lambda network, part: to_hu(self._run(part, network)[0][-1]))
            factor = squared_error_factor(weights, early.settings.weigh, early.settings.beside_plain)
        shares = [self.settings.middle] * (len(images) - 1) + [1.0]
        errors = [(factor * (outside * (image - target)) ** 2).mean() for image in images]
        squared = torch.stack([share * error for share, error in zip(shares, errors, strict=True)]).sum()
        extra = self._other_losses(batch, images, others, target, outside)
        total = squared + extra
        return Losses(total, {"image_loss": squared, "other_loss": extra})

    def _other_losses(
        self, batch: Batch, images: list[Tensor], others: list[Tensor], target: Tensor, outside: Tensor
    ) -> Tensor:
        """Sinograms of the stages (dual domain), or absolute errors of image and artifact (dictionaries)."""
        middle = self.settings.middle
        if self._dual:
            assert self._operator is not None  # noqa: S101 - build made it
            truth = self._operator.to_network(batch["target_sinogram"])
            shares = [middle] * (len(others) - 1) + [1.0]
            errors = [((one - truth) ** 2).mean() for one in others]
            return (
                self.settings.sinogram
                * torch.stack([share * error for share, error in zip(shares, errors, strict=True)]).sum()
            )
        artifact = from_hu(batch["input"]) - target
        # Absolute errors are sums over the pixels of a sample, as published; the samples are averaged.
        parts = [middle * (outside * (image - target)).abs() for image in images[:-1]]
        parts += [(outside * (images[-1] - target)).abs()]
        parts += [middle * (outside * (one - artifact)).abs() for one in others]
        return self.settings.absolute * torch.stack([part.flatten(1).sum(1).mean() for part in parts]).sum()

    def _run(self, batch: Batch, network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """Images of every stage, and sinograms or artifacts; network units, float32."""
        image, image_li = from_hu(batch["input"]), from_hu(batch["li"])
        if not self._dual:
            found = network(image, image_li, outside_metal(batch))
            return [one.float() for one in found.images], [one.float() for one in found.artifacts]
        prior = from_hu(batch["prior"]) if "prior" in batch else None
        operator = self._operator
        assert operator is not None  # noqa: S101 - build made it
        measured, filled = operator.to_network(batch["sinogram"]), operator.to_network(batch["sinogram_li"])
        result = network(DualDomain(image, image_li, measured, filled, batch["kept"], prior), operator)
        return [one.float() for one in result.images], [one.float() for one in result.sinograms]

    def restore(self, batch: Batch, parts: Parts) -> Tensor:
        """The corrected image in HU; metal as it was."""
        outside = outside_metal(batch)
        return outside * to_hu(self._run(batch, parts.modules["g"])[0][-1]) + (1 - outside) * batch["input"]

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """PSNR in the fixed window and RMSE in HU outside the metal, of the output, of LI and of the input."""
        output, outside, target = self.restore(batch, parts), outside_metal(batch), batch["target"]
        window = self.settings.window
        return {
            "psnr_db": psnr(output, target, outside, window),
            "input_psnr_db": psnr(batch["input"], target, outside, window),
            "li_psnr_db": psnr(batch["li"], target, outside, window),
            "rmse_hu": masked_mean((output - target) ** 2, outside).sqrt(),
        }

    def preview(self, stage: Stage, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """See `Method.preview`."""
        pictures = [batch["input"], self.restore(batch, parts), batch["target"]]
        return [picture[0, 0].float().cpu().numpy() for picture in pictures]

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        return {
            "network": {"name": self.settings.network.name, "options": self.settings.network.options()},
            "task": self.task,
            "every_nth_view": self._every,
            "input": "scan in network units, see ctrestoration.networks._operator",
            "output": "images of every stage in network units, the last one being the answer",
        }


def operator_of(preset: str, size: int, pixel_mm: float) -> NetworkOperator:
    """The scanner of a preset around square slices."""
    from ctrestoration.physics.presets import scanner_preset
    from ctrestoration.physics.projector import Projector

    scanner = scanner_preset(preset)
    grid = scanner.image_grid((size, size), (pixel_mm, pixel_mm))
    return NetworkOperator(Projector(scanner.geometry(grid), grid))
