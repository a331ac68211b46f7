"""The runner over QProcess and QTimer, with the real child."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer

from CTRestorationLib.jobs.runner import JobRunner
from CTRestorationLib.widgets.process import QtProcess, QtTimer

SMALL = ["--size", "4", "48", "48", "--spacing", "6", "6", "6", "--json"]
LONG = ["--size", "120", "400", "400", "--spacing", "1", "1", "1"]


class Heard:
    """A runner and all that it says."""

    def __init__(self) -> None:
        self.runner = JobRunner(QtProcess(), QtTimer())
        self.told: list[tuple[Any, ...]] = []
        for name in ("started", "progress", "logged", "finished", "failed", "cancelled"):
            getattr(self.runner, name).connect(lambda *what, name=name: self.told.append((name, *what)))

    def names(self) -> list[str]:
        return [told[0] for told in self.told]


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.005)


def test_a_job_gives_its_result(tmp_path: Path) -> None:
    heard = Heard()
    out = tmp_path / "ä b.nrrd"
    heard.runner.start(["phantom", "spine", str(out), *SMALL], tmp_path / "job")
    wait(lambda: not heard.runner.running)
    assert heard.names()[0] == "started"
    assert heard.told[-1][0] == "finished"
    assert heard.told[-1][1]["files"] == [str(out)]


def test_one_process_serves_for_several_jobs(tmp_path: Path) -> None:
    heard = Heard()
    for number in range(2):
        heard.runner.start(["implants", "catalogue", "--kind", "rods"], tmp_path / str(number))
        wait(lambda: not heard.runner.running)
    assert heard.names().count("finished") == 2


def test_a_cancelled_job_ends_and_the_window_lives_on(tmp_path: Path) -> None:
    heard = Heard()
    heard.runner.start(["phantom", "spine", str(tmp_path / "p.nrrd"), *LONG], tmp_path / "job")
    wait(lambda: "progress" in heard.names())
    heard.runner.cancel()
    wait(lambda: not heard.runner.running)
    assert heard.told[-1] == ("cancelled",)
    assert not (tmp_path / "p.nrrd").exists()


def test_an_error_is_one_sentence(tmp_path: Path) -> None:
    heard = Heard()
    heard.runner.start(["segment", "metal", "nowhere.nrrd", str(tmp_path / "o.nrrd")], tmp_path / "job")
    wait(lambda: not heard.runner.running)
    assert heard.told[-1][:1] == ("failed",)
    assert heard.told[-1][1].startswith("nowhere.nrrd does not exist")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_child_is_called_so(tmp_path: Path) -> None:
    heard = Heard()
    heard.runner.start(["phantom", "spine", str(tmp_path / "p.nrrd"), *LONG], tmp_path / "job")
    wait(lambda: "started" in heard.names())
    os.kill(heard.told[0][1], 9)
    wait(lambda: not heard.runner.running)
    assert "crashed or was killed" in heard.told[-1][1]


def test_a_missing_program_is_called_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    heard = Heard()
    heard.runner.start(["runs"], tmp_path / "job")
    wait(lambda: not heard.runner.running)
    assert heard.names() == ["failed"]
    assert "could not be started" in heard.told[0][1]
    assert not QtProcess._running


def test_an_abandoned_job_ends_although_nobody_holds_it(tmp_path: Path) -> None:
    heard = Heard()
    heard.runner.start(["phantom", "spine", str(tmp_path / "p.nrrd"), *LONG], tmp_path / "job")
    wait(lambda: "progress" in heard.names())
    told = len(heard.told)
    heard.runner.abandon()
    heard.runner = None  # type: ignore[assignment]
    gc.collect()
    wait(lambda: not QtProcess._running)
    assert len(heard.told) == told
    assert not (tmp_path / "p.nrrd").exists()
