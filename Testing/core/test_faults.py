"""The fault table of the training engine: every fault is real, and every row ends as it must.

The headline: kill a run anywhere, resume it, and weights, optimizer state and metrics are bitwise those of a run that
was never disturbed. Runs are tiny (two stages, two optimizers, 64 steps) and live in processes of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tiny run comes to when nothing happens to it."""
    root = tmp_path_factory.mktemp("undisturbed") / "run"
    runs.new_run(root)
    assert runs.train(root) == 0
    return runs.result(root)


def assert_same(root: Path, undisturbed: dict[str, Any]) -> None:
    assert runs.result(root) == undisturbed
    assert runs.steps(root) == list(range(1, 65)), "every step exactly once"
    assert runs.status(root)["state"] == "done"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        if subprocess.run(words, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small tmpfs needs root on Linux")
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


# 1 killed -------------------------------------------------------------------------------------------------------


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
    assert_same(root, undisturbed)
    assert not list(root.rglob(".*.part")), "temporaries of killed writers are swept"


def test_fault_01_killed_at_random_moments(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    draw = np.random.default_rng(5)
    codes = []
    for _ in range(3):
        process = runs.start(root)
        before = len(runs.steps(root)) if (root / "metrics.jsonl").exists() else 0
        wait_for(lambda p=process, b=before: not p.is_alive() or _lines(root) > b + 2)
        time.sleep(float(draw.uniform(0, 0.15)))
        process.kill()
        process.join()
        codes.append(process.exitcode)
    assert runs.train(root) == 0
    assert codes[0] == -signal.SIGKILL
    assert_same(root, undisturbed)


def _lines(root: Path) -> int:
    path = root / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


# 2 asked to stop ------------------------------------------------------------------------------------------------


def test_fault_02_sigterm_stops_after_the_step_and_saves(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(12, signal.SIGTERM)) == outcome.ExitCode.CANCELLED
    assert runs.steps(root)[-1] == 12
    assert runs.status(root)["state"] == "cancelled"
    assert (root / "checkpoints" / "step_0000012.pt").exists()
    assert runs.train(root) == 0
    assert_same(root, undisturbed)


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
    assert_same(root, undisturbed)


def test_fault_02_laptop_sleep(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    process = runs.start(root)
    wait_for(lambda: _lines(root) > 3)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    assert_same(root, undisturbed)


# 3, 4 the disk --------------------------------------------------------------------------------------------------


class _Fill:
    """Other data fill the disk, all of it or but for a rest, at the first step that is `due`."""

    def __init__(self, due: Any, rest: int = 0) -> None:
        self.due, self.rest = due, rest

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        filler = run.root.parent / "filler"

        def observe(what: str, record: dict[str, Any]) -> None:
            if what != "metrics" or record["kind"] != "train" or filler.exists() or not self.due(run, record["step"]):
                return
            with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
                while not self.rest or shutil.disk_usage(run.root).free > self.rest:
                    stream.write(b"x" * 512)

        return {"observer": observe}


def _at_13(run: RunDirectory, step: int) -> bool:
    return step == 13


def _page_is_full(run: RunDirectory, step: int) -> bool:
    """The next line needs another page (tmpfs gives room in pages of 4 KiB)."""
    lines = run.metrics.read_bytes().splitlines(keepends=True)
    return step > 5 and -sum(map(len, lines)) % 4096 < len(lines[-1]) - 8


@pytest.mark.parametrize("fill", [_Fill(_page_is_full), _Fill(_at_13, rest=8192)], ids=["log", "save"])
def test_fault_03_disk_full(small_disk: Path, undisturbed: dict[str, Any], fill: _Fill) -> None:
    """No room for the next line of metrics, or room for many lines but not for the next checkpoint."""
    root = small_disk / "run"
    runs.new_run(root)
    assert runs.train(root, fill) == outcome.ExitCode.STORAGE
    last = runs.steps(root)[-1]
    said = [event["message"] for event in runs.events(root, "retry")]
    assert any(("checkpoint" if fill.rest else "metrics.jsonl") in message for message in said), said
    assert runs.status(root)["state"] == "failed"
    assert runs.status(root)["exit_code"] == 74
    assert "MiB" in runs.status(root)["message"]
    assert not list(root.rglob("*.part"))
    newest, _ = next(checkpoints.usable(root / "checkpoints", []))
    assert newest.name == f"step_{(last - 1) // 5 * 5:07d}.pt", "the old checkpoint is intact"
    (small_disk / "filler").unlink()
    assert runs.train(root) == 0
    assert_same(root, undisturbed)


def test_fault_03_disk_full_for_a_moment(small_disk: Path, undisturbed: dict[str, Any]) -> None:
    root = small_disk / "run"
    runs.new_run(root, checkpoint__retry_seconds=0.3)
    process = runs.start(root, _Fill(_at_13))
    wait_for(lambda: (RunDirectory(root).read_status() or {}).get("state") == "paused" or not process.is_alive())
    (small_disk / "filler").unlink()
    process.join(60)
    assert process.exitcode == 0
    assert_same_numbers(root, undisturbed)


def assert_same_numbers(root: Path, undisturbed: dict[str, Any]) -> None:
    """For a run whose configuration differs in what does not touch the result."""
    found = runs.result(root)
    assert found["checkpoint"] == undisturbed["checkpoint"]
    assert found["metrics"] == undisturbed["metrics"]


def test_fault_03_too_little_room_is_said_before_training(small_disk: Path) -> None:
    root = small_disk / "run"
    runs.new_run(root, method__network__widths=[32, 64], checkpoint__retries=0)
    assert runs.train(root) == outcome.ExitCode.STORAGE
    assert runs.steps(root) == []
    assert "needed" in runs.status(root)["message"]


def test_fault_04_directory_became_read_only(small_disk: Path) -> None:
    root = small_disk / "run"
    runs.new_run(root)
    # Open files for writing keep a file system from becoming read-only, so the disk is mounted a second time over it.
    code = runs.train(root, _cover_read_only)
    subprocess.run(["umount", "-l", str(small_disk)], check=False)
    assert code == outcome.ExitCode.STORAGE
    assert runs.status(root)["state"] != "done"


def _cover_read_only(run: RunDirectory) -> dict[str, Any]:
    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["kind"] == "train" and record["step"] == 13:
            disk = str(run.root.parent)
            subprocess.run(["mount", "--bind", disk, disk], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)

    return {"observer": observe}


def _vanish(run: RunDirectory) -> dict[str, Any]:
    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["kind"] == "train" and record["step"] == 13:
            run.root.rename(run.root.with_name("moved"))

    return {"observer": observe}


def test_fault_04_directory_vanished(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, _vanish) == outcome.ExitCode.STORAGE
    said = runs.events(tmp_path / "moved", "failed")
    assert said, "the open journal still takes the last words"
    assert str(root) in said[-1]["message"]


# 5 checkpoints --------------------------------------------------------------------------------------------------


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
    assert_same(root, undisturbed)


# 7, 8 the numbers -----------------------------------------------------------------------------------------------


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


# 13, 14, 15, 16, 17 ---------------------------------------------------------------------------------------------


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
    assert_same(root, undisturbed)


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
    wait_for(lambda: (root / "lock").exists() and _lines(root) > 0)
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


# 18 power -------------------------------------------------------------------------------------------------------


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
    assert_same(root, undisturbed)


def test_fault_18_metrics_before_the_checkpoint_are_gone(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root, runs.KillAtStep(23)) == -signal.SIGKILL
    (root / "metrics.jsonl").write_bytes(b"")
    assert runs.train(root) == outcome.ExitCode.DATA_REFUSED
    assert "metrics.jsonl" in runs.status(root)["message"]
    shutil.rmtree(root)


# 2, 6, 9, 10, 11: faults around the trainer ----------------------------------------------------------------------


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
    wait_for(lambda: watcher.poll().state in ("done", "failed"), 120)
    assert watcher.state == "done", (tmp_path / "run" / "log.txt").read_text()


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
        code = (
            runs.train_with_workers(root, "test_faults._killed_worker") if workers else runs.train(root, _sound_source)
        )
        assert code == 0
        results.append(runs.result(root))
    (said,) = [event for event in runs.events(root, "warning") if "loader worker" in event["message"]]
    assert "SIGKILL" in said["message"]
    assert "GiB" in said["message"]
    assert "set data.workers to 1" in said["message"]
    assert results[0] == results[1], "neither workers nor the kill change the order"


def _sound_source(run: RunDirectory) -> dict[str, Any]:
    return {"sources": (_Broken(-1), None)}


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


def test_fault_11_rank_killed(tmp_path: Path) -> None:
    """Two processes train together; one is killed; the group starts again and comes to the same bits."""
    config = runs.tiny(data__train__count=16, checkpoint__save_every=3, hardware__threads=1)
    config_file = tmp_path / "run.yaml"
    config_file.write_text(config.to_yaml())
    results = []
    for name in ("whole", "killed"):
        root = tmp_path / name
        words = [sys.executable, "-m", "ctrestoration", "train", str(config_file), "--run-dir", str(root)]
        trainer = subprocess.Popen([*words, "--processes", "2", "--quiet"], stderr=subprocess.PIPE, text=True)
        if name == "killed":
            wait_for(lambda r=root: _lines(r) > 5, 120)
            (other,) = [pid for pid in _members(root) if pid != runs.status(root)["pid"]]
            os.kill(other, signal.SIGKILL)
        _, said = trainer.communicate(timeout=200)
        assert trainer.returncode == 0, said + (root / "log.txt").read_text()
        results.append(runs.result(root))
        assert runs.steps(root) == list(range(1, 33))
    assert runs.events(root, "resumed"), "the group was started again"
    assert results[0] == results[1]
    content = checkpoints.load(max((root / "checkpoints").glob("step_*.pt")))
    assert content["world_size"] == 2
    (root / "status.json").unlink()
    assert runs.train(root) == outcome.ExitCode.CONFIGURATION, "another number of processes is refused"
    assert "2 processes" in runs.status(root)["message"]


def _start_group(folder: Path, **changes: Any) -> tuple[Path, Any]:
    config_file, root = folder / "run.yaml", folder / "group"
    config_file.write_text(runs.tiny(**changes).to_yaml())
    words = [sys.executable, "-m", "ctrestoration", "train", str(config_file), "--run-dir", str(root)]
    return root, subprocess.Popen([*words, "--processes", "2", "--quiet"], stderr=subprocess.PIPE, text=True)


def test_fault_02_sigterm_to_the_launcher_of_a_group(tmp_path: Path) -> None:
    root, launcher = _start_group(tmp_path, data__train__count=2000)
    wait_for(lambda: _lines(root) > 5, 120)
    launcher.terminate()
    _, said = launcher.communicate(timeout=100)
    assert launcher.returncode == outcome.ExitCode.CANCELLED, said
    assert runs.status(root)["state"] == "cancelled"
    assert not _members(root), "no process is left behind"
    newest = max((root / "checkpoints").glob("step_*.pt"))
    assert checkpoints.load(newest)["progress"]["step"] == runs.steps(root)[-1]


def test_fault_11_a_member_that_fails_says_why(tmp_path: Path) -> None:
    """Only the second process meets the damaged sample; the run still ends with its reason, and is not tried again."""
    pytest.importorskip("h5py", reason="damages stored pairs")
    from ctrestoration.io.pairs import write_manifest, write_shard
    from ctrestoration.training.keys import order

    draw = np.random.default_rng(0)
    pairs = [{name: draw.random((8, 8), dtype=np.float32) for name in ("input", "target", "metal")} for _ in range(8)]
    folder = tmp_path / "pairs"
    folder.mkdir()
    write_shard(folder / "train-00000.h5", pairs, [{"patient": "a", "count": 8}])
    shard = {"file": "train-00000.h5", "count": 8, "bytes": 0, "sha256": "", "cases": []}
    split = {"patients": ["a"], "count": 8, "shards": [shard]}
    write_manifest(folder, {"train": split}, (8, 8), {})
    second = order(3, "pretrain_g", 0, 8)[5]  # of the third batch of two: the first step sees neither
    import h5py

    with h5py.File(folder / "train-00000.h5", "r+") as file:
        position = file["input"].id.get_chunk_info(second).byte_offset
    with (folder / "train-00000.h5").open("r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte[0] ^ 1]))
    data = {"train": {"name": "pairs", "folder": str(folder)}, "batch_size": 2}
    root, launcher = _start_group(tmp_path, data=data)
    _, said = launcher.communicate(timeout=100)
    assert launcher.returncode == outcome.ExitCode.DATA_REFUSED, said
    assert f"pair {second}" in said
    assert runs.status(root)["state"] == "failed"
    assert f"pair {second}" in runs.status(root)["message"]
    assert len(runs.events(root, "started")) == 1


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
    assert_same(elsewhere, undisturbed)


def _members(root: Path) -> list[int]:
    """The processes of a group: those that run the training module for this run directory, but not their launcher."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(root) in words and "ctrestoration.training.launch" in words and "torch.distributed.run" not in words:
            found.append(int(path.parent.name))
    return found
