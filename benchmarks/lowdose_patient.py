"""What the networks of the task-adaptive study do on a patient: they have seen phantoms only.

    python benchmarks/lowdose_patient.py CT LABELS --organ 5 [--segmenter NAME] [--methods tv,lowdose-base,...] [--json]

CT and LABELS are files; --organ is the liver's number in them. The CT is resampled to the pixels that the segmenter was
trained on, a low dose is simulated by the scanner of its training, and every method restores it; printed are PSNR and
SSIM in the circle against the CT (range 4072 HU), and the Dice of the liver over all slices as the segmenter finds it.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.errors import CTRestorationError

METHODS = "fbp-reproject,nlm,tv,lowdose-base,lowdose-liver"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--organ", type=int, required=True, help="number of the liver in LABELS")
    parser.add_argument("--segmenter", default="liver-segmenter", help="shipped weights by name, or a path")
    parser.add_argument("--methods", default=METHODS, help="comma-separated, weights files by path")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        facts, rows = measured(
            arguments.ct, arguments.labels, arguments.organ, arguments.segmenter, arguments.methods.split(",")
        )
    except CTRestorationError as error:
        print(f"lowdose_patient: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps({**facts, "rows": rows}, indent=2))
        return 0
    print(f"{facts}\n\n| image | PSNR dB | SSIM | Dice of the liver |\n|---|---|---|---|")
    for name, row in rows.items():
        cells = [f"{row[key]:{form}}" if key in row else "-" for key, form in (("psnr_db", ".2f"), ("ssim", ".3f"))]
        print(f"| {name} | {' | '.join(cells)} | {row['dice']:.3f} |")
    return 0


def measured(
    ct: Path, labels: Path, organ: int, segmenter: str, methods: list[str]
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """How the low dose was made, and image -> scores.

    Raises:
        InputError: unreadable files, unknown methods, or a segmenter that knows no liver.
    """
    from ctrestoration.anatomy.organs import resampled_for, scanner_of, segment_organs, segmenter_header
    from ctrestoration.evaluate.circle import circle_scores
    from ctrestoration.evaluate.task_scores import volume_dice
    from ctrestoration.io.images import read_labels, read_volume
    from ctrestoration.models.catalog import find_model
    from ctrestoration.registry import get
    from ctrestoration.simulate.lowdose import simulate_lowdose
    from ctrestoration.training.data.resampling import labels_on

    chosen = {name: get("reconstruction", name) for name in methods}
    volume = read_volume(ct)
    about = segmenter_header(find_model(segmenter))
    patient = resampled_for(volume, about)
    truth = np.asarray(labels_on(read_labels(labels, volume.grid), patient.grid) == organ).astype(np.int64)
    settings = scanner_of(about, patient.grid.shape[1])
    scan = simulate_lowdose(patient, **settings)
    images = {"low dose": scan.acquisition.image}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that networks are told another pixel size than that of their training
        images |= {name: method.restore(scan.acquisition).image for name, method in chosen.items()}
        rows: dict[str, dict[str, float]] = {}
        for name, image in (*images.items(), ("full dose", scan.truth)):
            found = segment_organs(image, segmenter).labels
            (number,) = [value for value, said in found.names.items() if said == "liver"]
            (dice,) = volume_dice((found.array == number).astype(np.int64), truth, (1,))
            rows[name] = {"dice": dice or 0.0}
            if name != "full dose":
                scores = [circle_scores(a, b) for a, b in zip(image.array, scan.truth.array, strict=True)]
                rows[name] |= {key: float(np.mean([one[key] for one in scores])) for key in ("psnr_db", "ssim")}
    return {"shape": list(patient.grid.shape), "pixel_mm": patient.grid.spacing[0], **settings}, rows


if __name__ == "__main__":
    sys.exit(main())
