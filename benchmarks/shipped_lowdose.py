"""The shipped low-dose weights: networks of the task-adaptive study, with its test on their cards.

    ctrestoration reproduce task-adaptive --scale small --out STUDY
    python benchmarks/shipped_lowdose.py STUDY --base residual --adaptive residual-0.01 [--seed 0]

Writes the segmenter, a base network and a task-adaptive network into the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from shipped import halve, soft_disc

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.io.pairs import read_manifest
from ctrestoration.models.card import card_text
from ctrestoration.models.catalog import SHIPPED
from ctrestoration.models.weights import load_network, save_weights
from ctrestoration.studies.task_adaptive_tables import title
from ctrestoration.volume import Grid, Volume

FAILURES = (
    "Trained on procedural phantoms only: in patients, expect worse, above all outside the liver.",
    "Trained on pixels of {pixel_mm:g} mm at {photons:g} photons in each of {bins} bins: finer pixels and other doses "
    "have noise of another grain.",
    "Small structures of low contrast fade: the task-adaptive network leaves {left:.0%} of the contrast of "
    "a disc of {disc:g} mm and {contrast:g} HU.",
    "A task-adaptive image is made to be segmented by a network; lesions may look sharper than they are.",
)
ROWS = ("low-dose", "nlm", "tv")
DISC_MM, CONTRAST_HU = 10.0, np.float32(40.0)


def main() -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--base", default="base", help="variant to ship as lowdose-base (default: base)")
    parser.add_argument("--adaptive", required=True, help="variant to ship as lowdose-liver, e.g. adaptive-0.01")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        _ship(arguments.study, arguments.base, arguments.adaptive, arguments.seed)
    except CTRestorationError as error:
        print(f"shipped_lowdose: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _ship(study: Path, base: str, adaptive: str, seed: int) -> None:
    results = study / "results.json"
    if not results.is_file():
        raise InputError(f"{study} holds no finished study: there is no {results.name}.")
    found = json.loads(results.read_text(encoding="utf-8"))
    files = {
        "lowdose_segmenter": (f"segment_{seed}/weights/t", "liver-segmenter", "Liver and lesions, from full-dose CT"),
        "lowdose_base": (f"{base}_{seed}/weights/g", "lowdose-base", "Low-dose U-Net, image quality alone"),
        "lowdose_liver": (f"{adaptive}_{seed}/weights/g", "lowdose-liver", "Low-dose U-Net, for segmenting the liver"),
    }
    made = read_manifest(study / "data")["settings"]
    rows = (*ROWS, *dict.fromkeys(("base", base, adaptive)), "full-dose")
    networks = {name: study / "runs" / f"{name}_{seed}" for name in ("base", base, adaptive)}
    left = _contrast_left(study / "data", made, networks)
    failures = [
        one.format_map({**made, "left": left[adaptive], "disc": DISC_MM, "contrast": CONTRAST_HU}) for one in FAILURES
    ]
    table = _table(found, rows, left)
    for name, (source, name_in_use, said) in files.items():
        network, about = load_network(study / "runs" / f"{source}.safetensors")
        header = {**about, "name": name_in_use, "title": said}
        halve(network)
        save_weights(network, SHIPPED / f"{name}.safetensors", header, card_text(header, table, failures))
        print(SHIPPED / f"{name}.safetensors")


def _contrast_left(data: Path, made: dict[str, Any], networks: dict[str, Path]) -> dict[str, float]:
    """Share of a disc's contrast that is left in the low dose and behind each network, mean over some test slices."""
    from ctrestoration.simulate.lowdose import simulate_lowdose
    from ctrestoration.studies.task_adaptive_scores import TestSlices, reconstruct

    loaded = {name: load_network(folder / "weights" / "g.safetensors") for name, folder in networks.items()}
    scanner = {name: made[name] for name in ("preset", "photons", "views", "bins", "fine_pixels")}
    test = TestSlices.read(data)
    left: dict[str, list[float]] = {name: [] for name in ("low-dose", *networks)}
    for number, image in enumerate(test.full_dose[:: made["slices"]]):
        grid = Grid.from_parts((1, *image.shape), (test.pixel_mm, test.pixel_mm, 5.0))
        plain = Volume(image[None], grid)
        disc = soft_disc(plain, DISC_MM)
        marked = plain.replaced(plain.array + CONTRAST_HU * disc)
        low = [simulate_lowdose(one, seed=number, **scanner).acquisition.image.array for one in (plain, marked)]
        images = {"low-dose": low}
        for name, (network, about) in loaded.items():
            images[name] = [reconstruct(network, about["reconstruction"], one) for one in low]
        for name, (before, after) in images.items():
            left[name].append(float((after - before)[disc].mean() / CONTRAST_HU))
    return {name: float(np.mean(values)) for name, values in left.items()}


def _table(found: dict[str, Any], rows: Sequence[str], left: dict[str, float]) -> list[str]:
    lines = [
        *found["facts"],
        "",
        "Mean over test slices and seeds; the standard deviation of the seeds' means in brackets. Contrast: what",
        f"these weights leave of a disc of {DISC_MM:g} mm and {CONTRAST_HU:g} HU in soft tissue, one slice a patient.",
        "",
        "| | PSNR dB | SSIM | Dice, this segmenter | Dice, held-out segmenter | contrast |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        scores = found["rows"].get(row, {})
        cells = [
            _cell(scores.get(key), form)
            for key, form in (("psnr_db", ".2f"), ("ssim", ".3f"), ("dice", ".3f"), ("heldout_dice", ".3f"))
        ]
        cells.append(f"{100 * left[row]:.0f} %" if row in left else "-")
        lines.append("| " + " | ".join([title(row), *cells]) + " |")
    return lines


def _cell(score: dict[str, Any] | None, form: str) -> str:
    if score is None:
        return "-"
    spread = "" if score["seed_sd"] is None else f" ({score['seed_sd']:{form}})"
    return f"{score['mean']:{form}}{spread}"


if __name__ == "__main__":
    sys.exit(main())
