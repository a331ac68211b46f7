"""The child process of a front end: events, cancel by file and by end of input, errors, and the front end's death."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctrestoration.cli.terminal import print_json, say, spoken_by, terminal_control
from ctrestoration.control import Control
from ctrestoration.errors import Cancelled
from ctrestoration.jobs.child import Events, Reporter, perform
from ctrestoration.jobs.processes import exists

SMALL = ["--size", "4", "48", "48", "--spacing", "6", "6", "6"]
LONG = ["--size", "120", "400", "400", "--spacing", "1", "1", "1"]


def job(folder: Path, *words: str, parent: int | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.json"
    path.write_text(json.dumps({"words": words, "parent_pid": parent or os.getpid()}), encoding="utf-8")
    return path


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ctrestoration.jobs", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(path: Path) -> tuple[list[dict[str, Any]], int]:
    child = start(path)
    assert child.stdout is not None
    events = [json.loads(line) for line in child.stdout]
    code = child.wait(timeout=60)
    for stream in (child.stdin, child.stdout, child.stderr):
        assert stream is not None
        stream.close()
    return events, code


def cancelled(path: Path, stop: Callable[[subprocess.Popen[str]], None]) -> tuple[dict[str, Any], int, float]:
    """The last event, the exit code, and how long it took from the request to the end."""
    child = start(path)
    assert child.stdout is not None
    event: dict[str, Any] = {}
    for line in child.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            break
    began = time.monotonic()
    stop(child)
    for line in child.stdout:
        event = json.loads(line)
    code = child.wait(timeout=60)
    for stream in (child.stdin, child.stdout, child.stderr):
        assert stream is not None
        stream.close()
    return event, code, time.monotonic() - began


def test_a_job_is_told_in_events_and_ends_with_the_commands_json(tmp_path: Path) -> None:
    out = tmp_path / "spine.nrrd"
    events, code = run(job(tmp_path, "phantom", "spine", str(out), *SMALL, "--json"))
    kinds = [event["event"] for event in events]
    assert code == 0
    assert kinds[0] == "started"
    assert kinds[-1] == "result"
    assert events[0]["pid"] > 0
    assert events[-1]["value"]["files"] == [str(out)]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert out.is_file()


def test_a_command_without_json_gives_its_text(tmp_path: Path) -> None:
    events, code = run(job(tmp_path, "implants", "catalogue", "--kind", "rods"))
    assert code == 0
    assert events[-1]["value"]["text"].startswith("rod ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["segment", "metal", "nowhere.nrrd", "out.nrrd"], "nowhere.nrrd does not exist"),
        (["segment", "metal"], "the following arguments are required"),
        (["correct", "a.nrrd", "b.nrrd", "--method", "nmra"], "Did you mean 'nmar'?"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    events, code = run(job(tmp_path, *words))
    assert code == 2
    assert events[-1]["event"] == "error"
    assert sentence in events[-1]["message"]
    assert events[-1]["exit_code"] == 2
    assert events[-1]["detail"] == ""


@pytest.mark.parametrize("content", ["", "{}", '{"words": 3}', '{"words": [], "parent_pid": "x"}'])
def test_a_broken_job_file_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(content, encoding="utf-8")
    events, code = run(path)
    assert code == 2
    assert "is no job" in events[-1]["message"]


def test_a_cancel_file_ends_the_job_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    out = tmp_path / "out" / "spine.nrrd"

    def stop(child: subprocess.Popen[str]) -> None:
        (tmp_path / "control").mkdir()
        (tmp_path / "control" / "cancel").touch()

    event, code, seconds = cancelled(job(tmp_path, "phantom", "spine", str(out), *LONG), stop)
    assert code == 130
    assert event["event"] == "error"
    assert event["exit_code"] == 130
    assert event["message"].startswith("Cancelled")
    assert not out.exists()
    assert seconds < 30


def test_the_end_of_standard_input_cancels(tmp_path: Path) -> None:
    def stop(child: subprocess.Popen[str]) -> None:
        assert child.stdin is not None
        child.stdin.close()

    event, code, _ = cancelled(job(tmp_path, "phantom", "spine", str(tmp_path / "s.nrrd"), *LONG), stop)
    assert (code, event["exit_code"]) == (130, 130)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_polite_request_to_end_cancels(tmp_path: Path) -> None:
    event, code, _ = cancelled(
        job(tmp_path, "phantom", "spine", str(tmp_path / "s.nrrd"), *LONG), lambda child: child.terminate()
    )
    assert (code, event["exit_code"]) == (130, 130)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = job(tmp_path, "phantom", "spine", str(tmp_path / "s.nrrd"), *LONG)
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'ctrestoration.jobs', sys.argv[1]], stdin=subprocess.PIPE,\n"
        "                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(2)
    assert exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while exists(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    gone = not exists(pid)
    if not gone:
        os.kill(pid, signal.SIGKILL)
    assert gone
    assert not (tmp_path / "s.nrrd").exists()


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_a_job_leads_a_group_so_that_all_it_starts_can_be_ended(tmp_path: Path) -> None:
    groups: list[tuple[int, int]] = []

    def stop(child: subprocess.Popen[str]) -> None:
        groups.append((os.getpgid(child.pid), child.pid))
        os.killpg(child.pid, signal.SIGTERM)

    event, code, _ = cancelled(job(tmp_path, "phantom", "spine", str(tmp_path / "s.nrrd"), *LONG), stop)
    assert groups[0][0] == groups[0][1]
    assert (code, event["exit_code"]) == (130, 130)


def test_the_death_of_the_parent_named_in_the_job_is_noticed_without_standard_input(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "pass"])
    parent.wait()
    path = job(tmp_path, "phantom", "spine", str(tmp_path / "s.nrrd"), *LONG, parent=parent.pid)
    events, code = run(path)
    assert code == 130
    assert events[-1]["exit_code"] == 130


def test_what_libraries_print_does_not_tear_the_events(tmp_path: Path) -> None:
    path = job(tmp_path, "implants", "catalogue", "--kind", "rods")
    code = (
        "import os, sys\nfrom ctrestoration.cli import implants_catalogue as command\nold = command.run\n"
        "def run(arguments):\n    os.write(1, b'torn {'); return old(arguments)\n"
        "command.run = run\nfrom ctrestoration.jobs.child import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], input="", capture_output=True, text=True, check=False, timeout=60
    )
    assert "torn {" in done.stderr
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["started", "result"]


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from ctrestoration.cli import implants_catalogue

    def broken(arguments: Any) -> int:
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr(implants_catalogue, "run", broken)
    stream = io.StringIO()
    assert perform(["implants", "catalogue"], Events(stream), lambda: False) == 1
    event = json.loads(stream.getvalue().splitlines()[-1])
    assert "ZeroDivisionError" in event["message"]
    assert "Traceback" in event["detail"]


def test_the_front_takes_the_terminals_place_and_gives_it_back(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    reporter = Reporter(Events(stream), lambda: False)
    with spoken_by(reporter):
        say("hello", "notice")
        print_json({"a": 1})
        terminal_control().report(0.5, "Half")
    say("back")
    assert reporter.value == {"a": 1}
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert events == [
        {"event": "log", "level": "notice", "message": "hello"},
        {"event": "progress", "fraction": 0.5, "message": "Half"},
    ]
    assert capsys.readouterr().err == "back\n"


def test_a_result_with_nan_is_a_defect() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Reporter(Events(io.StringIO()), lambda: False).result({"psnr": float("nan")})


def test_a_cancel_reaches_the_commands_control() -> None:
    control: Control = Reporter(Events(io.StringIO()), lambda: True).control()
    with pytest.raises(Cancelled):
        control.report(0.1, "Working")
