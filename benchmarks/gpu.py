"""What a GPU gains: projector and FBP, training steps of the U-Net and of InDuDoNet.

    python benchmarks/gpu.py [--json] [--out FILE] [--parts projector,unet,indudonet] [--device cuda|cpu] [--size 416]

Seconds are medians of steps between two synchronizations. A part stops taking up rows when its time is over; a row that
fails (out of memory, an operation without a deterministic variant) tells its error and the rest goes on. On the CPU,
for trying the script at a small --size, Triton's rows are left out and one repetition counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from unrolled_recipe import PRESET, PUBLISHED_STAGES, batch_of_disks, indudonet

from ctrestoration.environment import installed_version
from ctrestoration.networks import unet
from ctrestoration.physics import _torch_choice, _torch_ops
from ctrestoration.physics._torch_fbp import ReconstructionOperator
from ctrestoration.physics.kernels import kernels
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.physics.projector import Projector
from ctrestoration.training.config import HardwareConfig
from ctrestoration.training.hardware import memory_facts, prepare

PART_SECONDS = {"projector": 20.0, "unet": 35.0, "indudonet": 25.0}
"""After so long a part takes up no further row."""

ROW_SECONDS = 6.0
"""After so long a row is repeated no more; a first call that takes longer counts although it warms up."""

WIDTHS = {"unet": None, "unet-64": (64, 128, 256, 512, 1024)}

Row = dict[str, Any]


class Part:
    """Rows of one table, as they come."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.rows: list[Row] = []
        self.left_out = 0
        self.begin()

    def begin(self) -> None:
        """Start the part's clock anew, after preparations."""
        self._begun = time.perf_counter()

    def row(self, labels: Row, measure: Callable[[], Row]) -> None:
        """Add what `measure` finds, or its error."""
        if time.perf_counter() - self._begun > PART_SECONDS[self.name]:
            self.left_out += 1
            return
        try:
            found = measure()
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
            traceback.clear_frames(error.__traceback__)  # they hold the tensors of what failed
        self.rows.append({**labels, **found})
        print("  ", "  ".join(f"{key}={_shown(value)}" for key, value in self.rows[-1].items()), flush=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def main() -> int:
    """Measure, print as it goes and once more as tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--stages", type=int, default=PUBLISHED_STAGES)
    parser.add_argument("--repeats", type=int, default=None, help="timed repetitions (5; 1 on the CPU)")
    parser.add_argument("--parts", default=",".join(PART_SECONDS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="file that the results are written to after every part")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.repeats is None:
        arguments.repeats = 5 if device.type == "cuda" else 1
    result: dict[str, Any] = {"machine": _machine(device), "size": arguments.size, "parts": {}}
    for name in arguments.parts.split(","):
        print(f"{name}:", flush=True)
        begun, part = time.perf_counter(), Part(name, device)
        try:
            {"projector": projector, "unet": unet_steps, "indudonet": indudonet_steps}[name](part, arguments)
        except Exception:
            part.rows.append({"error": traceback.format_exc()})
            traceback.print_exc()
        seconds = time.perf_counter() - begun
        result["parts"][name] = {"rows": part.rows, "left_out": part.left_out, "seconds": round(seconds, 1)}
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    result["triton"] = _torch_choice.uses_triton() if device.type == "cuda" else None
    result["triton_refused"] = list(_torch_choice._refused)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2) if arguments.json else _tables(result))
    return int(any("error" in row for part in result["parts"].values() for row in part["rows"]))


def _machine(device: torch.device) -> Row:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "triton": installed_version("triton"), "numpy": np.__version__,
            "threads": torch.get_num_threads(), "kernels": kernels().__name__.rsplit(".", 1)[-1]}  # fmt: skip


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(work: Callable[[], Any], repeats: int, device: torch.device, warm: int = 1, inner: int = 1) -> float:
    """Median seconds of a call, the first ones not counted; `inner` calls between two synchronizations."""
    times = []
    started = time.perf_counter()
    for number in range(warm + repeats):
        _wait(device)
        begun = time.perf_counter()
        for _ in range(inner):
            work()
        _wait(device)
        late = time.perf_counter() - started > ROW_SECONDS
        if number >= warm or late:
            times.append((time.perf_counter() - begun) / inner)
        if late:
            break
    return statistics.median(times)


def _scan(size: int) -> tuple[Projector, ReconstructionOperator]:
    preset = scanner_preset(PRESET)
    grid = preset.image_grid((size, size), (1.0, 1.0))
    geometry = preset.geometry(grid)
    return Projector(geometry, grid), ReconstructionOperator(geometry, grid)


# Projector and FBP


def projector(part: Part, arguments: argparse.Namespace) -> None:
    """Each operation by Triton, by torch on the same GPU and by the compiled kernels on the CPU."""
    for operation, shape in _operations(16):
        operation(torch.zeros(shape))  # compiles the CPU's kernels, where no cache has them yet
    part.begin()
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 8):
        for name, (operation, shape) in zip(OPERATIONS, _operations(arguments.size), strict=True):
            tensor = torch.rand((batch, *shape), generator=generator)
            part.row(
                {"operation": name, "batch": batch},
                lambda work=operation, tensor=tensor: _compared(work, tensor, part.device, arguments.repeats),
            )


OPERATIONS = ("forward", "adjoint", "FBP", "FBP transposed")


def _operations(size: int) -> list[tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, int]]]:
    scan, fbp = _scan(size)
    sinogram = (scan.geometry.n_views, scan.geometry.n_bins)
    image = scan.grid.shape
    return [(scan.forward, image), (scan.adjoint, sinogram), (fbp.reconstruct, sinogram), (fbp.transposed, image)]


def _compared(operation: Any, tensor: torch.Tensor, device: torch.device, repeats: int) -> Row:
    first = tensor[:1]  # one slice on the CPU, where the transposed FBP of eight takes a quarter of a minute
    cpu = _seconds(lambda: operation(first), 1, torch.device("cpu"))
    row: Row = {"cpu_ms_a_slice": cpu * 1e3}
    if device.type == "cpu":
        return row
    expected, there = operation(first), tensor.to(device)
    timed: dict[str, float] = {}
    for name, chosen in (("triton", nullcontext()), ("torch", _torch_choice.without_triton())):
        if name == "triton" and not _torch_choice.uses_triton():
            continue
        with chosen:
            error = float((operation(there)[:1].cpu() - expected).abs().max() / expected.abs().max())
            quick = 20 if name == "triton" else 1
            timed[name] = _seconds(lambda: operation(there), repeats, device, inner=quick)
        if name == "triton" and not _torch_choice.uses_triton():
            continue  # it failed at the first call, and torch did the work
        row |= {f"{name}_ms": timed[name] * 1e3, f"{name}_error": error}
    if "triton_ms" in row:
        cpu_all = cpu * len(tensor)
        row |= {"torch/triton": timed["torch"] / timed["triton"], "cpu/triton": cpu_all / timed["triton"]}
    return row


# Training steps


@contextmanager
def _settings(device: torch.device, deterministic: bool, tf32: bool | None) -> Iterator[None]:
    """Determinism as a training sets it; TF32 in convolutions and matrix products on, off or (None) as in a training.

    A training leaves convolutions as PyTorch has them, with TF32.
    """
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True  # PyTorch's defaults
    prepare(HardwareConfig(deterministic=deterministic), None, device)
    if tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def unet_steps(part: Part, arguments: argparse.Namespace) -> None:
    """U-Net training steps in each precision and layout; deterministic with the settings that matter most."""
    on_cpu = part.device.type == "cpu"
    variants = [(p, last, False) for p in ("fp32", "tf32", "bf16") for last in (False, True)]
    variants += [("fp32", False, True), ("tf32", False, True), ("bf16", True, True)]
    for name, widths in WIDTHS.items():
        if on_cpu and widths is not None:
            name, widths = "unet-8", (8, 16, 32)
        for batch in (2,) if on_cpu else (4, 16):
            for precision, last, deterministic in variants:
                part.row(
                    {"network": name, "batch": batch, "precision": precision, "channels_last": last,
                     "deterministic": deterministic},
                    lambda *_, w=widths, b=batch, p=precision, c=last, d=deterministic: _unet_step(
                        part.device, arguments, w, b, p, c, d
                    ),
                )  # fmt: skip


def _unet_step(
    device: torch.device, arguments: argparse.Namespace, widths: Any, batch: int,
    precision: str, last: bool, deterministic: bool,
) -> Row:  # fmt: skip
    with _settings(device, deterministic, tf32=precision == "tf32"):
        torch.manual_seed(0)
        network = (unet.UNet() if widths is None else unet.UNet(widths=widths)).to(device)
        layout = torch.channels_last if last else torch.contiguous_format
        network.to(memory_format=layout)  # type: ignore[call-overload]
        images = torch.rand((batch, 1, arguments.size, arguments.size)).to(device).contiguous(memory_format=layout)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=device.type == "cuda")
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                result = network(images)
            torch.nn.functional.mse_loss(result.float(), images).backward()
            optimizer.step()

        return _with_memory(step, arguments.repeats, device)


def _with_memory(step: Callable[[], None], repeats: int, device: torch.device, warm: int = 1) -> Row:
    if device.type == "cuda":
        step()  # the search for the fastest convolutions takes memory that no later step does
        torch.cuda.reset_peak_memory_stats(device)
    row: Row = {"ms": _seconds(step, repeats, device, warm=warm if device.type == "cuda" else 0) * 1e3}
    facts = memory_facts(device)
    return {**row, "peak_GiB": facts["peak_bytes"] / 2**30} if facts else row


def indudonet_steps(part: Part, arguments: argparse.Namespace) -> None:
    """InDuDoNet with Triton's and with torch's kernels, as trainings are by default and without determinism."""
    batch = batch_of_disks(_scan(arguments.size)[0])
    variants = [("triton", True), ("triton", False), ("torch", False), ("torch", True)]
    for kernel, deterministic in variants if part.device.type == "cuda" else [("cpu", True)]:
        part.row(
            {"stages": arguments.stages, "kernels": kernel, "deterministic": deterministic},
            lambda k=kernel, d=deterministic: _indudonet_step(part.device, arguments, batch, k, d),
        )


def _indudonet_step(
    device: torch.device, arguments: argparse.Namespace, batch: dict[str, torch.Tensor], kernel: str, certain: bool
) -> Row:
    if kernel == "triton" and not _torch_choice.uses_triton():
        raise RuntimeError("Triton does not run here")
    with (
        _settings(device, certain, tf32=None),
        _torch_choice.without_triton() if kernel == "torch" else nullcontext(),
    ):
        method, parts = indudonet(arguments.stages, arguments.size)
        network = parts.modules["g"].to(device)
        there = {name: tensor.to(device) for name, tensor in batch.items()}
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-4, fused=device.type == "cuda")

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            method.step(method.stages[0], "g", there, parts).total.backward()
            optimizer.step()

        row = _with_memory(step, arguments.repeats, device)
        if kernel == "triton" and not _torch_choice.uses_triton():
            raise RuntimeError("Triton does not run here")
        with _projections_timed(device) as spent:
            whole = _seconds(step, 1, device, warm=0)
        return {**row, "projections_ms": sum(spent) * 1e3, "calls": len(spent), "share": sum(spent) / whole}


@contextmanager
def _projections_timed(device: torch.device) -> Iterator[list[float]]:
    """Seconds of every projection and adjoint, those of the backward pass too, waited for one by one."""
    kept, spent = (_torch_ops._forward, _torch_ops._adjoint), []

    def timed(operation: Any) -> Any:
        def run(*words: Any) -> Any:
            _wait(device)
            begun = time.perf_counter()
            result = operation(*words)
            _wait(device)
            spent.append(time.perf_counter() - begun)
            return result

        return run

    _torch_ops._forward, _torch_ops._adjoint = (timed(operation) for operation in kept)
    try:
        yield spent
    finally:
        _torch_ops._forward, _torch_ops._adjoint = kept


# Tables


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _tables(result: dict[str, Any]) -> str:
    lines = ["", ", ".join(f"{key} {value}" for key, value in result["machine"].items())]
    for name, part in result["parts"].items():
        columns = list(dict.fromkeys(key for row in part["rows"] for key in row))
        lines += ["", f"{name} ({part['seconds']} s, {part['left_out']} rows left out for want of time)", ""]
        lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        lines += ["| " + " | ".join(_shown(row.get(key, "-")) for key in columns) + " |" for row in part["rows"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
