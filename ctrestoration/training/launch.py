"""Starting and continuing runs: in this process, or as a group of processes on one machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.jobs import durable, outcome
from ctrestoration.jobs.gpus import list_gpus, reserve_gpus
from ctrestoration.jobs.processes import kill_group
from ctrestoration.jobs.rundir import ENDED, RunDirectory, read_json
from ctrestoration.training.recorder import Observer
from ctrestoration.training.runfile import RunConfig, load_config

_RESTARTS = 2
_HEADER = (
    "# Resolved run file: every setting, defaults included. Written once; 'ctrestoration resume' needs it unchanged.\n"
)


def check_run(config: RunConfig, processes: int = 1) -> None:
    """Make the data and networks of a run file, so that what cannot be made is refused before anything is written.

    Raises:
        InputError: missing files, empty splits, fewer samples than a batch, or settings that no network or stage has.
        DataRefusedError: initial weights that are damaged.
    """
    check_sizes(config, processes)
    training, _ = config.data.create()
    if len(training) < config.data.batch_size:
        raise InputError(
            f"data.batch_size {config.data.batch_size} is larger than the training data, which have "
            f"{len(training)} samples."
        )
    import torch

    from ctrestoration.training.state import Averages
    from ctrestoration.training.update import make_optimizers

    method = config.method.create(config)
    parts = method.build(config)
    Averages.asked_for(config.ema, method, parts)
    for stage in method.stages:
        make_optimizers(parts, stage, config.optim, torch.device("cpu"))


def check_sizes(config: RunConfig, processes: int) -> None:
    """Refuse a batch that the processes cannot share.

    Raises:
        InputError: fewer than one process, or a remainder.
    """
    if processes < 1:
        raise InputError(f"--processes {processes}: at least 1 is needed.")
    data = config.data
    least = processes * data.micro_batches
    if data.batch_size % least:
        raise InputError(
            f"data.batch_size {data.batch_size} cannot be divided among {processes} processes with "
            f"{data.micro_batches} micro-batches each: choose a multiple of {least}."
        )


def create_run(config: RunConfig, folder: Path) -> RunDirectory:
    """Create a run directory and put the resolved run file into it.

    Raises:
        InputError: the folder is taken.
        StorageError: it cannot be written.
    """
    run = RunDirectory(folder.expanduser().resolve())
    try:
        run.create()
        durable.replace_text(run.config, _HEADER + config.to_yaml())
    except OSError as error:
        raise outcome.StorageError(f"Cannot create the run directory {folder}: {error.strerror or error}.") from error
    return run


def open_run(folder: Path) -> tuple[RunDirectory, RunConfig]:
    """The run in a folder and its resolved run file.

    Raises:
        InputError: there is no run, or its run file is not valid.
    """
    run = RunDirectory(folder.expanduser().resolve())
    if not run.config.is_file():
        raise InputError(f"There is no run in {folder}: a run directory holds config.yaml.")
    return run, load_config(run.config)


def train_here(run: RunDirectory, config: RunConfig, observer: Observer | None = None) -> None:
    """Train, or go on, in this process; see `engine.fit` for what it raises."""
    from ctrestoration.training.engine import fit

    fit(config.method.create(config), config, run, observer=observer)


def train_in_group(run: RunDirectory, config: RunConfig, processes: int) -> None:
    """Train, or go on, with several processes of this machine by torchrun.

    A group that lost a member is started again from the last checkpoint, twice at most. SIGTERM and Ctrl-C ask all of
    them for a clean stop; a second Ctrl-C kills them.

    Raises:
        CTRestorationError: how the group ended, where that was not well.
    """
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words += ["-m", "ctrestoration.training.launch", str(run.root)]
    environment = dict(os.environ)
    with contextlib.ExitStack() as stack:
        if config.hardware.device != "cpu" and "CUDA_VISIBLE_DEVICES" not in environment:
            reserved = stack.enter_context(reserve_gpus(list_gpus(), processes))
            if reserved:
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.uuid for gpu in reserved)
        for attempt in range(_RESTARTS + 1):
            run.member_failed.unlink(missing_ok=True)
            code = _run_group(words, environment, run)
            status = run.read_status() or {}
            failed = read_json(run.member_failed)
            if code == 0 or failed is not None or status.get("state") in ENDED or attempt == _RESTARTS:
                break
    if code == 0:
        return
    if status.get("state") not in ENDED:
        # No process of the group has said how it ended, so its launcher does.
        failed = failed or {"exit_code": int(outcome.ExitCode.UNEXPECTED), "message": outcome.sentence(1)}
        status = {**status, "state": "failed", **failed}
        durable.replace_json(run.status, status)
    error = CTRestorationError(status["message"])
    error.exit_code = int(status["exit_code"])
    raise error


def _run_group(words: Sequence[str], environment: dict[str, str], run: RunDirectory) -> int:
    """Run a group to its end; its exit code."""
    with run.log.open("ab") as log:
        # A session of its own: Ctrl-C reaches the launcher alone, which then asks for a stop by file.
        group = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
        asked = False
        while True:
            try:
                return group.wait()
            except KeyboardInterrupt:
                if asked:
                    kill_group(group.pid)
                    raise
                asked = True
                run.request_cancel()


def _member(words: Sequence[str]) -> int:
    """One process of a group."""
    run, config = open_run(Path(words[0]))
    try:
        train_here(run, config)
    except CTRestorationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - into log.txt
        if int(os.environ.get("RANK", 0)) > 0:  # only the first process writes status.json
            durable.replace_json(run.member_failed, {"exit_code": error.exit_code, "message": str(error)})
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_member(sys.argv[1:]))
