"""The one writer of a run directory: patient with a full disk, honest when it gives up."""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ctrestoration.jobs import durable
from ctrestoration.jobs.journal import Journal, finite
from ctrestoration.jobs.outcome import DataRefusedError, StorageError
from ctrestoration.jobs.processes import Owner
from ctrestoration.jobs.rundir import SCHEMA, RunDirectory
from ctrestoration.training.config import CheckpointConfig

Answer = TypeVar("Answer")
Observer = Callable[[str, dict[str, Any]], None]
"""Told (what, record) for "metrics", "event" and "status": progress on a terminal, tests."""

_WORTH_WAITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EAGAIN, errno.EIO)
_BEAT_SECONDS = 0.5
_RESERVE_BYTES = 64 * 1024


class Recorder:
    """Writes what happens.

    Args:
        run: the run directory; its lock must be held.
        settings: retries on a full disk.
        observer: told about every record.
    """

    def __init__(self, run: RunDirectory, settings: CheckpointConfig, observer: Observer | None = None) -> None:
        self.run = run
        self._settings = settings
        self._observer = observer or (lambda what, record: None)
        previous = run.read_status() or {}
        self._owner = Owner.current()
        self.status: dict[str, Any] = {
            "schema": SCHEMA,
            "state": "starting",
            **dict.fromkeys(("stage", "epoch", "step", "total", "best")),
            **self._owner.to_json(),
            "beat": int(previous.get("beat", 0)),
            "generation": int(previous.get("generation", 0)) + 1,
            "exit_code": None,
            "message": "",
        }
        self._last_beat = 0.0
        self._reserve = run.root / "control" / ".reserve"
        self.metrics = self.guarded(lambda: Journal(run.metrics), "metrics.jsonl")
        self.events = self.guarded(lambda: Journal(run.events), "events.jsonl")
        self._keep_reserve()
        self.set_state("starting")

    def set_state(self, state: str, message: str = "", exit_code: int | None = None) -> None:
        """Write a change of state at once."""
        self.status.update(state=state, message=message, exit_code=exit_code)
        self.guarded(self._write_status, "status.json")

    def new_generation(self) -> None:
        """Tell readers that records they have seen are void."""
        self.status["generation"] += 1
        self.guarded(self._write_status, "status.json")

    def settle(self) -> tuple[int, int]:
        """Put the metrics on the disk; returns their size in bytes and the next `seq`, for a checkpoint."""
        self.guarded(self.metrics.sync, "metrics.jsonl")
        return self.metrics.offset, self.metrics.next_seq

    def rewind(self, offset: int, next_seq: int) -> None:
        """Forget metrics recorded after a checkpoint, and tell readers.

        Raises:
            DataRefusedError: metrics that the checkpoint counted are gone.
        """
        try:
            self.guarded(lambda: self.metrics.cut_back(offset, next_seq), "metrics.jsonl")
        except ValueError as error:
            raise DataRefusedError(f"{error}: the run directory is not complete, so the run cannot go on.") from error
        self.new_generation()

    def beat(self, **position: Any) -> None:
        """Note the position; written at most twice a second."""
        self.status.update(position)
        if time.monotonic() - self._last_beat >= _BEAT_SECONDS:
            self.guarded(self._write_status, "status.json")

    def metric(self, kind: str, position: dict[str, Any], values: dict[str, Any]) -> None:
        """Append a record of numbers."""
        record = {**position, "kind": kind, "values": finite(values), "t": round(time.time(), 3)}
        self.guarded(lambda: self.metrics.append(record), "metrics.jsonl")
        self._observer("metrics", record)

    def event(self, kind: str, message: str, level: str = "info", data: dict[str, Any] | None = None) -> None:
        """Append one human sentence; also to the log."""
        record = {
            "kind": kind,
            "level": level,
            **{name: self.status[name] for name in ("stage", "epoch", "step")},
            "message": message,
            "data": data or {},
        }
        self.guarded(lambda: self.events.append(record), "events.jsonl")
        with contextlib.suppress(OSError), self.run.log.open("a", encoding="utf-8") as log:
            log.write(f"{kind}: {message}\n")
        self._observer("event", record)

    def guarded(self, write: Callable[[], Answer], what: str, needed: int | None = None) -> Answer:
        """Do a write; where the disk is full, pause and try again a few times.

        Raises:
            StorageError: it stayed impossible, or the directory is read-only or gone.
        """
        for attempt in range(self._settings.retries + 1):
            try:
                answer = write()
            except OSError as error:
                if error.errno not in _WORTH_WAITING or attempt == self._settings.retries:
                    raise StorageError(self._explain(what, error)) from error
                self._pause(what, error, attempt)
                continue
            if attempt:
                self.status.update(state="running", message="")
                self._last_words("retry", f"{what} could be written again.", "info")
                self._keep_reserve()
            return answer
        raise AssertionError("the loop returns or raises")

    def fail(self, state: str, exit_code: int, message: str) -> None:
        """Say how the run ended, also where there is hardly any room left to say it."""
        self.status.update(state=state, exit_code=exit_code, message=message)
        level = "info" if state in ("done", "cancelled") else "error"
        self._free_reserve()
        self._last_words(state, message, level)

    def close(self) -> None:
        """Close the journals."""
        for journal in (self.metrics, self.events):
            with contextlib.suppress(OSError):
                journal.sync()
            journal.close()
        self._free_reserve()

    def _keep_reserve(self) -> None:
        """Occupy a little room, so that a full disk can still be told of."""
        try:
            self._reserve.write_bytes(b"\0" * _RESERVE_BYTES)
        except OSError:
            self._free_reserve()

    def _free_reserve(self) -> None:
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def _pause(self, what: str, error: OSError, attempt: int) -> None:
        left = self._settings.retries - attempt
        self._free_reserve()
        self.status.update(state="paused", message=self._explain(what, error))
        data = {"free_bytes": _free(self.run.root), "reason": str(error)}
        self._last_words("retry", f"{self._explain(what, error)} Trying again, {left} times.", "warning", data)
        time.sleep(self._settings.retry_seconds)

    def _last_words(self, kind: str, message: str, level: str, data: dict[str, Any] | None = None) -> None:
        """Status and event as far as they can be written; the disk may be the very thing that is broken."""
        record = {
            "kind": kind,
            "level": level,
            **{name: self.status[name] for name in ("stage", "epoch", "step")},
            "message": message,
            "data": data or {},
        }
        for write in (self._write_status, lambda: self.events.append(record), self.events.sync):
            with contextlib.suppress(OSError, AttributeError):
                write()
        self._observer("event", record)

    def _write_status(self) -> None:
        self._last_beat = time.monotonic()
        self.status["beat"] += 1
        durable.replace_json(self.run.status, finite(self.status), durable=False)
        self._observer("status", self.status)

    def _explain(self, what: str, error: OSError) -> str:
        reason = (error.strerror or str(error)).rstrip(".")
        known = error.errno == errno.ENOSPC and "MiB left" not in reason
        room = f" ({_free(self.run.root) / 2**20:.1f} MiB free)" if known else ""
        return f"Cannot write {what} of the run {self.run.root}: {reason}{room}."


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


class Bystander(Recorder):
    """The recorder of every process but the first of a group: it writes nothing."""

    def __init__(self) -> None:
        self.status = {}

    def set_state(self, state: str, message: str = "", exit_code: int | None = None) -> None:
        """Nothing."""

    def beat(self, **position: Any) -> None:
        """Nothing."""

    def metric(self, kind: str, position: dict[str, Any], values: dict[str, Any]) -> None:
        """Nothing."""

    def event(self, kind: str, message: str, level: str = "info", data: dict[str, Any] | None = None) -> None:
        """Nothing."""

    def fail(self, state: str, exit_code: int, message: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
