"""What the loop costs beside the step itself: checks, records, heartbeat, order; and the watcher's import.

    python benchmarks/training_overhead.py [--steps 200] --json

A method whose step takes no time is trained; what remains per step is the overhead. The claim is its share of a step of
100 ms. The optimizer's own work on a tiny network is included, checkpoints and validation are not (they are per epoch).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing"))
import torch
from core import training_children as runs

from ctrestoration.training.engine import fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ends: list[float] = []

    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["kind"] == "train":
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        config = runs.tiny(
            method={"name": "supervised", "network": {"name": "unet", "widths": [1, 1], "norm": "none"},
                    "stages": {"main": {"epochs": 1}}},
            data={"train": {"name": "discs", "count": 2 * arguments.steps, "size": 8}, "batch_size": 2},
            ema=None, checkpoint={"save_every": 10**6},
        )  # fmt: skip
        run = runs.create_run(config, Path(folder) / "run")
        fit(config.method.create(config), config, run, observer=observe)
    seconds = statistics.median(b - a for a, b in zip(ends, ends[1:], strict=False))
    code = (
        "import time; t = time.perf_counter(); import ctrestoration.jobs.reader, ctrestoration.jobs.local, "
        "ctrestoration.jobs.ssh, ctrestoration.jobs.table; import sys; "
        "assert 'torch' not in sys.modules; print(time.perf_counter() - t)"
    )
    imports = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(5)
    ]
    answer = {
        "overhead_ms_per_step": round(1000 * seconds, 3),
        "share_of_100_ms": round(seconds / 0.1, 4),
        "watcher_import_s": round(statistics.median(imports), 3),
    }
    print(json.dumps(answer, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
