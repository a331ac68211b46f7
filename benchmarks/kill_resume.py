"""Thirty random kills of two-stage, two-optimizer runs: is the end bitwise that of an undisturbed run?

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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for attempt in ("warm-up", "undisturbed"):  # the first one also starts the server that forks the others
            runs.new_run(folder / attempt)
            begun = time.monotonic()
            assert runs.train(folder / attempt) == 0
            length = time.monotonic() - begun
        expected = runs.result(folder / "undisturbed")
        draw = np.random.default_rng(arguments.seed)
        steps: list[int] = []
        same = []
        while len(steps) < arguments.kills:
            root = folder / f"disturbed-{len(same)}"
            runs.new_run(root)
            steps += kill_often(root, min(10, arguments.kills - len(steps)), length, draw)
            same.append(runs.result(root) == expected and runs.steps(root) == list(range(1, 65)))
    answer = {"kills": len(steps), "runs": len(same), "runs_bitwise_equal": sum(same), "killed_after_step": steps}
    print(json.dumps(answer, indent=None if arguments.json else 2))
    sys.exit(0 if all(same) else 1)


def kill_often(root: Path, most: int, length: float, draw: np.random.Generator) -> list[int]:
    """Kill, start again, at last let it end; returns how many steps were recorded at each kill."""
    steps: list[int] = []
    while len(steps) < most:
        process = runs.start(root)
        process.join(float(draw.uniform(0.05, 0.6)) * length)
        if not process.is_alive():
            break
        process.kill()
        process.join()
        steps.append(runs.steps(root)[-1] if (root / "metrics.jsonl").exists() and runs.steps(root) else 0)
    assert runs.train(root) == 0
    return steps


if __name__ == "__main__":
    main()
