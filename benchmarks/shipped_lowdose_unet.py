"""How the shipped low-dose U-Net for patients was made, and how it does on patients it never saw.

    python benchmarks/shipped_lowdose_unet.py data DATA --out WORK     simulate the slices (half an hour on one core)
    python benchmarks/shipped_lowdose_unet.py train --out WORK         train (an hour on one core)
    python benchmarks/shipped_lowdose_unet.py test DATA --out WORK [--methods nlm,tv,FILE,...] [--json]
    python benchmarks/shipped_lowdose_unet.py ship --out WORK          write the weights and the card of the package

DATA is a folder with the CC BY volumes tcga_ov_abdomen, crlm_1004_abd, lidc_0314_chest_crop and cptac_lscc_head
(.nii.gz). Of the first three the caudal two thirds are trained on, the last third is tested on; one slab in the middle
of the first chooses the best step. Nothing of the head is trained on. The other shipped low-dose networks come from the
task-adaptive study: shipped_lowdose.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from shipped import ATTRIBUTION, LICENSE, Effort, Steps, halve, soft_disc, split_volumes

from ctrestoration.control import Control
from ctrestoration.errors import CTRestorationError
from ctrestoration.evaluate.masks import BODY_HU
from ctrestoration.volume import Volume

SIZE, PIXEL_MM = 512, 0.9
"""The detector is as wide as the image's diagonal, so the noise's grain in pixels is that of any 512 x 512 CT."""

PHOTONS, PHOTONS_TO = 2e4, 2e6
TEST_PHOTONS = (2e4, 2e5, 2e6)
VALIDATION = "tcga_ov_abdomen_train2"
EXTERNAL = "cptac_lscc_head"
DISC_MM, CONTRAST_HU = 8.0, np.float32(40.0)
FAILURES = (
    "Trained on three real patients and three phantoms only, simulated, at 512 x 512 pixels and 1000 views: other "
    "scanners, kernels and fields of view have noise of another grain.",
    "Small structures of low contrast fade before anything else, without a trace: up to 60 % of a disc of 8 mm and "
    "40 HU at 20000 photons (last figures of the test).",
    "It takes the scan's own noise for noise of the dose: a sharp kernel's texture is smoothed, too (the chest in the "
    "test: farther from the noisy original than the low-dose image is, at all but the lowest dose).",
    "Below 20000 photons a bin (see --photons of simulate lowdose) it was never trained.",
)
HEAD_ATTRIBUTION = "tested on TCIA CPTAC-LSCC (CC BY 3.0), by way of xcist/phantoms-voxelized, too"


def build(data: Path, out: Path, effort: Effort, control: Control) -> None:
    """Simulate training and validation pairs."""
    from ctrestoration.training.data.dataset import build_dataset
    from ctrestoration.training.data.lowdose_dataset import LowDoseBuild

    slabs, _ = split_volumes(data, out / "volumes")
    chosen = {
        "train": [path for path in slabs if path.stem != VALIDATION],
        "validation": [path for path in slabs if path.stem == VALIDATION],
    }
    for name, shares, cases, phantoms, seed in (
        ("train", (0.9998, 0.0001, 0.0001), 2, 5, 0),
        ("validation", (0.0001, 0.9998, 0.0001), 1, 3, 1),
    ):
        settings = LowDoseBuild(
            phantoms=phantoms, volumes=tuple(str(path) for path in chosen[name]), cases=cases, slices=effort.of(36),
            size=SIZE, pixel_mm=PIXEL_MM, seed=seed, shares=shares, classes={"body": (1,)}, photons=PHOTONS,
            photons_to=PHOTONS_TO,
        )  # fmt: skip
        real = settings.splits()[name][-len(chosen[name]) :]
        assert [number - phantoms for number in real] == list(range(len(chosen[name]))), "all of them, by their names"
        build_dataset(out / name, settings, effort.workers, control)


def train(out: Path, effort: Effort, control: Control) -> None:
    """Train in one process; goes on where it stopped."""
    from ctrestoration.studies.running import train_all
    from ctrestoration.training.runfile import RunConfig

    config = RunConfig.model_validate(
        {
            "schema_version": 1,
            "name": "lowdose-unet",
            "seed": 0,
            "method": {
                "name": "reconstruct",
                # Statistics of a batch would mix its doses.
                "network": {"name": "unet", "widths": [32, 64, 128, 128], "norm": "none"},
                "loss": "rmse",
                "stages": {"reconstruct": {"epochs": effort.of(40)}},
            },
            "data": {
                "train": {"name": "pairs", "folder": "../train", "crop": 128},
                "validation": {"name": "pairs", "folder": "../validation", "split": "validation", "crop": 256},
                "batch_size": 8,
            },
            "optim": {"lr": 5e-4},
            "ema": {"decay": 0.995},
            "validation": {"every_epochs": 8},
            "hardware": {"device": "auto", "threads": 1, "channels_last": True},
            "preview": {"every_epochs": 0},
        }
    )
    failed = train_all({out / "run": config}, 1, control)
    if failed:
        raise CTRestorationError(f"{out / 'run'}: {failed[out / 'run']}")


def test(data: Path, out: Path, names: list[str], count: int, control: Control) -> dict[str, Any]:
    """Scores by patient and dose, of `count` slices spread over every test volume."""
    from ctrestoration.io.images import read_volume
    from ctrestoration.registry import get
    from ctrestoration.simulate.lowdose import simulate_lowdose

    methods = {(found := get("reconstruction", name)).name: found for name in names}
    _, volumes = split_volumes(data, out / "volumes")
    results: dict[str, Any] = {}
    for path in control.track([*volumes, data / f"{EXTERNAL}.nii.gz"], "Testing"):
        whole = read_volume(path).axial()
        places = [round(z) for z in np.linspace(0, whole.grid.shape[0] - 1, count + 2)[1:-1]]
        for photons in TEST_PHOTONS:
            rows: dict[str, list[dict[str, float]]] = {name: [] for name in ("low-dose", *methods)}
            for z in places:
                grid = whole.grid.crop((z, 0, 0), (z + 1, *whole.grid.shape[1:]))
                plain = Volume(whole.array[z : z + 1], grid, whole.name)
                disc = soft_disc(plain, DISC_MM)
                marked = Volume(plain.array + CONTRAST_HU * disc, grid, whole.name)
                scan, other = (simulate_lowdose(one, photons=photons, seed=z) for one in (plain, marked))
                for name in rows:
                    image, beside = (
                        (found.acquisition if name == "low-dose" else methods[name].restore(found.acquisition)).image
                        for found in (scan, other)
                    )
                    kept = float((beside.array - image.array)[disc].mean() / CONTRAST_HU)
                    rows[name].append({**_scores(image.array[0], scan.truth.array[0]), "contrast": kept})
            kind = path.name.split(".")[0].removesuffix("_test")
            results[f"{kind}, {photons:g}"] = {
                name: {key: float(np.mean([row[key] for row in some])) for key in some[0]}
                for name, some in rows.items()
            }
    return {"slices_each": count, "results": results}


def _scores(image: Any, truth: Any) -> dict[str, float]:
    """RMSE and bias in HU in the body."""
    error = image.astype(np.float64) - truth
    body = truth > BODY_HU
    return {
        "rmse_hu": float(np.sqrt(np.mean(error[body] ** 2))),
        "bias_hu": float(error[body].mean()),
    }


def ship(out: Path) -> None:
    """Write the weights of the package; its card tells the test. Convolutions are kept in half precision."""
    from ctrestoration.models.card import card_text
    from ctrestoration.models.catalog import SHIPPED
    from ctrestoration.models.weights import load_network, save_weights
    from ctrestoration.training.publish import without_folders

    network, about = load_network(out / "run" / "weights" / "g.safetensors")
    header = without_folders(
        {
            **about, "name": "lowdose-unet", "title": "Low-dose U-Net for CT of patients, any dose", "license": LICENSE,
            "attribution": f"{ATTRIBUTION}; {HEAD_ATTRIBUTION}",
        }
    )  # fmt: skip
    halve(network)
    found = json.loads((out / "test.json").read_text(encoding="utf-8"))
    card = card_text(header, _card_table(found), FAILURES)
    save_weights(network, SHIPPED / "lowdose_unet.safetensors", header, card)


def _card_table(found: dict[str, Any]) -> list[str]:
    return [
        f"Slices that were never trained on, {found['slices_each']} of each patient",
        "(benchmarks/shipped_lowdose_unet.py): the last third of each volume, and a head of which nothing was trained",
        "on. RMSE in HU in the body against the image that was simulated from, which has noise of its own; then what",
        f"is left of the contrast of a disc of {DISC_MM:g} mm and {CONTRAST_HU:g} HU in soft tissue.",
        "",
        *_table(found).splitlines(),
    ]


def _table(found: dict[str, Any]) -> str:
    names = list(next(iter(found["results"].values())))
    lines = [f"| patient, photons a bin | {' | '.join(name.removesuffix('-g') for name in names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for group, rows in found["results"].items():
        cells = (f"{rows[name]['rmse_hu']:.0f}, {100 * rows[name]['contrast']:.0f} %" for name in names)
        lines.append(f"| {group} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    STEPS = Steps(build, train, test, _table, ship)
    sys.exit(STEPS.run("shipped_lowdose_unet", __doc__.splitlines()[0], "fbp-hann,nlm,tv", count=4, workers=1))
