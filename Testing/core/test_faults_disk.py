"""Faults of the training engine: the disk is full, becomes read-only, or loses the run directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the faults are signals and mounts of POSIX systems")

from core import training_children as runs  # noqa: E402

from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.training import checkpoints  # noqa: E402


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
    runs.assert_same(root, undisturbed)


def test_fault_03_disk_full_for_a_moment(small_disk: Path, undisturbed: dict[str, Any]) -> None:
    root = small_disk / "run"
    runs.new_run(root, checkpoint__retry_seconds=0.3)
    process = runs.start(root, _Fill(_at_13))
    runs.wait_for(lambda: (RunDirectory(root).read_status() or {}).get("state") == "paused" or not process.is_alive())
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
