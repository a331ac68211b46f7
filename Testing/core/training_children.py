"""Runs in processes of their own, which tests may kill. They are forked from one server that has PyTorch loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from safetensors.torch import load_file

from ctrestoration.errors import CTRestorationError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training import trainer as trainer_module
from ctrestoration.training.engine import fit
from ctrestoration.training.launch import create_run, open_run
from ctrestoration.training.runfile import RunConfig

TINY: dict[str, Any] = {
    "schema_version": 1,
    "seed": 3,
    "method": {
        "name": "adversarial",
        "network": {"name": "unet", "widths": [2, 4], "dropout": 0.2},
        "d_width": 2,
        "stages": {"pretrain_g": {"epochs": 2}, "adversarial": {"epochs": 2}},
    },
    "data": {
        "train": {"name": "discs", "count": 32, "size": 8},
        "validation": {"name": "discs", "count": 2, "size": 8},
        "batch_size": 2,
    },
    "ema": {"decay": 0.9},
    "optim": {"lr": 1e-3},
    "checkpoint": {"save_every": 5, "retries": 3, "retry_seconds": 0.05},
    "hardware": {"threads": 1, "device": "cpu"},
    "preview": {"every_epochs": 2, "count": 1},
    "log": {"every_steps": 10},
}
"""Two stages of 2 x 16 steps, two optimizers, dropout from the global generator, EMA: 64 steps."""

PROBE_CALLS = 8
"""How often the trial steps before step 1 of TINY call `Method.step`."""

Fault = Callable[[RunDirectory], Any]


def tiny(**changes: Any) -> RunConfig:
    """TINY with entries replaced, by "data__workers" for data.workers."""
    content = json.loads(json.dumps(TINY))
    for path, value in changes.items():
        *folders, last = path.split("__")
        target = content
        for folder in folders:
            target = target.setdefault(folder, {})
        target[last] = value
    return RunConfig.model_validate(content)


def new_run(folder: Path, **changes: Any) -> RunDirectory:
    """A run directory, ready to be trained."""
    return create_run(tiny(**changes), folder)


def child(root: Path, fault: Fault | None = None) -> None:
    """Train, or go on, in this process; exits with the exit code of the command line."""
    torch.set_num_threads(1)
    run, config = open_run(root)
    try:
        with contextlib.ExitStack() as stack:
            changes = fault(run) if fault is not None else None
            changes = changes if isinstance(changes, dict) else {}
            method = changes.get("method", lambda made: made)(config.method.create(config))
            observer = changes.get("observer")
            if "patch" in changes:
                stack.enter_context(changes["patch"])
            fit(method, config, run, sources=changes.get("sources"), observer=observer)
    except CTRestorationError as error:
        os._exit(error.exit_code)
    except BaseException:
        os._exit(1)
    os._exit(0)


@cache
def context() -> Any:
    """A server process from which children are forked: importing PyTorch once instead of at every start."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["core.training_children"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # Python 3.11's server does not take over sys.path
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return server


def start(root: Path, fault: Fault | None = None) -> Any:
    """Start a child."""
    process = context().Process(target=child, args=(root, fault))
    process.start()
    return process


def train(root: Path, fault: Fault | None = None) -> int:
    """Run a child to its end; its exit code, negative for a signal."""
    process = start(root, fault)
    process.join(120)
    assert process.exitcode is not None, "the training hangs"
    return int(process.exitcode)


def train_with_workers(root: Path, fault: str | None = None) -> int:
    """The same in a process of its own: children of multiprocessing wait seconds for loader processes of theirs.

    Args:
        root: of the run.
        fault: "module.function" of this folder, or None.
    """
    module = "" if fault is None else f"{fault.split('.')[0]}, "
    code = (
        f"from pathlib import Path; from core import {module}training_children as runs;"
        f"runs.child(Path({str(root)!r}), {fault})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=120).returncode


def train_through(root: Path, *faults: Fault) -> list[int]:
    """One child after the other, each with its fault, then one without; their exit codes."""
    return [train(root, fault) for fault in faults] + [train(root)]


# What a run came to ---------------------------------------------------------------------------------------------


def result(root: Path) -> dict[str, Any]:
    """Digest of everything that has to be equal: last checkpoint, published weights, metrics without timings."""
    newest = max((root / "checkpoints").glob("step_*.pt"))
    content = torch.load(newest, weights_only=True)
    for position in ("metrics_offset", "config"):
        content.pop(position)  # timings make lines longer or shorter; the configuration holds no result
    return {
        "checkpoint": digest(content),
        "weights": digest(load_file(root / "weights" / "g.safetensors")),
        "metrics": hashlib.sha256(json.dumps(numbers(root)).encode()).hexdigest(),
    }


def digest(value: Any) -> str:
    """SHA-256 of nested containers of tensors and plain values."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        found.update(str((value.dtype, tuple(value.shape))).encode())
        found.update(value.detach().contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            found.update(str(key).encode())
            _feed(found, value[key])
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _feed(found, entry)
    else:
        found.update(repr(value).encode())


def numbers(root: Path) -> list[Any]:
    """metrics.jsonl without what is a matter of time."""
    records = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("t")
        if record["kind"] == "system":
            record["values"] = None
    return records


def steps(root: Path) -> list[int]:
    """The steps whose losses were recorded, in the order of the file."""
    return [record["step"] for record in numbers(root) if record["kind"] == "train"]


def events(root: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The events, or those of one kind."""
    records = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    return [record for record in records if kind is None or record["kind"] == kind]


def status(root: Path) -> dict[str, Any]:
    """status.json."""
    return dict(json.loads((root / "status.json").read_text()))


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Return as soon as it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


def lines(root: Path) -> int:
    """How many metrics were recorded so far."""
    path = root / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_same(root: Path, undisturbed: dict[str, Any]) -> None:
    """The TINY run came to its end, whatever happened to it, as the one to which nothing happened."""
    assert result(root) == undisturbed
    assert steps(root) == list(range(1, 65)), "every step exactly once"
    assert status(root)["state"] == "done"


def members(root: Path) -> list[int]:
    """The processes of a group: those that run the training module for this run directory, but not their launcher."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(root) in words and "ctrestoration.training.launch" in words and "torch.distributed.run" not in words:
            found.append(int(path.parent.name))
    return found


# Faults ---------------------------------------------------------------------------------------------------------


def die() -> None:
    """As the operating system kills: no cleaning up."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class KillAtStep:
    """SIGKILL right after a step was recorded."""

    step: int
    number: int = signal.SIGKILL

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        def observe(what: str, record: dict[str, Any]) -> None:
            if what == "metrics" and record["kind"] == "train" and record["step"] == self.step:
                os.kill(os.getpid(), self.number)

        return {"observer": observe}


@dataclasses.dataclass(frozen=True)
class KillAtEvent:
    """SIGKILL right after the n-th event of a kind."""

    kind: str
    count: int = 1

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        seen = [0]

        def observe(what: str, record: dict[str, Any]) -> None:
            if what == "event" and record["kind"] == self.kind:
                seen[0] += 1
                if seen[0] == self.count:
                    die()

        return {"observer": observe}


@dataclasses.dataclass(frozen=True)
class KillWhileSaving:
    """SIGKILL half-way through the n-th checkpoint file, or between the file and its sidecar."""

    count: int
    where: str

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        return {"patch": self._patched()}

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        module = trainer_module.checkpoints
        write, sidecar, seen = module._write, module.replace_text, [0]

        def half(path: Path, payload: memoryview) -> None:
            seen[0] += 1
            if seen[0] == self.count and self.where == "file":
                path.write_bytes(payload[: len(payload) // 2])
                die()
            write(path, payload)

        def none(path: Path, text: str) -> None:
            if seen[0] == self.count and self.where == "sidecar":
                die()
            sidecar(path, text)

        module._write, module.replace_text = half, none
        yield


@dataclasses.dataclass(frozen=True)
class Poison:
    """From a step of the first stage on, the loss is NaN (or the gradients are infinite), `times` times in all."""

    step: int
    times: int
    value: float = float("nan")

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        def wrap(method: Any) -> Any:
            original, calls, hits = method.step, [-PROBE_CALLS], [0]

            def step(stage: Any, turn: str, batch: Any, parts: Any) -> Any:
                calls[0] += 1
                losses = original(stage, turn, batch, parts)
                if calls[0] >= self.step and hits[0] < self.times:
                    hits[0] += 1
                    losses.total = losses.total * self.value
                return losses

            method.step = step
            return method

        return {"method": wrap}
