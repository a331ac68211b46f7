"""Which GPU is free, and a lock so that two runs do not choose the same one."""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctrestoration.jobs.locks import FileLock
from ctrestoration.jobs.outcome import RunInUseError

_QUERY = "index,uuid,name,memory.total,memory.used"


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi describes it; memory in MiB."""

    index: int
    uuid: str
    name: str
    memory_total: int
    memory_used: int

    @property
    def memory_free(self) -> int:
        """Free memory in MiB."""
        return self.memory_total - self.memory_used


def list_gpus(command: str = "nvidia-smi") -> list[Gpu]:
    """The NVIDIA GPUs of this machine; empty where there is no driver or it does not answer."""
    words = [command, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    gpus = []
    for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True):
        with contextlib.suppress(ValueError, IndexError):
            gpus.append(Gpu(int(row[0]), row[1], row[2], int(row[3]), int(row[4])))
    return gpus


@contextlib.contextmanager
def reserve_gpus(gpus: Sequence[Gpu], count: int = 1) -> Iterator[list[Gpu]]:
    """Lock the free GPUs with the most free memory for the duration of a block.

    Yields an empty list where there are fewer than `count` GPUs at all.

    Raises:
        RunInUseError: too many of them are locked by other runs.
    """
    if len(gpus) < count:
        yield []
        return
    with contextlib.ExitStack() as stack:
        reserved: list[Gpu] = []
        busy = []
        for gpu in sorted(gpus, key=lambda gpu: -gpu.memory_free):
            if len(reserved) == count:
                break
            try:
                stack.enter_context(FileLock(_lock_folder() / f"{gpu.uuid}.lock", f"GPU {gpu.index} ({gpu.name})"))
            except RunInUseError as error:
                busy.append(str(error))
                continue
            reserved.append(gpu)
        if len(reserved) < count:
            raise RunInUseError(f"No GPU is free: {' '.join(busy)}")
        yield reserved


def _lock_folder() -> Path:
    user = os.environ.get("USER") or os.environ.get("USERNAME") or "user"
    folder = Path(os.environ.get("CTRESTORATION_LOCKS", Path(tempfile.gettempdir()) / f"ctrestoration-locks-{user}"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
