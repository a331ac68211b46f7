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
def reserve_gpu(gpus: Sequence[Gpu], wanted: str | None = None) -> Iterator[Gpu | None]:
    """Lock the free GPU with the most free memory, or the `wanted` one (uuid or index), for the duration of a block.

    Yields None where there is no GPU at all.

    Raises:
        RunInUseError: every GPU, or the wanted one, is locked by another run.
    """
    candidates = sorted(gpus, key=lambda gpu: -gpu.memory_free)
    if wanted is not None:
        candidates = [gpu for gpu in candidates if wanted in (gpu.uuid, str(gpu.index))]
    if not candidates:
        yield None
        return
    busy = []
    for gpu in candidates:
        lock = FileLock(_lock_folder() / f"{gpu.uuid}.lock", f"GPU {gpu.index} ({gpu.name})")
        try:
            lock.__enter__()
        except RunInUseError as error:
            busy.append(str(error))
            continue
        try:
            yield gpu
        finally:
            lock.__exit__(None, None, None)
        return
    raise RunInUseError(f"No GPU is free: {' '.join(busy)}")


def _lock_folder() -> Path:
    user = os.environ.get("USER") or os.environ.get("USERNAME") or "user"
    folder = Path(os.environ.get("CTRESTORATION_LOCKS", Path(tempfile.gettempdir()) / f"ctrestoration-locks-{user}"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
