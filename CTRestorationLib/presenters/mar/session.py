"""What the steps of MARInpaint share: one job at a time, its files and progress, and its end when the scene closes.

A job is a generator. It prepares files, yields the command line of a child, gets the child's result back, and turns
files into nodes, all in one function that reads from top to bottom:

    def job(folder):
        ct = yield from session.volumeFile(volumeNode)          # files in steps of a few milliseconds
        value = yield Child(["segment", "metal", str(ct), str(folder / "metal.seg.nrrd"), "--json"])
        labels = yield from session.readLabels(folder / "metal.seg.nrrd")
        nodes.segmentations.writeMask(labels.array > 0, ...)     # on the main thread, scene checked

    session.start("Segment metal", job, action="metal")

What it may yield: a number 0..1 (a step is done: let the window breathe), None (likewise), a text (what is being done)
or a `Child`. The generator runs on the main thread between events, for `STEP_SECONDS` at a time. It ends early, at a
yield, by `JobCancelled` (the user), `JobFailed` (the child) or GeneratorExit (the scene closed): nothing after that
yield happens, so that late results never enter a new scene.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CTRestorationLib.jobs.runner import jobFolder
from CTRestorationLib.presenters.mar.files import FileSteps
from CTRestorationLib.signals import Signal

STEP_SECONDS = 0.02
"""How long Python works before the window gets its turn."""


@dataclass(frozen=True)
class Child:
    """Yielded by a job: run `ctrestoration` with these words in a child process, and come back with its result."""

    words: Sequence[str | Path]


class JobFailed(Exception):  # noqa: N818 - what happened to the job, not what is wrong with it
    """The child failed; the message is one sentence, `detail` the traceback or the end of its log."""

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.detail = detail


class JobCancelled(Exception):  # noqa: N818 - a stop that was asked for is no error
    """The user stopped the job."""


Job = Callable[[Path], Generator[Any, Any, None]]


@dataclass(eq=False)
class _Run:
    title: str
    job: Job
    action: str
    quiet: bool
    steps: Generator[Any, Any, None] | None = None
    folder: Path | None = None
    runner: Any = None
    volume: Any = None
    message: str = ""
    cancelling: bool = False
    preempted: bool = False


class Session(FileSteps):
    """One user's work in one scene.

    Args:
        nodes: what reaches into the scene, see `CTRestorationLib.nodes.mar.MarNodes`.
        makeRunner: a fresh `JobRunner` for each child; an abandoned one may still be ending.
        timer: `singleShot(milliseconds, callback)`.
        root: () -> folder for job files; called at the first job, not before.
        parameters: () -> the `MARInpaintParameters` of the scene.
        installed: name of a Python package -> whether the child would find it.

    Attributes:
        changed: a job began or ended, or something else that decides what may be pressed.
        progressed: (fraction 0..1, message, seconds left or None).
        logged: (line).
        failed: (title, sentence, detail); not for cancelled jobs.
        ended: (title, "finished", "failed" or "cancelled").
    """

    def __init__(
        self,
        nodes: Any,
        makeRunner: Callable[[], Any],
        timer: Any,
        root: Callable[[], Path],
        parameters: Callable[[], Any],
        installed: Callable[[str], bool] = lambda _name: True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.nodes = nodes
        self.installed = installed
        self._makeRunner = makeRunner
        self._timer = timer
        self._root = root
        self._parameters = parameters
        self._clock = clock
        self.changed, self.progressed, self.logged = Signal(), Signal(), Signal()
        self.failed, self.ended = Signal(), Signal()
        self._run: _Run | None = None
        self._waiting: dict[str, _Run] = {}
        self._next: _Run | None = None
        self._background: dict[str, Generator[Any, Any, None]] = {}
        self._ending: list[Any] = []
        FileSteps.__init__(self)

    # What the steps ask

    @property
    def parameters(self) -> Any:
        """The parameter node of the scene, as it is now."""
        return self._parameters()

    @property
    def root(self) -> Path:
        """Folder of this session's files."""
        return self._root()

    @property
    def input(self) -> Any:
        """The CT that the steps start from, or None."""
        return self.parameters.inputVolume

    @property
    def running(self) -> str:
        """Title of the job that the user started and that runs, or ""."""
        return "" if self._run is None or self._run.quiet else self._run.title

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits, quiet work included."""
        return self._run is None and self._next is None and not self._waiting and not self._background

    def runs(self, action: str) -> bool:
        """Whether the job that runs is this action's: its button reads Cancel then."""
        return self._run is not None and not self._run.quiet and self._run.action == action

    def missing(self) -> str:
        """What keeps every step from starting: "" or one sentence."""
        if self.running:
            return f"{self.running} is running: wait for its end, or cancel it."
        if self.input is None:
            return "Choose a CT volume above, or load one: drop a DICOM folder on the window, or take Sample Data."
        return str(self.nodes.problemOf(self.input))

    # Jobs

    def start(self, title: str, job: Job, action: str = "") -> None:
        """Run a job that the user asked for; quiet work makes way and comes back later.

        Raises:
            RuntimeError: another one runs.
        """
        run = _Run(title, job, action, quiet=False)
        if self._run is None:
            self._begin(run)
        elif self._run.quiet and self._next is None:
            self._next = run
            self._run.preempted = True
            self.cancel()
        else:
            raise RuntimeError(f"{self._run.title} is running.")

    def startWhenIdle(self, key: str, title: str, job: Job) -> None:
        """Run a quiet job as soon as nothing else runs; a later one of the same key replaces one that waits."""
        self._waiting[key] = _Run(title, job, key, quiet=True)
        self._beginNext()

    def cancel(self) -> None:
        """Ask the running job to stop: the child gets its notice, Python's steps end at the next one."""
        run = self._run
        if run is None or run.cancelling:
            return
        run.cancelling = True
        if run.runner is not None:
            run.runner.cancel()
        if not run.quiet:
            self.progressed.emit(0.0, "Cancelling ...", None)
        self.changed.emit()

    def abandon(self) -> None:
        """The scene closes: stop everything, and let nothing of it reach the next scene."""
        run, self._run, self._next = self._run, None, None
        self._waiting.clear()
        self.stopBackground()
        self.forgetFiles()
        if run is not None:
            if run.runner is not None:
                run.runner.abandon()
                self._ending.append(run.runner)
            self._close(run)
            self.log(f"{run.title}: left, because the scene was closed.")
            if not run.quiet:
                self.ended.emit(run.title, "cancelled")
        self.changed.emit()

    def log(self, line: str) -> None:
        """Add a line to the log."""
        self.logged.emit(line)

    def later(self, work: Callable[[], None]) -> None:
        """Do something at the next event: an observer must not remove the very node that called it."""
        self._timer.singleShot(0, work)

    # Small computations of Python's own, in steps, beside whatever runs

    def inBackground(self, key: str, steps: Generator[Any, Any, None]) -> None:
        """Run a generator in steps of `STEP_SECONDS`; a later one of the same key replaces it."""
        self.stopBackground(key)
        self._background[key] = steps
        self._timer.singleShot(0, lambda: self._stepBackground(key, steps))

    def stopBackground(self, key: str | None = None) -> None:
        """End one computation, or all."""
        for name in [key] if key is not None else list(self._background):
            steps = self._background.pop(name, None)
            if steps is not None:
                steps.close()

    def inBackgroundNow(self, key: str) -> bool:
        """Whether a computation of that key is still going on."""
        return key in self._background

    def _stepBackground(self, key: str, steps: Generator[Any, Any, None]) -> None:
        if self._background.get(key) is not steps:
            return
        until = self._clock() + STEP_SECONDS
        try:
            while self._clock() < until:
                next(steps)
        except StopIteration:
            self._background.pop(key, None)
            return
        except Exception:
            self._background.pop(key, None)
            raise
        self._timer.singleShot(0, lambda: self._stepBackground(key, steps))

    # The machine

    def _begin(self, run: _Run) -> None:
        self._run = run
        try:
            run.volume = getattr(self.parameters, "inputVolume", None)
            run.folder = jobFolder(self.root, run.title)
            run.steps = run.job(run.folder)
        except Exception as error:
            self._end(run, "failed", str(error), traceback.format_exc())
            return
        if not run.quiet:
            self.log(f"{run.title} ...")
            self._say(run, 0.0, run.title)
        self.changed.emit()
        self._timer.singleShot(0, lambda: self._advance(run, None))

    def _beginNext(self) -> None:
        if self._run is not None:
            return
        if self._next is not None:
            run, self._next = self._next, None
            self._begin(run)
        elif self._waiting:
            self._begin(self._waiting.pop(next(iter(self._waiting))))

    def _advance(self, run: _Run, value: Any, error: Exception | None = None) -> None:
        """Step the generator until its time is up, it wants a child, or it ends."""
        if self._run is not run or run.steps is None:
            return
        until = self._clock() + STEP_SECONDS
        while True:
            if run.cancelling and error is None:
                error = JobCancelled()
            try:
                got = run.steps.throw(error) if error is not None else run.steps.send(value)
            except StopIteration:
                self._end(run, "cancelled" if isinstance(error, JobCancelled) else "finished")
                return
            except JobCancelled:
                self._end(run, "cancelled")
                return
            except JobFailed as failure:
                self._end(run, "failed", str(failure), failure.detail)
                return
            except Exception as defect:
                self._end(run, "failed", *_told(defect))
                return
            value = error = None
            if isinstance(got, Child):
                self._launch(run, got)
                return
            if isinstance(got, str):
                self._say(run, 0.0, got)
            elif got is not None:
                self._say(run, float(got), run.message)
            if self._clock() >= until:
                self._timer.singleShot(0, lambda: self._advance(run, None))
                return

    def _launch(self, run: _Run, child: Child) -> None:
        runner = run.runner = self._makeRunner()
        self._ending = [one for one in self._ending if one.running]

        def back(value: Any = None, error: Exception | None = None) -> None:
            if run.runner is runner:
                run.runner = None
                if error is None and run.volume is not None and run.volume.GetScene() is None:
                    error = JobFailed("The CT was removed from the scene meanwhile: its result is dropped.")
                # A runner is still inside its own signal here: go on at the next event.
                self._timer.singleShot(0, lambda: self._advance(run, value, error))

        runner.progress.connect(lambda fraction, message, left: self._say(run, fraction, message, left))
        runner.logged.connect(lambda *line: None if self._run is not run else self.log(str(line[-1])))
        runner.finished.connect(lambda value: back(value))
        runner.failed.connect(lambda sentence, detail="": back(error=JobFailed(sentence, detail)))
        runner.cancelled.connect(lambda *_: back(error=JobCancelled()))
        try:
            runner.start([str(word) for word in child.words], run.folder)
        except Exception as error:
            back(error=JobFailed(f"The child process could not be started: {error}.", traceback.format_exc()))
            return
        if not run.quiet:
            self.log(str(getattr(runner, "commandLine", "")))

    def _say(self, run: _Run, fraction: float, message: str, left: float | None = None) -> None:
        if self._run is not run:
            return
        run.message = message
        if not run.quiet and not run.cancelling:
            self.progressed.emit(fraction, message, left)

    def _end(self, run: _Run, how: str, sentence: str = "", detail: str = "") -> None:
        self._run = None
        self._close(run, keep=how == "failed")
        if run.preempted:
            self._waiting.setdefault(run.action, _Run(run.title, run.job, run.action, quiet=True))
        elif how == "failed":
            kept = f" Its files are kept in {run.folder}." if run.folder else ""
            self.log(f"{run.title}: {sentence}{kept}" + (f"\n{detail}" if detail else ""))
        elif not run.quiet:
            self.log(f"{run.title}: {how}.")
        if how == "failed" and not run.preempted:
            self.failed.emit(run.title, sentence, detail)
        if not run.quiet:
            self.ended.emit(run.title, how)
        self._beginNext()
        self.changed.emit()

    def _close(self, run: _Run, keep: bool = False) -> None:
        if run.steps is not None:
            run.steps.close()
        if run.folder is not None and not keep and run.runner is None:
            shutil.rmtree(run.folder, ignore_errors=True)


def _told(error: Exception) -> tuple[str, str]:
    """Sentence and detail of whatever came out of a job."""
    from ctrestoration.errors import CTRestorationError

    if isinstance(error, CTRestorationError):
        return str(error), ""
    return f"A defect of this module: {type(error).__name__}: {error}", traceback.format_exc()
