"""What it costs to have no numba: simulating and correcting slices with metal on numpy and scipy alone.

3D Slicer's Python brings numpy and scipy, but no numba. `python benchmarks/without_numba.py [--slices 1] [--json]`
runs the same work in two processes, one of which cannot import numba, and compares CPU time per slice (compiling is
counted apart) and the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--size", type=int, default=512, help="pixels along a side")
    parser.add_argument("--method", default="nmar")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--engine", choices=("numba", "numpy"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        print(json.dumps(measured(arguments)))
        return
    found = {engine: _child(engine, arguments) for engine in ("numba", "numpy")}
    rows = [
        {
            "work": work,
            "numba_cpu_s": found["numba"][work]["cpu"],
            "numpy_cpu_s": found["numpy"][work]["cpu"],
            "cpu_ratio": found["numpy"][work]["cpu"] / found["numba"][work]["cpu"],
            "wall_ratio": found["numpy"][work]["wall"] / found["numba"][work]["wall"],
            "numba_first_s": found["numba"][work]["first"],
        }
        for work in ("simulate", arguments.method)
    ]
    outcome = {"slices": arguments.slices, "size": arguments.size, "cores": os.cpu_count(), "rows": rows}
    outcome["largest_difference_hu"] = float(np.abs(np.subtract(*(found[e]["sample"] for e in found))).max())
    if arguments.json:
        print(json.dumps(outcome, indent=2))
        return
    for row in rows:
        spent = f"numba {row['numba_cpu_s']:.2f} s, numpy {row['numpy_cpu_s']:.2f} s of CPU a slice"
        times = f"{row['cpu_ratio']:.1f} x (wall {row['wall_ratio']:.1f} x)"
        print(f"{row['work']:<10} {spent}: {times}; first run with numba {row['numba_first_s']:.1f} s")
    print(f"largest difference {outcome['largest_difference_hu']:.3g} HU")


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU and wall seconds a slice in this process."""
    if arguments.engine == "numpy":
        sys.modules["numba"] = None  # type: ignore[assignment]
    from ctrestoration import registry
    from ctrestoration.simulate.metal import simulate_metal
    from ctrestoration.volume import Grid, Volume

    warnings.simplefilter("ignore")
    count, size = arguments.slices, arguments.size
    y, x = np.mgrid[:size, :size] - size / 2
    array = np.full((count, size, size), -1000.0, dtype=np.float32)
    array[:, (x / 0.42) ** 2 + (y / 0.3) ** 2 < size**2] = 40.0
    array[:, x**2 + (y - 0.12 * size) ** 2 < (0.06 * size) ** 2] = 700.0
    metal = np.zeros_like(array)
    for side in (-1, 1):
        metal[:, (x - side * 0.04 * size) ** 2 + (y - 0.13 * size) ** 2 < (0.012 * size) ** 2] = 1.0
    volume = Volume(array, Grid.from_parts(array.shape, (0.75, 0.75, 2.0)))
    times: dict[str, Any] = {}
    simulation = _timed(times, "simulate", count, lambda: simulate_metal(volume, {"titanium": metal}, photons=None))
    method = registry.get("mar", arguments.method)
    restored = _timed(times, arguments.method, count, lambda: method.restore(simulation.acquisition))
    times["sample"] = restored.image.array[0, ::16, ::16].ravel().tolist()
    return times


def _timed(times: dict[str, Any], name: str, count: int, work: Callable[[], Any]) -> Any:
    """Runs once to compile, if there is something to compile, and once for the time."""
    first = 0.0
    if sys.modules.get("numba", True) is not None:
        began = time.perf_counter()
        work()
        first = time.perf_counter() - began
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    times[name] = {
        "cpu": (time.process_time() - cpu) / count,
        "wall": (time.perf_counter() - wall) / count,
        "first": first,
    }
    return result


def _child(engine: str, arguments: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, __file__, "--engine", engine, "--method", arguments.method]
    words += ["--slices", str(arguments.slices), "--size", str(arguments.size)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
