"""Append-only JSON Lines: one record a line, numbered by `seq`, never a NaN, cut back cleanly after a crash."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO


class Journal:
    """A journal open for appending.

    Args:
        path: the file; created where it does not exist. A torn last line of a killed writer is removed.

    Attributes:
        next_seq: the `seq` the next record gets.
        offset: size of the file in bytes, always the end of a complete line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        complete = _complete_bytes(path)
        self._stream: BinaryIO = path.open("ab", buffering=0)
        self._stream.truncate(complete)
        self.offset = complete
        last = last_record(path)
        self.next_seq = 0 if last is None else int(last["seq"]) + 1

    def append(self, record: dict[str, Any]) -> None:
        """Write one record; `seq` is added. Non-finite numbers become null.

        Raises:
            OSError: disk full or gone; the file ends at the last complete line and the call can be repeated.
        """
        line = json.dumps({"seq": self.next_seq, **finite(record)}, allow_nan=False) + "\n"
        content = line.encode("utf-8")
        try:
            # An unbuffered write may stop half-way on a full disk without an error.
            written = self._stream.write(content)
            if written != len(content):
                self._stream.write(content[written:])
        except OSError:
            self._stream.truncate(self.offset)
            raise
        self.offset += len(content)
        self.next_seq += 1

    def sync(self) -> None:
        """Put everything on the disk."""
        os.fsync(self._stream.fileno())

    def cut_back(self, offset: int, next_seq: int) -> None:
        """Forget every record after a checkpoint's position.

        Raises:
            OSError: the file cannot be changed.
            ValueError: the file is shorter than the position: records that a checkpoint counted are gone.
        """
        if offset > self.offset:
            raise ValueError(f"{self.path} has {self.offset} bytes, its checkpoint counted {offset}")
        self._stream.truncate(offset)
        self.offset = offset
        self.next_seq = next_seq
        self.sync()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def finite(value: Any) -> Any:
    """The same content with NaN and infinity as None, which JSON can say."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def last_record(path: Path) -> dict[str, Any] | None:
    """The last complete record of a journal, or None where there is none."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            reach = 4096
            while True:
                stream.seek(max(0, size - reach))
                lines = stream.read().split(b"\n")[:-1]
                if len(lines) > 1 or (lines and reach >= size):
                    return dict(json.loads(lines[-1]))
                if reach >= size:
                    return None
                reach *= 4
    except (FileNotFoundError, ValueError):
        return None


def _complete_bytes(path: Path) -> int:
    """Number of bytes up to and including the last newline."""
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 4096)
            stream.seek(start)
            cut = stream.read(end - start).rfind(b"\n")
            if cut >= 0:
                return start + cut + 1
            end = start
    return 0
