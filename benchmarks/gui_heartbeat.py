"""The longest gap between two heartbeats of Slicer's window during the jobs of MARInpaint on 512 x 512 x N.

    python benchmarks/gui_heartbeat.py [--slices 60] [--repeats 3] [--json]

MARInpaint in the stand-in for Slicer, and a QTimer of 5 ms. Segmenting runs its real child; for Simulate and Correct a
quick child leaves files of that size with noise in them. The limit is 100 ms. Gaps are given on the clock and in CPU
time of the process; the latter does not count other work on the machine. Rendering is not part of it: the stand-in has
no views.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "Testing" / "standin"), str(ROOT / "Testing" / "gui")]
LIMIT_MS = 100.0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    import slicerstandin

    slicerstandin.install()
    import slicer
    from heartbeat import QuickFiles, segmentMetalAndSpine, simulateAndCorrect

    rows = []
    for _ in range(arguments.repeats):
        slicerstandin.reset()
        module = slicerstandin.load_module(ROOT / "MARInpaint" / "MARInpaint.py")
        panel = module.widgetRepresentation()
        panel.enter()
        with tempfile.TemporaryDirectory() as folder:
            files = QuickFiles(Path(folder), arguments.slices, noise=20.0)
            hearts = segmentMetalAndSpine(panel.self(), files) | simulateAndCorrect(panel.self(), files)
        slicerstandin.unload_module(module)
        slicer.mrmlScene.Clear(True)
        for job, heart in hearts.items():
            cpu = 1000 * heart.longestCpu
            rows.append(
                {
                    "job": job,
                    "beats": heart.beats,
                    "clock_ms": round(1000 * heart.longest, 1),
                    "cpu_ms": round(cpu, 1),
                    "share_of_limit": round(cpu / LIMIT_MS, 2),
                }
            )
    if arguments.json:
        print(json.dumps({"slices": arguments.slices, "limit_ms": LIMIT_MS, "rows": rows}))
        return
    for row in rows:
        print(
            f"{row['job']:14} {row['beats']:6} beats, longest gap {row['clock_ms']:7.1f} ms on the clock, "
            f"{row['cpu_ms']:6.1f} ms CPU = {row['share_of_limit']:.2f} of the limit"
        )


if __name__ == "__main__":
    main()
