"""How closely our simulation reproduces a folder of the public SynDeepLesion benchmark.

    python benchmarks/syndeeplesion_parity.py FOLDER [--masks F.npy] [--picture F.png] [--json]

FOLDER is laid out as <patient>/<slice>/gt.h5 beside <k>.h5. Metal masks come from --masks or from masks.npy in FOLDER
(uint8 [h, w, n], last axis = k). PSNR in [0, 0.5] 1/cm outside the metal. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.io.syndeeplesion import MU_WATER_PER_CM, BenchmarkSlice, find_slices, read_masks
from ctrestoration.physics.fbp import fbp
from ctrestoration.simulate.metal import simulate_metal
from ctrestoration.volume import Grid, Volume

TARGETS = {
    "sinogram_rmse": (0.0005, "at most"),
    "li_sinogram_max_abs": (1e-5, "at most"),
    "fbp_psnr_db": (65.0, "at least"),
    "li_ct_psnr_db": (55.0, "at least"),
    "ma_ct_psnr_db": (48.0, "at least"),
}


def main() -> int:
    """Compare every metal of every slice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--picture", type=Path, help="draw the first slice, stored beside ours")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        slices = find_slices(arguments.folder)
        masks = read_masks(arguments.masks or arguments.folder / "masks.npy")
        rows = [row for found in slices for row in _compare(found, masks, arguments.picture)]
    except CTRestorationError as error:
        print(f"syndeeplesion_parity: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps({"slices": rows}, indent=2))
    else:
        print("  ".join(["slice, k".ljust(28), *(key.rjust(20) for key in TARGETS)]))
        for row in rows:
            print("  ".join([f"{row['slice']}, {row['k']}".ljust(28), *(f"{row[key]:20.7g}" for key in TARGETS)]))
    return int(any(_missed(row) for row in rows))


def _compare(found: BenchmarkSlice, masks: np.ndarray, picture: Path | None) -> list[dict[str, Any]]:
    image, stored_sinogram = found.clean("image", "poly_sinogram")
    side = image.shape[0]
    hu = (np.rot90(image) / MU_WATER_PER_CM - 1.0) * 1000.0
    volume = Volume(hu[None], Grid.from_parts((1, side, side), (1.0, 1.0, 1.0)), found.name)
    clean = simulate_metal(volume, {}, photons=None).acquisition.sinogram[0]
    rows = []
    for k in found.metals:
        if k >= masks.shape[2]:
            raise InputError(f"There is no mask for {found.name}/{k}.h5: the masks file holds {masks.shape[2]}.")
        ma, li, li_sinogram, ma_sinogram, trace = found.metal(
            k, "ma_CT", "LI_CT", "LI_sinogram", "ma_sinogram", "metal_trace"
        )
        metal = np.rot90(masks[..., k]).astype(np.float32)[None]
        ours = simulate_metal(volume, {"titanium": metal}, fbp_mode="odl-compat").acquisition

        def reconstruct(sinogram: np.ndarray, scan: Any = ours) -> np.ndarray:
            return np.rot90(fbp(sinogram, scan.geometry, scan.image_grid, mode="odl-compat"), -1) * 10.0

        our_ma = np.rot90(1.0 + ours.image.array[0] / 1000.0, -1) * MU_WATER_PER_CM
        outside = masks[..., k] == 0
        rows.append(
            {
                "slice": found.name,
                "k": k,
                "metal_pixels": int((~outside).sum()),
                "sinogram_rmse": float(np.sqrt(np.mean((clean - stored_sinogram) ** 2))),
                "li_sinogram_max_abs": float(np.abs(interpolate_trace(ma_sinogram, trace > 0) - li_sinogram).max()),
                "fbp_psnr_db": _psnr(reconstruct(li_sinogram), li, outside),
                "li_ct_psnr_db": _psnr(reconstruct(interpolate_trace(ours.sinogram[0], ours.trace[0])), li, outside),
                "ma_ct_psnr_db": _psnr(our_ma, ma, outside),
                "trace_missing": int(((trace > 0) & ~ours.trace[0]).sum()),
                "trace_extra": int((ours.trace[0] & (trace == 0)).sum()),
            }
        )
        if picture is not None and not picture.exists():
            _draw(picture, ma, our_ma, ~outside)
    return rows


def _psnr(image: np.ndarray, reference: np.ndarray, outside: np.ndarray) -> float:
    error = (np.clip(image, 0.0, 0.5) - np.clip(reference, 0.0, 0.5)) * outside / 0.5
    return float(-10.0 * np.log10(np.mean(error.astype(np.float64) ** 2)))


def _missed(row: dict[str, Any]) -> bool:
    return any(row[key] > limit if side == "at most" else row[key] < limit for key, (limit, side) in TARGETS.items())


def _draw(path: Path, stored: np.ndarray, ours: np.ndarray, metal: np.ndarray) -> None:
    from ctrestoration.evaluate import figures

    panels = {
        name: ((image / MU_WATER_PER_CM - 1.0) * 1000.0)[None].astype(np.float32)
        for name, image in (("Stored ma_CT", stored), ("Our simulation", ours))
    }
    png = figures.comparison(
        panels, "Stored ma_CT", figures.Cut("axial", 0), (0.37, 0.37, 1.0), figures.BONE, 100.0,
        hidden=metal[None], change=True,
    )  # fmt: skip
    path.write_bytes(png)


if __name__ == "__main__":
    sys.exit(main())
