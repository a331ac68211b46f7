"""Writes that survive a kill or a power cut: a reader sees the old file or the new one, never half of one.

Replace = temporary file in the same folder, flush, fsync, `os.replace`, fsync of the folder. The temporary must lie
in the same folder: a rename across file systems is a copy, which a full disk cuts in half.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".part"


def replace_file(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let `write(temporary)` fill a temporary file, then put it in the place of `path`.

    Args:
        path: the file to create or replace.
        write: fills the temporary file it is given.
        durable: fsync file and folder, so that the new content survives a power cut. Without it the replacement is
            still atomic for readers, and cheaper.

    Raises:
        OSError: as the file system raises it; the temporary is removed and an older `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        write(temporary)
        if durable:
            sync_file(temporary)
        _replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str, *, durable: bool = True) -> None:
    """`replace_file` for a text."""
    replace_file(path, lambda part: _write_bytes(part, text.encode("utf-8")), durable=durable)


def replace_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """`replace_file` for JSON without NaN literals."""
    replace_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", durable=durable)


def sync_file(path: Path) -> None:
    """Ask the operating system to put the content of a file on the disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk. Windows has no such call and needs none for `os.replace`."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sweep_temporaries(folder: Path) -> int:
    """Remove what killed writers left behind; returns how many files that were. Call only while holding the lock."""
    stale = [path for path in folder.rglob(f".*{TEMPORARY_SUFFIX}") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _replace(source: Path, target: Path) -> None:
    # On Windows a reader that holds the file open makes the replacement fail for a moment.
    for attempt in range(20):
        try:
            source.replace(target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == 19:
                raise
            time.sleep(0.05)
