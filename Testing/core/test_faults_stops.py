"""Faults of the training engine: the run is killed or stopped, and goes on.

The headline: kill a run anywhere, resume it, and weights, optimizer state and metrics are bitwise those of a run that
was never disturbed. Runs are tiny (two stages, two optimizers, 64 steps) and live in processes of their own. The faults
are numbered through the files `test_faults_*`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the faults are signals and mounts of POSIX systems")

from core import training_children as runs  # noqa: E402

from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.jobs.reader import Watcher  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.training import checkpoints  # noqa: E402


@pytest.mark.parametrize(
    "faults",
    [
        [runs.KillAtStep(3)],  # before the first checkpoint after the start
        [runs.KillAtStep(17), runs.KillAtStep(30)],  # inside each stage
        [runs.KillAtStep(32), runs.KillAtStep(33)],  # both sides of the stage boundary
        [runs.KillAtEvent("stage", 2), runs.KillAtStep(63)],  # the stage was just entered; one step before the end
        [runs.KillAtEvent("checkpoint", 1), runs.KillAtEvent("checkpoint", 4)],  # right after saving
        [runs.KillWhileSaving(3, "file"), runs.KillWhileSaving(4, "sidecar")],
    ],
    ids=["first", "inside", "boundary", "entered", "saved", "saving"],
)
def test_fault_01_killed_anywhere(tmp_path: Path, undisturbed: dict[str, Any], faults: list[Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train_through(root, *faults) == [-signal.SIGKILL] * len(faults) + [0]
    runs.assert_same(root, undisturbed)
    assert not list(root.rglob(".*.part")), "temporaries of killed writers are swept"


def test_fault_01_killed_at_random_moments(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    draw = np.random.default_rng(5)
    codes = []
    for _ in range(3):
        process = runs.start(root)
        before = len(runs.steps(root)) if (root / "metrics.jsonl").exists() else 0
        runs.wait_for(lambda p=process, b=before: not p.is_alive() or runs.lines(root) > b + 2)
        time.sleep(float(draw.uniform(0, 0.15)))
        process.kill()
        process.join()
        codes.append(process.exitcode)
    assert runs.train(root) == 0
    assert codes[0] == -signal.SIGKILL
    runs.assert_same(root, undisturbed)


def test_fault_02_sigterm_stops_after_the_step_and_saves(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(12, signal.SIGTERM)) == outcome.ExitCode.CANCELLED
    assert runs.steps(root)[-1] == 12
    assert runs.status(root)["state"] == "cancelled"
    assert (root / "checkpoints" / "step_0000012.pt").exists()
    assert runs.train(root) == 0
    runs.assert_same(root, undisturbed)


def _cancel_at_last_step(run: RunDirectory) -> dict[str, Any]:
    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["kind"] == "train" and record["step"] == 16:
            run.request_cancel()

    return {"observer": observe}


def test_fault_02_cancel_file_at_the_last_step_of_an_epoch(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, _cancel_at_last_step) == outcome.ExitCode.CANCELLED
    assert runs.steps(root)[-1] == 16
    assert runs.train(root) == 0, "resuming removes the request"
    runs.assert_same(root, undisturbed)


def test_fault_02_laptop_sleep(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    process = runs.start(root)
    runs.wait_for(lambda: runs.lines(root) > 3)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    runs.assert_same(root, undisturbed)


def test_fault_02_the_program_that_started_it_dies(tmp_path: Path) -> None:
    """As when 3D Slicer is closed or killed: the run goes on."""
    config = tmp_path / "run.yaml"
    config.write_text(runs.tiny(data__train__count=16, method__stages__pretrain_g__epochs=1).to_yaml())
    starter = (
        "import os, pathlib, signal; from ctrestoration.jobs.local import LocalBackend;"
        f"LocalBackend().submit(pathlib.Path({str(config)!r}), {str(tmp_path / 'run')!r});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", starter], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    watcher = Watcher(RunDirectory(tmp_path / "run"))
    runs.wait_for(lambda: watcher.poll().state in ("done", "failed"), 120)
    assert watcher.state == "done", (tmp_path / "run" / "log.txt").read_text()


def test_fault_12_the_machine_is_lost_and_the_run_directory_goes_elsewhere(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """As when the head of a cluster dies: the directory alone is enough to go on, at another place."""
    root, elsewhere = tmp_path / "run", tmp_path / "other" / "machine"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(40)) == -signal.SIGKILL
    shutil.copytree(root, elsewhere)
    shutil.rmtree(root)
    for empty in ("control", "snapshots"):
        shutil.rmtree(elsewhere / empty)
    assert runs.train(elsewhere) == 0
    runs.assert_same(elsewhere, undisturbed)


def test_fault_18_power_loss(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """What was not synced is gone: the journals lose everything after the last checkpoint, the last line is torn."""
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(23)) == -signal.SIGKILL
    _, content = next(checkpoints.usable(root / "checkpoints", []))
    metrics = (root / "metrics.jsonl").read_bytes()
    (root / "metrics.jsonl").write_bytes(metrics[: content["metrics_offset"] + 40])
    status = root / "status.json"
    status.write_bytes(b"")
    assert 23 - content["progress"]["step"] <= 5, "at most save_every steps are lost"
    assert runs.train(root) == 0
    runs.assert_same(root, undisturbed)


def test_fault_18_metrics_before_the_checkpoint_are_gone(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(23)) == -signal.SIGKILL
    (root / "metrics.jsonl").write_bytes(b"")
    assert runs.train(root) == outcome.ExitCode.DATA_REFUSED
    assert "metrics.jsonl" in runs.status(root)["message"]
    shutil.rmtree(root)
