"""Metal artifact reduction methods on a folder of the public SynDeepLesion benchmark, with its traps disarmed.

    python benchmarks/mar.py FOLDER --methods input,li,nmar,g.safetensors [--masks F.npy] [--picture F.png] [--json]

FOLDER is laid out as <patient>/<slice>/gt.h5 beside <k>.h5. Metal masks come from --masks or from masks.npy in FOLDER
(uint8 [h, w, n], last axis = k). Methods are those of the registry, and weights files; "input" is the uncorrected
scan. Images are reconstructed by the exact FBP (--fbp odl-compat for the benchmark's own). For every method:

    linear         PSNR and SSIM in [0, 0.5] 1/cm against the noise-free monochromatic truth, metal set to 0
    polychromatic  the same against the metal-free scan: what a correction can reach from these data
    legacy         the published metric, of auto-scaled 8-bit pictures; only to stand beside published rows
    ring_rmse_hu   RMSE within 10 pixels of the metal, against the truth; body_bias_hu, the mean error in the body
    challenge      measures of the AAPM CT-MAR challenge against the truth with the uncorrected scan's metal; mm are of
                   the body, as small as it is simulated; noise is the standard deviation of the error in the body
    groups         linear PSNR and SSIM by size of the metal
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.acquisition import Acquisition
from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.evaluate.benchmark_scores import benchmark_scores, size_group
from ctrestoration.evaluate.challenge import challenge_measures, mean_measures
from ctrestoration.evaluate.masks import body_mask, metal_ring
from ctrestoration.evaluate.metrics import RING_PIXELS
from ctrestoration.io.syndeeplesion import MU_WATER_PER_CM, BenchmarkSlice, find_slices, read_masks
from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.registry import get
from ctrestoration.volume import Grid, Volume

PIXEL_MM = 153.6 / 416
KINDS = ("linear", "polychromatic", "legacy")


def main() -> int:
    """Run every method on every metal of every slice, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="input,li,nmar", help="comma-separated (default: %(default)s)")
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--fbp", choices=("exact", "odl-compat"), default="exact")
    parser.add_argument("--picture", type=Path, help="draw the first metal of the first slice: a PNG")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    try:
        if arguments.picture is not None and arguments.picture.suffix.lower() != ".png":
            raise InputError(f"--picture {arguments.picture}: a picture is a .png file.")
        methods = methods_by_name(names)
        slices = find_slices(arguments.folder)
        masks = read_masks(arguments.masks or arguments.folder / "masks.npy")
        rows = [
            row
            for found in slices
            for row in _slice(found, masks, methods, arguments, arguments.picture if found is slices[0] else None)
        ]
    except CTRestorationError as error:
        print(f"mar: {error}", file=sys.stderr)
        return error.exit_code
    result = {"cases": len(slices), "fbp": arguments.fbp, "methods": {name: _summary(rows, name) for name in methods}}
    print(json.dumps(result, indent=2) if arguments.json else _table(result))
    return 0


def methods_by_name(words: Sequence[str]) -> dict[str, Any]:
    """Methods of the registry and of weights files; None for "input".

    A weights file is called by the name in its header; further ones of that name are numbered, in the order given.

    Raises:
        InputError: no such method or file.
    """
    methods: dict[str, Any] = {}
    for word in dict.fromkeys(words):
        method = None if word == "input" else get("mar", word)
        name = label = word if method is None else method.name
        number = 1
        while label in methods:
            number += 1
            label = f"{name} ({number})"
        methods[label] = method
    return methods


def scan_of(found: BenchmarkSlice, k: int, mask: np.ndarray, mode: str) -> tuple[Acquisition, np.ndarray]:
    """The stored scan with metal k as an acquisition, and the metal-free scan in HU; both turned as the scanner is."""
    sinogram, trace = found.metal(k, "ma_sinogram", "metal_trace")
    (clean,) = found.clean("poly_sinogram")
    scanner = scanner_preset("syndeeplesion-640")
    grid = scanner.image_grid(mask.shape, (1.0, 1.0))
    geometry = scanner.geometry(grid)
    image, reference = (_hu(fbp(part, geometry, grid, mode=mode) * 10.0) for part in (sinogram, clean))
    volume = Volume(image[None], Grid.from_parts((1, *mask.shape), (1.0, 1.0, 1.0)), f"{found.name}/{k}")
    metal = np.rot90(mask) > 0
    acquisition = Acquisition(
        volume, sinogram[None], trace[None] > 0, metal[None], geometry, grid, MU_WATER_PER_CM / 10.0, mode,
        provenance={"source": "simulated", "benchmark": "SynDeepLesion"},
    )  # fmt: skip
    return acquisition, reference


def _slice(
    found: BenchmarkSlice, masks: np.ndarray, methods: dict[str, Any], arguments: Any, picture: Path | None
) -> list[dict[str, Any]]:
    """A row for every metal and method; the first metal is drawn into `picture`."""
    (stored,) = found.clean("image")
    truth = np.rot90(stored)
    rows = []
    for k in found.metals:
        if k >= masks.shape[2]:
            raise InputError(f"There is no mask for {found.name}/{k}.h5: the masks file holds {masks.shape[2]}.")
        acquisition, reference = scan_of(found, k, masks[..., k], arguments.fbp)
        images = {
            name: (acquisition if method is None else method.restore(acquisition)).image.array[0]
            for name, method in methods.items()
        }
        metal = acquisition.metal[0]
        for name, image in images.items():
            scores = _scores(image, acquisition.image.array[0], truth, reference, metal)
            rows.append({"slice": found.name, "k": k, "method": name, "group": size_group(int(metal.sum())), **scores})
        if picture is not None and k == found.metals[0]:
            _draw(picture, _hu(truth), images, acquisition.metal)
    return rows


def _scores(
    image: np.ndarray, uncorrected: np.ndarray, truth: np.ndarray, reference: np.ndarray, metal: np.ndarray
) -> dict[str, Any]:
    """Of one image in HU; truth and reference are attenuation in 1/cm and HU."""
    hu = _hu(truth)
    ring = metal_ring(metal[None], RING_PIXELS)[0]
    body = body_mask(hu[None])[0] & ~metal
    error = image.astype(np.float64) - hu
    mu = _mu(image)
    return {
        "linear": benchmark_scores(mu, truth, metal),
        "polychromatic": benchmark_scores(mu, _mu(reference), metal),
        "legacy": benchmark_scores(mu, truth, metal, legacy=True),
        "ring_rmse_hu": float(np.sqrt(np.mean(error[ring] ** 2))) if ring.any() else None,
        "body_bias_hu": float(error[body].mean()) if body.any() else None,
        "challenge": challenge_measures(image, np.where(metal, uncorrected, hu), metal, PIXEL_MM),
    }


def _summary(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    mine = [row for row in rows if row["method"] == name]
    groups = []
    for group in dict.fromkeys(row["group"] for row in mine):
        members = [row for row in mine if row["group"] == group]
        groups.append({"group": group, "slices": len(members), **_mean_scores(members, "linear")})
    return {
        **{kind: _mean_scores(mine, kind) for kind in KINDS},
        "ring_rmse_hu": _mean(row["ring_rmse_hu"] for row in mine),
        "body_bias_hu": _mean(row["body_bias_hu"] for row in mine),
        "challenge": mean_measures([row["challenge"] for row in mine]),
        "groups": groups,
        "slices": [
            {key: row[key] for key in ("slice", "k", "group", *KINDS, "ring_rmse_hu", "body_bias_hu", "challenge")}
            for row in mine
        ],
    }


def _mean_scores(rows: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    first = rows[0][kind]
    return {
        "psnr_db": _mean(row[kind]["psnr_db"] for row in rows),
        "ssim": _mean(row[kind]["ssim"] for row in rows),
        "window": first["window"],
        "mask": first["mask"],
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['cases']} slices, FBP {result['fbp']}; PSNR dB / SSIM in [0, 0.5] 1/cm, metal set to 0",
        f"HU: RMSE within {RING_PIXELS} pixels of metal, mean error in the body; then measures of the CT-MAR challenge",
        f"{'method':<16}{'linear':>16}{'polychromatic':>16}{'(legacy)':>16}{'ring HU':>9}{'bias HU':>9}"
        f"{'streak HU':>11}{'noise HU':>10}{'sharp':>7}",
    ]
    for name, scores in result["methods"].items():
        pairs = "".join(f"{_text(scores[k]['psnr_db'], '.2f'):>9}/{_text(scores[k]['ssim'], '.4f'):<6}" for k in KINDS)
        challenge = scores["challenge"]
        lines.append(
            f"{name:<16}{pairs}{_text(scores['ring_rmse_hu'], '.1f'):>9}{_text(scores['body_bias_hu'], '.1f'):>9}"
            f"{_text(challenge['streak_hu'], '.1f'):>11}{_text(challenge['noise_hu'], '.1f'):>10}"
            f"{_text(challenge['sharpness'], '.2f'):>7}"
        )
    return "\n".join(lines)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _hu(mu_per_cm: np.ndarray) -> np.ndarray:
    return np.asarray((mu_per_cm / MU_WATER_PER_CM - 1.0) * 1000.0, dtype=np.float32)


def _mu(hu: np.ndarray) -> np.ndarray:
    return np.asarray((hu.astype(np.float64) / 1000.0 + 1.0) * MU_WATER_PER_CM)


def _draw(path: Path, truth: np.ndarray, images: dict[str, np.ndarray], metal: np.ndarray) -> None:
    from ctrestoration.evaluate import figures

    panels = {"truth": truth, **images}
    png = figures.comparison(
        {name: np.rot90(image, -1)[None].astype(np.float32) for name, image in panels.items()},
        "truth", figures.Cut("axial", 0), (0.37, 0.37, 1.0), figures.BONE, 300.0,
        hidden=np.rot90(metal[0], -1)[None], change=False,
    )  # fmt: skip
    path.write_bytes(png)


if __name__ == "__main__":
    sys.exit(main())
