"""Progress on standard error, for people at a terminal; standard output stays for results."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from ctrestoration.control import Control

_LINE = {"open": False}


def say(message: str) -> None:
    """Print to standard error, on a line of its own even where a progress line is being rewritten."""
    if _LINE["open"]:
        sys.stderr.write("\n")
        _LINE["open"] = False
    print(message, file=sys.stderr)


def terminal_control() -> Control:
    """A Control that writes what is being done and the time left to standard error.

    On a terminal the line is rewritten in place; in a log, a line is written at every new message.
    """
    start = time.monotonic()
    live = sys.stderr.isatty()
    shown_message, shown_at = "", 0.0

    def show(fraction: float, message: str) -> None:
        nonlocal shown_message, shown_at
        now = time.monotonic()
        if message == shown_message and now - shown_at < (0.2 if live else 20.0) and (fraction < 1 or not live):
            return
        shown_message, shown_at = message, now
        elapsed = now - start
        left = f", about {_span(elapsed / fraction - elapsed)} left" if 0.02 < fraction < 1 and elapsed > 2 else ""
        line = f"[{100 * fraction:3.0f} %] {message}{left}"
        sys.stderr.write(f"\r{line:<90}" if live else f"{line}\n")
        _LINE["open"] = live and fraction < 1
        if live and fraction >= 1:
            sys.stderr.write("\n")
        sys.stderr.flush()

    return Control(progress=show)


def print_json(content: Any) -> None:
    """Print one JSON object on standard output; NaN and infinity are defects and raise ValueError."""
    print(json.dumps(content, indent=2, allow_nan=False))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
