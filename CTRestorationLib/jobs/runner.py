"""Runs one job at a time in a child process, and tells in signals what becomes of it.

A job is a command line of `ctrestoration`; what the child and its parent say to each other stands in
`ctrestoration.jobs.child`. Nothing here knows Qt: the process and the timer are passed in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ctrestoration
from CTRestorationLib.jobs.lines import LineReader, event
from CTRestorationLib.signals import Signal

GRACE_SECONDS = 10.0
"""How long a cancelled job may take to its next report before it is ended."""

KILL_SECONDS = 5.0
SILENCE_SECONDS = 60.0
CANCELLED = 130
LOG_CHARACTERS = 200_000
TAIL_LINES = 20


class ProcessProtocol(Protocol):
    """A child process that can be started once.

    Attributes:
        output: (bytes) of its standard output, in pieces.
        errorOutput: (bytes) of its standard error, in pieces.
        finished: (exit code, crashed) after the last piece.
        failed: (sentence) where it could not be started; `finished` then does not come.
    """

    output: Signal
    errorOutput: Signal
    finished: Signal
    failed: Signal

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it, with its standard input open."""
        ...

    def closeInput(self) -> None:
        """End its standard input."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def isRunning(self) -> bool:
        """Whether it was started and has not ended."""
        ...


class TimerProtocol(Protocol):
    """Calls back later, on the thread of the caller."""

    def singleShot(self, milliseconds: int, callback: Callable[[], Any]) -> None:
        """Call `callback` once."""
        ...


class JobRunner:
    """One job at a time.

    Exactly one of `finished`, `failed` and `cancelled` follows a start, unless the job was abandoned.

    Args:
        process: started once for each job; a process that can be started again serves for several jobs.
        timer: for the steps of a cancel, and to notice silence.
        clock: seconds, monotonic.

    Attributes:
        started: (process id) of the Python that works, which may be a child of `process`.
        progress: (fraction 0..1, message, seconds left or None).
        logged: (level "info", "notice" or "output", message).
        finished: (value) what the command prints with --json, or {"text": ...}.
        failed: (sentence, detail) detail is a traceback, or the end of the log.
        cancelled: () after `cancel`.
    """

    def __init__(
        self, process: ProcessProtocol, timer: TimerProtocol, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.started, self.progress, self.logged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self.folder: Path | None = None
        self.commandLine = ""
        self._process, self._timer, self._clock = process, timer, clock
        self._running = self._cancelling = self._abandoned = False
        self._job = 0
        self._reset()
        process.output.connect(self._onOutput)
        process.errorOutput.connect(self._onErrorOutput)
        process.finished.connect(self._onFinished)
        process.failed.connect(self._onFailedToStart)

    @property
    def running(self) -> bool:
        """Whether a job runs; a cancelled or abandoned one does until its process has ended."""
        return self._running

    @property
    def log(self) -> str:
        """What the job said so far; of a very long one, the end."""
        return "\n".join(self._log)

    def start(self, words: Sequence[str], folder: Path) -> None:
        """Run `ctrestoration` with these words.

        Args:
            words: of the command line, e.g. ["segment", "metal", "in.nrrd", "out.seg.nrrd", "--json"].
            folder: of the job; it receives job.json and control/.

        Raises:
            RuntimeError: a job runs.
            OSError: the folder cannot be written.
        """
        if self._running:
            raise RuntimeError(f"A job is running: {self.commandLine}")
        self._reset()
        self.folder = Path(folder)
        self.commandLine = shlex.join(["ctrestoration", *words])
        (self.folder / "control").mkdir(parents=True, exist_ok=True)
        (self.folder / "control" / "cancel").unlink(missing_ok=True)
        job = {"words": [str(word) for word in words], "parent_pid": os.getpid()}
        path = self.folder / "job.json"
        path.write_text(json.dumps(job, indent=2), encoding="utf-8")
        self._running = True
        self._job += 1
        self._began = self._heard = self._clock()
        self._watch(self._job)
        self._process.start(sys.executable, ["-m", "ctrestoration.jobs", str(path)], childEnvironment())

    def cancel(self) -> None:
        """Ask the job to stop at its next report; after 10 s terminate it, and 5 s later end it."""
        if not self._running or self._cancelling:
            return
        self._cancelling = True
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / "control" / "cancel").touch()
        self._process.closeInput()
        job = self._job
        self._timer.singleShot(int(1000 * GRACE_SECONDS), lambda: self._terminate(job))

    def abandon(self) -> None:
        """Cancel, and never emit anything about this job again."""
        self._abandoned = True
        self.cancel()

    def _reset(self) -> None:
        self._output, self._errors = LineReader(), LineReader()
        self._log: list[str] = []
        self._logLength = 0
        self._value: Any = None
        self._error: dict[str, Any] | None = None
        self._pid: int | None = None
        self._cancelling = self._abandoned = False
        self._began = self._heard = 0.0

    # What the process says

    def _onOutput(self, data: bytes) -> None:
        self._heard = self._clock()
        for line in self._output.feed(data):
            self._line(line)

    def _onErrorOutput(self, data: bytes) -> None:
        self._heard = self._clock()
        for line in self._errors.feed(data):
            self._text(line)

    def _line(self, line: str) -> None:
        found = event(line)
        if found is None:
            self._text(line)
            return
        kind = found["event"]
        if kind == "started":
            self._pid = found.get("pid")
            self._emit(self.started, self._pid)
        elif kind == "progress":
            self._onProgress(float(found.get("fraction", 0.0)), str(found.get("message", "")))
        elif kind == "log":
            self._remember(str(found.get("message", "")), str(found.get("level", "info")))
        elif kind == "result":
            self._value = found.get("value")
        elif kind == "error":
            self._error = found

    def _onProgress(self, fraction: float, message: str) -> None:
        elapsed = self._clock() - self._began
        known = 0.02 < fraction < 1 and elapsed > 2
        self._emit(self.progress, fraction, message, elapsed / fraction - elapsed if known else None)

    def _text(self, line: str) -> None:
        if line.strip():
            self._remember(line, "output")

    def _remember(self, message: str, level: str) -> None:
        self._log.append(message)
        self._logLength += len(message) + 1
        while self._logLength > LOG_CHARACTERS and len(self._log) > 1:
            self._logLength -= len(self._log.pop(0)) + 1
        self._emit(self.logged, level, message)

    def _emit(self, which: Signal, *arguments: Any) -> None:
        if not self._abandoned:
            which.emit(*arguments)

    # Its end

    def _onFinished(self, code: int, crashed: bool) -> None:
        if not self._running:
            return
        for line in self._output.flush():
            self._line(line)
        for line in self._errors.flush():
            self._text(line)
        self._running = False
        if self._value is not None:
            self._emit(self.finished, self._value)
        elif self._cancelling or (self._error is not None and self._error.get("exit_code") == CANCELLED):
            self._emit(self.cancelled)
        elif self._error is not None:
            detail = self._error.get("detail") or self._tail()
            self._emit(self.failed, str(self._error.get("message", "The job failed.")), detail)
        else:
            self._emit(self.failed, _unexplained(code, crashed), self._tail())

    def _onFailedToStart(self, sentence: str) -> None:
        if not self._running:
            return
        self._running = False
        self._emit(self.failed, f"Python could not be started for the job: {sentence}", f"program: {sys.executable}")

    def _tail(self) -> str:
        return "\n".join(self._log[-TAIL_LINES:])

    def _terminate(self, job: int) -> None:
        if job != self._job or not self._running:
            return
        self._remember(f"The job does not stop within {GRACE_SECONDS:.0f} s: it is terminated.", "notice")
        # PythonSlicer is a launcher: the Python that works is its child, and is asked, too.
        self._signal(signal.SIGTERM)
        self._process.terminate()
        self._timer.singleShot(int(1000 * KILL_SECONDS), lambda: self._kill(job))

    def _kill(self, job: int) -> None:
        if job == self._job and self._running:
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.kill()

    def _signal(self, number: int) -> None:
        """To the Python that works, and to all that it started: it leads a group of processes where there are such."""
        if self._pid is None or not self._process.isRunning():
            return
        try:
            os.killpg(self._pid, number)
        except (AttributeError, OSError):
            with contextlib.suppress(OSError):
                os.kill(self._pid, number)

    def _watch(self, job: int) -> None:
        """Say so where a job has been silent for long, once for each silence."""
        if job != self._job or not self._running:
            return
        silent = self._clock() - self._heard
        if silent >= SILENCE_SECONDS:
            self._heard = self._clock()
            self._remember(f"The job has said nothing for {silent:.0f} s; it may need long for one step.", "notice")
        self._timer.singleShot(int(500 * SILENCE_SECONDS), lambda: self._watch(job))


def childEnvironment() -> dict[str, str]:
    """This process's environment, in which a child finds the `ctrestoration` that is loaded here and speaks UTF-8."""
    environment = dict(os.environ)
    parent = str(Path(ctrestoration.__file__).resolve().parents[1])
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path != parent]
    environment["PYTHONPATH"] = os.pathsep.join([parent, *paths])
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONIOENCODING"] = "utf-8"
    environment["PYTHONSAFEPATH"] = "1"  # a numpy.py in the current folder is not to be imported
    return environment


def jobFolder(root: Path, title: str) -> Path:
    """A fresh, empty folder for one job, named after what it does."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "job"
    return Path(tempfile.mkdtemp(prefix=f"{words}-", dir=root))


def _unexplained(code: int, crashed: bool) -> str:
    if crashed or code < 0 or code > CANCELLED:
        return f"The job crashed or was killed (code {code}), perhaps because memory ran out: try fewer slices."
    return f"The job ended without a result (exit code {code}); its log says more."
