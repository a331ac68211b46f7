"""Stand-ins for the process and the timer of a job: one that a test plays, and one that really runs, without Qt."""
# ruff: noqa: N802

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, Queue
from typing import Any

from CTRestorationLib.signals import Signal


class FakeProcess:
    """A process that does what the test says."""

    def __init__(self) -> None:
        self.output, self.errorOutput, self.finished, self.failed = Signal(), Signal(), Signal(), Signal()
        self.calls: list[str] = []
        self.program = ""
        self.arguments: list[str] = []
        self.environment: Mapping[str, str] = {}
        self.running = False

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.program, self.arguments, self.environment = program, list(arguments), environment
        self.running = True

    def closeInput(self) -> None:
        self.calls.append("closeInput")

    def terminate(self) -> None:
        self.calls.append("terminate")

    def kill(self) -> None:
        self.calls.append("kill")

    def isRunning(self) -> bool:
        return self.running

    def says(self, event: str, **fields: Any) -> None:
        self.output.emit((json.dumps({"event": event, **fields}) + "\n").encode())

    def ends(self, code: int = 0, crashed: bool = False) -> None:
        self.running = False
        self.finished.emit(code, crashed)


class FakeTimer:
    """A timer and clock that the test moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, Callable[[], Any]]] = []

    def singleShot(self, milliseconds: int, callback: Callable[[], Any]) -> None:
        self._waiting.append((self.now + milliseconds / 1000, len(self._waiting), callback))

    def clock(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._waiting and min(self._waiting)[0] <= until:
            due = min(self._waiting)
            self._waiting.remove(due)
            self.now = due[0]
            due[2]()
        self.now = until


class RealProcess:
    """A child process whose signals are emitted by `pump`."""

    def __init__(self) -> None:
        self.output, self.errorOutput, self.finished, self.failed = Signal(), Signal(), Signal(), Signal()
        self._child: subprocess.Popen[bytes] | None = None
        self._queue: Queue[tuple[Signal, bytes]] = Queue()
        self._threads: list[threading.Thread] = []

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        try:
            self._child = subprocess.Popen(
                [program, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment)
            )
        except OSError as error:
            self.failed.emit(str(error))
            return
        for stream, signal in ((self._child.stdout, self.output), (self._child.stderr, self.errorOutput)):
            thread = threading.Thread(target=self._read, args=(stream, signal), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _read(self, stream: Any, signal: Signal) -> None:
        while data := os.read(stream.fileno(), 7):  # small pieces: every line is torn
            self._queue.put((signal, data))

    def closeInput(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    def terminate(self) -> None:
        if self._child is not None:
            self._child.terminate()

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def isRunning(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def pump(self, until: Callable[[], bool], seconds: float = 60) -> None:
        """Emit what comes until the condition holds; `finished` when the child has ended."""
        deadline = time.monotonic() + seconds
        ended = False
        while not until():
            assert time.monotonic() < deadline, "the job took too long"
            try:
                signal, data = self._queue.get(timeout=0.02)
                signal.emit(data)
                continue
            except Empty:
                pass
            if self._child is None or ended or self.isRunning() or any(one.is_alive() for one in self._threads):
                continue
            if self._queue.empty():
                ended = True
                code = self._child.wait()
                for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
                    if stream is not None:
                        stream.close()
                self.finished.emit(abs(code), code < 0)
