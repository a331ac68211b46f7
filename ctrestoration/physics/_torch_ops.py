"""The projector as a differentiable torch operation. Imported only where torch is at hand.

Forward projection and adjoint are each other's derivative, so each one's backward is the other, through autograd
itself: second derivatives work, as unrolled networks with gradient penalties need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ctrestoration.physics import _torch_kernels
from ctrestoration.physics._torch_choice import on_device

if TYPE_CHECKING:
    from ctrestoration.physics.projector import Projector


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, projector: Projector) -> torch.Tensor:
        ctx.projector = projector
        return _forward(images, projector)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Adjoint.apply(gradient, ctx.projector), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sinograms: torch.Tensor, projector: Projector) -> torch.Tensor:
        ctx.projector = projector
        return _adjoint(sinograms, projector)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Forward.apply(gradient, ctx.projector), None


def project(images: torch.Tensor, projector: Projector) -> torch.Tensor:
    """Differentiable line integrals of images [..., row, column] -> [..., view, bin]; see `Projector.forward`.

    Computed in float32 on the tensor's own device: by numba's kernels on the CPU, by Triton's on
    CUDA, by torch's elsewhere.
    """
    result: torch.Tensor = _Forward.apply(images, projector)
    return result


def backproject(sinograms: torch.Tensor, projector: Projector) -> torch.Tensor:
    """Differentiable exact adjoint [..., view, bin] -> [..., row, column]; see `Projector.adjoint`."""
    result: torch.Tensor = _Adjoint.apply(sinograms, projector)
    return result


def _forward(images: torch.Tensor, projector: Projector) -> torch.Tensor:
    if images.device.type == "cpu":
        return _on_host(projector.forward, images)
    stack = images.detach().to(torch.float32)
    return on_device("forward", _torch_kernels.forward, stack, projector).to(images.dtype)


def _adjoint(sinograms: torch.Tensor, projector: Projector) -> torch.Tensor:
    if sinograms.device.type == "cpu":
        return _on_host(projector.adjoint, sinograms)
    stack = sinograms.detach().to(torch.float32)
    return on_device("adjoint", _torch_kernels.adjoint, stack, projector).to(sinograms.dtype)


def _on_host(operation: Any, tensor: torch.Tensor) -> torch.Tensor:
    array = operation(np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy()))
    return torch.from_numpy(array).to(tensor)
