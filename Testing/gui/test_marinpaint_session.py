"""The session of MARInpaint with a fake child and a timer that a test winds by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from CTRestorationLib.presenters.mar.session import Child, JobCancelled, JobFailed, Session
from CTRestorationLib.signals import Signal


class FakeTimer:
    """Calls back when the test says so."""

    def __init__(self) -> None:
        self.due: list[Any] = []

    def singleShot(self, _milliseconds: int, callback: Any) -> None:
        self.due.append(callback)

    def wind(self, rounds: int = 1000) -> None:
        """Let events happen until none is left."""
        for _ in range(rounds):
            if not self.due:
                return
            self.due.pop(0)()
        raise AssertionError("the timer never comes to rest")


class FakeRunner:
    """A child that ends as the test says."""

    def __init__(self) -> None:
        self.started, self.progress, self.logged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self.words: list[str] = []
        self.running = self.abandoned = self.cancelAsked = False
        self.commandLine = ""

    def start(self, words: list[str], folder: Path) -> None:
        self.words, self.folder, self.running = words, folder, True
        self.commandLine = " ".join(["ctrestoration", *words])

    def cancel(self) -> None:
        self.cancelAsked = True

    def abandon(self) -> None:
        self.abandoned = True

    def end(self, signal: Signal, *values: Any) -> None:
        self.running = False
        signal.emit(*values)


@pytest.fixture
def bench(tmp_path: Path) -> SimpleNamespace:
    """A session, its timer, its runners, and all that it said."""
    timer, runners, said = FakeTimer(), [], []

    def makeRunner() -> FakeRunner:
        runners.append(FakeRunner())
        return runners[-1]

    volume = SimpleNamespace(GetName=lambda: "CT", GetScene=lambda: "scene")
    parameters = SimpleNamespace(inputVolume=volume)
    nodes = SimpleNamespace(problemOf=lambda _node: "")
    session = Session(nodes, makeRunner, timer, lambda: tmp_path, lambda: parameters)
    for name in ("progressed", "logged", "failed", "ended"):
        getattr(session, name).connect(lambda *values, name=name: said.append((name, *values)))
    return SimpleNamespace(session=session, timer=timer, runners=runners, said=said, parameters=parameters)


def ends(bench: SimpleNamespace) -> list[tuple[str, str]]:
    return [entry[1:] for entry in bench.said if entry[0] == "ended"]


def test_a_job_hands_over_runs_and_takes_back(bench: SimpleNamespace) -> None:
    seen = []

    def job(folder: Path) -> Any:
        yield "Handing over CT"
        yield 0.5
        value = yield Child(["segment", "metal", folder / "in.nrrd"])
        seen.append(value)
        yield "Reading the result"
        seen.append("node made")

    bench.session.start("Segment metal", job, "metal")
    assert bench.session.runs("metal")
    assert not bench.session.runs("spine")
    bench.timer.wind()
    runner = bench.runners[0]
    assert runner.words[:2] == ["segment", "metal"]
    assert all(isinstance(word, str) for word in runner.words)
    assert seen == []
    runner.progress.emit(0.25, "Looking", 4.0)
    runner.end(runner.finished, {"count": 2})
    bench.timer.wind()
    assert seen == [{"count": 2}, "node made"]
    assert ends(bench) == [("Segment metal", "finished")]
    assert ("progressed", 0.25, "Looking", 4.0) in bench.said
    assert ("logged", runner.commandLine) in bench.said
    assert bench.session.idle
    assert not runner.folder.exists()


def test_one_job_at_a_time(bench: SimpleNamespace) -> None:
    def job(_folder: Path) -> Any:
        yield Child(["x"])

    bench.session.start("One", job)
    with pytest.raises(RuntimeError, match="One is running"):
        bench.session.start("Two", job)
    assert "One is running" in bench.session.missing()


def test_a_failed_child_raises_inside_the_job_and_keeps_its_folder(bench: SimpleNamespace) -> None:
    after, caught = [], []

    def job(_folder: Path) -> Any:
        try:
            yield Child(["x"])
        except JobFailed as failure:
            caught.append((str(failure), failure.detail))
            raise
        after.append(True)

    bench.session.start("Simulate", job)
    bench.timer.wind()
    runner = bench.runners[0]
    runner.end(runner.failed, "No metal in the plan.", "Traceback ...")
    bench.timer.wind()
    assert caught == [("No metal in the plan.", "Traceback ...")]
    assert after == []
    assert ("failed", "Simulate", "No metal in the plan.", "Traceback ...") in bench.said
    assert runner.folder.exists()
    assert ends(bench) == [("Simulate", "failed")]


@pytest.mark.parametrize("late", [False, True])
def test_cancel_ends_the_job_even_where_the_child_was_faster(bench: SimpleNamespace, late: bool) -> None:
    after = []

    def job(_folder: Path) -> Any:
        yield Child(["x"])
        after.append(True)

    bench.session.start("Simulate", job)
    bench.timer.wind()
    bench.session.cancel()
    runner = bench.runners[0]
    assert runner.cancelAsked
    runner.end(*((runner.finished, {}) if late else (runner.cancelled,)))
    bench.timer.wind()
    assert after == []
    assert ends(bench) == [("Simulate", "cancelled")]
    assert not any(entry[0] == "failed" for entry in bench.said)
    assert not runner.folder.exists()


def test_cancel_in_a_python_step(bench: SimpleNamespace) -> None:
    caught = []

    def job(_folder: Path) -> Any:
        try:
            while True:
                yield 0.1
        except JobCancelled:
            caught.append(True)
            raise

    bench.session.start("Hand over", job)
    bench.timer.due.pop(0)()
    bench.session.cancel()
    bench.timer.wind()
    assert caught == [True]
    assert ends(bench) == [("Hand over", "cancelled")]


def test_a_closed_scene_ends_everything_and_late_results_go_nowhere(bench: SimpleNamespace) -> None:
    after, closed = [], []

    def job(_folder: Path) -> Any:
        try:
            yield Child(["x"])
            after.append(True)
        finally:
            closed.append(True)

    bench.session.start("Simulate", job)
    bench.session.startWhenIdle("grade", "Grade screws", job)
    bench.timer.wind()
    bench.session.abandon()
    runner = bench.runners[0]
    assert runner.abandoned
    assert closed == [True]
    assert bench.session.idle
    runner.end(runner.finished, {})
    bench.timer.wind()
    assert after == []
    assert len(bench.runners) == 1
    bench.session.start("Again", job)
    bench.timer.wind()
    assert len(bench.runners) == 2


def test_quiet_work_waits_makes_way_and_comes_back(bench: SimpleNamespace) -> None:
    done = []

    def quiet(_folder: Path) -> Any:
        yield Child(["grade"])
        done.append("graded")

    def loud(_folder: Path) -> Any:
        yield Child(["simulate"])
        done.append("simulated")

    bench.session.startWhenIdle("grade", "Grade screws", quiet)
    bench.session.startWhenIdle("grade", "Grade screws", quiet)
    bench.timer.wind()
    assert bench.session.running == ""
    assert bench.session.missing() == ""
    bench.session.start("Simulate", loud, "simulate")
    assert bench.runners[0].cancelAsked
    bench.runners[0].end(bench.runners[0].cancelled)
    bench.timer.wind()
    assert bench.runners[1].words == ["simulate"]
    assert bench.session.runs("simulate")
    bench.runners[1].end(bench.runners[1].finished, {})
    bench.timer.wind()
    assert bench.runners[2].words == ["grade"]
    bench.runners[2].end(bench.runners[2].finished, {})
    bench.timer.wind()
    assert done == ["simulated", "graded"]
    assert bench.session.idle
    assert ends(bench) == [("Simulate", "finished")]


def test_a_defect_in_a_job_is_told_with_its_traceback(bench: SimpleNamespace) -> None:
    def job(_folder: Path) -> Any:
        yield 0.1
        raise ZeroDivisionError("oops")

    bench.session.start("Compare", job)
    bench.timer.wind()
    kind, title, sentence, detail = next(entry for entry in bench.said if entry[0] == "failed")
    assert (kind, title) == ("failed", "Compare")
    assert "ZeroDivisionError" in sentence
    assert "Traceback" in detail


def test_a_result_for_a_volume_that_is_gone_is_dropped(bench: SimpleNamespace) -> None:
    after = []

    def job(_folder: Path) -> Any:
        yield Child(["x"])
        after.append(True)

    bench.session.start("Segment metal", job)
    bench.timer.wind()
    bench.parameters.inputVolume.GetScene = lambda: None
    bench.runners[0].end(bench.runners[0].finished, {})
    bench.timer.wind()
    assert after == []
    assert any(entry[0] == "failed" and "removed from the scene" in entry[2] for entry in bench.said)


def test_bad_input_is_one_sentence(bench: SimpleNamespace) -> None:
    from ctrestoration.errors import InputError

    def job(_folder: Path) -> Any:
        yield 0.1
        raise InputError("CT lies under a nonlinear transform: harden it first.")

    bench.session.start("Simulate", job)
    bench.timer.wind()
    assert ("failed", "Simulate", "CT lies under a nonlinear transform: harden it first.", "") in bench.said


def test_a_child_that_cannot_start(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: FakeRunner, _words: list[str], _folder: Path) -> None:
        raise OSError("no such program")

    monkeypatch.setattr(FakeRunner, "start", refuse)

    def job(_folder: Path) -> Any:
        yield Child(["x"])

    bench.session.start("Simulate", job)
    bench.timer.wind()
    assert any(entry[0] == "failed" and "no such program" in entry[2] for entry in bench.said)


def test_background_work_is_replaced_and_stopped(bench: SimpleNamespace) -> None:
    steps = []

    def count(name: str) -> Any:
        for _ in range(3):
            steps.append(name)
            yield

    bench.session.inBackground("count", count("old"))
    bench.session.inBackground("count", count("new"))
    bench.timer.wind()
    assert steps == ["new"] * 3
    bench.session.inBackground("count", count("late"))
    bench.session.abandon()
    bench.timer.wind()
    assert "late" not in steps


def test_what_every_step_needs(bench: SimpleNamespace) -> None:
    assert bench.session.missing() == ""
    bench.parameters.inputVolume = None
    assert "Choose a CT volume" in bench.session.missing()
