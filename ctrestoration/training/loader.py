"""Batches in an order that is fixed beforehand, whatever the number of loader processes, and whoever of them dies."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ctrestoration.jobs.outcome import DataRefusedError, OutOfMemoryError
from ctrestoration.training.keys import Key
from ctrestoration.training.method import Batch
from ctrestoration.training.sources import DamagedSampleError, Source, refuse_nonfinite

_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?([\d, ]+)\)")
_Item = tuple[int, dict[str, np.ndarray], list[str]]


class _Samples(Dataset[_Item]):
    """Maps a key to a sample; a damaged one is replaced by the next in the source, and said."""

    def __init__(self, source: Source, skip: bool) -> None:
        self.source = source
        self.skip = skip

    def __getitem__(self, key: Key) -> _Item:  # type: ignore[override]
        skipped: list[str] = []
        for attempt in range(len(self.source)):
            index = (key.index + attempt) % len(self.source)
            moved = Key(key.seed, key.stage, key.epoch, index)
            try:
                sample = self.source.sample(moved)
                refuse_nonfinite(sample, index)
                return index, sample, skipped
            except DamagedSampleError as error:
                skipped.append(str(error))
                if not self.skip:
                    break
        return -1, {}, skipped


def _collate(items: Sequence[_Item]) -> tuple[Batch, list[str]]:
    skipped = [message for _, _, messages in items for message in messages]
    if any(index < 0 for index, _, _ in items):
        return {}, skipped
    names = items[0][1].keys()
    batch = {name: torch.from_numpy(np.stack([sample[name] for _, sample, _ in items])) for name in names}
    batch["index"] = torch.tensor([index for index, _, _ in items])
    return batch, skipped


def _own_signals(worker: int) -> None:
    """Loader processes inherit the trainer's handlers, which would swallow the request to end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the trainer decides


class Loader:
    """Batches of keys, in order.

    Its processes live as long as it does: what a source prepares in them (patients, planned spines) is kept from epoch
    to epoch.

    Args:
        source: where samples come from.
        workers: loader processes; 0 loads in this one.
        damaged_limit: so many damaged samples may be skipped in all.
        warn: called with (sentence, data) where a worker died or a sample was skipped.
        pin: page-locked memory, for copies to a GPU.
        device: where the training computes; a source that keeps its samples there makes batches there.

    Raises:
        DataRefusedError: such a source is damaged.
    """

    def __init__(
        self,
        source: Source,
        *,
        workers: int = 0,
        damaged_limit: int = 0,
        warn: Callable[[str, dict[str, Any]], None] = lambda message, data: None,
        pin: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.source = source
        self.workers = workers
        self.skipped = 0
        self._limit = damaged_limit
        self._warn = warn
        self._pin = pin
        self._retried = False
        self._keys: list[Sequence[Key]] = []
        self._opened: DataLoader[Any] | None = None
        self._resident = source.resident(device) if device is not None and hasattr(source, "resident") else None

    def batches(self, keys: Sequence[Sequence[Key]], again: bool = False) -> Iterator[Batch]:
        """One batch for each entry of `keys`.

        Args:
            keys: of the samples of each batch.
            again: they were read before; damaged ones among them have been counted and told.

        Raises:
            DataRefusedError: more damaged samples than allowed; names file and index.
            OutOfMemoryError: loader processes were killed twice.
        """
        if self._resident is not None:
            yield from map(self._resident.batch, keys)
            return
        done = 0
        while done < len(keys):
            iterator = None
            try:
                self._keys[:] = keys[done:]
                with _deaths_seen_while_waiting():
                    self._opened = self._opened or self._open()
                    iterator = iter(self._opened)
                for batch, skipped in iterator:
                    if not again:
                        self._count(skipped)
                    elif not batch:
                        raise DataRefusedError(f"{skipped[0].rstrip('.')}: it could be read before.")
                    yield batch
                    done += 1
            except RuntimeError as error:
                if not _KILLED.search(str(error)):
                    raise
                self._opened = None
                self._after_kill(_how_it_died(iterator, str(error)))

    def _open(self) -> DataLoader[Any]:
        extra: dict[str, Any] = {"prefetch_factor": 4, "persistent_workers": True} if self.workers else {}
        return DataLoader(
            _Samples(self.source, self._limit > 0),
            batch_sampler=self._keys,  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=_own_signals,
            pin_memory=self._pin,
            # Without its own generator, creating an iterator would draw from the global random state.
            generator=torch.Generator().manual_seed(0),
            **extra,
        )

    def _count(self, skipped: list[str]) -> None:
        for message in skipped:
            self.skipped += 1
            if self.skipped > self._limit:
                limit = f" ({self._limit} are allowed: data.damaged_limit)" if self._limit else ""
                raise DataRefusedError(f"{message.rstrip('.')}: damaged training data{limit}.")
            self._warn(f"Skipped a damaged sample: {message}", {"skipped": self.skipped})

    def _after_kill(self, reason: str) -> None:
        fewer = max(self.workers - 1, 0)
        memory = _memory_text()
        advice = f"set data.workers to {fewer}"
        if self._retried:
            raise OutOfMemoryError(f"Loader processes were killed twice ({reason.splitlines()[0]}) {memory}: {advice}.")
        self._retried = True
        self._warn(
            f"{reason} Probably memory ran out {memory}; going on with {fewer} loader processes, "
            f"the order of the samples stays. To avoid this, {advice}.",
            {"workers": fewer},
        )
        self.workers = fewer


@contextmanager
def _deaths_seen_while_waiting() -> Iterator[None]:
    """Keep the handler of SIGCHLD that is set now.

    PyTorch's own raises wherever the trainer happens to be, in the middle of a step too. Without it, a dead loader
    process is noticed within seconds by whoever waits for its batch, and nowhere else.
    """
    main = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD")
    before = signal.getsignal(signal.SIGCHLD) if main else None
    try:
        yield
    finally:
        if main and before is not None:
            signal.signal(signal.SIGCHLD, before)


def _how_it_died(iterator: Any, said: str) -> str:
    """One sentence with the process and its signal, which PyTorch's message does not always name."""
    for worker in getattr(iterator, "_workers", []):
        code = worker.exitcode
        if code is not None and code < 0:
            return f"The loader worker (process {worker.pid}) was killed by {signal.Signals(-code).name}."
    return said.splitlines()[0]


def _memory_text() -> str:
    """What the trainer itself occupies, and what is left, where the system tells."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        system = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return "(memory use not known)"
    used = re.search(r"VmRSS:\s+(\d+)", status)
    left = re.search(r"MemAvailable:\s+(\d+)", system)
    if not used or not left:
        return "(memory use not known)"
    return f"(trainer: {int(used[1]) / 2**20:.1f} GiB resident, machine: {int(left[1]) / 2**20:.1f} GiB free)"
