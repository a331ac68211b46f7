"""`fit`: train one method in one run directory, or go on where it stopped, and always say how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ctrestoration._version import __version__
from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.jobs import durable
from ctrestoration.jobs.locks import FileLock
from ctrestoration.jobs.outcome import ExitCode, OutOfMemoryError, StorageError, sentence
from ctrestoration.jobs.rundir import RunDirectory, read_json
from ctrestoration.training import checkpoints
from ctrestoration.training.hardware import Choices, chosen_device, facts, is_out_of_memory, prepare
from ctrestoration.training.method import Method
from ctrestoration.training.probe import Probe
from ctrestoration.training.publish import publish
from ctrestoration.training.ranks import Ranks
from ctrestoration.training.recorder import Bystander, Observer, Recorder
from ctrestoration.training.runfile import RunConfig
from ctrestoration.training.sources import Source
from ctrestoration.training.trainer import Trainer

_MISSING_PEER = ("Connection closed by peer", "Connection reset", "connection was closed", "NCCL", "gloo")


def fit(
    method: Method,
    config: RunConfig,
    run: RunDirectory,
    *,
    sources: tuple[Source, Source | None] | None = None,
    observer: Observer | None = None,
) -> None:
    """Train, or go on from the newest checkpoint in the run directory.

    Args:
        method: what is trained; `config.method.create(config)` makes the one that the run file names.
        config: the resolved run file.
        run: an existing run directory.
        sources: training and validation data in place of the ones the run file describes.
        observer: told about every record, for a progress line.

    Raises:
        Cancelled: a signal or `control/cancel` asked for a stop; a checkpoint was saved.
        RunInUseError: another process trains in this directory.
        CTRestorationError: any of the errors of `Trainer.train`; the run directory says the same.
    """
    ranks = Ranks()
    with contextlib.ExitStack() as stack:
        if ranks.first:
            lock = stack.enter_context(_locked(run))
            swept = durable.sweep_temporaries(run.root)
            recorder = Recorder(run, config.checkpoint, observer)
            if lock.took_over is not None:
                message = f"Took over from process {lock.took_over.pid}, which died without a word."
                recorder.event("warning", message, "warning", {"temporaries_removed": swept})
        else:
            recorder = Bystander()
        stack.callback(recorder.close)
        stop = stack.enter_context(_stop_signals(run, ranks))
        with _ending(recorder, run, ranks):
            device = stack.enter_context(chosen_device(config.hardware, ranks.local))
            _train(method, config, run, recorder, ranks, device, sources or config.data.create(), stop)


def _train(
    method: Method,
    config: RunConfig,
    run: RunDirectory,
    recorder: Recorder,
    ranks: Ranks,
    device: torch.device,
    sources: tuple[Source, Source | None],
    stop: Callable[[], str | None],
) -> None:
    _check_sizes(config, sources[0], ranks)
    known = read_json(run.provenance)
    prepare(config.hardware, (known or {}).get("hardware", {}).get("threads") or config.hardware.threads, device)
    ranks.start(device)
    if ranks.first:
        if known is None:
            known = _decide(method, config, run, recorder, ranks, device, sources)
        else:
            then = {**known["hardware"], "package": known.get("package")}
            _compare(then, {**facts(device, ranks.world), "package": __version__}, recorder)
    known = _wait_for_provenance(known, run, ranks, device)
    choices = Choices(**known["choices"])
    trainer = Trainer(method, config, run, recorder, ranks, device, choices, sources, stop)
    trainer.progress.micro_batches = known.get("micro_batches", config.data.micro_batches)
    if ranks.first and not any(run.checkpoints.glob("step_*.pt")):
        deterministic = "" if config.hardware.deterministic else " Not deterministic: a repetition may differ in bits."
        estimate = f"{trainer.total} steps, about {span(trainer.total * known.get('seconds_per_step', 0.0))}"
        where = known["hardware"]["device"]
        recorder.event("started", f"Training {config.name!r} on {where}: {estimate}.{deterministic}")
    trainer.train()
    if ranks.first:
        publish(trainer, known)
        recorder.fail("done", int(ExitCode.DONE), sentence(ExitCode.DONE))
    ranks.stop()


def _decide(
    method: Method,
    config: RunConfig,
    run: RunDirectory,
    recorder: Recorder,
    ranks: Ranks,
    device: torch.device,
    sources: tuple[Source, Source | None],
) -> dict[str, Any]:
    """Try a step, resolve every 'auto', and write the provenance before step 1."""
    probe = Probe(method, config, run, device, sources, ranks.world)
    choices, micro_batches = probe.decide(lambda message: recorder.event("oom", message, "warning"))
    training, validation = sources
    known = {
        "schema": 1,
        "package": __version__,
        "git": _git_commit(),
        "hardware": facts(device, ranks.world),
        "choices": choices.to_json(),
        "micro_batches": micro_batches,
        "seed": config.seed,
        "config_sha256": config.digest(),
        "data": {
            "train": training.fingerprint(),
            "validation": validation.fingerprint() if validation is not None else None,
            "simulation": training.describe() if hasattr(training, "describe") else None,
        },
        "parameters": probe.parameters,
        "seconds_per_step": round(probe.seconds_per_step, 5),
    }
    recorder.guarded(lambda: checkpoints.require_room(run.checkpoints, 2 * probe.checkpoint_bytes), "checkpoints")
    recorder.guarded(lambda: durable.replace_json(run.provenance, known), "provenance.json")
    return known


def _wait_for_provenance(
    known: dict[str, Any] | None, run: RunDirectory, ranks: Ranks, device: torch.device
) -> dict[str, Any]:
    """Every process reads what the first one decided."""
    ranks.maximum([0.0], device)  # a barrier: rank 0 arrives after writing
    known = known or read_json(run.provenance)
    if known is None or "choices" not in known:
        raise StorageError(f"{run.provenance} is missing or damaged: the run cannot go on without it.")
    return known


def _compare(then: dict[str, Any], now: dict[str, Any], recorder: Recorder) -> None:
    """Say what may change the bits since the run began."""
    for name in ("package", "torch", "device", "cuda", "triton", "platform"):
        if then.get(name) != now.get(name):
            recorder.event(
                "warning",
                f"{name} was {then.get(name)} and is {now.get(name)}: bitwise equality is not promised.",
                "warning",
            )


def _check_sizes(config: RunConfig, source: Source, ranks: Ranks) -> None:
    size = config.data.batch_size
    if len(source) < size:
        raise InputError(f"data.batch_size {size} is larger than the training data, which have {len(source)} samples.")


def _locked(run: RunDirectory) -> FileLock:
    try:
        run.ensure_folders()
    except OSError as error:
        raise StorageError(f"Cannot write in the run directory {run.root}: {error.strerror or error}.") from error
    with contextlib.suppress(OSError):
        run.cancel.unlink(missing_ok=True)
    return FileLock(run.lock, f"The run directory {run.root}")


@contextlib.contextmanager
def _stop_signals(run: RunDirectory, ranks: Ranks) -> Iterator[Callable[[], str | None]]:
    """A question "should we stop?", answered by SIGTERM, Ctrl-C and the cancel file. A second Ctrl-C kills."""
    reasons: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        if reasons and number == signal.SIGINT:
            raise KeyboardInterrupt
        reasons.append(f"signal {signal.Signals(number).name}")

    def asked() -> str | None:
        if reasons:
            return reasons[0]
        return "control/cancel" if ranks.first and run.cancel.exists() else None

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ending(recorder: Recorder, run: RunDirectory, ranks: Ranks) -> Iterator[None]:
    """Whatever happens, the run directory says how the run ended."""
    try:
        yield
    except CTRestorationError as error:
        cancelled = error.exit_code == ExitCode.CANCELLED
        recorder.fail("cancelled" if cancelled else "failed", error.exit_code, str(error))
        raise
    except KeyboardInterrupt:
        recorder.fail(
            "failed", int(ExitCode.CANCELLED), "Interrupted; steps after the last checkpoint will be repeated."
        )
        raise
    except OSError as error:
        message = f"The run directory {run.root} cannot be used any more: {error.strerror or error}."
        recorder.fail("failed", int(ExitCode.STORAGE), message)
        raise StorageError(message) from error
    except Exception as error:
        if is_out_of_memory(error):
            message = "Not enough memory: raise data.micro_batches or use smaller images."
            recorder.fail("failed", int(ExitCode.OUT_OF_MEMORY), message)
            raise OutOfMemoryError(message) from error
        if ranks.world > 1 and any(word in str(error) for word in _MISSING_PEER):
            # Not an end: the launcher starts the group again from the last checkpoint.
            recorder.set_state("paused", "Another process of the group was lost.")
            raise
        _log_traceback(run, error)
        recorder.fail("failed", int(ExitCode.UNEXPECTED), f"{type(error).__name__}: {str(error)[:300]}")
        raise


def _log_traceback(run: RunDirectory, error: Exception) -> None:
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError), run.log.open("a", encoding="utf-8") as log:
        log.write(text)


def span(seconds: float) -> str:
    """A duration in words, as exactly as an estimate deserves."""
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{max(1, round(seconds / size))} {unit}"
    return f"{round(seconds / 86400)} days"


def _git_commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    answer = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return answer.stdout.strip() or None
