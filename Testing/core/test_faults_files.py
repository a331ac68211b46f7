"""Faults of the training engine: checkpoints, clocks, locks and run files that are not as they were left."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the faults are signals and mounts of POSIX systems")

from core import training_children as runs  # noqa: E402

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.jobs.reader import Watcher  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.training import checkpoints  # noqa: E402
from ctrestoration.training.runfile import load_config  # noqa: E402


@pytest.mark.parametrize("damage", ["truncated", "bit"])
def test_fault_05_damaged_checkpoint(tmp_path: Path, undisturbed: dict[str, Any], damage: str) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(23)) == -signal.SIGKILL
    newest = max((root / "checkpoints").glob("step_*.pt"))
    content = bytearray(newest.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    newest.write_bytes(content if damage == "bit" else content[: len(content) * 2 // 3])
    assert runs.train(root) == 0
    assert any(newest.name in event["message"] for event in runs.events(root, "warning"))
    runs.assert_same(root, undisturbed)


def _clock_back(run: RunDirectory) -> dict[str, Any]:
    real, jumped = time.time, [0.0]
    time.time = lambda: real() - jumped[0]  # type: ignore[assignment]

    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["step"] == 12:
            jumped[0] = 3600.0
        if what == "metrics" and record["kind"] == "train" and record["step"] == 23:
            runs.die()

    return {"observer": observe}


def test_fault_13_clock_steps_back(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    watcher = Watcher(RunDirectory(root))
    assert runs.train(root, _clock_back) == -signal.SIGKILL
    times = [json.loads(line)["t"] for line in (root / "metrics.jsonl").read_text().splitlines()]
    assert times != sorted(times), "the clock did step back"
    assert [record["seq"] for record in watcher.poll().metrics] == list(range(len(times)))
    newest = max((root / "checkpoints").glob("step_*.pt"))
    os.utime(newest, (0, 0))  # the newest by step is now the oldest by date
    assert runs.train(root) == 0
    assert runs.events(root, "resumed")[-1]["message"].startswith("Going on from step 20")
    runs.assert_same(root, undisturbed)


def test_fault_13_silence_is_measured_by_the_readers_clock(tmp_path: Path) -> None:
    run = runs.new_run(tmp_path / "run")
    now = [0.0]
    watcher = Watcher(run, lost_after_s=30, clock=lambda: now[0])
    foreign = {"state": "running", "host": "elsewhere", "pid": 1, "beat": 1, "generation": 1}
    run.status.write_text(json.dumps(foreign))
    assert watcher.poll().state == "running"
    now[0] = 29
    assert watcher.poll().state == "running"
    run.status.write_text(json.dumps({**foreign, "beat": 2}))
    now[0] = 58
    assert watcher.poll().state == "running"
    now[0] = 89
    assert watcher.poll().state == "lost"


def test_fault_14_second_trainer(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    first = runs.start(root)
    runs.wait_for(lambda: (root / "lock").exists() and runs.lines(root) > 0)
    os.kill(first.pid, signal.SIGSTOP)
    before = (root / "metrics.jsonl").read_bytes()
    assert runs.train(root) == outcome.ExitCode.IN_USE
    assert (root / "metrics.jsonl").read_bytes() == before
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert (root / "lock").exists()
    assert runs.train(root) == 0
    assert any("died without a word" in event["message"] for event in runs.events(root, "warning"))


def test_fault_14_lock_of_another_machine_is_respected(tmp_path: Path) -> None:
    run = runs.new_run(tmp_path / "run")
    run.lock.write_text(json.dumps({"host": f"not-{socket.gethostname()}", "pid": 1}))
    assert runs.train(run.root) == outcome.ExitCode.IN_USE


def test_fault_15_checkpoint_of_another_version(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(12)) == -signal.SIGKILL
    newest = max((root / "checkpoints").glob("step_*.pt"))
    content = torch.load(newest, weights_only=True)
    checkpoints.save(newest.parent, 10, {**content, "schema": 99})
    assert runs.train(root) == outcome.ExitCode.DATA_REFUSED
    assert "format 99" in runs.status(root)["message"]


def test_fault_15_run_file_changed_in_between(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(12)) == -signal.SIGKILL
    config = root / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.001", "lr: 0.002"))
    assert runs.train(root) == outcome.ExitCode.CONFIGURATION
    assert "changed" in runs.status(root)["message"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("alhpa: 1", ["run.yaml:2", "alhpa", "known keys"]),
        ("optim: {lr: fast}", ["run.yaml:2", "optim.lr", "'fast'", "number"]),
        ("optim: {lr: -1}", ["optim.lr", "-1", "greater than 0"]),
        ("optim:\n  schedul: {}", ["run.yaml:3", "optim.schedul", "did you mean schedule"]),
        ("seed: 1.5", ["seed", "1.5", "integer"]),
        ("hardware: {device: gpu}", ["hardware.device", "'gpu'", "'cpu'"]),
        ("ema: {decay: .nan}", ["ema.decay", "finite"]),
    ],
)
def test_fault_16_wrong_run_file(tmp_path: Path, entry: str, said: list[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"schema_version: 1\n{entry}\nmethod: {{name: supervised}}\ndata: {{train: {{name: discs}}}}\n")
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    for words in said:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class _Malicious:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path(self.target).touch, ())


def test_fault_17_malicious_checkpoint(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(12)) == -signal.SIGKILL
    ran = tmp_path / "code-ran"
    checkpoints.save(root / "checkpoints", 11, {"schema": 1, "modules": _Malicious(str(ran))})
    assert runs.train(root) == outcome.ExitCode.DATA_REFUSED
    assert not ran.exists()
    assert "can run code" in runs.status(root)["message"]
