"""Starting and continuing runs: in this process, or as a group of processes on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.jobs import durable, outcome
from ctrestoration.jobs.gpus import list_gpus
from ctrestoration.jobs.rundir import ENDED, RunDirectory
from ctrestoration.training.recorder import Observer
from ctrestoration.training.runfile import RunConfig, load_config

_RESTARTS = 2
_HEADER = (
    "# Resolved run file: every setting, defaults included. Written once; 'ctrestoration resume' needs it unchanged.\n"
)


def check_data(config: RunConfig) -> None:
    """Refuse data that are not there before anything is written.

    Raises:
        InputError: missing files, empty splits, or fewer samples than a batch.
    """
    from ctrestoration.training.sources import make_source

    training = make_source(config.data.train)
    if config.data.validation is not None:
        make_source(config.data.validation)
    if len(training) < config.data.batch_size:
        raise InputError(
            f"data.batch_size {config.data.batch_size} is larger than the training data, which have "
            f"{len(training)} samples."
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


def train_in_group(run: RunDirectory, processes: int) -> None:
    """Train, or go on, with several processes of this machine by torchrun.

    A group that lost a member is started again from the last checkpoint, twice at most.

    Raises:
        CTRestorationError: how the group ended, where that was not well.
    """
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words += ["-m", "ctrestoration.training.launch", str(run.root)]
    environment = dict(os.environ)
    gpus = sorted(list_gpus(), key=lambda gpu: -gpu.memory_free)[:processes]
    if len(gpus) == processes:
        environment.setdefault("CUDA_VISIBLE_DEVICES", ",".join(gpu.uuid for gpu in gpus))
    for attempt in range(_RESTARTS + 1):
        with run.log.open("ab") as log:
            code = subprocess.run(words, env=environment, stdout=log, stderr=log, check=False).returncode
        status = run.read_status() or {}
        if code == 0 or status.get("state") in ENDED or attempt == _RESTARTS:
            break
    if code == 0:
        return
    ended = status.get("exit_code")
    error = CTRestorationError(status.get("message") or f"{outcome.sentence(code)} See {run.log}.")
    error.exit_code = int(ended) if ended is not None else int(outcome.ExitCode.UNEXPECTED)
    raise error


def _member(words: Sequence[str]) -> int:
    """One process of a group."""
    run, config = open_run(Path(words[0]))
    try:
        train_here(run, config)
    except CTRestorationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - into log.txt
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_member(sys.argv[1:]))
