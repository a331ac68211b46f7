"""Where a run can be started. Every place offers the same four calls, and one contract test holds them to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ctrestoration.jobs.rundir import RunDirectory


class RunBackend(Protocol):
    """A place that trains.

    `run` is the path of a run directory on the machine of the backend.
    """

    def submit(self, config: Path, run: str, overrides: Sequence[str] = (), processes: int = 1) -> int:
        """Start a detached trainer; it outlives whoever started it.

        Args:
            config: the YAML run file, on this machine.
            run: the new run directory, on the backend's machine.
            overrides: "key=value" words, as `--set` takes them.
            processes: how many train together there.

        Returns:
            The trainer's process id on its machine.

        Raises:
            InputError: the run directory is taken, or the file is missing.
            StorageError: the machine or the folder cannot be reached.
        """
        ...

    def tail(self, run: str) -> RunDirectory:
        """Bring the local view of a run up to date and return it: give it to a `reader.Watcher`."""
        ...

    def cancel(self, run: str, force: bool = False) -> None:
        """Ask for a clean stop after the current step, or, with `force`, end the trainer at once.

        Offer force where a clean stop has not come for half a minute. Steps after the last checkpoint are then repeated
        by `resume`.

        Raises:
            InputError: there is no run, or no living trainer to end by force.
        """
        ...

    def fetch(self, run: str, names: Sequence[str], folder: Path) -> list[Path]:
        """Copy files of a run (paths relative to it) into a local folder, and check that they arrived unchanged.

        Raises:
            DataRefusedError: a copy does not have the digest of its source.
            InputError: a name lies outside the run, or is not there.
        """
        ...
