"""Which kernels serve tensors on a device: Triton's on CUDA where it works, else those written in torch."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ctrestoration.errors import CTRestorationWarning

if TYPE_CHECKING:
    from ctrestoration.physics._torch_fbp import ReconstructionOperator
    from ctrestoration.physics.projector import Projector

_MODULES = {
    "forward": "_triton_kernels",
    "adjoint": "_triton_kernels",
    "backproject": "_triton_fbp",
    "spread": "_triton_fbp",
}

_refused: list[str] = []
"""Why Triton is not used in this process: its first failure, or nothing so far."""


def on_device(
    name: str,
    in_torch: Callable[..., torch.Tensor],
    tensor: torch.Tensor,
    subject: Projector | ReconstructionOperator,
) -> torch.Tensor:
    """Run a kernel on the tensor's device.

    Triton comes with PyTorch for CUDA on Linux, but compiles when first used, with a C compiler that not every machine
    has. Its first failure, whatever it is, is told once, and torch computes the same from then on, only slower. Running
    out of memory is no such failure: training has its own answer.

    Args:
        name: "forward", "adjoint", "backproject" or "spread".
        in_torch: the same kernel in torch.
        tensor: float32 images or sinograms.
        subject: whose geometry and grid.
    """
    if tensor.device.type != "cuda" or _refused:
        return in_torch(tensor, subject)
    try:
        places = importlib.import_module("ctrestoration.physics._triton_places")
        if not places.supported(subject.geometry, subject.grid):
            return in_torch(tensor, subject)
        module = importlib.import_module(f"ctrestoration.physics.{_MODULES[name]}")
        result: torch.Tensor = getattr(module, name)(tensor, subject)
        return result
    except Exception as error:  # anything from no Triton and no C compiler to a GPU that it does not know
        if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error):
            raise
        _refuse(error)
    return in_torch(tensor, subject)


def _refuse(error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    _refused.append(reason)
    warnings.warn(
        f"Triton's kernels do not run here ({reason}): projections on the GPU run on PyTorch's, with the same numbers "
        f"but slower.",
        CTRestorationWarning,
        stacklevel=6,
    )


def uses_triton() -> bool:
    """Whether CUDA tensors are served by Triton, as far as is known: it has not failed yet."""
    return not _refused


@contextmanager
def without_triton() -> Iterator[None]:
    """Torch's kernels for a while, to compare."""
    _refused.append("asked for")
    try:
        yield
    finally:
        _refused.pop()
