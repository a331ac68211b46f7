"""The shipped low-dose weights: networks of the task-adaptive study, with its test on their cards.

    ctrestoration reproduce task-adaptive --scale small --out STUDY
    python benchmarks/shipped_lowdose.py STUDY --adaptive adaptive-0.01 [--seed 0]

Writes the segmenter, the base network and one task-adaptive network into the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from shipped import halve

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.models.card import card_text
from ctrestoration.models.catalog import SHIPPED
from ctrestoration.models.weights import load_network, save_weights

FAILURES = (
    "Trained on procedural phantoms only: in patients, expect worse, above all outside the liver.",
    "Trained on pixels of 3.4 mm at 4096 photons a bin: finer pixels and other doses have noise of another grain.",
    "A task-adaptive image is made to be segmented by a network; lesions may look sharper than they are.",
)
ROWS = ("low-dose", "nlm", "tv", "base", "full-dose")


def main() -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--adaptive", required=True, help="variant to ship, e.g. adaptive-0.01")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        _ship(arguments.study, arguments.adaptive, arguments.seed)
    except CTRestorationError as error:
        print(f"shipped_lowdose: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _ship(study: Path, adaptive: str, seed: int) -> None:
    results = study / "results.json"
    if not results.is_file():
        raise InputError(f"{study} holds no finished study: there is no {results.name}.")
    found = json.loads(results.read_text(encoding="utf-8"))
    files = {
        "lowdose_segmenter": (f"segment_{seed}/weights/t", "liver-segmenter", "Liver and lesions, from full-dose CT"),
        "lowdose_base": (f"base_{seed}/weights/g", "lowdose-base", "Low-dose U-Net, image quality alone"),
        "lowdose_liver": (f"{adaptive}_{seed}/weights/g", "lowdose-liver", "Low-dose U-Net, for segmenting the liver"),
    }
    for name, (source, title, said) in files.items():
        network, about = load_network(study / "runs" / f"{source}.safetensors")
        header = {**about, "name": title, "title": said}
        halve(network)
        save_weights(
            network, SHIPPED / f"{name}.safetensors", header, card_text(header, _table(found, adaptive), FAILURES)
        )
        print(SHIPPED / f"{name}.safetensors")


def _table(found: dict[str, Any], adaptive: str) -> list[str]:
    lines = [
        *found["facts"],
        "",
        "Mean over test slices and seeds; the standard deviation of the seeds' means in brackets.",
        "",
        "| | PSNR dB | SSIM | Dice, this segmenter | Dice, held-out segmenter |",
        "|---|---|---|---|---|",
    ]
    for row in (*ROWS[:-1], adaptive, ROWS[-1]):
        scores = found["rows"].get(row, {})
        cells = [
            _cell(scores.get(key), form)
            for key, form in (("psnr_db", ".2f"), ("ssim", ".3f"), ("dice", ".3f"), ("heldout_dice", ".3f"))
        ]
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return lines


def _cell(score: dict[str, Any] | None, form: str) -> str:
    if score is None:
        return "-"
    spread = "" if score["seed_sd"] is None else f" ({score['seed_sd']:{form}})"
    return f"{score['mean']:{form}}{spread}"


if __name__ == "__main__":
    sys.exit(main())
