"""Watching a run: read what is new in its files, and judge whether its trainer is still alive.

Clocks of two machines are never compared: a remote run is lost when its heartbeat counter stands still for a while
of the reader's own monotonic clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ctrestoration.jobs.processes import Owner
from ctrestoration.jobs.rundir import ENDED, RunDirectory

Record = dict[str, Any]
Item = TypeVar("Item")


@dataclass
class Update:
    """What changed since the last look.

    Attributes:
        records: the new records; all of them from the start where `restarted`.
        restarted: the earlier records are void (the trainer went back to a checkpoint): drop what was shown.
    """

    records: list[Record]
    restarted: bool


class Follower:
    """Reads a growing JSON Lines file from where it stopped the last time.

    A torn last line is left for the next time. A file that shrank, a gap in `seq`, or a new generation means that the
    trainer went back: everything is read again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._next_seq: int | None = None
        self._generation: int | None = None

    def poll(self, generation: int | None = None) -> Update:
        """New complete records since the last call; `generation` comes from status.json."""
        changed = generation is not None and self._generation is not None and generation != self._generation
        self._generation = generation if generation is not None else self._generation
        try:
            size = self.path.stat().st_size
        except OSError:
            return Update([], False)
        restarted = changed or size < self._offset
        if restarted:
            self._rewind()
        records = self._read()
        if records is None:
            self._rewind()
            return Update(self._read() or [], True)
        return Update(records, restarted)

    def _rewind(self) -> None:
        self._offset, self._next_seq = 0, None

    def _read(self) -> list[Record] | None:
        """Complete new records, or None where they do not continue what was read before."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                content = stream.read()
        except OSError:
            return []
        end = content.rfind(b"\n") + 1
        records = []
        for line in content[:end].splitlines():
            try:
                record = json.loads(line)
                seq = int(record["seq"])
            except (ValueError, KeyError, TypeError):
                if self._offset == 0:
                    continue  # damaged for good: show the rest
                return None
            if self._next_seq is not None and seq != self._next_seq and self._offset > 0:
                return None
            self._next_seq = seq + 1
            records.append(record)
        self._offset += end
        return records


@dataclass
class Watcher:
    """Everything a front end shows of one run; call `poll` now and then.

    Attributes:
        status: content of status.json, or None before the first one.
        metrics: every metrics record so far.
        events: every event so far.
    """

    run: RunDirectory
    lost_after_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    status: Record | None = None
    metrics: list[Record] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._metrics = Follower(self.run.metrics)
        self._events = Follower(self.run.events)
        self._beat: tuple[Any, float] = (None, self.clock())

    def poll(self) -> Watcher:
        """Read what is new; returns itself."""
        status = self.run.read_status()
        if status is not None:
            self.status = status
            mark = (status.get("generation"), status.get("beat"))
            if mark != self._beat[0]:
                self._beat = (mark, self.clock())
        generation = (self.status or {}).get("generation")
        for follower, shown in ((self._metrics, self.metrics), (self._events, self.events)):
            update = follower.poll(generation)
            if update.restarted:
                shown.clear()
            shown.extend(update.records)
        return self

    @property
    def state(self) -> str:
        """The state in status.json, or "lost" where its trainer has died or gone silent without saying so."""
        if self.status is None:
            return "starting"
        state = str(self.status.get("state"))
        if state in ENDED:
            return state
        owner = Owner.from_json(self.status)
        alive = owner.alive() if owner is not None else None
        if alive is None:
            silent = self.clock() - self._beat[1]
            return "lost" if silent > self.lost_after_s else state
        return state if alive else "lost"


def thin(records: Sequence[Item], most: int = 2000) -> list[Item]:
    """At most `most` of the records, evenly chosen, first and last included: enough for a curve."""
    if len(records) <= most:
        return list(records)
    step = (len(records) - 1) / (most - 1)
    return [records[round(number * step)] for number in range(most)]
