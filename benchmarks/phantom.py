"""Measures the phantom: time on one core, closed rings around the canal, and the fallback segmentation against truth.

python benchmarks/phantom.py --json [--seeds N]
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy import ndimage

from ctrestoration.anatomy.phantom import PhantomOptions, spine_phantom
from ctrestoration.anatomy.spine import segment_spine
from ctrestoration.errors import InputError

SIZES = (((32, 96, 96), (4.0, 4.0, 4.0)), ((64, 256, 256), (1.5, 1.5, 2.0)), ((100, 512, 512), (0.78, 0.78, 2.0)))
BARE = PhantomOptions(noise_hu=0, table=False)


def timing() -> list[dict]:
    spine_phantom(size=(4, 8, 8), spacing=(8, 8, 8))  # imports scipy
    rows = []
    for size, spacing in SIZES:
        start = time.process_time()
        spine_phantom(size=size, spacing=spacing, seed=3)
        rows.append({"size": size, "spacing": spacing, "cpu_seconds": round(time.process_time() - start, 2)})
    return rows


def rings(seeds: int) -> dict:
    """Complete vertebrae whose labels enclose at least 80 mm2 of the canal in some axial plane, at 3 mm."""
    closed, opened = 0, []
    for seed in range(seeds):
        for region in ("lumbar", "thoracic"):
            phantom = spine_phantom(size=(50, 56, 52), spacing=(3, 3, 3), seed=seed, region=region, options=BARE)
            canal = phantom.sublabels.array == 4
            for name in phantom.truth.complete_levels:
                bone = phantom.labels.array == phantom.truth.levels[name].label
                areas = [
                    ((ndimage.binary_fill_holes(plane) & ~plane) & here).sum() * 9
                    for plane, here in zip(bone, canal, strict=True)
                ]
                closed += int(max(areas) > 80)
                if max(areas) <= 80:
                    opened.append(f"{seed}:{name}")
    return {"closed": closed, "open": opened}


def fallback(seeds: int) -> dict:
    """Dice of each vertebra that the weight-free segmentation finds, against the phantom's labels."""
    dice, canal_dice, failed = [], [], []
    for seed in range(seeds):
        phantom = spine_phantom(size=(90, 170, 160), spacing=(1.2, 1.2, 2.0), seed=seed)
        truth = phantom.labels.array
        try:
            found = segment_spine(phantom.volume, method="fallback")
        except InputError as error:
            failed.append({"seed": seed, "reason": str(error)})
            continue
        for level in found.levels:
            mask = found.labels.array == level.label
            bone = truth[mask & (truth >= 26) & (truth <= 50)]
            same = truth == np.bincount(bone).argmax() if bone.size else np.zeros_like(mask)
            dice.append(float(2 * (mask & same).sum() / max(mask.sum() + same.sum(), 1)))
        canal = phantom.sublabels.array == 4
        canal_dice.append(float(2 * (canal & found.canal).sum() / (canal.sum() + found.canal.sum())))
    return {
        "vertebrae": len(dice),
        "dice_median": round(float(np.median(dice)), 3),
        "dice_p10": round(float(np.percentile(dice, 10)), 3),
        "canal_dice_median": round(float(np.median(canal_dice)), 3),
        "failed": failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity; the output is always JSON")
    arguments = parser.parse_args()
    seeds = arguments.seeds
    print(json.dumps({"timing": timing(), "rings": rings(seeds), "fallback": fallback(seeds)}, indent=2))


if __name__ == "__main__":
    main()
