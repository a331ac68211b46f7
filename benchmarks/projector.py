"""Our projector and FBP against other CPU engines: ratios of CPU time, measured interleaved in one run, one thread.

    python benchmarks/projector.py [--json | --markdown] [--repeats N]

W1: 416x416, 640 views x 641 bins, flat fan (syndeeplesion-640). W2: 512x512 parallel, 1000 views x 513 bins. W3: 64
slices of W1 at once. Peers are used where they are installed (astra-toolbox, itk-rtk, deepinv, scikit-image, torch;
scipy always) and reported as missing elsewhere; never a run-time dependency. The anchor `plain numba` is Joseph's
method written plainly. A ratio is the median of pairwise ratios ours / theirs. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from typing import Any

import numpy as np
import peers

from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.geometry import FanFlat, ImageGrid, ParallelBeam
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.physics.projector import Projector

TARGETS = {
    ("W1", "fp", "astra line"): 0.22,
    ("W1", "bp", "astra line"): 0.36,
    ("W1", "fp", "scipy csr"): 0.8,
    ("W1", "fwd+bwd", "own fp"): 2.5,
    ("W1", "fwd+bwd", "deepinv"): 0.10,
    ("W2", "fbp", "astra"): 0.8,
    ("W2", "fbp", "scikit-image"): 0.4,
    ("W3", "fp per slice", "plain numba, one slice"): 0.5,
}
STRETCH = {("W1", "fp", "astra line"): 0.08, ("W3", "fp per slice", "plain numba, one slice"): 0.25}
ACCURACY = {
    "adjoint_error": 1e-6,
    "disk_error": 0.005,
    "ellipses_nrmse": 0.0045,
    "rtk_fdk_rmse": 1e-4,
}
"""Largest allowed value of each."""


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/results/physics.md")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = [*_w1(arguments.repeats), *_w2(arguments.repeats)]
    for row in rows:
        key = (row["workload"], row["operation"], row["engine"])
        if key in TARGETS and row["ratio"] is not None:
            row |= {"target": TARGETS[key], "met": row["ratio"] <= TARGETS[key]}
        if key in STRETCH and row["ratio"] is not None:
            row |= {"stretch": STRETCH[key], "stretch_met": row["ratio"] <= STRETCH[key]}
    accuracy = _accuracy()
    missed = [row for row in rows if not row.get("met", True)]
    missed += [name for name, value in accuracy.items() if value is not None and value > ACCURACY[name]]
    result = {"rows": rows, **accuracy, **_threads()}
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        _print(rows, arguments.markdown)
        print({key: value for key, value in result.items() if key != "rows"})
    return int(bool(missed))


def _print(rows: list[dict[str, Any]], markdown: bool) -> None:
    between, edge = (" | ", "| ") if markdown else ("  ", "")
    head = ["workload", "operation", "against", "ours, ms", "theirs, ms", "ratio", "target"]
    print(edge + between.join(head))
    if markdown:
        print("|---" * len(head) + "|")
    for row in rows:
        missing = row["ratio"] is None
        target = "" if "target" not in row else f"{row['target']:g}{'' if row['met'] else ' missed'}"
        target += (
            "" if "stretch" not in row else f", stretch {row['stretch']:g}{'' if row['stretch_met'] else ' missed'}"
        )
        cells = [row["workload"], row["operation"].ljust(12), row["engine"].ljust(22)]
        cells += ["-", "-", "not installed"] if missing else [
            f"{row['ours_ms']:.0f}", f"{row['theirs_ms']:.0f}", f"{row['ratio']:.3f}"
        ]  # fmt: skip
        print(edge + between.join([*cells, target]))


def _scanner() -> tuple[FanFlat, ImageGrid]:
    grid = ImageGrid((416, 416), (153.6 / 416, 153.6 / 416))
    geometry = scanner_preset("syndeeplesion-640").geometry(grid)
    assert isinstance(geometry, FanFlat)
    return geometry, grid


def _w1(repeats: int) -> list[dict[str, Any]]:
    geometry, grid = _scanner()
    own = Projector(geometry, grid, threads=1)
    image = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    sinogram = own.forward(image)
    stack = np.random.default_rng(1).random((64, *grid.shape), dtype=np.float32)
    matrix = peers.csr_matrix(own)
    transposed = matrix.T.tocsr()
    flat, rays = image.ravel(), sinogram.ravel()
    plain = peers.plain_numba(own, image)

    def forward() -> Any:
        return own.forward(image)

    def back() -> Any:
        return own.adjoint(sinogram)

    def reconstruct() -> Any:
        return fbp(sinogram, geometry, grid)

    few = max(2, repeats // 2)
    rows = [
        _row("W1", "fp", "plain numba", forward, plain, repeats),
        _row("W1", "fp", "scipy csr", forward, lambda: matrix @ flat, repeats),
        _row("W1", "bp", "scipy csr", back, lambda: transposed @ rays, repeats),
    ]
    for name in ("line", "strip"):
        fp, bp = (peers.astra(geometry, grid, image, sinogram, what, f"{name}_fanflat") for what in ("FP", "BP"))
        rows.append(_row("W1", "fp", f"astra {name}", forward, fp, repeats))
        rows.append(_row("W1", "bp", f"astra {name}", back, bp, repeats))
    rows += [
        _row("W1", "fp", "itk-rtk", forward, peers.rtk(geometry, grid, image, "fp"), few),
        _row("W1", "bp", "itk-rtk", back, peers.rtk(geometry, grid, sinogram, "bp"), few),
        _row("W1", "fbp", "itk-rtk", reconstruct, peers.rtk(geometry, grid, sinogram, "fdk"), few),
        _row("W1", "fp", "deepinv", forward, peers.deepinv(geometry, grid, image, "fp"), few),
        _row("W1", "fwd+bwd", "deepinv", _step(own, image), peers.deepinv(geometry, grid, image, "step"), few),
        _row("W1", "fwd+bwd", "own fp", _step(own, image), forward, repeats),
        _row("W3", "fp per slice", "plain numba, one slice", lambda: own.forward(stack), plain, few, len(stack)),
    ]
    return rows


def _w2(repeats: int) -> list[dict[str, Any]]:
    grid = ImageGrid((512, 512), (1.0, 1.0))
    geometry = ParallelBeam(1000, 513, 512 * math.sqrt(2) / 513)
    y, x = np.mgrid[-256:256, -256:256]
    image = (x**2 + y**2 < 200**2).astype(np.float32)
    own = Projector(geometry, grid, threads=1)
    sinogram = own.forward(image)

    def reconstruct() -> Any:
        return fbp(sinogram, geometry, grid)

    few = max(2, repeats // 2)
    return [
        _row("W2", "fbp", "astra", reconstruct, peers.astra_fbp(geometry, grid, sinogram), repeats),
        _row("W2", "fbp", "scikit-image", reconstruct, peers.scikit(geometry, sinogram, 512), few),
        _row("W2", "fp", "scikit-image", lambda: own.forward(image), peers.scikit_radon(geometry, image), 2),
    ]


def _row(
    workload: str,
    operation: str,
    engine: str,
    ours: peers.Work | None,
    theirs: peers.Work | None,
    repeats: int,
    share: int = 1,
) -> dict[str, Any]:
    """CPU times and the median of pairwise ratios ours / theirs; None where one of both is missing."""
    row: dict[str, Any] = {"workload": workload, "operation": operation, "engine": engine, "ratio": None}
    if ours is not None and theirs is not None:
        ours(), theirs()  # warm up, compile
        pairs = [(_seconds(ours) / share, _seconds(theirs)) for _ in range(repeats)]
        row["ratio"] = statistics.median(a / b for a, b in pairs)
        row["ours_ms"], row["theirs_ms"] = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    return row


def _seconds(work: peers.Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _step(projector: Projector, image: np.ndarray) -> peers.Work | None:
    """Forward and backward through the projector inside torch."""
    if not peers.there("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    leaf = torch.from_numpy(image).requires_grad_(True)

    def step() -> None:
        leaf.grad = None
        projector.forward(leaf).sum().backward()

    return step


def _accuracy() -> dict[str, float | None]:
    """What speed must not cost, all on W1's scanner."""
    geometry, grid = _scanner()
    projector = Projector(geometry, grid)
    random = np.random.default_rng(2)
    x = random.standard_normal(grid.shape).astype(np.float32)
    forward = projector.forward(x)
    y = random.standard_normal(forward.shape).astype(np.float32)
    difference = np.vdot(forward.astype(float), y) - np.vdot(x.astype(float), projector.adjoint(y))
    image, exact = peers.ellipses(geometry, grid)
    sinogram = projector.forward(image)
    horizontal, vertical = grid.coordinates()
    radius = np.hypot(horizontal[None, :] - 8.0, vertical[:, None] + 5.0)
    disk = np.clip((50.0 - radius) / grid.spacing[0] + 0.5, 0, 1).astype(np.float32)
    back = fbp(projector.forward(disk), geometry, grid)
    fdk = peers.rtk(geometry, grid, sinogram, "fdk")
    against_rtk = None
    if fdk is not None:
        field = np.hypot(horizontal[None, :], vertical[:, None]) < geometry.field_radius
        ours = fbp(sinogram, geometry, grid)
        against_rtk = float(np.sqrt(np.mean((ours - fdk())[field] ** 2)) / ours.max())
    return {
        "adjoint_error": float(
            abs(difference) / np.linalg.norm(forward.astype(float)) / np.linalg.norm(y.astype(float))
        ),
        "disk_error": float(abs(back[radius < 45].mean() - 1.0)),
        "ellipses_nrmse": float(np.sqrt(np.mean((sinogram - exact) ** 2)) / exact.max()),
        "rtk_fdk_rmse": against_rtk,
    }


def _threads() -> dict[str, float]:
    """Wall-clock speed-up of two threads; means something on an idle machine only."""
    geometry, grid = _scanner()
    image = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    projectors = {threads: Projector(geometry, grid, threads=threads) for threads in (1, 2)}
    wall: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(15):
        for threads, projector in projectors.items():
            start = time.perf_counter()
            projector.forward(image)
            wall[threads].append(time.perf_counter() - start)
    return {"threads_speedup": min(wall[1]) / min(wall[2])}


if __name__ == "__main__":
    sys.exit(main())
