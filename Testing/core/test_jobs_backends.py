"""One contract for every place that trains, and the protocol files read by late, torn and remote readers."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ctrestoration.cli.main import main
from ctrestoration.errors import InputError
from ctrestoration.jobs import local as local_module
from ctrestoration.jobs.gpus import list_gpus, reserve_gpus
from ctrestoration.jobs.journal import Journal, last_record
from ctrestoration.jobs.local import LocalBackend, clean_environment
from ctrestoration.jobs.outcome import DataRefusedError, RunInUseError, StorageError, sentence
from ctrestoration.jobs.processes import Owner
from ctrestoration.jobs.reader import Follower, Watcher, thin
from ctrestoration.jobs.rundir import RunDirectory, new_name
from ctrestoration.jobs.ssh import SshBackend

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")

TRAINER = """#!/usr/bin/env python3
import json, pathlib, sys, time
words = sys.argv[1:]
run = pathlib.Path(words[words.index("--run-dir") + 1])
(run / "control").mkdir()
(run / "config.yaml").write_text(pathlib.Path(words[words.index("train") + 1]).read_text())
generation = 1
for step in range(1, 400):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"seq": step - 1, "step": step, "kind": "train", "values": {}}) + "\\n")
    cancelled = (run / "control" / "cancel").exists()
    state = "cancelled" if cancelled else "running"
    part = run / ".status.part"
    part.write_text(json.dumps({"state": state, "step": step, "generation": generation, "beat": step,
                                "host": "elsewhere", "pid": 1, "total": 400, "words": words}))
    part.replace(run / "status.json")
    if cancelled:
        break
    time.sleep(0.02)
"""


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def trainer(tmp_path: Path) -> str:
    """In place of `python -m ctrestoration train`: writes the protocol files, obeys the cancel file."""
    body = script(tmp_path / "trainer.py", TRAINER)
    return script(tmp_path / "python", f'#!/bin/sh\nexec {sys.executable} {body} "$@"\n')


@pytest.fixture(params=["local", "ssh"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, trainer: str) -> Any:
    if request.param == "local":
        return LocalBackend(python=trainer)
    # The far end is the real one; it starts the stand-in trainer on "its" machine.
    serve = (
        f"import sys; sys.argv = sys.argv[2:]\nfrom ctrestoration.jobs import local, serve\n"
        f"local.LocalBackend.__init__.__defaults__ = ({trainer!r}, None)\nsys.exit(serve.main(sys.argv[1:]))\n"
    )
    far = script(tmp_path / "far.py", serve)
    far_python = script(tmp_path / "far-python", f'#!/bin/sh\nexec {sys.executable} {far} "$@"\n')
    ssh = script(tmp_path / "ssh", '#!/bin/sh\nwhile [ "$1" != "--" ]; do shift; done\nexec sh -c "$3"\n')
    copy = '#!/bin/sh\nwhile [ "$1" != "--" ]; do shift; done\nexec cp "${2#*:}" "$3"\n'
    scp = script(tmp_path / "scp", copy)
    return SshBackend("me@far", tmp_path / "mirror", python=far_python, ssh=ssh, scp=scp)


def wait_for(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_contract_submit_tail_cancel_fetch(backend: Any, tmp_path: Path) -> None:
    config = tmp_path / "it's a run.yaml"
    config.write_text("seed: 1 # $(touch owned) 'quoted'\n")
    run = str(tmp_path / "runs with spaces" / "one")
    assert backend.submit(config, run, ["optim.lr=1"], 2) > 0

    def watcher() -> Watcher:
        return Watcher(backend.tail(run)).poll()

    wait_for(lambda: len(watcher().metrics) > 3)
    late = watcher()
    assert [record["seq"] for record in late.metrics] == list(range(len(late.metrics))), "a late reader replays all"
    assert late.state == "running"
    words = (late.status or {})["words"]
    assert "optim.lr=1" in words
    assert words[words.index("--processes") + 1] == "2"
    with pytest.raises(InputError):
        backend.submit(config, run)
    backend.cancel(run)
    wait_for(lambda: watcher().state == "cancelled")
    (fetched,) = backend.fetch(run, ["config.yaml"], tmp_path / "fetched")
    assert fetched.read_text() == config.read_text()
    assert not (tmp_path / "owned").exists()
    with pytest.raises(InputError, match="inside the run"):
        backend.fetch(run, ["../secret"], tmp_path / "fetched")
    with pytest.raises(InputError, match="no file"):
        backend.fetch(run, ["weights/none"], tmp_path / "fetched")


def test_a_trainer_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    run.config.write_text("{}")
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
    )
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "deaf\n"
    run.status.write_text(
        json.dumps({"state": "running", **Owner(socket.gethostname(), process.pid, "", "").to_json()})
    )
    assert main(["runs", str(run.root), "--force"]) == 2
    assert main(["runs", str(run.root), "--cancel", "--force"]) == 0
    assert process.wait(10) == -signal.SIGKILL
    with pytest.raises(InputError, match="alive"):
        LocalBackend().cancel(str(run.root), force=True)


def test_a_copy_that_arrives_damaged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.txt").write_text("right")
    monkeypatch.setattr(local_module.shutil, "copyfile", lambda source, target: Path(target).write_text("wrong"))
    with pytest.raises(DataRefusedError, match="damaged"):
        LocalBackend().fetch(str(run), ["a.txt"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_unreachable_machine(tmp_path: Path) -> None:
    ssh = script(tmp_path / "ssh", "#!/bin/sh\necho 'ssh: connect to host far: No route to host' >&2\nexit 255\n")
    with pytest.raises(StorageError, match="No route to host"):
        SshBackend("far", tmp_path, ssh=ssh).cancel("runs/one")
    with pytest.raises(InputError, match="host name"):
        SshBackend("-oProxyCommand=touch owned", tmp_path)


def test_slicers_python_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/slicer")
    monkeypatch.setenv("KEPT", "1")
    assert "PYTHONHOME" not in clean_environment()
    assert clean_environment()["KEPT"] == "1"


def test_follower_survives_torn_lines_and_going_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"seq": n, "value": n}) + "\n" for n in range(6)]
    follower = Follower(path)
    assert follower.poll(1).records == []
    path.write_text(lines[0] + lines[1][:7])
    assert [r["seq"] for r in follower.poll(1).records] == [0]
    path.write_text("".join(lines[:4]))
    assert [r["seq"] for r in follower.poll(1).records] == [1, 2, 3]
    path.write_text("".join(lines[:2]))
    update = follower.poll(1)
    assert update.restarted
    assert [r["seq"] for r in update.records] == [0, 1]
    path.write_text("".join([*lines[:2], lines[3]]))  # a gap
    assert follower.poll(1).restarted
    path.write_text("".join(lines))
    assert follower.poll(2).restarted, "a new generation"


def test_journal_repairs_a_torn_end_and_writes_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"seq": 0}\n{"seq": 1, "mess')
    journal = Journal(path)
    journal.append({"value": float("nan"), "list": [1.0, float("inf")]})
    journal.close()
    assert last_record(path) == {"seq": 1, "value": None, "list": [1.0, None]}


def test_runs_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, state in (("a", "done"), ("b", "running")):
        run = RunDirectory(tmp_path / name).create()
        run.config.write_text("{}")
        best = {"metric": "psnr_db", "value": 38.25, "step": 3}
        content = {"state": state, "stage": "main", "step": 5, "total": 10, "best": best, "exit_code": None}
        run.status.write_text(json.dumps({**content, **_dead_process()}))
    assert main(["runs", str(tmp_path), "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert rows["a"]["state"] == "done"
    assert rows["b"]["state"] == "lost", "its process has died without a word"
    assert main(["runs", str(tmp_path)]) == 0
    assert "5/10 (50 %)" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "none")]) == 2


def _dead_process() -> dict[str, Any]:
    import socket

    return {"host": socket.gethostname(), "pid": 2**22 - 7, "pid_start": "1", "boot_id": ""}


def test_a_run_directory_is_never_reused(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("important")
    with pytest.raises(InputError, match="not empty"):
        RunDirectory(tmp_path).create()
    run = RunDirectory(tmp_path / new_name("my run!")).create()
    run.config.write_text("{}")
    with pytest.raises(InputError, match="resume"):
        run.create()


def test_gpus_are_listed_and_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTRESTORATION_LOCKS", str(tmp_path / "locks"))
    text = "0, GPU-aa, NVIDIA X, 24000, 20000\n1, GPU-bb, NVIDIA Y, 24000, 100\nbroken line\n"
    command = script(tmp_path / "nvidia-smi", f"#!/bin/sh\nprintf '{text}'\n".replace("\n", "\n", 1))
    gpus = list_gpus(command)
    assert [gpu.uuid for gpu in gpus] == ["GPU-aa", "GPU-bb"]
    with reserve_gpus(gpus) as first, reserve_gpus(gpus) as second:
        assert [gpu.uuid for gpu in first + second] == ["GPU-bb", "GPU-aa"], "the one with more free memory first"
        with pytest.raises(RunInUseError, match="No GPU is free"), reserve_gpus(gpus):
            pass
    with reserve_gpus(gpus, 2) as both, reserve_gpus(gpus, 3) as none:
        assert len(both) == 2
        assert none == []
    assert list_gpus(str(tmp_path / "missing")) == []


def test_every_end_has_a_sentence() -> None:
    for code in (0, 1, 2, 3, 4, 5, 74, 75, 130):
        assert sentence(code).endswith(".")
    assert "memory" in sentence(-9)
    assert sentence(137) == sentence(-9)


def test_a_curve_is_thinned_to_its_ends() -> None:
    assert thin(list(range(10_000)))[0] == 0
    assert thin(list(range(10_000)))[-1] == 9999
    assert len(thin(list(range(10_000)))) == 2000
