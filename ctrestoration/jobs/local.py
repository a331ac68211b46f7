"""Training on this machine, in a process of its own that outlives whoever started it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import replace_file, sha256_of
from ctrestoration.jobs.outcome import DataRefusedError, StorageError
from ctrestoration.jobs.processes import Owner, terminate
from ctrestoration.jobs.rundir import RunDirectory

# 3D Slicer sets these for its own Python; inherited, they break any other one.
_FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")


class LocalBackend:
    """Detached trainers on this machine.

    Args:
        python: the interpreter that has torch; by default the one that runs now.
        environment: variables for the trainer; by default the present ones without those that 3D Slicer sets.
    """

    def __init__(self, python: str = sys.executable, environment: dict[str, str] | None = None) -> None:
        self.python = python
        self.environment = clean_environment() if environment is None else environment

    def submit(self, config: Path, run: str, overrides: Sequence[str] = (), processes: int = 1) -> int:
        """See `RunBackend.submit`."""
        if not config.is_file():
            raise InputError(f"There is no run file {config}.")
        words = ["train", str(config.resolve()), "--run-dir", run, "--quiet", "--processes", str(processes)]
        for override in overrides:
            words += ["--set", override]
        directory = RunDirectory(Path(run))
        if directory.config.exists():
            raise InputError(f"{run} already holds a run: choose a new folder, or resume it.")
        return self._start(words, directory)

    def resume(self, run: str) -> int:
        """Continue a stopped run in a new detached process; returns its process id."""
        return self._start(["resume", run, "--quiet"], RunDirectory(Path(run)))

    def tail(self, run: str) -> RunDirectory:
        """See `RunBackend.tail`: the run directory itself, which may also be a shared folder."""
        return RunDirectory(Path(run))

    def cancel(self, run: str, force: bool = False) -> None:
        """See `RunBackend.cancel`."""
        directory = RunDirectory(Path(run))
        if not directory.config.exists():
            raise InputError(f"There is no run in {run}.")
        if not force:
            directory.request_cancel()
            return
        owner = Owner.from_json(directory.read_status())
        if owner is None or not owner.alive():
            raise InputError(f"No trainer of the run {run} is alive on this machine.")
        terminate(owner.pid)

    def fetch(self, run: str, names: Sequence[str], folder: Path) -> list[Path]:
        """See `RunBackend.fetch`."""
        copies = []
        for name in names:
            source = Path(run) / checked_name(name)
            if not source.is_file():
                raise InputError(f"The run {run} has no file {name}.")
            digest = sha256_of(source)
            copies.append(verified_copy(folder / source.name, digest, lambda part, s=source: shutil.copyfile(s, part)))
        return copies

    def _start(self, words: list[str], directory: RunDirectory) -> int:
        detached: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            flags = ("CREATE_NEW_PROCESS_GROUP", "DETACHED_PROCESS")
            detached = {"creationflags": sum(getattr(subprocess, flag) for flag in flags)}
        try:
            directory.root.mkdir(parents=True, exist_ok=True)
            with directory.log.open("ab") as log:
                process = subprocess.Popen(
                    [self.python, "-m", "ctrestoration", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    **detached,
                )
        except OSError as error:
            raise StorageError(f"Cannot start training in {directory.root}: {error.strerror or error}.") from error
        return process.pid


def clean_environment() -> dict[str, str]:
    """The present environment without what 3D Slicer sets for its own Python."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN}


def checked_name(name: str) -> str:
    """A file name relative to a run, refused where it leads out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise InputError(f"{name!r} is not a path inside the run directory.")
    return str(path)


def verified_copy(target: Path, digest: str, copy: Any) -> Path:
    """Let `copy(temporary)` bring a file, and keep it only where it has the digest."""

    def write(part: Path) -> None:
        copy(part)
        if sha256_of(part) != digest:
            raise DataRefusedError(f"{target.name} arrived damaged: its digest differs from the source's; fetch again.")

    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, write)
    return target
