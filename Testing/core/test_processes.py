"""Work shared between processes: in order, and gone when its owner is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import Cancelled
from ctrestoration.training.processes import in_processes

_OWNER = """
import multiprocessing, threading, time
from ctrestoration.control import SILENT
from ctrestoration.training.processes import in_processes

def tell():
    while not multiprocessing.active_children():
        time.sleep(0.05)
    time.sleep(1.0)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    threading.Thread(target=tell, daemon=True).start()
    list(in_processes(time.sleep, [60.0, 60.0], 2, SILENT, "Sleeping"))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(in_processes(abs, [-3, 2, -1, 0], workers, SILENT, "Counting")) == [3, 2, 1, 0]


def test_a_cancel_stops_between_jobs() -> None:
    with pytest.raises(Cancelled):
        list(in_processes(abs, [1, 2, 3], 1, Control(cancel=lambda: True), "Counting"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed so on POSIX systems")
def test_workers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(_OWNER, encoding="utf-8")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        workers = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert workers
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A zombie that nobody has collected is dead, too.
    return not status.exists() or status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
