"""Fractions of a threaded screw on CT grids against the analytic solid, and what they cost.

    python benchmarks/voxelize.py --json [--poses N]

Poses and grid directions (mirrored ones among them) are random. Truth: dense samples of the screw's closed form, 5 a
voxel side in plane and as dense along z. Time: CPU time of mesh and fractions of one screw, on a short and on a long
volume.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ctrestoration.implants.mesh import frame_along
from ctrestoration.implants.screw import Thread, shaft
from ctrestoration.implants.voxelize import voxelize
from ctrestoration.volume import Grid

SPACINGS = ((0.78, 0.78, 1.0), (0.98, 0.98, 3.0), (0.8, 0.8, 5.0))
THREAD = Thread(6.5, 4.6, 45.0)
SAMPLES = 5


def truth_in(box: tuple[slice, ...], grid: Grid, tip: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Share of the analytic screw in each voxel of a box."""
    counts = [round(SAMPLES * step / min(grid.spacing)) for step in grid.spacing[::-1]]
    offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    sub = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, 3)[:, ::-1]
    k, j, i = (np.arange(side.start, side.stop) for side in box)
    voxels = np.stack(np.meshgrid(k, j, i, indexing="ij")[::-1], axis=-1).reshape(-1, 3)
    local = (grid.to_world(voxels) - tip) @ frame
    # Only voxels that the shaft's cylinder can reach are sampled.
    half = 0.5 * float(np.linalg.norm(grid.spacing))
    near = (np.hypot(local[:, 0], local[:, 1]) < THREAD.diameter_mm / 2 + half) & (local[:, 2] > -half)
    near &= local[:, 2] < THREAD.length_mm + half
    share = np.zeros(len(voxels))
    points = (grid.to_world(voxels[near][:, None] + sub) - tip) @ frame
    x, y, s = np.moveaxis(points, -1, 0)
    inside = (s >= 0) & (s <= THREAD.length_mm) & (np.hypot(x, y) <= THREAD.radius(s, np.arctan2(y, x)))
    share[near] = inside.mean(axis=1)
    return share.reshape(len(k), len(j), len(i))


def measured(spacing: tuple[float, float, float], poses: int) -> dict[str, Any]:
    """Errors and CPU time over random poses."""
    volume, rmse, worst, seconds, long_seconds = [], [], [], [], []
    for seed in range(poses):
        rng = np.random.default_rng(seed)
        direction = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1, 1], 3)
        size = [int(80 / step) for step in spacing[::-1]]
        grid = Grid.from_parts((size[0], size[1], size[2]), spacing, (5.0, -3.0, 8.0), direction)
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        middle = grid.to_world((np.array(grid.shape[::-1]) - 1) / 2 + rng.random(3))
        entry, tip = middle - 22.5 * axis, middle + 22.5 * axis
        started = time.process_time()
        piece = voxelize(shaft(entry, tip, THREAD), grid)
        seconds.append(time.process_time() - started)
        tall = Grid((20 * grid.shape[0], 512, 512), grid.affine)
        started = time.process_time()
        voxelize(shaft(entry, tip, THREAD), tall)
        long_seconds.append(time.process_time() - started)
        if piece is None:
            raise RuntimeError("the screw lies outside its grid")
        truth = truth_in(piece.box, grid, tip, frame_along(entry - tip))
        touched = (truth > 0) | (piece.fraction > 0)
        error = (piece.fraction - truth)[touched]
        rmse.append(float(np.sqrt((error**2).mean())))
        worst.append(float(np.abs(error).max()))
        volume.append(float(piece.fraction.sum()) * grid.voxel_mm3 / THREAD.volume_mm3 - 1)
    return {
        "spacing_mm": spacing,
        "poses": poses,
        "volume_error_percent": {
            "mean": round(100 * float(np.mean(volume)), 3), "worst": round(100 * float(np.abs(volume).max()), 3),
        },
        "fraction_rmse": {"median": round(float(np.median(rmse)), 4), "worst": round(max(rmse), 4)},
        "fraction_error_worst": round(max(worst), 3),
        "cpu_ms": {"median": round(1000 * float(np.median(seconds)), 1), "worst": round(1000 * max(seconds), 1)},
        "time_with_20_times_the_slices": round(float(np.median(long_seconds) / np.median(seconds)), 2),
    }  # fmt: skip


def main() -> None:
    """Measure all grids."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity; the output is always JSON")
    poses = parser.parse_args().poses
    voxelize(shaft(np.zeros(3), np.array([0.0, 0.0, 45.0]), THREAD), Grid.from_parts((9, 9, 9), (1, 1, 1)))
    rows = [measured(spacing, poses) for spacing in SPACINGS]
    print(json.dumps({"screw": "6.5 / 4.6 x 45 mm, pitch 2.75", "grids": rows}, indent=1))


if __name__ == "__main__":
    main()
