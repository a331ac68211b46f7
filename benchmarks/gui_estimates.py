"""How good MARInpaint's first estimates of time and memory are, and the rates they start from.

    python benchmarks/gui_estimates.py [--size 256] [--slices 4] [--json]

Runs `simulate metal` and `correct --method nmar` as Slicer does, as child processes, with numba and without, on slices
that all hold metal. Prints the nanoseconds of one interpolation (`estimates.NANOSECONDS` is their rounded mean), and
estimate / measurement of time and of peak memory: 1 is perfect. A busy machine stretches the clock, so the rates are
taken from CPU time; what MARInpaint learns later is the clock of this computer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PRESETS = ("clinical", "syndeeplesion-640", "adn-256")
WITHOUT = "import sys; sys.modules['numba'] = None; from ctrestoration.cli.main import main; sys.exit(main())"
WITH = "import sys; from ctrestoration.cli.main import main; sys.exit(main())"


def child(engine: str, *words: Any) -> dict[str, float]:
    """Seconds on the clock, CPU seconds and peak bytes of a command."""
    code = WITH if engine == "numba" else WITHOUT
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, said = process.communicate() if process.stderr is None else (None, process.stderr.read())
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(said.decode())
    return {
        "clock": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024.0,
    }


def write_inputs(folder: Path, size: int, slices: int) -> Any:
    """A body with a bolt through every slice; gives its grid."""
    import numpy as np

    from ctrestoration.io.images import write_labels, write_volume
    from ctrestoration.volume import Grid, LabelMap, Volume

    array = np.full((slices, size, size), -1000, np.float32)
    array[:, size // 4 : 3 * size // 4, size // 5 : 4 * size // 5] = 40
    metal = np.zeros(array.shape, np.uint16)
    metal[:, size // 2 : size // 2 + 6, size // 2 - 20 : size // 2 + 20] = 1
    grid = Grid.from_parts(array.shape, (400 / size, 400 / size, 2.0))
    write_volume(Volume(array, grid), folder / "ct.nrrd")
    write_labels(LabelMap(metal, grid, {1: "metal"}), folder / "metal.seg.nrrd")
    return grid


def rows_of(engine: str, preset: str, folder: Path, grid: Any) -> list[dict[str, Any]]:
    """Simulate and correct."""
    from CTRestorationLib.presenters.mar.estimates import NANOSECONDS, START_SECONDS, Estimates

    slices, estimates = grid.shape[0], Estimates(grid, preset)
    out = folder / f"{engine}-{preset}"
    simulate = ("simulate", "metal", folder / "ct.nrrd", "--mask", folder / "metal.seg.nrrd", "--preset", preset)
    correct = ("correct", out / "input.nii.gz", out / "nmar.nrrd", "--method", "nmar")
    jobs = {
        "simulate": (estimates.simulation(slices, slices), (*simulate, "--out", out)),
        "correct": (estimates.correction(slices, False), (*correct, "--acquisition", out / "acquisition.npz")),
    }
    rows = []
    for job, (work, words) in jobs.items():
        child(engine, *words) if engine == "numba" else None  # numba's kernels are compiled and cached once
        used = child(engine, *words)
        seconds = START_SECONDS + work * NANOSECONDS[engine] * 1e-9
        rows.append(
            {
                "engine": engine, "preset": preset, "job": job, "slices": slices, "size": grid.shape[1],
                "clock_s": round(used["clock"], 1), "cpu_s": round(used["cpu"], 1),
                "ns": round((used["clock"] - START_SECONDS) * 1e9 / work, 2),
                "ns_cpu": round((used["cpu"] - START_SECONDS) * 1e9 / work, 2),
                "time_ratio": round(seconds / used["clock"], 2),
                "cpu_ratio": round(seconds / used["cpu"], 2),
                "memory_ratio": round(estimates.memory(slices) / used["peak"], 2),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--engine", choices=("numba", "numpy"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid = write_inputs(folder, arguments.size, arguments.slices)
        for engine in [arguments.engine] if arguments.engine else ["numba", "numpy"]:
            for preset in PRESETS:
                rows += rows_of(engine, preset, folder, grid)
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            f"{row['engine']:6} {row['preset']:18} {row['job']:9} {row['clock_s']:6.1f} s ({row['cpu_s']:6.1f} s CPU), "
            f"{row['ns']:6.2f} ns ({row['ns_cpu']:6.2f} CPU); estimate / measured: clock {row['time_ratio']:.2f}, "
            f"CPU {row['cpu_ratio']:.2f}, memory {row['memory_ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
