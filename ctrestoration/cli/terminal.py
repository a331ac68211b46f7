"""Progress on standard error, for people at a terminal; standard output stays for results.

Every command speaks through this module, so that another front end can take the terminal's place: a job of the Slicer
modules runs the same command inside `spoken_by`, and turns what it says into events (`ctrestoration.jobs.child`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ctrestoration.control import Control

_LINE = {"open": False}
_KNOWN_SECONDS = 2.0
"""What is reported within these after the start was done before: it says nothing about speed."""


class Front(Protocol):
    """What takes the terminal's place."""

    def control(self) -> Control:
        """Where the command reports its progress, and is asked to stop."""
        ...

    def say(self, message: str, level: str) -> None:
        """A line for the log; level "info" or "notice"."""
        ...

    def result(self, content: Any) -> None:
        """The object that the command prints with --json."""
        ...


_FRONTS: list[Front] = []


@contextmanager
def spoken_by(front: Front) -> Iterator[None]:
    """Within the block, commands report to `front` instead of the terminal."""
    _FRONTS.append(front)
    try:
        yield
    finally:
        _FRONTS.pop()


def say(message: str, level: str = "info") -> None:
    """Print to standard error, on a line of its own even where a progress line is being rewritten.

    A message of level "notice" is something the user should read although the work goes on.
    """
    if _FRONTS:
        _FRONTS[-1].say(message, level)
        return
    message = f"note: {message}" if level == "notice" else message
    if _LINE["open"]:
        sys.stderr.write("\n")
        _LINE["open"] = False
    print(message, file=sys.stderr)


def terminal_control() -> Control:
    """A Control that writes what is being done and the time left to standard error.

    On a terminal the line is rewritten in place; in a log, a line is written at every new message.
    """
    if _FRONTS:
        return _FRONTS[-1].control()
    start = time.monotonic()
    live = sys.stderr.isatty()
    shown_message, shown_at = "", 0.0
    known, known_at = 0.0, start

    def show(fraction: float, message: str) -> None:
        nonlocal shown_message, shown_at, known, known_at
        now = time.monotonic()
        if now - start < _KNOWN_SECONDS:
            known, known_at = fraction, now
        if message == shown_message and now - shown_at < (0.2 if live else 20.0) and (fraction < 1 or not live):
            return
        shown_message, shown_at = message, now
        done = fraction - known
        seconds = (1.0 - fraction) * (now - known_at) / done if done > 0.02 else None
        left = "" if seconds is None or fraction >= 1 else f", about {_span(seconds)} left"
        line = f"[{100 * fraction:3.0f} %] {message}{left}"
        sys.stderr.write(f"\r{line:<90}" if live else f"{line}\n")
        _LINE["open"] = live and fraction < 1
        if live and fraction >= 1:
            sys.stderr.write("\n")
        sys.stderr.flush()

    return Control(progress=show)


def print_json(content: Any) -> None:
    """Print one JSON object on standard output; NaN and infinity are defects and raise ValueError."""
    if _FRONTS:
        _FRONTS[-1].result(content)
        return
    print(json.dumps(content, indent=2, allow_nan=False))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
