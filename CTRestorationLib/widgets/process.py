"""The process and the timer of a `JobRunner`, made of Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import qt

from CTRestorationLib.signals import Signal

FAILED_TO_START = 0
"""QProcess::FailedToStart: the one error after which no `finished` comes."""


class QtProcess:
    """A child process over QProcess; see `CTRestorationLib.jobs.runner.ProcessProtocol`.

    It can be started again once it has ended.
    """

    # A QProcess that loses its last reference kills its child, and waits for that: one that runs is kept here.
    _running: ClassVar[set[Any]] = set()

    def __init__(self) -> None:
        self.output, self.errorOutput, self.finished, self.failed = Signal(), Signal(), Signal(), Signal()
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("readyReadStandardError()", self._onErrorOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onError)

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it, with its standard input open."""
        variables = qt.QProcessEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        QtProcess._running.add(self)
        self._process.start(program, list(arguments))

    def closeInput(self) -> None:
        """End its standard input."""
        self._process.closeWriteChannel()

    def terminate(self) -> None:
        """Ask it to end; does nothing to a console program on Windows."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def isRunning(self) -> bool:
        """Whether it was started and has not ended."""
        return bool(self._process.state() != qt.QProcess.NotRunning)

    def _onOutput(self) -> None:
        self._read(self._process.readAllStandardOutput(), self.output)

    def _onErrorOutput(self) -> None:
        self._read(self._process.readAllStandardError(), self.errorOutput)

    @staticmethod
    def _read(received: Any, signal: Signal) -> None:
        data = received.data()  # a QByteArray of PythonQt has no other way to bytes
        if data:
            signal.emit(data)

    def _onFinished(self, code: int, status: Any) -> None:
        self._onOutput()
        self._onErrorOutput()
        QtProcess._running.discard(self)
        self.finished.emit(int(code), bool(status == qt.QProcess.CrashExit))

    def _onError(self, error: Any) -> None:
        if error == FAILED_TO_START:
            QtProcess._running.discard(self)
            self.failed.emit(str(self._process.errorString()))


class QtTimer:
    """Calls back later from the event loop; see `CTRestorationLib.jobs.runner.TimerProtocol`."""

    def singleShot(self, milliseconds: int, callback: Callable[[], Any]) -> None:
        """Call `callback` once."""
        qt.QTimer.singleShot(int(milliseconds), callback)
