"""The uncertainty-constraint loss as a part of recipes: its settings, and the networks of the warm-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.losses import uncertainty as uc
from ctrestoration.networks._images import SEEN_HU
from ctrestoration.training import snapshots
from ctrestoration.training.config import Strict
from ctrestoration.training.keys import derive
from ctrestoration.training.method import Batch, Parts, Stage
from ctrestoration.training.randomness import seed_everything

Restore = Callable[[nn.Module, Batch], Tensor]
"""The image [sample, 1, row, column] that a network makes of a batch."""


class UncertaintySettings(Strict):
    """How pixels are weighted."""

    map: Literal["uncertainty", "shuffled", "gradient", "error", "none"] = Field(
        default="uncertainty",
        description="What weights the pixels. Controls: the same values at random pixels, the image gradient, the "
        "error of the last warm-up epoch; none: the plain loss with the same number of epochs.",
    )
    weighting: Literal["u", "one_plus_u", "rmse_plus_u"] = Field(
        default="one_plus_u",
        description="W = U, W = 1 + strength U, or the plain error plus strength times "
        "the one weighted by U (of RMSE in `uc`, of squared errors in `unrolled`).",
    )
    strength: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Lambda, the factor of U, or of the error weighted by it; none with `u`.",
    )
    normalized: bool = Field(
        default=True, description="Divide W by its mean in each image; off, a gain may be a hidden learning rate."
    )
    weigh: Literal["squared_error", "residual"] = Field(
        default="squared_error", description="What W multiplies under the root."
    )
    clip: float | None = Field(
        default=None,
        gt=0.5,
        le=1,
        description="Quantile of the map that counts as 1, against single pixels; none: maximum.",
    )
    restart: Literal["scratch", "continue"] = Field(
        default="scratch", description="main begins with new weights of the same seed, or with those of the warm-up."
    )

    @model_validator(mode="after")
    def _strength_matters(self) -> UncertaintySettings:
        if self.weighting == "u" and self.strength != 1.0:
            raise ValueError(f"strength {self.strength:g} changes nothing with weighting u, which is U itself")
        return self

    def refuse_short(self, warm_epochs: int) -> None:
        """Refuse a warm-up whose snapshots cannot disagree; for validators.

        Raises:
            ValueError: one epoch, where the map is the spread of several.
        """
        if self.map in ("uncertainty", "shuffled") and warm_epochs < 2:
            raise ValueError(f"stages.warm.epochs has to be 2 or more: the map {self.map} is the spread of the epochs")

    @property
    def beside_plain(self) -> float | None:
        """Lambda where the plain loss is added, as `losses.uncertainty` takes it."""
        return self.strength if self.weighting == "rmse_plus_u" else None


class EarlyNetworks:
    """The weights of a warm-up's epochs, and the pixel weights that follow from them.

    Args:
        settings: of the loss.
        seed: of the run.
        fresh: builds the network with the weights that the warm-up began with, from seeded generators.
        fixed: a sample is the same in every epoch, so that its map is made once and kept, as 8-bit numbers.
    """

    WARM = "warm"

    def __init__(
        self, settings: UncertaintySettings, seed: int, fresh: Callable[[], nn.Module], fixed: bool = False
    ) -> None:
        self.settings, self._seed, self._fresh, self._fixed = settings, seed, fresh, fixed
        self._kept: dict[int, Tensor] = {}
        self._networks: list[nn.Module] = []

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """At the stage after the warm-up: read its networks, and begin again with the weights that it began with."""
        if stage.name == self.WARM:
            return
        network = parts.modules["g"]
        self._kept.clear()
        self._networks = snapshots.load(run, self.WARM, network)
        if self.settings.restart == "scratch":
            device = next(network.parameters()).device
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                seed_everything(self._seed, "build")
                fresh = self._fresh()
            network.load_state_dict(fresh.state_dict())

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """Keep the weights of every epoch of the warm-up."""
        if stage.name == self.WARM:
            snapshots.save(run, self.WARM, epoch, parts.modules["g"])

    @torch.no_grad()
    def weights(self, batch: Batch, counted: Tensor, restore: Restore) -> Tensor:
        """W [sample, 1, row, column]; never a function of the network in training.

        Args:
            batch: its "input", "target" and "index" are looked at.
            counted: 1 where pixels count, same shape as the result.
            restore: what a network makes of a batch, in any unit.
        """
        found = self._kept_map(batch, 1.0 - counted, restore) if self._fixed else self._map(batch, 1 - counted, restore)
        strength = self.settings.strength if self.settings.weighting == "one_plus_u" else 1.0
        return uc.pixel_weights(found, self.settings.weighting, strength, self.settings.normalized, counted)

    def _kept_map(self, batch: Batch, exclude: Tensor, restore: Restore) -> Tensor:
        """U in 255 steps, and sample by sample, so that a resumed run sees the same whatever its first batch holds."""
        indices = [int(index) for index in batch["index"]]
        for place, index in enumerate(indices):
            if index not in self._kept:
                here = slice(place, place + 1)
                alone = {name: tensor[here] for name, tensor in batch.items()}
                (found,) = self._map(alone, exclude[here], restore)
                self._kept[index] = torch.round(found * 255.0).to("cpu", torch.uint8)
        return torch.stack([self._kept[index] for index in indices]).to(exclude.device, torch.float32) / 255.0

    def _map(self, batch: Batch, exclude: Tensor, restore: Restore) -> Tensor:
        """U, or one of its controls."""
        clip = self.settings.clip
        if self.settings.map == "gradient":
            return uc.gradient_map(batch["input"].clamp(*SEEN_HU), exclude, clip)
        if self.settings.map == "error":
            return uc.error_map(restore(self._networks[-1], batch), batch["target"], exclude, clip)
        outputs = torch.stack([restore(network, batch).float() for network in self._networks])
        found = uc.uncertainty_map(outputs, exclude, clip)
        if self.settings.map == "shuffled":
            found = uc.shuffled(found, [derive(self._seed, "shuffled", int(index)) for index in batch["index"]])
        return found
