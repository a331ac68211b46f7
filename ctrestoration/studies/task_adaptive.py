"""Tables I and II of the task-adaptive paper: what is simulated and trained for them.

For each seed: a segmenter `segment` on full-dose images (frozen in everything else), a second one `heldout` of another
architecture and seed that no loss ever sees, the base network, joint training, and the task-adaptive networks: at the
published alphas, over a log axis below them, and under a bound on PSNR; some with cross-entropy beside the Dice loss.
Where networks end in a sigmoid, as published, another base network says instead what to add to its input: `residual`;
`residual-A` and `residual-bound-DB` are task-adaptive networks of that form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ctrestoration.control import Control
from ctrestoration.errors import InputError
from ctrestoration.studies.running import refuse_unknown, seed_count

if TYPE_CHECKING:
    from ctrestoration.training.data.lowdose_dataset import LowDoseBuild
    from ctrestoration.training.runfile import RunConfig

SEGMENTERS = ("segment", "heldout")
_BASES = ("base", "residual")
PUBLISHED_SHARES = ("0.1", "0.5", "0.9")


@dataclass(frozen=True)
class Scale:
    """How large a study is.

    Attributes:
        size: rows and columns.
        pixel_mm: pixel size.
        phantoms: patients, where no public data set is given.
        slices: labeled slices of each.
        scanner: fields of `simulate.lowdose.LowDoseSettings`. "small" has bins as wide as a pixel, as LoDoPaB has,
            fewer views, and as many photons in all as LoDoPaB: with as many for each of so few bins, a lesion of a few
            pixels drowns, and no network can draw what is lost.
        network: of the reconstruction and of the segmenter.
        heldout: network of the held-out segmenter.
        output: "residual" or "sigmoid" (as published).
        epochs: of every training but the segmenters'.
        segment_epochs: of these; one that has not learned to find lesions cannot miss them in a blurred image either.
        batch: samples in a step.
        lr: learning rate at the start.
        segment_lr: that of the segmenters.
        sweep: alphas beside the published ones.
        with_ce: task-adaptive variants that are run with cross-entropy added to the task loss, too. The Dice loss of a
            slice without lesions is 1 whatever is found there; cross-entropy counts every pixel.
        residual_sweep: alphas and "bound-DB" of networks with a residual output, where `output` is another.
        shares: of the phantoms for training, validation and test.
        seeds: every training is repeated with so many seeds.
        validate_every: epochs between validations.
        device: see `training.config.HardwareConfig`.
    """

    size: int
    pixel_mm: float
    phantoms: int
    slices: int
    scanner: Mapping[str, Any]
    network: Mapping[str, Any]
    heldout: Mapping[str, Any]
    output: str
    epochs: int
    segment_epochs: int
    batch: int
    lr: float
    segment_lr: float
    sweep: tuple[str, ...]
    with_ce: tuple[str, ...] = ()
    residual_sweep: tuple[str, ...] = ()
    shares: tuple[float, float, float] = (0.58, 0.14, 0.28)
    seeds: int = 3
    validate_every: int = 5
    device: str = "cpu"

    @property
    def variants(self) -> tuple[str, ...]:
        """Every training of a seed, in the order they are run."""
        shares = [*(f"joint-{c}" for c in PUBLISHED_SHARES), *(f"adaptive-{a}" for a in PUBLISHED_SHARES)]
        other = ("residual", *(f"residual-{a}" for a in self.residual_sweep)) if self.residual_sweep else ()
        sweep = [*(f"adaptive-{a}" for a in self.sweep), "bound-1", *(f"{name}-ce" for name in self.with_ce)]
        return (*SEGMENTERS, "base", *other, *shares, *sweep)


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "tiny": Scale(
            64, 5.0, 14, 12, {"fine_pixels": 128},
            {"name": "unet", "widths": [16, 32, 64, 64]},
            {"name": "unet", "widths": [12, 24, 48], "norm": "instance"},
            "residual", 14, 14, 4, 1e-3, 1e-3, ("0.001", "0.01"),
        ),
        "small": Scale(
            96, 3.4, 160, 12, {"bins": 136, "views": 200, "photons": 77000.0, "fine_pixels": 256},
            {"name": "unet", "widths": [16, 32, 64, 64]},
            {"name": "unet", "widths": [16, 32, 64], "norm": "instance"},
            "sigmoid", 12, 16, 4, 3e-3, 1e-3, ("0.001", "0.003", "0.01"),
            ("adaptive-0.001", "adaptive-0.01", "bound-1"), ("0.0001", "0.001", "0.01", "bound-1"),
            (0.75, 0.1, 0.15), validate_every=2, device="auto",
        ),
        "paper": Scale(
            512, 0.75, 131, 100, {},
            {"name": "unet", "widths": [64, 128, 256, 512, 1024]},
            {"name": "monai", "kind": "SegResNet", "arguments": {"init_filters": 16}},
            "sigmoid", 100, 100, 8, 2e-4, 2e-4, ("0.0001", "0.001", "0.01"), (), ("0.0001", "bound-1"),
            validate_every=1, device="auto",
        ),
    }
)  # fmt: skip
"""Only "paper" has the published size of images, number of patients, and form of the networks; a phantom has fewer
labeled slices than the 146 of a LiTS scan."""


@dataclass(frozen=True)
class Run:
    """One training of a study."""

    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.variant}_{self.seed}"


def plan(scale: Scale, variants: Sequence[str] = (), seeds: int | None = None) -> list[Run]:
    """Every training, or those of some variants and seeds; what they need (`segment`, `base`) is added.

    Raises:
        InputError: unknown variants, or a number of seeds outside 1..100.
    """
    refuse_unknown("variant", variants, scale.variants)
    count = seed_count(seeds, scale.seeds)
    wanted = set(variants or scale.variants)
    # Every row is scored by both segmenters; a bound is measured from the base network.
    wanted |= {*SEGMENTERS} | {_base(name) for name in wanted if "bound" in name}
    return [Run(variant, seed) for seed in range(count) for variant in scale.variants if variant in wanted]


def phases(runs: Sequence[Run]) -> list[list[Run]]:
    """The trainings in an order in which each finds the weights that it starts from; within a phase, any order."""
    first = [run for run in runs if run.variant in (*SEGMENTERS, *_BASES)]
    return [some for some in (first, [run for run in runs if run not in first]) if some]


def build_settings(scale: Scale, dataset: tuple[str, str] | None = None) -> LowDoseBuild:
    """The data set of a study: phantoms, or the labeled cases of a public data set (LiTS for the paper's own)."""
    from ctrestoration.training.data.lowdose_dataset import LowDoseBuild

    common: dict[str, Any] = {
        "cases": 1, "slices": scale.slices, "size": scale.size, "pixel_mm": scale.pixel_mm, **scale.scanner,
    }  # fmt: skip
    if dataset is not None:
        return LowDoseBuild(phantoms=0, dataset=dataset[0], dataset_folder=dataset[1], shares=(0.7, 0.1, 0.2), **common)
    return LowDoseBuild(phantoms=scale.phantoms, shares=scale.shares, **common)


def build_data(scale: Scale, folder: Path, dataset: tuple[str, str] | None, workers: int, control: Control) -> None:
    """Simulate the data set, or go on with it; a finished one stays.

    Raises:
        InputError: the study was begun with other patients.
    """
    from ctrestoration.io.pairs import read_manifest
    from ctrestoration.training.data.dataset import build_dataset

    settings = build_settings(scale, dataset)
    if not (folder / "manifest.json").is_file():
        build_dataset(folder, settings, workers, control)
    elif read_manifest(folder)["settings"] != settings.to_json():
        raise InputError(f"{folder} was made of other patients than this command names: choose another --out.")


def run_file(scale: Scale, run: Run) -> RunConfig:
    """The run file of a training; its data lie in the folder `data` of the study, other weights beside it."""
    from ctrestoration.training.runfile import RunConfig

    # Relative to the run directory, so that a study can be moved.
    data = {"name": "pairs", "folder": "../../data"}
    seed = run.seed + 1000 if run.variant == "heldout" else run.seed
    return RunConfig.model_validate(
        {
            "schema_version": 1,
            "name": run.variant,
            "seed": seed,
            "method": _method(scale, run),
            "data": {"train": data, "validation": {**data, "split": "validation"}, "batch_size": scale.batch},
            "optim": {"lr": scale.segment_lr if run.variant in SEGMENTERS else scale.lr},
            "validation": {"every_epochs": scale.validate_every},
            "checkpoint": {"keep": 1, "save_every": 1000},
            # One thread, so that results do not depend on the machine's cores or on what runs beside it.
            "hardware": {"device": scale.device, "threads": 1, "probe_steps": 3, "channels_last": True},
            "preview": {"every_epochs": 0},
        }
    )


def _method(scale: Scale, run: Run) -> dict[str, Any]:
    form = _base(run.variant)
    kind, number, *more = (*run.variant.removeprefix("residual-").split("-"), "")
    task = {"network": dict(scale.network)}
    frozen: dict[str, Any] = {**task, "weights": f"../segment_{run.seed}/weights/t.safetensors"}
    common = {"network": dict(scale.network), "output": "residual" if form == "residual" else scale.output}
    last = {"epochs": scale.epochs}
    if kind in SEGMENTERS:
        network = scale.network if kind == "segment" else scale.heldout
        return {
            "name": "segment",
            "task": {"network": dict(network)},
            "stages": {"segment": {"epochs": scale.segment_epochs}},
        }
    if kind in _BASES:
        return {"name": "reconstruct", **common, "stages": {"reconstruct": last}}
    if kind == "joint":
        # Selected as it is trained: the published protocol says nothing, and the frozen segmenter must not decide.
        own = {**task, "training_loss": "dice"}
        return {"name": "joint", **common, "c": float(number), "tasks": [own], "stages": {"joint": last}}
    if "ce" in more:
        frozen["loss"] = "dice_ce"
    if kind == "bound":
        base = f"../{form}_{run.seed}/weights/g.safetensors"
        balance: dict[str, Any] = {"name": "constraint", "drop_db": float(number), "base_weights": base}
        common["initial_weights"] = base
    else:  # "adaptive", or an alpha after "residual-"
        balance = {"name": "fixed", "alpha": float(number or kind)}
    return {"name": "task_adaptive", **common, "tasks": [frozen], "balance": balance, "stages": {"reconstruct": last}}


def _base(variant: str) -> str:
    """The base network whose output a variant has."""
    return "residual" if variant.startswith("residual") else "base"
