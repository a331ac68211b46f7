"""Faults of the training engine: several processes train together, and one of them is lost, stopped or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the faults are signals and mounts of POSIX systems")

from core import training_children as runs  # noqa: E402

from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.training import checkpoints  # noqa: E402

_HANGS = 300.0
"""Seconds: a group starts in seconds, on a busy machine in minutes."""


def _start_group(root: Path, **changes: Any) -> subprocess.Popen[str]:
    config_file = root.with_suffix(".yaml")
    config_file.write_text(runs.tiny(**changes).to_yaml())
    words = [sys.executable, "-m", "ctrestoration", "train", str(config_file), "--run-dir", str(root)]
    return subprocess.Popen([*words, "--processes", "2", "--quiet"], stderr=subprocess.PIPE, text=True)


def test_fault_11_rank_killed(tmp_path: Path) -> None:
    """Two processes train together; one is killed; the group starts again and comes to the same bits."""
    results = []
    for name in ("whole", "killed"):
        root = tmp_path / name
        trainer = _start_group(root, data__train__count=16, checkpoint__save_every=3, hardware__threads=1)
        if name == "killed":
            runs.wait_for(lambda r=root: runs.lines(r) > 5, _HANGS)
            (other,) = [pid for pid in runs.members(root) if pid != runs.status(root)["pid"]]
            os.kill(other, signal.SIGKILL)
        _, said = trainer.communicate(timeout=_HANGS)
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


def test_fault_02_sigterm_to_the_launcher_of_a_group(tmp_path: Path) -> None:
    root = tmp_path / "run"
    launcher = _start_group(root, data__train__count=2000)
    runs.wait_for(lambda: runs.lines(root) > 5, _HANGS)
    launcher.terminate()
    _, said = launcher.communicate(timeout=_HANGS)
    assert launcher.returncode == outcome.ExitCode.CANCELLED, said
    assert runs.status(root)["state"] == "cancelled"
    assert not runs.members(root), "no process is left behind"
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
    root = tmp_path / "run"
    launcher = _start_group(root, data=data)
    _, said = launcher.communicate(timeout=_HANGS)
    assert launcher.returncode == outcome.ExitCode.DATA_REFUSED, said
    assert f"pair {second}" in said
    assert runs.status(root)["state"] == "failed"
    assert f"pair {second}" in runs.status(root)["message"]
    assert len(runs.events(root, "started")) == 1
