"""How a run can end: exit codes, the sentence a person reads for each, and the errors that carry them."""

from __future__ import annotations

from enum import IntEnum

from ctrestoration.errors import CTRestorationError


class ExitCode(IntEnum):
    """Exit codes of `ctrestoration train` and `resume`."""

    DONE = 0
    UNEXPECTED = 1
    CONFIGURATION = 2
    DATA_REFUSED = 3
    OUT_OF_MEMORY = 4
    DIVERGED = 5
    STORAGE = 74
    IN_USE = 75
    CANCELLED = 130


_SENTENCES = {
    ExitCode.DONE: "Training finished.",
    ExitCode.UNEXPECTED: "Training stopped on an unexpected error; the run's log.txt shows where.",
    ExitCode.CONFIGURATION: "The run file or a setting is not valid; nothing was started.",
    ExitCode.DATA_REFUSED: "Training data, a checkpoint or weights were refused: damaged, or not allowed.",
    ExitCode.OUT_OF_MEMORY: "There was not enough memory: use more micro-batches or smaller images.",
    ExitCode.DIVERGED: "The loss became infinite or undefined repeatedly: lower the learning rate.",
    ExitCode.STORAGE: "The run directory could not be written (disk full, read-only or gone).",
    ExitCode.IN_USE: "Another process is already training in this run directory.",
    ExitCode.CANCELLED: "Training was cancelled; it can be resumed from where it stopped.",
}


def sentence(code: int) -> str:
    """One sentence for any exit code, also for a process that a signal ended (negative, or 128 + signal)."""
    if code in _SENTENCES:
        return _SENTENCES[ExitCode(code)]
    number = -code if code < 0 else code - 128
    if number == 9:
        return "Training was killed by the operating system, probably because memory ran out; it can be resumed."
    if number > 0:
        return f"Training was ended by signal {number}; it can be resumed."
    return f"Training ended with the unknown exit code {code}."


class DataRefusedError(CTRestorationError):
    """Training data, a checkpoint or weights are damaged, not allowed, or do not belong to this run."""

    exit_code = int(ExitCode.DATA_REFUSED)


class OutOfMemoryError(CTRestorationError):
    """One training step does not fit into memory."""

    exit_code = int(ExitCode.OUT_OF_MEMORY)


class DivergedError(CTRestorationError):
    """Loss or gradient stayed NaN or infinite after every allowed rollback."""

    exit_code = int(ExitCode.DIVERGED)


class StorageError(CTRestorationError):
    """The run directory cannot be written any more."""

    exit_code = int(ExitCode.STORAGE)


class RunInUseError(CTRestorationError):
    """Another trainer holds the run directory."""

    exit_code = int(ExitCode.IN_USE)
