"""Faults of the training engine: a step meets NaN, damaged samples, a killed loader, or too little memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the faults are signals and mounts of POSIX systems")

from core import training_children as runs  # noqa: E402

from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.training import checkpoints  # noqa: E402


class _Broken:
    """A source whose sample `bad` is NaN, as after a broken simulation."""

    def __init__(self, bad: int) -> None:
        from ctrestoration.training.sources import discs

        self.bad = bad
        self.inner = discs.Config(name="discs", count=32, size=8).create()

    def __len__(self) -> int:
        return 32

    def sample(self, key: Any) -> Any:
        sample = self.inner.sample(key)
        if key.index == self.bad:
            sample["target"] = sample["target"] * np.float32("nan")
        return sample

    def fingerprint(self) -> str:
        return "broken"


def _broken_source(run: RunDirectory) -> dict[str, Any]:
    return {"sources": (_Broken(7), None)}


def _sound_source(run: RunDirectory) -> dict[str, Any]:
    return {"sources": (_Broken(-1), None)}


def test_fault_06_damaged_sample_stops_with_its_index(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root, data__validation=None)
    assert runs.train(root, _broken_source) == outcome.ExitCode.DATA_REFUSED
    assert "Sample 7" in runs.status(root)["message"]


def test_fault_06_damaged_samples_are_skipped_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root, data__validation=None, data__damaged_limit=4)
    assert runs.train(root, _broken_source) == 0
    counts = [event["data"]["skipped"] for event in runs.events(root, "warning") if "skipped" in event["data"]]
    assert counts == [1, 2, 3, 4], "once in each of the four epochs"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fault_07_nan_goes_back_with_a_lower_rate(tmp_path: Path, value: float) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.Poison(12, 1, value)) == 0
    (nan,) = runs.events(root, "nan")
    assert len(nan["data"]["indices"]) == 2
    assert nan["data"]["seed"] == 3
    assert len(runs.events(root, "rollback")) == 1
    assert runs.steps(root) == list(range(1, 65))
    rates = {record["step"]: record["values"].get("lr") for record in runs.numbers(root) if record["kind"] == "train"}
    assert rates[11] < 0.6 * rates[10], "from the checkpoint of step 10 on the rate is halved"


def test_fault_07_rollback_survives_a_kill(tmp_path: Path) -> None:
    """Killed right after going back: the lower rate was itself saved."""
    results = []
    for name, faults in (("a", []), ("b", [runs.KillAtStep(20)])):
        root = tmp_path / name
        runs.new_run(root)
        poisoned = _PoisonThen(faults[0] if faults else None)
        codes = [runs.train(root, poisoned)] + ([runs.train(root)] if faults else [])
        assert codes[-1] == 0
        results.append(runs.result(root))
    assert results[0] == results[1]


class _PoisonThen:
    def __init__(self, then: Any) -> None:
        self.then = then

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        return {**runs.Poison(12, 1)(run), **(self.then(run) if self.then else {})}


def test_fault_07_diverged(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.Poison(12, 99)) == outcome.ExitCode.DIVERGED
    assert len(runs.events(root, "rollback")) == 2
    for path in (root / "checkpoints").glob("step_*.pt"):
        for tensor in checkpoints.load(path)["modules"]["g"].values():
            assert torch.isfinite(tensor.float()).all(), "never a NaN checkpoint"


def test_fault_08_collapse_is_said(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root, method__collapse_below=10.0, method__collapse_steps=5)
    assert runs.train(root) == 0
    (said,) = [event for event in runs.events(root, "warning") if "d_loss" in event["message"]]
    assert said["stage"] == "adversarial"


class _KillsWorker(_Broken):
    """A source whose loader process is killed, as for its memory, when it comes to sample 7 for the first time."""

    def __init__(self, flag: Path) -> None:
        super().__init__(-1)
        self.flag = flag

    def sample(self, key: Any) -> Any:
        if key.index == 7 and not self.flag.exists():
            self.flag.touch()
            runs.die()
        return self.inner.sample(key)


def _killed_worker(run: RunDirectory) -> dict[str, Any]:
    return {"sources": (_KillsWorker(run.root.parent / "killed"), None)}


def test_fault_09_loader_worker_killed(tmp_path: Path) -> None:
    results = []
    for name, workers in (("plain", 0), ("killed", 2)):
        root = tmp_path / name / "run"
        runs.new_run(root, data__validation=None, data__workers=workers)
        killed = "test_faults_steps._killed_worker"
        code = runs.train_with_workers(root, killed) if workers else runs.train(root, _sound_source)
        assert code == 0
        results.append(runs.result(root))
    (said,) = [event for event in runs.events(root, "warning") if "loader worker" in event["message"]]
    assert "SIGKILL" in said["message"]
    assert "GiB" in said["message"]
    assert "set data.workers to 1" in said["message"]
    assert results[0] == results[1], "neither workers nor the kill change the order"


class _Hungry:
    """Steps need memory in proportion to their (micro-)batch, and the process has only so much."""

    def __init__(self, later: bool) -> None:
        self.later = later

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        import resource

        calls = [0]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

        def wrap(method: Any) -> Any:
            original = method.step

            def step(stage: Any, turn: str, batch: Any, parts: Any) -> Any:
                calls[0] += 1
                if not self.later or calls[0] > 20:
                    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30), resource.RLIM_INFINITY))
                    torch.UntypedStorage(len(batch["index"]) * (2 << 30))
                return original(stage, turn, batch, parts)

            method.step = step
            return method

        return {"method": wrap}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
@pytest.mark.parametrize("later", [False, True], ids=["at-start", "mid-run"])
def test_fault_10_out_of_memory(tmp_path: Path, later: bool) -> None:
    stopped, halved = tmp_path / "stopped", tmp_path / "halved"
    runs.new_run(stopped, data__validation=None)
    assert runs.train(stopped, _Hungry(later)) == outcome.ExitCode.OUT_OF_MEMORY
    assert "data.micro_batches to 2" in runs.status(stopped)["message"]
    assert bool(runs.steps(stopped)) is later

    runs.new_run(halved, data__validation=None, recovery__out_of_memory="halve_batch_and_accumulate")
    assert runs.train(halved, _Hungry(later)) == 0
    assert runs.steps(halved) == list(range(1, 65))
    assert len(runs.events(halved, "oom")) == 1
