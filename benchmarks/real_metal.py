"""Correct a clinical CT with real metal and no raw data: measure the ring around the metal, draw before and after.

    python benchmarks/real_metal.py CT [--pictures DIR] [--json]

There is no truth to compare with. What can be measured: the standard deviation of HU within 10 pixels of the metal,
how much the image changed near and far from it, and that slices without metal did not change at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ctrestoration import registry
from ctrestoration.acquisition import Acquisition
from ctrestoration.anatomy.metal import segment_metal
from ctrestoration.evaluate import figures
from ctrestoration.evaluate.without_truth import scores_without_truth
from ctrestoration.io.images import read_volume


def main() -> None:
    """Read, correct by every method, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for an axial and a coronal comparison")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    volume = read_volume(arguments.ct)
    found = segment_metal(volume)
    acquisition = Acquisition.from_image(volume, found.mask)
    images = {"Before": acquisition.image.array}
    for name, method in registry.methods("mar").items():
        images[name.upper()] = method.restore(acquisition).image.array
    before, metal = acquisition.image.array, acquisition.metal
    rows = {name: scores_without_truth(before, image, metal) for name, image in images.items()}
    facts = {"ct": volume.name, "metal_ml": float(found.mask.sum() * volume.grid.voxel_mm3 / 1000)}
    if arguments.json:
        print(json.dumps({**facts, "threshold_hu": found.threshold, "methods": rows}, indent=2))
    else:
        print(facts, found.reason)
        for name, row in rows.items():
            print(
                f"{name:<8}"
                + "  ".join(f"{key} {np.nan if value is None else value:8.1f}" for key, value in row.items())
            )
    if arguments.pictures:
        shown = {name: images[name] for name in ("Before", "NMAR", "UNET-UC", "GUIDED-UNET") if name in images}
        _draw(acquisition, shown, arguments.pictures)


def _draw(acquisition: Acquisition, images: dict[str, np.ndarray], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    spacing = acquisition.image.grid.spacing
    amount = acquisition.metal.sum(axis=(1, 2))
    z = int(amount.argmax())
    y = int(acquisition.metal.sum(axis=(0, 2)).argmax())
    name = acquisition.image.name.replace(".", "-")
    for cut in (figures.Cut("axial", z), figures.Cut("coronal", y)):
        png = figures.comparison(
            images, "Before", cut, spacing, figures.SOFT_TISSUE, 300.0, hidden=acquisition.metal, change=True
        )
        (folder / f"{name}-{cut.plane}.png").write_bytes(png)


if __name__ == "__main__":
    main()
