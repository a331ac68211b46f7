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

from shipped import halve

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.io.pairs import read_manifest
from ctrestoration.models.card import card_text
from ctrestoration.models.catalog import SHIPPED
from ctrestoration.models.weights import load_network, save_weights
from ctrestoration.studies.task_adaptive_tables import title

FAILURES = (
    "Trained on procedural phantoms only: in patients, expect worse, above all outside the liver.",
    "Trained on pixels of {pixel_mm:g} mm at {photons:g} photons in each of {bins} bins: finer pixels and other doses "
    "have noise of another grain.",
    "A task-adaptive image is made to be segmented by a network; lesions may look sharper than they are.",
)
ROWS = ("low-dose", "nlm", "tv")


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
    failures = [one.format_map(read_manifest(study / "data")["settings"]) for one in FAILURES]
    table = _table(found, (*ROWS, *dict.fromkeys(("base", base, adaptive)), "full-dose"))
    for name, (source, name_in_use, said) in files.items():
        network, about = load_network(study / "runs" / f"{source}.safetensors")
        header = {**about, "name": name_in_use, "title": said}
        halve(network)
        save_weights(network, SHIPPED / f"{name}.safetensors", header, card_text(header, table, failures))
        print(SHIPPED / f"{name}.safetensors")


def _table(found: dict[str, Any], rows: Sequence[str]) -> list[str]:
    lines = [
        *found["facts"],
        "",
        "Mean over test slices and seeds; the standard deviation of the seeds' means in brackets.",
        "",
        "| | PSNR dB | SSIM | Dice, this segmenter | Dice, held-out segmenter |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        scores = found["rows"].get(row, {})
        cells = [
            _cell(scores.get(key), form)
            for key, form in (("psnr_db", ".2f"), ("ssim", ".3f"), ("dice", ".3f"), ("heldout_dice", ".3f"))
        ]
        lines.append("| " + " | ".join([title(row), *cells]) + " |")
    return lines


def _cell(score: dict[str, Any] | None, form: str) -> str:
    if score is None:
        return "-"
    spread = "" if score["seed_sd"] is None else f" ({score['seed_sd']:{form}})"
    return f"{score['mean']:{form}}{spread}"


if __name__ == "__main__":
    sys.exit(main())
