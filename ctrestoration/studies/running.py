"""What the studies share: a folder of their own, run files, trainings in processes of their own, results that stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.control import Control
from ctrestoration.errors import Cancelled, CTRestorationError, InputError, OutputError
from ctrestoration.jobs.durable import replace_json, replace_text
from ctrestoration.jobs.outcome import ExitCode
from ctrestoration.jobs.rundir import RunDirectory, read_json

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

_POLL_SECONDS = 0.5
_IN_USE_SECONDS = 10.0
"""Between two attempts at a run whose trainer outlived a killed study."""

_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "100000000"}
"""glibc gives the memory of every large tensor back and asks for it again: 8 % of the time of a small network."""


def claim(out: Path, study: str, scale: str) -> None:
    """Make a folder a study's own.

    Raises:
        InputError: it holds something else.
        OutputError: it cannot be written.
    """
    mark = out / "study.json"
    wanted = {"study": study, "scale": scale}
    known = read_json(mark)
    if known is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty and holds no study: choose a new folder.")
    if known not in (None, wanted):
        raise InputError(
            f"{out} holds the study {known.get('study')} at scale {known.get('scale')}: choose another folder."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_json(mark, wanted)
    except OSError as error:
        raise OutputError(f"Cannot write the study {out}: {error.strerror or error}.") from error


def refuse_unknown(word: str, asked: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names of a study's networks or variants that it does not have.

    Raises:
        InputError: the first unknown one, with the known ones.
    """
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise InputError(f"Unknown {word} {unknown[0]!r}: known ones are {', '.join(known)}.")


def seed_count(asked: int | None, default: int) -> int:
    """How many seeds a study is repeated with.

    Raises:
        InputError: a number outside 1..100.
    """
    count = default if asked is None else asked
    if not 1 <= count <= 100:
        raise InputError(f"--seeds has to lie in 1..100, not {count}.")
    return count


def run_on_stored_scans(
    name: str, seed: int, method: Mapping[str, Any], train: str, batch: int, lr: float, device: str
) -> RunConfig:
    """The run file of a training on scans in the folder `data` of the study.

    Args:
        name: of the run.
        seed: of the run.
        method: its recipe.
        train: subfolder of the training scans; those for validation lie in "validation".
        batch: samples in a step.
        lr: learning rate at the start.
        device: see `training.config.HardwareConfig`.
    """
    from ctrestoration.training.runfile import RunConfig

    return RunConfig.model_validate(
        {
            "schema_version": 1,
            "name": name,
            "seed": seed,
            "method": method,
            "data": {
                # Relative to the run directory, so that a study can be moved.
                "train": {"name": "stored_scans", "folder": f"../../data/{train}"},
                "validation": {"name": "stored_scans", "folder": "../../data/validation"},
                "batch_size": batch,
            },
            "optim": {"lr": lr},
            "checkpoint": {"keep": 1, "save_every": 1000},
            # One thread, so that results do not depend on the machine's cores or on what runs beside it.
            "hardware": {"device": device, "threads": 1, "probe_steps": 3, "channels_last": True},
            "preview": {"every_epochs": 0},
        }
    )


def is_done(folder: Path) -> bool:
    """Whether a run reached its end."""
    return (RunDirectory(folder).read_status() or {}).get("state") == "done"


def known_or_made(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a JSON file holds; where there is none, it is made and written."""
    known = read_json(path)
    if known is None:
        known = make()
        replace_json(path, known)
    return known


def write_results(out: Path, result: dict[str, Any], table: str) -> tuple[dict[str, Any], str]:
    """Write results.json and results.md of a study; gives back both."""
    replace_json(out / "results.json", result)
    replace_text(out / "results.md", table)
    return result, table


def train_all(runs: Mapping[Path, RunConfig], workers: int, control: Control) -> dict[Path, str]:
    """Train every run that is not finished; stopped ones go on from their newest checkpoint.

    Args:
        runs: run directory -> run file; directories that are there keep the file that is in them.
        workers: how many at a time. Results do not depend on it, each run computes with the threads of its file.
        control: reported to while waiting; a cancel asks every run for a clean stop.

    Returns:
        Run directory -> what went wrong, for the runs that failed.

    Raises:
        Cancelled: asked for; a repetition goes on.
        InputError: a folder is there and holds no run.
    """
    from ctrestoration.training.launch import create_run

    waiting = [folder for folder in runs if not is_done(folder)]
    finished, failed = len(runs) - len(waiting), dict[Path, str]()
    running: dict[Path, subprocess.Popen[bytes]] = {}
    not_before: dict[Path, float] = {}
    try:
        while waiting or running:
            ready = [folder for folder in waiting if time.monotonic() >= not_before.get(folder, 0.0)]
            for folder in ready[: workers - len(running)]:
                waiting.remove(folder)
                if is_done(folder):  # by the trainer that outlived the study
                    finished += 1
                    continue
                if not RunDirectory(folder).config.is_file():
                    create_run(runs[folder], folder)
                running[folder] = _start(folder, workers)
            shown = ", ".join(folder.name for folder in running or waiting)
            parts = finished + sum(_share_done(folder) for folder in running)
            control.report(parts / len(runs), f"Training {len(runs)} runs, now {shown}")
            time.sleep(_POLL_SECONDS)
            for folder, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[folder]
                if process.returncode == ExitCode.IN_USE:
                    waiting.append(folder)
                    not_before[folder] = time.monotonic() + _IN_USE_SECONDS
                    continue
                finished += 1
                if process.returncode:
                    status = RunDirectory(folder).read_status() or {}
                    failed[folder] = str(status.get("message", f"ended with exit code {process.returncode}"))
    except (Cancelled, KeyboardInterrupt):
        _stop(running)
        raise
    return failed


def _share_done(folder: Path) -> float:
    """Of a run that is being trained, 0..1."""
    status = RunDirectory(folder).read_status() or {}
    step, total = status.get("step"), status.get("total")
    return min(step / total, 1.0) if step and total else 0.0


def _start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {**_MALLOC, **os.environ, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    words = [sys.executable, "-m", "ctrestoration.training.launch", str(folder)]
    with RunDirectory(folder).log.open("ab") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then asks for clean stops by file.
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)


def _stop(running: Mapping[Path, subprocess.Popen[bytes]]) -> None:
    for folder in running:
        RunDirectory(folder).request_cancel()
    for folder, process in running.items():
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise CTRestorationError(f"The run {folder} did not stop and was killed; it will go on.") from None
