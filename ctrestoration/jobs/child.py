"""The child process of a front end: one command of the command line, told in events instead of text.

JOB.json holds {"words": ["simulate", "metal", ...], "parent_pid": n}. Because the job is the command itself, a front
end's numbers are the command line's by construction. Standard output carries one JSON object a line:

    {"event": "started", "pid": 123, "version": "..."}
    {"event": "progress", "fraction": 0.25, "message": "Simulating the scan"}
    {"event": "log", "level": "info" | "notice", "message": "..."}
    {"event": "result", "value": {...}}                 what the command prints with --json, or {"text": "..."}
    {"event": "error", "message": "one sentence", "exit_code": 2, "detail": "traceback, or nothing"}

Exactly one result or error comes last. To cancel, create `control/cancel` beside JOB.json or close the child's
standard input: it takes effect at the command's next report, and the child ends with exit code 130. A front end that
dies closes the input, too, so that no job outlives it; a job that does not report for a minute after that is ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from ctrestoration._version import __version__
from ctrestoration.control import Control

LAST_RESORT_SECONDS = 60.0
"""How long after its front end has gone a job may take to its next report."""

PROGRESS_SECONDS = 0.1
PARENT_SECONDS = 2.0
CANCELLED = 130


class Events:
    """Writes events, one JSON object a line; safe to call from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event. A front end that no longer reads is no reason to fail: the cancel comes by itself."""
        line = json.dumps({"event": event, **fields}, allow_nan=False) + "\n"
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                pass


class Reporter:
    """Takes the terminal's place for the command that runs."""

    def __init__(self, events: Events, cancel: Callable[[], bool]) -> None:
        self.value: Any = None
        self._events = events
        self._cancel = cancel
        self._shown: tuple[str, float] = ("", 0.0)

    def control(self) -> Control:
        """A Control whose reports are events, at most ten a second."""
        return Control(self._progress, self._cancel)

    def say(self, message: str, level: str) -> None:
        """A line for the log."""
        self._events.emit("log", level=level, message=message)

    def result(self, content: Any) -> None:
        """Kept until the command has ended well; NaN and infinity are defects and raise ValueError here."""
        json.dumps(content, allow_nan=False)
        self.value = content

    def _progress(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if message == self._shown[0] and now - self._shown[1] < PROGRESS_SECONDS and fraction < 1:
            return
        self._shown = (message, now)
        self._events.emit("progress", fraction=round(fraction, 5), message=message)


class Cancel:
    """Whether the front end asked to stop, or is gone."""

    def __init__(self, folder: Path, parent_pid: int | None) -> None:
        self._file = folder / "control" / "cancel"
        self._parent = parent_pid
        self._gone = threading.Event()

    def __call__(self) -> bool:
        """Asked at every report of the command."""
        return self._gone.is_set() or self._file.exists()

    def watch(self, stdin: int | None) -> None:
        """Notice the end of standard input and of the parent process, in threads that end with this process."""
        if stdin is not None:
            threading.Thread(target=self._read, args=(stdin,), daemon=True).start()
        if self._parent is not None:
            threading.Thread(target=self._look, daemon=True).start()

    def _read(self, stdin: int) -> None:
        try:
            while os.read(stdin, 4096):
                pass
        except OSError:
            pass
        self._leave()

    def _look(self) -> None:
        from ctrestoration.jobs.processes import exists

        assert self._parent is not None  # noqa: S101 - see watch
        while not self._gone.is_set() and exists(self._parent):
            time.sleep(PARENT_SECONDS)
        self._leave()

    def _leave(self) -> None:
        self._gone.set()
        time.sleep(LAST_RESORT_SECONDS)
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(CANCELLED)


def main(words: Sequence[str]) -> int:
    """Run the job of the file named by the only word; returns the exit code."""
    stream = _own_stdout()
    events = Events(stream)
    if len(words) != 1:
        events.emit("error", message="Usage: python -m ctrestoration.jobs JOB.json", exit_code=2, detail="")
        return 2
    path = Path(words[0])
    events.emit("started", pid=os.getpid(), version=__version__)
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
        command = [str(word) for word in job["words"]]
        parent = job.get("parent_pid")
        parent = None if parent is None else int(parent)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is no job: expected a JSON object with a list of words ({type(error).__name__}: {error})."
        events.emit("error", message=message, exit_code=2, detail="")
        return 2
    if parent is not None and hasattr(os, "setsid"):
        # What this process starts belongs to its group, so that a front end can end all of it at once.
        with contextlib.suppress(OSError):
            os.setsid()
    cancel = Cancel(path.parent, parent)
    cancel.watch(_stdin())
    return perform(command, events, cancel)


def perform(words: Sequence[str], events: Events, cancel: Callable[[], bool]) -> int:
    """Run one command; its outcome is the last event, and the exit code."""
    from ctrestoration.cli.main import build_parser, explained, reported
    from ctrestoration.cli.terminal import spoken_by
    from ctrestoration.errors import CTRestorationError

    reporter, text, complaint = Reporter(events, cancel), io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(text), spoken_by(reporter), reported():
            with redirect_stderr(complaint):
                arguments = build_parser().parse_args(list(words))
            code = int(arguments.run_command(arguments) or 0)
    except SystemExit as stop:  # argparse: the words are not understood, or help was asked for
        code = int(stop.code) if isinstance(stop.code, int) else 2
        if code:
            events.emit("error", message=complaint.getvalue().strip() or str(stop), exit_code=code, detail="")
            return code
    except (CTRestorationError, MemoryError, KeyboardInterrupt) as error:
        message, code = explained(error)
        events.emit("error", message=message, exit_code=code, detail="")
        return code
    except Exception as error:
        message = f"Unexpected error, a defect of CTRestoration: {type(error).__name__}: {error}"
        events.emit("error", message=message, exit_code=1, detail=traceback.format_exc())
        return 1
    if code and reporter.value is None:
        events.emit("error", message=_last_line(text.getvalue()), exit_code=code, detail=text.getvalue())
        return code
    if reporter.value is not None and text.getvalue().strip():
        events.emit("log", level="info", message=text.getvalue().strip())
    value = reporter.value if reporter.value is not None else {"text": text.getvalue().strip()}
    events.emit("result", value=value)
    return code


def _own_stdout() -> TextIO:
    """A stream of our own on standard output; what libraries print there from now on goes to standard error."""
    try:
        stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
    except OSError:
        return sys.stdout
    return stream


def _stdin() -> int | None:
    try:
        os.fstat(0)
    except OSError:
        return None
    return 0


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "The command failed and gave no reason."
