"""What the loop costs beside the step itself: checks, records, heartbeat, order; and the watcher's import.

    python benchmarks/training_overhead.py [--steps 200] --json

A tiny network is trained twice on the same samples: by the engine, and by the shortest loop that does the same updates.
The difference in CPU time per step is the overhead; the claim is its share of a step of 100 ms. Checkpoints and
validation are not in it: they are per epoch. CPU time, because other work on the machine does not change it.
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
import numpy as np
import torch
from core import training_children as runs

from ctrestoration.training.engine import fit
from ctrestoration.training.keys import Key, order


def by_engine(config: Any, folder: Path) -> float:
    """CPU seconds per step."""
    marks: list[float] = []

    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["kind"] == "train":
            marks.append(time.process_time())

    run = runs.create_run(config, folder / "run")
    fit(config.method.create(config), config, run, observer=observe)
    return (marks[-1] - marks[20]) / (len(marks) - 21)


def by_shortest_loop(config: Any) -> float:
    """CPU seconds per step of the same updates without anything around them."""
    method = config.method.create(config)
    parts = method.build(config)
    stage, source = method.stages[0], config.data.train.create()
    optimizer = torch.optim.Adam(parts.modules["g"].parameters(), lr=config.optim.lr)
    indices = order(config.seed, stage.name, 0, len(source))
    size = config.data.batch_size
    steps = len(source) // size
    for number in range(steps):
        if number == 20:
            begun = time.process_time()
        keys = [Key(config.seed, stage.name, 0, index) for index in indices[number * size : (number + 1) * size]]
        samples = [source.sample(key) for key in keys]
        batch = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
        optimizer.zero_grad()
        losses = method.step(stage, "g", batch, parts)
        losses.total.backward()
        optimizer.step()
    return (time.process_time() - begun) / (steps - 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = runs.tiny(
        method={"name": "supervised", "network": {"name": "unet", "widths": [4, 8]}, "stages": {"main": {"epochs": 1}}},
        data={"train": {"name": "discs", "count": 2 * arguments.steps, "size": 16}, "batch_size": 2},
        ema=None,
        checkpoint={"save_every": 10**6},
    )
    with tempfile.TemporaryDirectory() as folder:
        engine = by_engine(config, Path(folder))
    plain = by_shortest_loop(config)
    seconds = engine - plain
    code = (
        "import time; t = time.process_time(); import ctrestoration.jobs.reader, ctrestoration.jobs.local, "
        "ctrestoration.jobs.ssh, ctrestoration.jobs.table; import sys; "
        "assert 'torch' not in sys.modules; print(time.process_time() - t)"
    )
    imports = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(5)
    ]
    answer = {
        "engine_ms": round(1000 * engine, 3),
        "shortest_loop_ms": round(1000 * plain, 3),
        "overhead_ms_per_step": round(1000 * seconds, 3),
        "share_of_100_ms": round(seconds / 0.1, 4),
        "watcher_import_s": round(statistics.median(imports), 3),
    }
    print(json.dumps(answer, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
