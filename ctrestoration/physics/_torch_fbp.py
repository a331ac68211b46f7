"""Filtered backprojection as a differentiable torch operation, with its exact transpose. Imported only with torch.

FBP is linear: A = B F W (weights of views and bins, ramp filter, backprojection). Its derivative is A^T = W F B^T,
since weights and filter are symmetric. Each is the other's backward, through autograd itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics._torch_choice import on_device
from ctrestoration.physics.fbp import _PAD, _filter, detector_facts, fbp, parker_weights
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid
from ctrestoration.physics.kernels import kernels

_SAMPLES = 1 << 22
"""Pixels times views handled at once by the torch kernels."""


class ReconstructionOperator:
    """The exact FBP of one geometry and grid.

    Args:
        geometry: the scanner.
        grid: the pixels to reconstruct.
        window: filter window, see `physics.fbp`.
    """

    def __init__(self, geometry: Geometry, grid: ImageGrid, window: str = "ram-lak") -> None:
        self.geometry, self.grid, self.window = geometry, grid, window
        _on(geometry, window, "cpu", torch.float32)  # refuses an unknown window, and a scan that is too short

    def reconstruct(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Line integrals [..., view, bin] -> attenuation in 1/mm [..., row, column]; the numbers of `physics.fbp.fbp`.

        Raises:
            InputError: a sinogram of another shape.
        """
        self._check(sinograms, (self.geometry.n_views, self.geometry.n_bins), "sinogram")
        result: torch.Tensor = _Fbp.apply(sinograms, self)
        return result

    def transposed(self, images: torch.Tensor) -> torch.Tensor:
        """The transpose of `reconstruct`: [..., row, column] -> [..., view, bin].

        Raises:
            InputError: images of another shape.
        """
        self._check(images, self.grid.shape, "image")
        result: torch.Tensor = _Transposed.apply(images, self)
        return result

    @staticmethod
    def _check(tensor: torch.Tensor, shape: tuple[int, int], what: str) -> None:
        if tuple(tensor.shape[-2:]) != shape:
            raise InputError(f"The {what} has shape {tuple(tensor.shape[-2:])}, the geometry expects {shape}.")


class _Fbp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sinograms: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
        ctx.operator = operator
        stack = sinograms.detach().to(torch.float32)
        if sinograms.device.type == "cpu":
            array = fbp(stack.numpy(), operator.geometry, operator.grid, window=operator.window)
            return torch.from_numpy(array).to(sinograms)
        filtered = _filtered(stack * _constants(operator, stack)[0], operator)
        return on_device("backproject", _backproject, filtered, operator).to(sinograms)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return _Transposed.apply(gradient, ctx.operator), None


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
        ctx.operator = operator
        stack = images.detach().to(torch.float32)
        if images.device.type == "cpu" and hasattr(kernels(), "set_threads"):
            spread = torch.from_numpy(_spread_on_host(stack.numpy(), operator))
        else:
            spread = on_device("spread", _spread, stack, operator)
        return (_filtered(spread, operator) * _constants(operator, spread)[0]).to(images)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return _Fbp.apply(gradient, ctx.operator), None


def _weights(geometry: Geometry) -> NDArray[np.float64]:
    """What multiplies every ray before the filter, with the angular step: [view or 1, bin]; see `physics.fbp`."""
    weights = np.full((1, geometry.n_bins), geometry.arc / geometry.n_views)
    turns = geometry.arc / math.pi
    if isinstance(geometry, FanFlat | FanArc):
        weights = weights * np.cos(geometry.fan_angles)
        if isinstance(geometry, FanArc):
            weights = weights * geometry.source_distance
        if geometry.arc < 2.0 * math.pi - 1e-9:
            return np.asarray(weights * parker_weights(geometry))
    return np.asarray(weights / turns)


def _filtered(sinograms: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
    response, bins = _constants(operator, sinograms)[1], operator.geometry.n_bins
    length = 2 * (len(response) - 1)
    return torch.fft.irfft(torch.fft.rfft(sinograms, length) * response, length)[..., :bins]


def _constants(operator: ReconstructionOperator, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the rays and the filter's response, on the tensor's device: copied there once, not with every call."""
    return _on(operator.geometry, operator.window, str(like.device), like.dtype)


@lru_cache(maxsize=8)
def _on(geometry: Geometry, window: str, device: str, precision: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    response = _filter(geometry, window, "exact", 1.0).real
    half = np.ascontiguousarray(response[: len(response) // 2 + 1])
    weights = np.ascontiguousarray(_weights(geometry))
    return torch.from_numpy(weights).to(device, precision), torch.from_numpy(half).to(device, precision)


def _kernel_facts(operator: ReconstructionOperator) -> tuple[int, float, float, float]:
    """`fbp.detector_facts`, the place of the central ray in the padded bins."""
    kind, distance, middle, per_pitch = detector_facts(operator.geometry)
    return kind, distance, middle + _PAD, per_pitch


def _spread_on_host(images: NDArray[np.float32], operator: ReconstructionOperator) -> NDArray[np.float32]:
    """B^T by compiled code."""
    from ctrestoration.physics._numba_fbp import spread

    geometry = operator.geometry
    x, y = operator.grid.coordinates()
    angles = geometry.angles
    stack = np.ascontiguousarray(images.reshape(-1, *operator.grid.shape))
    out = np.empty((len(stack), geometry.n_views, geometry.n_bins + 2 * _PAD), dtype=np.float32)
    for image, views in zip(stack, out, strict=True):
        spread(image, np.cos(angles), np.sin(angles), x, y, *_kernel_facts(operator), views)
    return np.ascontiguousarray(out[..., _PAD:-_PAD]).reshape(*images.shape[:-2], geometry.n_views, geometry.n_bins)


def _backproject(filtered: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
    """B on the tensor's own device."""
    shape = filtered.shape[:-2]
    stack = torch.nn.functional.pad(filtered.reshape(-1, *filtered.shape[-2:]), (_PAD, _PAD)).flatten(1)
    out = stack.new_zeros((len(stack), math.prod(operator.grid.shape)))
    for at, share, weight in _places(operator, str(stack.device)):
        low = stack[:, at]
        out += (weight * (low + share * (stack[:, at + 1] - low))).sum(dim=1)
    return out.reshape(*shape, *operator.grid.shape)


def _spread(images: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
    """B^T on the tensor's own device; scattering as in `_torch_kernels.adjoint`."""
    geometry = operator.geometry
    flat = images.reshape(-1, 1, math.prod(operator.grid.shape))
    width = geometry.n_bins + 2 * _PAD
    out = flat.new_zeros((len(flat), geometry.n_views * width))
    for at, share, weight in _places(operator, str(images.device)):
        values = weight * flat
        out.index_add_(1, at.reshape(-1), (values * (1.0 - share)).reshape(len(flat), -1))
        out.index_add_(1, at.reshape(-1) + 1, (values * share).reshape(len(flat), -1))
    views = out.reshape(*images.shape[:-2], geometry.n_views, width)
    return views[..., _PAD:-_PAD]


def _places(operator: ReconstructionOperator, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Some views at a time: flat index of the bin below every pixel, share of the next one, weight [view, pixel]."""
    kind, distance, first, per_pitch = _kernel_facts(operator)
    precise = torch.float32 if device.startswith("mps") else torch.float64
    x, y, angles = _coordinates(operator.geometry, operator.grid, device, precise)
    width = operator.geometry.n_bins + 2 * _PAD
    chunk = max(1, _SAMPLES // len(x))
    for start in range(0, len(angles), chunk):
        some = angles[start : start + chunk, None]
        c, s = torch.cos(some), torch.sin(some)
        across, weight = x * c + y * s, torch.ones_like(x * c)
        if kind:
            along = distance - x * s + y * c
            if kind == 1:
                across, weight = across * distance / along, (distance / along) ** 2
            else:
                across, weight = torch.atan2(across, along), 1.0 / (across**2 + along**2)
        place = torch.clamp(first + across * per_pitch, 0.0, width - 2.0)
        low = place.to(torch.int64)
        views = torch.arange(start, start + len(some), device=some.device)[:, None]
        yield views * width + low, (place - low).to(torch.float32), weight.to(torch.float32)


@lru_cache(maxsize=8)
def _coordinates(
    geometry: Geometry, grid: ImageGrid, device: str, precise: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coordinates x and y of every pixel in mm [pixel], and the angles of the views."""
    x, y = grid.coordinates()
    columns, rows = np.meshgrid(x, y)
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(np.ascontiguousarray(part)).to(device, precise)
        for part in (columns.ravel(), rows.ravel(), geometry.angles)
    )
