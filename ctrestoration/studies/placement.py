"""Does it help to place implants as a surgeon would? Networks trained on realistic, random, mixed and moved placement.

The same U-Net is trained on the same phantoms with each kind of metal, and tested on phantoms it never saw with
realistic and random metal. Random metal differs in more than its place: single screws, devices and shapes, no rods.
"moved" differs in that alone: the implants of "realistic", all together in any pose.
Everything else is equal: number of scans, gradient steps, seeds. CTs with real metal can be named beside: they have no
truth, so what is measured of them is what `evaluate.without_truth` measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import Control
from ctrestoration.errors import InputError
from ctrestoration.studies.mar_scores import cells, line, over_seeds, spread_of, text_of
from ctrestoration.studies.running import refuse_unknown, run_on_stored_scans, seed_count
from ctrestoration.volume import AIR_HU, LabelMap

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

TRAINED_ON = ("realistic", "random", "mixed", "moved")
TESTED_ON = ("realistic", "random")
_REAL_SCORES = {"ring_sd_hu": ".0f", "ring_dark_percent": ".1f", "change_far_hu": ".1f"}


@dataclass(frozen=True)
class Scale:
    """How large a study is.

    Attributes:
        size: rows and columns.
        pixel_mm: pixel size.
        preset: scanner preset.
        scans: number of scans for training, validation, test.
        phantoms: number of phantoms of each, never shared.
        widths: of the U-Net.
        epochs: of every training.
        batch: samples in a step.
        lr: learning rate at the start.
        seeds: every training is repeated with so many seeds.
        device: see `training.config.HardwareConfig`.
    """

    size: int
    pixel_mm: float
    preset: str
    scans: tuple[int, int, int]
    phantoms: tuple[int, int, int]
    widths: tuple[int, ...]
    epochs: int
    batch: int = 4
    lr: float = 1e-3
    seeds: int = 3
    device: str = "cpu"


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "tiny": Scale(64, 5.0, "adn-256", (32, 4, 16), (4, 1, 2), (16, 32, 64, 64), 30),
        "small": Scale(
            96, 3.4, "adn-256", (120, 12, 32), (8, 2, 4), (16, 32, 64, 64), 40, device="auto"
        ),
        "paper": Scale(
            416, 1.0, "syndeeplesion-640", (1000, 50, 200), (60, 10, 20), (32, 64, 128, 256, 256), 100, 8, 2e-4,
            device="auto",
        ),
    }
)  # fmt: skip
"""There is no published table to stand beside: the claim is that of the inpainting work, without numbers."""


@dataclass(frozen=True)
class Run:
    """One training: what it was trained on, and its seed."""

    placement: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.placement}-{self.seed}"


def plan(scale: Scale, placements: Sequence[str] = (), seeds: int | None = None) -> list[Run]:
    """Every training, or those of some placements and seeds; seed by seed.

    Raises:
        InputError: unknown placement, or a number of seeds outside 1..100.
    """
    refuse_unknown("variant", placements, TRAINED_ON)
    count = seed_count(seeds, scale.seeds)
    return [Run(name, seed) for seed in range(count) for name in TRAINED_ON if name in (placements or TRAINED_ON)]


def build_data(scale: Scale, folder: Path, workers: int, control: Control) -> None:
    """Simulate training scans of each placement, mixed validation scans, and test scans of both."""
    from ctrestoration.training.data.scan_store import build_scans
    from ctrestoration.training.sources import scans

    train, validation, test = scale.scans
    seeds = (0, scale.phantoms[0], scale.phantoms[0] + scale.phantoms[1])
    wanted = [(f"train-{name}", name, train, 0) for name in TRAINED_ON]
    wanted += [("validation", "mixed", validation, 1), *((f"test-{name}", name, test, 2) for name in TESTED_ON)]
    for number, (name, placement, count, part) in enumerate(wanted):
        settings = scans.Config(
            name="scans", placement=placement,  # type: ignore[arg-type]
            phantoms=scale.phantoms[part], first_seed=seeds[part], count=count, size=scale.size,
            pixel_mm=scale.pixel_mm, preset=scale.preset,
        )  # fmt: skip
        stage = "validation" if part else "main"
        share = control.part(number / len(wanted), (number + 1) / len(wanted))
        build_scans(folder / name, settings, 0, stage, share, workers)


def run_file(scale: Scale, run: Run) -> RunConfig:
    """The run file of a training; its data lie in the folder `data` of the study."""
    method = {
        "name": "supervised",
        "network": {"name": "unet", "widths": list(scale.widths)},
        "loss": "rmse",
        "stages": {"main": {"epochs": scale.epochs}},
    }
    return run_on_stored_scans(
        f"placement-{run.placement}", run.seed, method, f"train-{run.placement}", scale.batch, scale.lr, scale.device
    )


@dataclass(frozen=True)
class RealCase:
    """A CT with real metal as the networks of a study see scans.

    Attributes:
        name: of the CT.
        image: HU [z, y, x], the slices with metal, of the study's matrix.
        metal: bool, same shape; found by threshold before the CT was resampled.
    """

    name: str
    image: NDArray[np.float32]
    metal: NDArray[np.bool_]


def real_case(path: Path, scale: Scale) -> RealCase:
    """Read a CT with real metal.

    Raises:
        InputError: unreadable, no body, or no metal in it.
    """
    from ctrestoration.anatomy.metal import segment_metal
    from ctrestoration.io.images import read_volume
    from ctrestoration.training.data.resampling import labels_on, square_slices

    volume = read_volume(path)
    found = segment_metal(volume)
    square = square_slices(volume, scale.size, scale.pixel_mm)
    metal = labels_on(LabelMap(found.mask.astype(np.uint8), volume.grid, {1: "metal"}), square.grid) > 0
    slices = metal.any(axis=(1, 2))
    if not slices.any():
        raise InputError(f"{path} holds no metal at {scale.pixel_mm:g} mm; threshold {found.reason}")
    return RealCase(path.name.split(".")[0], np.maximum(square.array[slices], np.float32(AIR_HU)), metal[slices])


def score_real(folder: Path, cases: Sequence[RealCase]) -> dict[str, Any]:
    """By name of the CT: {"output": scores, "input": scores} of a finished run, see `evaluate.without_truth`."""
    import torch

    from ctrestoration.evaluate.without_truth import scores_without_truth
    from ctrestoration.studies.mar_scores import open_restorer

    restore, result = open_restorer(folder), {}
    for case in cases:
        made = np.empty_like(case.image)
        for z, plane in enumerate(case.image):
            metal = case.metal[z].astype(np.float32)
            batch = {name: torch.from_numpy(part[None, None]) for name, part in (("input", plane), ("metal", metal))}
            made[z] = restore(batch)
        scored = {
            name: scores_without_truth(case.image, image, case.metal)
            for name, image in (("output", made), ("input", case.image))
        }
        result[case.name] = {name: {key: found[key] for key in _REAL_SCORES} for name, found in scored.items()}
    return result


def summarize_real(scores: Mapping[Run, Mapping[str, Any]]) -> dict[str, Any]:
    """As `summarize`, by CT: {"input": scores, "trained_on": {placement: {"seeds", score: [mean, spread], ...}}}."""
    table: dict[str, Any] = {}
    for case in next(iter(scores.values()), {}):
        rows = {}
        for placement in TRAINED_ON:
            some = {run.seed: found[case]["output"] for run, found in scores.items() if run.placement == placement}
            if some:
                means = {key: spread_of([one[key] for one in some.values()]) for key in _REAL_SCORES}
                rows[placement] = {"seeds": sorted(some), **means}
        table[case] = {"input": next(iter(scores.values()))[case]["input"], "trained_on": rows}
    return table


def summarize(scores: Mapping[Run, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by what was trained on and what was tested on.

    Args:
        scores: of each run, by name of the test, see `mar_scores.score_run`.

    Returns:
        JSON types: test -> {"input": scores, "trained_on": {placement: {"seeds", "psnr_db": [mean, spread], ...,
        "gain": [mean, spread] of PSNR over random, "better": seeds with more PSNR than random, "of": pairs}}}.
    """
    table: dict[str, Any] = {}
    for test in TESTED_ON:
        rows: dict[str, Any] = {}
        random = {
            run.seed: found[test]["output"]["psnr_db"] for run, found in scores.items() if run.placement == "random"
        }
        for placement in TRAINED_ON:
            some = {run.seed: found[test]["output"] for run, found in scores.items() if run.placement == placement}
            if not some:
                continue
            row = over_seeds(some)
            gains = [some[seed]["psnr_db"] - random[seed] for seed in some if seed in random]
            if gains and placement != "random":
                row |= {"gain": spread_of(gains), "better": sum(gain > 0 for gain in gains), "of": len(gains)}
            rows[placement] = row
        if rows:
            table[test] = {"input": next(iter(scores.values()))[test]["input"], "trained_on": rows}
    return table


def markdown(name: str, table: Mapping[str, Any], real: Mapping[str, Any], facts: Sequence[str]) -> str:
    """The tables for people: simulated scans, and CTs with real metal if there are any."""
    lines = [
        f"# Placement of implants in the training data, at scale {name}",
        "",
        *facts,
        "",
        "PSNR in dB and SSIM in the fixed range 0 to 0.5 1/cm, against the metal-free scan, metal set to 0; RMSE in HU",
        "outside metal and within 10 pixels of it. Mean ± standard deviation over seeds. Gains are over training on",
        "random placement, seed by seed.",
        "",
        "| tested on | trained on | seeds | PSNR | SSIM | RMSE | near metal | gain PSNR | better |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for test, content in table.items():
        lines.append(line(test, "uncorrected", "", *cells(content["input"]), "", ""))
        for placement, row in content["trained_on"].items():
            gains = [text_of(row["gain"], "+.2f"), f"{row['better']}/{row['of']}"] if "gain" in row else ["", ""]
            lines.append(line(test, placement, str(len(row["seeds"])), *cells(row), *gains))
    if real:
        lines += [
            "",
            "Real metal, for which there is no truth: within 10 pixels of it, standard deviation in HU and share below",
            "-200 HU; root mean square of the change in HU beyond 30 pixels.",
            "",
            "| CT | trained on | seeds | SD near metal | dark near metal, % | change far away |",
            "|---|---|---|---|---|---|",
        ]
    for case, content in real.items():
        uncorrected = [text_of((content["input"][key], None), _REAL_SCORES[key]) for key in _REAL_SCORES]
        lines.append(line(case, "uncorrected", "", *uncorrected))
        for placement, row in content["trained_on"].items():
            found = [text_of(row[key], _REAL_SCORES[key]) for key in _REAL_SCORES]
            lines.append(line(case, placement, str(len(row["seeds"])), *found))
    return "\n".join(lines) + "\n"
