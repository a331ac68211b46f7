"""Lines from bytes that arrive in pieces: a piece may end within a line, or within a character."""

from __future__ import annotations

import json
from typing import Any


class LineReader:
    """Collects bytes, and gives back the lines that are complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete, without their ends; bytes that are no UTF-8 are replaced."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [_text(line) for line in whole]

    def flush(self) -> list[str]:
        """What is left when nothing more will come: at most one line."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest.strip() else []


def event(line: str) -> dict[str, Any] | None:
    """The event that a line holds, or None where it is a line of text."""
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and isinstance(content.get("event"), str) else None


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")
