"""Thirty random kills of a two-stage, two-optimizer run: are the final weights bitwise those of an undisturbed run?

    python benchmarks/kill_resume.py [--kills 30] [--seed 0] --json

The kills are SIGKILL from outside at random moments (also while saving, validating, starting). POSIX only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing"))
from core import training_children as runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = Path(folder) / "undisturbed", Path(folder) / "disturbed"
        runs.new_run(undisturbed)
        begun = time.monotonic()
        assert runs.train(undisturbed) == 0
        length = time.monotonic() - begun
        runs.new_run(disturbed)
        kills, finished_early = kill_often(disturbed, arguments.kills, length, arguments.seed)
        assert runs.train(disturbed) == 0
        same = runs.result(undisturbed) == runs.result(disturbed)
        answer = {
            "kills": kills,
            "bitwise_equal": same,
            "every_step_once": runs.steps(disturbed) == list(range(1, 65)),
            "kill_after_steps": finished_early,
            "resumed": len(runs.events(disturbed, "resumed")),
        }
    print(json.dumps(answer, indent=None if arguments.json else 2))
    sys.exit(0 if same else 1)


def kill_often(root: Path, wanted: int, length: float, seed: int) -> tuple[int, list[int]]:
    """Kill, and start again; the waits are short enough that the run is not over before the last kill."""
    draw = np.random.default_rng(seed)
    killed, steps = 0, []
    while killed < wanted:
        process = runs.start(root)
        process.join(float(draw.uniform(0.1, 0.45)) * length)
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
            steps.append(len(runs.steps(root)) if (root / "metrics.jsonl").exists() else 0)
        elif process.exitcode == 0:
            break
    return killed, steps


if __name__ == "__main__":
    main()
