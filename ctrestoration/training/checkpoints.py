"""Checkpoint files: written so that a kill or a full disk leaves the previous one, read so that damage is noticed."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctrestoration.jobs.durable import replace_file, replace_text
from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.training.config import SCHEMA_VERSION

_NAME = re.compile(r"step_(\d{7,})\.pt")


@dataclass(frozen=True)
class Refused:
    """A checkpoint that was not used, and why."""

    path: Path
    reason: str


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step_{step:07d}.pt"


def save(folder: Path, step: int, content: dict[str, Any]) -> Path:
    """Write a checkpoint, then the sidecar that makes it count.

    Serialized in memory first: on a full disk PyTorch's own writer reports only a wrong position.

    Raises:
        OSError: as the file system raises it, with both sizes for a full disk; an older checkpoint is untouched.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    require_room(folder, len(payload) + 4096)
    path = path_of(folder, step)
    replace_file(path, lambda part: _write(part, payload))
    digest = hashlib.sha256(payload).hexdigest()
    replace_text(_sidecar(path), f"{digest} {len(payload)} {path.name}\n")
    return path


def require_room(folder: Path, needed: int) -> None:
    """Raise OSError (disk full) where fewer than `needed` bytes are free, before anything is written."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"disk full, {free / 2**20:.1f} MiB left, {needed / 2**20:.1f} MiB needed")


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Delete all but the newest `keep` checkpoints and the best one."""
    for path in _newest_first(folder)[keep:]:
        if best_step is None or _step(path) != best_step:
            _sidecar(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def usable(folder: Path, refused: list[Refused]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Checkpoints from the newest on, by step number; damaged ones are skipped and noted in `refused`.

    Raises:
        DataRefusedError: a checkpoint matches its sidecar but holds something that is not plain data, or was written
            by another version of this format. Neither is damage: going on silently would hide it.
    """
    for path in _newest_first(folder):
        reason = _damage(path)
        if reason is None:
            yield path, load(path)
        else:
            refused.append(Refused(path, reason))


def read(path: Path) -> dict[str, Any] | None:
    """A checkpoint, or None where it is damaged or gone."""
    return load(path) if path.is_file() and _damage(path) is None else None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values; nothing in it can run.

    Raises:
        DataRefusedError: it holds other objects, is no checkpoint, or has another schema.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises several kinds for a file that is not plain data
        raise DataRefusedError(
            f"{path} was refused: it holds more than tensors and plain values, and such files can run code. "
            f"Delete it if you do not know where it comes from."
        ) from error
    version = content.get("schema") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise DataRefusedError(
            f"{path} has format {version}, this version of ctrestoration reads {SCHEMA_VERSION}: "
            "resume the run with the version that its provenance.json names."
        )
    return dict(content)


def _damage(path: Path) -> str | None:
    try:
        digest, size, _name = _sidecar(path).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return "it has no complete sidecar, so it was still being written"
    if path.stat().st_size != int(size):
        return f"it has {path.stat().st_size} bytes instead of {size}"
    with path.open("rb") as stream:
        found = hashlib.sha256(stream.read()).hexdigest()
    return None if found == digest else "its content does not have the digest of its sidecar"


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("step_*.pt") if _NAME.fullmatch(path.name)), key=_step, reverse=True)


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _write(path: Path, payload: memoryview) -> None:
    with path.open("wb") as stream:
        stream.write(payload)
