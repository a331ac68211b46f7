"""Device, threads, determinism, and the short probe that decides every 'auto' by measurement, once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ctrestoration.environment import installed_version
from ctrestoration.errors import InputError
from ctrestoration.jobs.gpus import list_gpus, reserve_gpus
from ctrestoration.training.config import HardwareConfig
from ctrestoration.training.method import Parts

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt, from its malloc.h."""

_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Choices:
    """What was decided before the first step; a resumed run never decides again.

    Attributes:
        precision: "fp32" or "bf16".
        channels_last: memory layout of images and weights.
        reasons: how each was decided, with the measured seconds per step.
    """

    precision: str
    channels_last: bool
    reasons: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object for provenance.json."""
        return asdict(self)


@contextlib.contextmanager
def chosen_device(settings: HardwareConfig, local_rank: int) -> Iterator[torch.device]:
    """The device to compute on; a GPU is locked for this run as long as the block lasts.

    Raises:
        InputError: a GPU is demanded and there is none.
        RunInUseError: every GPU is locked by other runs.
    """
    if settings.device == "cpu":
        yield torch.device("cpu")
        return
    with contextlib.ExitStack() as stack:
        if "CUDA_VISIBLE_DEVICES" not in os.environ:  # else somebody has chosen already, e.g. the launcher of a group
            # Before PyTorch's first question to CUDA, which fixes what this process sees of it.
            reserved = stack.enter_context(reserve_gpus(list_gpus()))
            if reserved:
                os.environ["CUDA_VISIBLE_DEVICES"] = reserved[0].uuid
                stack.callback(os.environ.pop, "CUDA_VISIBLE_DEVICES", None)
        if torch.cuda.is_available():
            yield torch.device("cuda", local_rank % torch.cuda.device_count())
        elif settings.device == "auto":
            yield torch.device("cpu")
        else:
            raise InputError(
                "hardware.device is 'cuda', but PyTorch finds no usable NVIDIA GPU here: set it to cpu or auto."
            )


def prepare(settings: HardwareConfig, threads: int | None, device: torch.device) -> None:
    """Set threads and determinism for this process, and on a CPU how it keeps memory."""
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cpu":
        _keep_freed_memory()
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    if device.type == "cuda":
        # PyTorch reads it once, at the first matrix product of a process, which may be that of a run that is not
        # deterministic; a deterministic one after it would be refused.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Set both ways: an earlier run of this process may have been of the other kind.
    torch.set_float32_matmul_precision("highest" if settings.deterministic else "high")


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the next step, which wants as much again.

    By default glibc gives large arrays back to the system at once and gets them back page by page, each cleared: an
    eighth of a training step of InDuDoNet. Other C libraries have no such switch, or need none.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if adjust is not None:
        adjust(_M_MMAP_MAX, 0)
        adjust(_M_TRIM_THRESHOLD, -1)


def facts(device: torch.device, world: int) -> dict[str, Any]:
    """What can change the bits of a result: versions, device, threads, number of processes."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cuda": torch.version.cuda,
        # Its kernels and PyTorch's project alike, but for the last digits.
        "triton": installed_version("triton") if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "world_size": world,
    }


def decide(settings: HardwareConfig, seconds_per_step: Callable[[str, bool], float], device: torch.device) -> Choices:
    """Resolve every 'auto'.

    Args:
        settings: the wishes of the run file.
        seconds_per_step: measures a training step with (precision, channels_last).
        device: where.
    """
    wanted_precision, wanted_layout = settings.precision, settings.channels_last
    fixed = Choices(
        "fp32" if wanted_precision == "auto" else wanted_precision,
        wanted_layout is True,
        {"how": "as the run file says"},
    )
    if "auto" not in (wanted_precision, wanted_layout):
        return fixed
    if settings.deterministic:
        reason = "deterministic: a timed choice could differ from run to run, so 'auto' is fp32 and channels first"
        return Choices(fixed.precision, fixed.channels_last, {"how": reason})
    precisions = ["fp32", "bf16"] if wanted_precision == "auto" else [wanted_precision]
    layouts = [False, True] if wanted_layout == "auto" else [bool(wanted_layout)]
    measured = {
        (precision, layout): seconds_per_step(precision, layout) for precision in precisions for layout in layouts
    }
    first = (precisions[0], layouts[0])
    best = min(measured, key=lambda option: measured[option])
    # A few percent are within the noise of a short probe: then the plain variant stays.
    if measured[best] > 0.97 * measured[first]:
        best = first
    timings = {f"{name}{' channels_last' if layout else ''}": round(t, 5) for (name, layout), t in measured.items()}
    return Choices(best[0], best[1], {"how": f"fastest of {settings.probe_steps} timed steps", "seconds": timings})


def timed(step: Callable[[], None], count: int, device: torch.device) -> float:
    """Median seconds of a step, the first two not counted."""
    times = []
    for number in range(count + 2):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def place(parts: Parts, device: torch.device, choices: Choices, compiled: bool) -> None:
    """Move networks to the device, in the memory layout that was chosen."""
    for module in parts.modules.values():
        module.to(device)
        if choices.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            module.compile()


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's own error, Python's, and those without a class: of PyTorch's CPU allocator and of CUDA's libraries."""
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(
        words in str(error) for words in _OUT_OF_MEMORY
    )


def memory_facts(device: torch.device) -> dict[str, Any]:
    """Peak and free memory of a GPU in bytes; nothing on the CPU, where other processes decide."""
    if device.type != "cuda":
        return {}
    free, _total = torch.cuda.mem_get_info(device)
    return {"peak_bytes": torch.cuda.max_memory_allocated(device), "free_bytes": free}
