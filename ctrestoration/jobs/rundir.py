"""The run directory: where everything of one training lies, and who writes what.

config.yaml      resolved run file, written once          status.json    replaced atomically
provenance.json  versions, device, threads, seeds         metrics.jsonl  append-only
lock             host, pid, process start                 events.jsonl   append-only
control/cancel   its presence asks for a clean stop       log.txt        standard output and error
checkpoints/     step_0000120.pt + .sha256                previews/      0005.png (input | output | target)
snapshots/       epoch snapshots of some recipes          weights/       *.safetensors + card.md
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ctrestoration.errors import InputError
from ctrestoration.jobs import durable

SCHEMA = 1
SCHEMA_FILE = Path(__file__).parents[1] / "training" / "run.schema.json"
"""JSON Schema of run files, for forms: every key with its description, default, range and choices."""
STATES = ("starting", "running", "paused", "cancelling", "cancelled", "done", "failed")
ENDED = ("cancelled", "done", "failed")
METRIC_KINDS = ("train", "val", "probe", "system")
EVENT_KINDS = (
    *("started", "resumed", "stage", "checkpoint", "oom", "nan", "rollback", "retry", "warning"),
    *("cancelled", "failed", "done"),
)
_FOLDERS = ("control", "checkpoints", "snapshots", "previews", "weights")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run. Making the object creates nothing."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved run file."""
        return self.root / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, device, threads, seeds, decisions of the probe."""
        return self.root / "provenance.json"

    @property
    def status(self) -> Path:
        """State, position and heartbeat."""
        return self.root / "status.json"

    @property
    def metrics(self) -> Path:
        """Every number of the training, one record a line."""
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """What happened, one human sentence each."""
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        """Standard output and error of the trainer."""
        return self.root / "log.txt"

    @property
    def lock(self) -> Path:
        """Who trains here."""
        return self.root / "lock"

    @property
    def cancel(self) -> Path:
        """Its presence asks for a clean stop after the current step."""
        return self.root / "control" / "cancel"

    @property
    def member_failed(self) -> Path:
        """How a process other than the first of a group ended: it writes no status."""
        return self.root / "control" / "member-failed.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of resumable states."""
        return self.root / "checkpoints"

    @property
    def snapshots(self) -> Path:
        """Folder of epoch snapshots."""
        return self.root / "snapshots"

    @property
    def previews(self) -> Path:
        """Folder of pictures."""
        return self.root / "previews"

    @property
    def weights(self) -> Path:
        """Folder of finished weights and their card."""
        return self.root / "weights"

    def create(self) -> RunDirectory:
        """Create the folders; a run that is already there is refused.

        Raises:
            InputError: the folder holds a run or other files.
            OSError: it cannot be created.
        """
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"The run directory {self.root} is a file: choose another name.")
        if self.config.exists():
            raise InputError(f"{self.root} already holds a run: 'ctrestoration resume {self.root}' continues it.")
        # A backend may already have put the log, and the lock of a starting trainer, in place.
        known = {self.log.name, self.lock.name, self.config.name, *_FOLDERS}
        if self.root.exists() and any(
            path.name not in known and not path.name.startswith(".") for path in self.root.iterdir()
        ):
            raise InputError(f"The run directory {self.root} is not empty: choose a new folder.")
        self.ensure_folders()
        return self

    def ensure_folders(self) -> None:
        """Create what folders are missing (a copied run may have lost its empty ones)."""
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def request_cancel(self) -> None:
        """Ask the trainer to stop after its current step."""
        self.cancel.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_text(self.cancel, "cancel\n", durable=False)

    def read_status(self) -> dict[str, Any] | None:
        """The status, or None before the first one was written."""
        return read_json(self.status)


def new_name(label: str) -> str:
    """A folder name for a run, such as "2026-11-22T2015_unet_ab12": sortable, readable, without collisions."""
    word = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in label)[:40] or "run"
    return f"{datetime.now():%Y-%m-%dT%H%M}_{word}_{uuid.uuid4().hex[:4]}"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file that may not be there (yet), or None."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
