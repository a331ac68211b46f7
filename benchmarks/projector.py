"""Our projector and FBP against other CPU engines: ratios of CPU time, measured interleaved in one run, one thread.

    python benchmarks/projector.py [--json] [--repeats N]

W1: 416x416, 640 views x 641 bins, flat fan (syndeeplesion-640). W2: 512x512 parallel, 1000 views x 513 bins. W3: eight
slices of W1 at once. Peers are used where they are installed (astra-toolbox, scikit-image, torch; scipy always) and
reported as missing elsewhere; never a run-time dependency. The anchor `plain numba` is Joseph's method written plainly.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.geometry import FanFlat, Geometry, ImageGrid, ParallelBeam
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.physics.projector import PAD, Projector

Work = Callable[[], Any]
TARGETS = {
    ("W1", "fp", "astra"): 0.22,
    ("W1", "bp", "astra"): 0.36,
    ("W1", "fp", "scipy csr"): 0.8,
    ("W1", "step", "own fp"): 2.5,
    ("W2", "fbp", "astra"): 0.8,
    ("W2", "fbp", "scikit-image"): 0.4,
    ("W3", "fp per slice", "plain numba single slice"): 0.5,
}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = [*_w1(arguments.repeats), *_w2(arguments.repeats)]
    for row in rows:
        target = TARGETS.get((row["workload"], row["operation"], row["engine"]))
        if target is not None and row["ratio"] is not None:
            row |= {"target": target, "met": row["ratio"] <= target}
    result = {"rows": rows, "adjoint_error": _adjoint_error(), "disk_error": _disk_error(), **_threads()}
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row in rows:
        ratio = "missing" if row["ratio"] is None else f"{row['ratio']:.3f}"
        verdict = "" if "met" not in row else f"target {row['target']:g}: {'met' if row['met'] else 'missed'}"
        print(f"{row['workload']:<4}{row['operation']:<14}{row['engine']:<18}{ratio:>9}  {verdict}")
    print({key: value for key, value in result.items() if key != "rows"})


def _w1(repeats: int) -> list[dict[str, Any]]:
    scanner = scanner_preset("syndeeplesion-640")
    grid = ImageGrid((416, 416), (153.6 / 416, 153.6 / 416))
    geometry = scanner.geometry(grid)
    own = Projector(geometry, grid, threads=1)
    image = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    sinogram = own.forward(image)
    stack = np.random.default_rng(1).random((8, *grid.shape), dtype=np.float32)
    matrix = _matrix(own)
    flat = image.ravel()
    plain = _plain(own, image)
    rows = [
        _row("W1", "fp", "scipy csr", lambda: own.forward(image), lambda: matrix @ flat, repeats),
        _row("W1", "fp", "plain numba", lambda: own.forward(image), plain, repeats),
        _row("W3", "fp per slice", "plain numba single slice", lambda: own.forward(stack), plain, repeats, len(stack)),
    ]
    rows += [
        _row("W1", operation, "astra", ours, theirs, repeats)
        for operation, ours, theirs in (
            ("fp", lambda: own.forward(image), _astra(geometry, grid, image, sinogram, "FP")),
            ("bp", lambda: own.adjoint(sinogram), _astra(geometry, grid, image, sinogram, "BP")),
        )
    ]
    rows.append(_row("W1", "step", "own fp", _step(own, image), lambda: own.forward(image), repeats))
    return rows


def _w2(repeats: int) -> list[dict[str, Any]]:
    grid = ImageGrid((512, 512), (1.0, 1.0))
    geometry = ParallelBeam(1000, 513, 512 * math.sqrt(2) / 513)
    y, x = np.mgrid[-256:256, -256:256]
    sinogram = Projector(geometry, grid, threads=1).forward((x**2 + y**2 < 200**2).astype(np.float32))
    kernels_own = lambda: fbp(sinogram, geometry, grid)  # noqa: E731
    rows = [_row("W2", "fbp", "astra", kernels_own, _astra_fbp(geometry, grid, sinogram), repeats)]
    theirs: Work | None = None
    if importlib.util.find_spec("skimage"):
        from skimage.transform import iradon

        angles = np.degrees(geometry.angles)
        theirs = lambda: iradon(sinogram.T, angles, output_size=512, filter_name="ramp", circle=False)  # noqa: E731
    rows.append(_row("W2", "fbp", "scikit-image", kernels_own, theirs, max(2, repeats // 2)))
    return rows


def _row(
    workload: str, operation: str, engine: str, ours: Work | None, theirs: Work | None, repeats: int, share: int = 1
) -> dict[str, Any]:
    """Median of pairwise ratios ours / theirs; None where one of both is missing."""
    ratio = None
    if ours is not None and theirs is not None:
        ours(), theirs()  # warm up, compile
        ratio = statistics.median(_seconds(ours) / share / _seconds(theirs) for _ in range(repeats))
    return {"workload": workload, "operation": operation, "engine": engine, "ratio": ratio}


def _seconds(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _astra(geometry: Geometry, grid: ImageGrid, image: np.ndarray, sinogram: np.ndarray, what: str) -> Work | None:
    """astra's line projector on its CPU, in pixels of the image."""
    if not importlib.util.find_spec("astra"):
        return None
    import astra

    assert isinstance(geometry, FanFlat)
    pixel = grid.spacing[0]
    volume = astra.create_vol_geom(*grid.shape)
    scan = astra.create_proj_geom(
        "fanflat", geometry.pitch / pixel, geometry.n_bins, geometry.angles,
        geometry.source_distance / pixel, geometry.detector_distance / pixel,
    )  # fmt: skip
    projector = astra.create_projector("line_fanflat", scan, volume)
    images, scans = astra.data2d.create("-vol", volume, image), astra.data2d.create("-sino", scan, sinogram)
    settings = astra.astra_dict(what)
    settings["ProjectorId"], settings["ProjectionDataId"] = projector, scans
    settings["VolumeDataId" if what == "FP" else "ReconstructionDataId"] = images
    algorithm = astra.algorithm.create(settings)
    return lambda: astra.algorithm.run(algorithm)


def _astra_fbp(geometry: ParallelBeam, grid: ImageGrid, sinogram: np.ndarray) -> Work | None:
    if not importlib.util.find_spec("astra"):
        return None
    import astra

    volume = astra.create_vol_geom(*grid.shape)
    scan = astra.create_proj_geom("parallel", geometry.pitch, geometry.n_bins, geometry.angles)
    settings = astra.astra_dict("FBP")
    settings["ProjectorId"] = astra.create_projector("linear", scan, volume)
    settings["ProjectionDataId"] = astra.data2d.create("-sino", scan, sinogram)
    settings["ReconstructionDataId"] = astra.data2d.create("-vol", volume)
    algorithm = astra.algorithm.create(settings)
    return lambda: astra.algorithm.run(algorithm)


def _step(projector: Projector, image: np.ndarray) -> Work | None:
    """Forward and backward through the projector inside torch."""
    if not importlib.util.find_spec("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    leaf = torch.from_numpy(image).requires_grad_(True)

    def step() -> None:
        leaf.grad = None
        projector.forward(leaf).sum().backward()

    return step


def _plain(projector: Projector, image: np.ndarray) -> Work:
    """The anchor: Joseph's method in numba as one writes it down, float64 positions, one ray after the other."""
    import numba

    @numba.njit
    def forward(rows: np.ndarray, columns: np.ndarray, steps: np.ndarray, ranges: np.ndarray, out: np.ndarray) -> None:
        for ray in range(len(steps)):
            picture = rows if ranges[ray, 0] else columns
            total = np.float32(0.0)
            position = steps[ray, 0]
            for k in range(picture.shape[1]):
                if 1.0 <= position < picture.shape[0] - 2:
                    low = int(position)
                    share = np.float32(position - low)
                    total += picture[low, k] + share * (picture[low + 1, k] - picture[low, k])
                position += steps[ray, 1]
            out[ray] = total * steps[ray, 2]

    rows, columns = (np.pad(part, ((PAD, PAD), (0, 0))) for part in (image, np.ascontiguousarray(image.T)))
    out = np.empty(len(projector.steps), dtype=np.float32)
    return lambda: forward(rows, columns, projector.steps, projector.ranges, out)


def _matrix(projector: Projector) -> scipy.sparse.csr_matrix:
    """The projector as a sparse matrix, from its own table of steps."""
    (rows, columns), steps, ranges = projector.grid.shape, projector.steps, projector.ranges
    counts = np.maximum(ranges[:, 2] - ranges[:, 1], 0)
    ray = np.repeat(np.arange(len(steps)), counts)
    k = np.arange(len(ray)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(ranges[:, 1], counts)
    position = steps[ray, 0] + k * steps[ray, 1] - PAD
    low = np.floor(position).astype(np.int64)
    share = (position - low).astype(np.float32)
    over_columns = ranges[ray, 0] == 1
    entries = []
    for across, weight in ((low, 1 - share), (low + 1, share)):
        inside = (across >= 0) & (across < np.where(over_columns, rows, columns))
        pixel = np.where(over_columns, across * columns + k, k * columns + across)
        entries.append((ray[inside], pixel[inside], (weight * steps[ray, 2]).astype(np.float32)[inside]))
    r, p, w = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return scipy.sparse.csr_matrix((w, (r, p)), shape=(len(steps), rows * columns))


def _adjoint_error() -> float:
    """|<Ax, y> - <x, A'y>| / (|Ax| |y|) for zero-mean vectors on W1."""
    scanner = scanner_preset("syndeeplesion-640")
    grid = ImageGrid((416, 416), (153.6 / 416, 153.6 / 416))
    projector = Projector(scanner.geometry(grid), grid)
    random = np.random.default_rng(2)
    x = random.standard_normal(grid.shape).astype(np.float32)
    forward = projector.forward(x)
    y = random.standard_normal(forward.shape).astype(np.float32)
    difference = np.vdot(forward.astype(float), y) - np.vdot(x.astype(float), projector.adjoint(y))
    return float(abs(difference) / np.linalg.norm(forward.astype(float)) / np.linalg.norm(y.astype(float)))


def _disk_error() -> float:
    """Relative error of the mean inside a uniform disk after projection and FBP on W1's scanner."""
    scanner = scanner_preset("syndeeplesion-640")
    grid = ImageGrid((416, 416), (153.6 / 416, 153.6 / 416))
    x, y = grid.coordinates()
    radius = np.hypot(x[None, :] - 8.0, y[:, None] + 5.0)
    image = np.clip((50.0 - radius) / grid.spacing[0] + 0.5, 0, 1).astype(np.float32)
    geometry = scanner.geometry(grid)
    back = fbp(Projector(geometry, grid).forward(image), geometry, grid)
    return float(abs(back[radius < 45].mean() - 1.0))


def _threads() -> dict[str, float]:
    """Wall-clock speed-up of two threads; means something on an idle machine only."""
    scanner = scanner_preset("syndeeplesion-640")
    grid = ImageGrid((416, 416), (153.6 / 416, 153.6 / 416))
    image = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    wall = {}
    for threads in (1, 2):
        projector = Projector(scanner.geometry(grid), grid, threads=threads)
        projector.forward(image)
        times = []
        for _ in range(7):
            start = time.perf_counter()
            projector.forward(image)
            times.append(time.perf_counter() - start)
        wall[threads] = min(times)
    return {"threads_speedup": wall[1] / wall[2]}


if __name__ == "__main__":
    main()
