"""Table 1 of the paper on the uncertainty-constraint loss: every network with it and without, and its controls.

All trainings of a network take the same number of gradient steps on the same data, and the best validated weights of
each are tested. Variants:

    plain        the recipe's own loss, for all epochs
    uc           the warm-up, then the weighted loss from scratch
    none         the warm-up, then the plain loss from scratch: what the restart alone costs
    shuffled     as uc, with the same weights at random pixels
    gradient     as uc, weighted by the image gradient
    error        as uc, weighted by the last warm-up network's own error
    uc-clip      as uc, the map's highest thousandth clipped: single bright pixels leave nothing to the others
    u            as uc, by the paper's literal weight U in place of 1 + U, not divided by its mean

With uc and its controls, the warm-up's steps are spent before the restart; plain uses them for training. Running the
early networks costs uc more time on top, which is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ctrestoration.control import Control
from ctrestoration.studies.running import refuse_unknown, run_on_stored_scans, seed_count

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

CONTROLS = ("none", "shuffled", "gradient", "error")
OPTIONAL = ("uc-clip", "u")
"""Other forms of the loss; where they are not planned, `--variants` asks for them."""

VARIANTS = ("plain", "uc", *CONTROLS, *OPTIONAL)
SPLITS = ("train", "validation", "test")
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "uc": {"map": "uncertainty"},
    "uc-clip": {"map": "uncertainty", "clip": 0.999},
    "u": {"map": "uncertainty", "weighting": "u", "normalized": False},
}
"""Of the loss; controls are called by their map."""


@dataclass(frozen=True)
class Network:
    """One network at one scale.

    Attributes:
        options: its settings, "name" first.
        warm: epochs of the warm-up.
        main: epochs after it; plain trains for the sum.
        batch: samples in a step.
        lr: learning rate at the start.
        controls: which controls, and which of `OPTIONAL`, are run unless variants are asked for.
    """

    options: Mapping[str, Any]
    warm: int
    main: int
    batch: int = 4
    lr: float = 2e-4
    controls: tuple[str, ...] = CONTROLS

    @property
    def variants(self) -> tuple[str, ...]:
        """What is run with this network unless variants are asked for."""
        return ("plain", "uc", *self.controls)


@dataclass(frozen=True)
class Scale:
    """How large a study is.

    Attributes:
        size: rows and columns.
        pixel_mm: pixel size.
        preset: scanner preset.
        scans: number of scans for training, validation, test.
        phantoms: number of phantoms of each, never shared.
        networks: by name.
        seeds: every training is repeated with so many seeds.
        device: see `training.config.HardwareConfig`.
    """

    size: int
    pixel_mm: float
    preset: str
    scans: tuple[int, int, int]
    phantoms: tuple[int, int, int]
    networks: Mapping[str, Network]
    seeds: int = 3
    device: str = "cpu"


def _of(**networks: Network) -> Mapping[str, Network]:
    return MappingProxyType(networks)


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "tiny": Scale(
            64, 5.0, "adn-256", (32, 4, 16), (4, 1, 2),
            _of(
                unet=Network({"name": "unet", "widths": [16, 32, 64, 64]}, 5, 30, lr=1e-3),
                dicdnet=Network({"name": "dicdnet", "stages": 2, "blocks": 1}, 4, 8, lr=1e-3, controls=()),
                indudonet=Network({"name": "indudonet", "stages": 1, "blocks": 1}, 2, 4, 1, 1e-3, ()),
                mepnet=Network({"name": "mepnet", "stages": 1, "blocks": 2}, 2, 4, 1, 1e-3, ()),
            ),
        ),
        "small": Scale(
            96, 3.4, "adn-256", (96, 12, 32), (8, 2, 4),
            _of(
                unet=Network(
                    {"name": "unet", "widths": [16, 32, 64, 64]}, 5, 25, lr=1e-3, controls=(*CONTROLS, *OPTIONAL)
                ),
                dicdnet=Network({"name": "dicdnet", "stages": 3, "blocks": 1}, 4, 12, lr=1e-3, controls=("none",)),
                indudonet=Network({"name": "indudonet", "stages": 2, "blocks": 1}, 3, 7, 1, 1e-3, ("none",)),
                mepnet=Network({"name": "mepnet", "stages": 1, "blocks": 2}, 3, 7, 1, 1e-3, ("none",)),
            ),
            device="auto",
        ),
        "paper": Scale(
            416, 0.75, "syndeeplesion-640", (800, 50, 200), (60, 10, 20),
            _of(
                unet=Network({"name": "unet"}, 5, 95, controls=(*CONTROLS, *OPTIONAL)),
                dicdnet=Network({"name": "dicdnet"}, 5, 95, controls=(*CONTROLS, *OPTIONAL)),
                indudonet=Network({"name": "indudonet"}, 5, 95, 1, controls=(*CONTROLS, *OPTIONAL)),
                mepnet=Network({"name": "mepnet"}, 5, 95, 1, controls=(*CONTROLS, *OPTIONAL)),
            ),
            device="auto",
        ),
    }
)  # fmt: skip
"""Only "paper" has the published sizes of networks, images and epochs; its images are phantoms, not DeepLesion."""


@dataclass(frozen=True)
class Run:
    """One training of a study."""

    network: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.network}-{self.variant}-{self.seed}"

    @classmethod
    def of(cls, name: str) -> Run | None:
        """The run whose folder is called so, or None."""
        network, _, rest = name.partition("-")
        variant, _, seed = rest.rpartition("-")
        return cls(network, variant, int(seed)) if variant in VARIANTS and seed.isdecimal() else None


def plan(
    scale: Scale, networks: Sequence[str] = (), variants: Sequence[str] = (), seeds: int | None = None
) -> list[Run]:
    """Every planned training, or those of some networks, variants and seeds; seed by seed: tables fill evenly.

    Raises:
        InputError: unknown names, or more seeds than the scale has.
    """
    refuse_unknown("network", networks, tuple(scale.networks))
    refuse_unknown("variant", variants, VARIANTS)
    count = seed_count(seeds, scale.seeds)
    return [
        Run(network, variant, seed)
        for seed in range(count)
        for network, settings in scale.networks.items()
        if network in (networks or scale.networks)
        for variant in VARIANTS
        if variant in (variants or settings.variants)
    ]


def build_data(scale: Scale, folder: Path, control: Control) -> None:
    """Simulate training, validation and test scans of phantoms that no two of them share; see `scan_store`."""
    from ctrestoration.training.data.scan_store import build_scans
    from ctrestoration.training.sources import scans

    total, done, first = sum(scale.scans), 0, 0
    for split, count, phantoms in zip(SPLITS, scale.scans, scale.phantoms, strict=True):
        settings = scans.Config(
            name="scans", phantoms=phantoms, first_seed=first, count=count, size=scale.size, pixel_mm=scale.pixel_mm,
            preset=scale.preset,
        )  # fmt: skip
        part = control.part(done / total, (done + count) / total)
        build_scans(folder / split, settings, 0, "main" if split == "train" else "validation", part)
        done, first = done + count, first + phantoms


def run_file(scale: Scale, run: Run) -> RunConfig:
    """The run file of a training; its data lie in the folder `data` of the study."""
    network = scale.networks[run.network]
    method = _method(network, run.variant, image=run.network == "unet")
    name = f"{run.network}-{run.variant}"
    return run_on_stored_scans(name, run.seed, method, "train", network.batch, network.lr, scale.device)


def _method(network: Network, variant: str, image: bool) -> dict[str, Any]:
    whole = {"main": {"epochs": network.warm + network.main}}
    staged = {"warm": {"epochs": network.warm, "hand_on": "last"}, "main": {"epochs": network.main}}
    settings = _SETTINGS.get(variant, {"map": variant})
    common = {"network": dict(network.options)}
    if variant == "plain":
        return {"name": "supervised" if image else "unrolled", **common, "stages": whole}
    if image:
        return {"name": "uc", **common, **settings, "stages": staged}
    return {"name": "unrolled", **common, "uncertainty": settings, "stages": staged}
