"""The runner of the Slicer modules' jobs, with a process that the test plays and with the real child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from core.fake_process import FakeProcess, FakeTimer, RealProcess

from ctrestoration.jobs.processes import exists
from CTRestorationLib.jobs.lines import LineReader, event
from CTRestorationLib.jobs.runner import JobRunner, childEnvironment, jobFolder
from CTRestorationLib.signals import Signal

WORDS = ["segment", "metal", "in.nrrd", "out put.nrrd"]


class Watched:
    """A runner and all it says."""

    def __init__(self, process: Any = None) -> None:
        self.process = process or FakeProcess()
        self.timer = FakeTimer()
        self.runner = JobRunner(self.process, self.timer, self.timer.clock)
        self.heard: list[tuple[Any, ...]] = []
        for name in ("started", "progress", "logged", "finished", "failed", "cancelled"):
            getattr(self.runner, name).connect(lambda *told, name=name: self.heard.append((name, *told)))

    def names(self) -> list[str]:
        return [told[0] for told in self.heard]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    found = Watched()
    found.runner.start(WORDS, tmp_path)
    return found


def test_the_child_gets_the_words_and_an_environment_in_which_it_finds_the_package(watched, tmp_path: Path) -> None:
    job = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))
    assert job == {"words": WORDS, "parent_pid": os.getpid()}
    assert watched.process.program == sys.executable
    assert watched.process.arguments == ["-m", "ctrestoration.jobs", str(tmp_path / "job.json")]
    root = str(Path(__file__).resolve().parents[2])
    assert watched.process.environment["PYTHONPATH"].split(os.pathsep)[0] == root
    assert watched.process.environment["PYTHONUNBUFFERED"] == "1"
    assert watched.process.environment["PYTHONIOENCODING"] == "utf-8"
    assert watched.runner.commandLine == "ctrestoration segment metal in.nrrd 'out put.nrrd'"
    assert watched.runner.folder == tmp_path


def test_an_existing_python_path_is_kept_behind_ours(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/somewhere", "/else"]))
    assert childEnvironment()["PYTHONPATH"].split(os.pathsep)[1:] == ["/somewhere", "/else"]


def test_a_job_from_start_to_result(watched) -> None:
    watched.process.says("started", pid=7)
    watched.process.says("progress", fraction=0.01, message="Reading")
    watched.timer.advance(10)
    watched.process.says("progress", fraction=0.25, message="Working")
    watched.process.says("log", level="notice", message="careful")
    watched.process.says("result", value={"count": 3})
    assert "finished" not in watched.names()
    watched.process.ends()
    assert watched.heard == [
        ("started", 7),
        ("progress", 0.01, "Reading", None),
        ("progress", 0.25, "Working", 30.0),
        ("logged", "notice", "careful"),
        ("finished", {"count": 3}),
    ]
    assert not watched.runner.running


def test_torn_lines_and_characters_are_put_together(watched) -> None:
    whole = '{"event": "log", "level": "info", "message": "µ–Zähne 骨"}\n{"event": "result", "value": {}}'.encode()
    for byte in whole:
        watched.process.output.emit(bytes([byte]))
    watched.process.ends()
    assert watched.heard == [("logged", "info", "µ–Zähne 骨"), ("finished", {})]


def test_what_is_no_event_is_log(watched) -> None:
    watched.process.output.emit(b'hello\n{"no": "event"}\n{broken\n\n\xff\xfe\n[1]\r\n')
    watched.process.errorOutput.emit(b"OMP: warning\nlast")
    watched.process.says("result", value={})
    watched.process.ends()
    assert watched.runner.log.splitlines() == [
        "hello", '{"no": "event"}', "{broken", "\ufffd\ufffd", "[1]", "OMP: warning", "last",
    ]  # fmt: skip
    assert watched.names()[-1] == "finished"


def test_an_error_event_is_one_sentence_with_its_detail(watched) -> None:
    watched.process.errorOutput.emit(b"before\n")
    watched.process.says("error", message="in.nrrd does not exist.", exit_code=2, detail="")
    watched.process.ends(2)
    assert watched.heard[-1] == ("failed", "in.nrrd does not exist.", "before")


def test_a_crash_says_so_with_the_end_of_the_log(watched) -> None:
    watched.process.errorOutput.emit(b"Segmentation fault\n")
    watched.process.ends(11, crashed=True)
    name, sentence, detail = watched.heard[-1]
    assert name == "failed"
    assert "crashed or was killed (code 11)" in sentence
    assert detail == "Segmentation fault"


def test_an_end_without_result_is_a_failure(watched) -> None:
    watched.process.says("progress", fraction=1.0, message="Done")
    watched.process.ends(0)
    assert watched.heard[-1][0] == "failed"
    assert "without a result" in watched.heard[-1][1]


def test_a_missing_program_is_a_failure_and_the_runner_is_free_again(watched, tmp_path: Path) -> None:
    watched.process.failed.emit("no such file")
    assert watched.heard[-1][:2] == ("failed", "Python could not be started for the job: no such file")
    assert not watched.runner.running
    watched.runner.start(WORDS, tmp_path)
    assert watched.runner.running


def test_only_one_job_at_a_time(watched, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="A job is running: ctrestoration segment metal"):
        watched.runner.start(WORDS, tmp_path)


def test_cancel_asks_by_file_and_by_the_end_of_input(watched, tmp_path: Path) -> None:
    watched.runner.cancel()
    assert (tmp_path / "control" / "cancel").is_file()
    assert watched.process.calls == ["closeInput"]
    watched.process.says("error", message="Cancelled.", exit_code=130, detail="")
    watched.process.ends(130)
    assert watched.heard == [("cancelled",)]
    watched.timer.advance(60)
    assert watched.process.calls == ["closeInput"]


def test_a_job_that_hangs_is_terminated_and_then_killed(watched) -> None:
    watched.runner.cancel()
    watched.runner.cancel()
    watched.timer.advance(9.9)
    assert watched.process.calls == ["closeInput"]
    watched.timer.advance(0.2)
    assert watched.process.calls == ["closeInput", "terminate"]
    watched.timer.advance(5)
    assert watched.process.calls == ["closeInput", "terminate", "kill"]
    watched.process.ends(9, crashed=True)
    assert watched.names()[-1] == "cancelled"


def test_a_result_that_came_before_the_cancel_is_kept(watched) -> None:
    watched.process.says("result", value={"a": 1})
    watched.runner.cancel()
    watched.process.ends(0)
    assert watched.heard[-1] == ("finished", {"a": 1})


def test_an_abandoned_job_is_never_heard_of_again(watched) -> None:
    watched.process.says("progress", fraction=0.1, message="Working")
    watched.runner.abandon()
    watched.process.says("progress", fraction=0.2, message="Working")
    watched.process.errorOutput.emit(b"text\n")
    watched.process.says("result", value={})
    watched.process.ends(0)
    assert watched.names() == ["progress"]
    assert not watched.runner.running


def test_the_next_job_is_heard_after_an_abandoned_one(watched, tmp_path: Path) -> None:
    watched.runner.abandon()
    watched.process.ends(130)
    watched.runner.start(WORDS, tmp_path)
    assert not (tmp_path / "control" / "cancel").exists()
    watched.timer.advance(20)
    assert watched.process.calls == ["closeInput"]  # the timers of the first job leave the second alone
    watched.process.says("result", value={})
    watched.process.ends()
    assert watched.names() == ["finished"]


def test_silence_is_noticed_once_each_time(watched) -> None:
    watched.timer.advance(59)
    assert watched.heard == []
    watched.timer.advance(2)
    assert len(watched.heard) == 1
    assert "said nothing for 60 s" in watched.heard[0][2]
    watched.process.says("progress", fraction=0.5, message="Working")
    watched.timer.advance(50)
    assert len(watched.heard) == 2


def test_the_log_of_a_talkative_job_keeps_its_end(watched) -> None:
    for number in range(3000):
        watched.process.errorOutput.emit(f"{number:0100d}\n".encode())
    assert len(watched.runner.log) <= 200_000
    assert watched.runner.log.endswith("2999")


def test_job_folders_are_fresh_and_named(tmp_path: Path) -> None:
    one, two = (jobFolder(tmp_path / "new", "Segment métal: ../x") for _ in range(2))
    assert one != two
    assert one.parent == two.parent == tmp_path / "new"
    assert one.name.startswith("segment-m-tal-x-")
    assert list(one.iterdir()) == []
    assert jobFolder(tmp_path, "骨").name.startswith("job-")


def test_lines_end_where_they_end() -> None:
    reader = LineReader()
    assert reader.feed(b"a\nb") == ["a"]
    assert reader.feed(b"c\r\n\n") == ["bc", ""]
    assert reader.feed(b"rest") == []
    assert reader.flush() == ["rest"]
    assert reader.flush() == []
    assert event('{"event": 3}') is None
    assert event('{"event": "x"} tail') is None


def test_signals_call_in_order_and_survive_their_slots() -> None:
    heard: list[str] = []
    signal = Signal()

    def first(text: str) -> None:
        heard.append(f"first {text}")
        signal.disconnect(first)
        raise ValueError("first failed")

    signal.connect(first)
    signal.connect(first)
    signal.connect(lambda text: heard.append(f"second {text}"))
    with pytest.raises(ValueError, match="first failed"):
        signal.emit("a")
    signal.emit("b")
    signal.disconnect(first)
    assert heard == ["first a", "second a", "second b"]


def test_jobs_import_neither_slicer_nor_qt() -> None:
    code = (
        "import sys, CTRestorationLib.jobs.runner, CTRestorationLib.jobs.exchange\n"
        "print([n for n in ('slicer', 'qt', 'vtk', 'PySide6', 'scipy', 'SimpleITK', 'torch') if n in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SMALL = ["--size", "4", "48", "48", "--spacing", "6", "6", "6", "--json"]
LONG = ["--size", "120", "400", "400", "--spacing", "1", "1", "1"]


def test_the_real_child_gives_its_result(tmp_path: Path) -> None:
    watched = Watched(RealProcess())
    watched.runner.start(["phantom", "spine", str(tmp_path / "ä p.nrrd"), *SMALL], tmp_path / "job")
    watched.process.pump(lambda: not watched.runner.running)
    assert watched.names()[0] == "started"
    assert watched.heard[-1][0] == "finished"
    assert watched.heard[-1][1]["files"] == [str(tmp_path / "ä p.nrrd")]
    assert "progress" in watched.names()


def test_the_real_child_is_cancelled(tmp_path: Path) -> None:
    watched = Watched(RealProcess())
    watched.runner.start(["phantom", "spine", str(tmp_path / "p.nrrd"), *LONG], tmp_path / "job")
    watched.process.pump(lambda: "progress" in watched.names())
    pid = watched.heard[0][1]
    watched.runner.cancel()
    watched.process.pump(lambda: not watched.runner.running)
    assert watched.heard[-1] == ("cancelled",)
    assert not exists(pid)
    assert not (tmp_path / "p.nrrd").exists()


def test_the_real_child_explains_bad_input(tmp_path: Path) -> None:
    watched = Watched(RealProcess())
    watched.runner.start(["segment", "metal", "nowhere.nrrd", str(tmp_path / "o.nrrd")], tmp_path / "job")
    watched.process.pump(lambda: not watched.runner.running)
    assert watched.heard[-1][0] == "failed"
    assert watched.heard[-1][1].startswith("nowhere.nrrd does not exist")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_real_child_that_is_killed_is_a_failure(tmp_path: Path) -> None:
    watched = Watched(RealProcess())
    watched.runner.start(["phantom", "spine", str(tmp_path / "p.nrrd"), *LONG], tmp_path / "job")
    watched.process.pump(lambda: "progress" in watched.names())
    os.kill(watched.heard[0][1], 9)
    began = time.monotonic()
    watched.process.pump(lambda: not watched.runner.running)
    assert watched.heard[-1][0] == "failed"
    assert "killed (code 9)" in watched.heard[-1][1]
    assert time.monotonic() - began < 10


def test_a_real_missing_program_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    watched = Watched(RealProcess())
    watched.runner.start(WORDS, tmp_path / "job")
    assert watched.heard[-1][0] == "failed"
    assert "no python" in watched.heard[-1][1]


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_a_hanging_child_is_killed_with_all_that_it_started(tmp_path: Path, monkeypatch) -> None:
    """A job that neither reports nor heeds a polite request, and has started a process of its own."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import signal, subprocess, sys, time\n"
        "from ctrestoration.cli import implants_catalogue as command\n"
        "def run(arguments):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "    sys.stderr.write(f'grandchild {child.pid}\\n')\n"
        "    time.sleep(600)\n"
        "command.run = run\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    watched = Watched(RealProcess())
    watched.runner.start(["implants", "catalogue"], tmp_path / "job")
    watched.process.pump(lambda: "grandchild" in watched.runner.log)
    pids = [watched.heard[0][1], int(watched.runner.log.split("grandchild ")[1].split()[0])]
    assert all(exists(pid) for pid in pids)
    watched.runner.cancel()
    watched.timer.advance(11)
    assert exists(pids[0])  # it was asked, and does not care
    watched.timer.advance(6)
    watched.process.pump(lambda: not watched.runner.running)
    assert watched.heard[-1] == ("cancelled",)
    deadline = time.monotonic() + 10
    while any(exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(exists(pid) for pid in pids)


def test_a_job_on_files_in_steps_gives_what_the_core_gives(tmp_path: Path) -> None:
    import numpy as np

    from ctrestoration.anatomy.metal import segment_metal
    from ctrestoration.volume import Grid, Volume
    from CTRestorationLib.jobs.exchange import exhaust, readLabels, writeVolumeSteps

    array = np.full((6, 60, 60), -1000.0, dtype=np.float32)
    array[:, 5:55, 5:55] = 40.0
    array[2:5, 20:30, 22:26] = 6000.0
    volume = Volume(array, Grid.from_parts(array.shape, (2.0, 2.0, 2.0), (3.0, 4.0, 5.0), np.diag([-1.0, 1.0, -1.0])))
    source, target = tmp_path / "ct.nrrd", tmp_path / "metal.seg.nrrd"
    exhaust(writeVolumeSteps(volume, source))
    watched = Watched(RealProcess())
    watched.runner.start(["segment", "metal", str(source), str(target), "--json"], tmp_path / "job")
    watched.process.pump(lambda: not watched.runner.running)
    labels, found = exhaust(readLabels(target)), segment_metal(volume)
    np.testing.assert_array_equal(labels.array > 0, found.mask)
    assert labels.grid.mismatch(volume.grid, tolerance_mm=1e-6) is None
    assert labels.names == {1: "metal"}
    assert watched.heard[-1][1]["volume_mm3"] == round(found.volume_mm3, 3) > 0
