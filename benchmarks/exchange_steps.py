"""How long Slicer's window waits while volumes go to a job and come back: the longest step of 512x512xN.

`python benchmarks/exchange_steps.py [--slices 60] [--json]`; the limit is the 100 ms that a person notices.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.io.images import write_volume
from ctrestoration.volume import Grid, LabelMap, Volume
from CTRestorationLib.jobs import exchange

LIMIT_MS = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    grid = Grid.from_parts((arguments.slices, 512, 512), (0.7, 0.7, 1.5))
    volume = Volume(np.random.default_rng(0).normal(0, 100, grid.shape).astype(np.float32), grid)
    array = np.zeros(grid.shape, dtype=np.uint16)
    for label in range(20):
        start = label * arguments.slices // 20
        array[start : start + arguments.slices // 10 + 1, 100:300, 150:350] = label + 1
    labels = LabelMap(array, grid, {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            timed("write volume", exchange.writeVolumeSteps(volume, folder / "v.nrrd")),
            timed("read volume, raw", exchange.readVolumeSteps(folder / "v.nrrd")),
            timed("write labels", exchange.writeLabels(labels, folder / "l.seg.nrrd")),
            timed("read labels", exchange.readLabels(folder / "l.seg.nrrd")),
        ]
        write_volume(volume, folder / "c.nii.gz")
        rows.append(timed("read volume, gzip", exchange.readVolumeSteps(folder / "c.nii.gz")))
    if arguments.json:
        print(json.dumps({"slices": arguments.slices, "limit_ms": LIMIT_MS, "rows": rows}, indent=2))
        return
    for row in rows:
        spent = f"{row['seconds']:6.2f} s in {row['steps']:4d} steps"
        print(f"{row['what']:<20} {spent}, longest {row['longest_ms']:6.1f} ms")


def timed(what: str, steps: Generator[float, None, Any]) -> dict[str, Any]:
    """Time of every step, on the clock: what a window would feel."""
    times = []
    while True:
        began = time.perf_counter()
        more = next(steps, None)
        times.append(1000 * (time.perf_counter() - began))
        if more is None:
            break
    return {"what": what, "steps": len(times), "seconds": sum(times) / 1000, "longest_ms": max(times)}


if __name__ == "__main__":
    main()
