"""The projector's kernels in torch, for tensors that live on another device than the CPU: no copies through the host.

The same table of steps and the same sums as `_numba_kernels`, gathered and scattered by torch operations, so it runs
wherever torch does (MPS through float32 positions, CUDA without Triton). Scattering on CUDA adds in no fixed order
unless torch's deterministic algorithms are on, as in deterministic training: repeatable to rounding, not to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from ctrestoration.physics.geometry import Geometry, ImageGrid
from ctrestoration.physics.steps import PAD, step_table

if TYPE_CHECKING:
    from ctrestoration.physics.projector import Projector

_SAMPLES = 1 << 22
"""Ray samples handled at once: some 100 MB of temporaries a slice."""


@dataclass(frozen=True)
class _Group:
    """Rays that step along one axis, as tensors on a device."""

    rays: torch.Tensor
    first: torch.Tensor
    increment: torch.Tensor
    length: torch.Tensor
    start: torch.Tensor
    stop: torch.Tensor
    over_columns: bool


def forward(images: torch.Tensor, projector: Projector) -> torch.Tensor:
    """Line integrals [..., view, bin] of float32 images [..., row, column], on the images' device."""
    lead = images.shape[:-2]
    stack = images.reshape(-1, *images.shape[-2:])
    out = stack.new_zeros((len(stack), projector.geometry.n_views * projector.geometry.n_bins))
    for group in _groups(projector.geometry, projector.grid, str(images.device)):
        turned = stack.transpose(1, 2) if group.over_columns else stack
        padded = torch.nn.functional.pad(turned, (PAD, PAD)).reshape(len(stack), -1)
        along, across = turned.shape[1], turned.shape[2] + 2 * PAD
        for chunk in _chunks(len(group.rays), along):
            at, share = _positions(group, chunk, along, across)
            low = padded[:, at]
            values = low + share * (padded[:, at + 1] - low)
            out[:, group.rays[chunk]] = values.sum(dim=-1) * group.length[chunk]
    return out.reshape(*lead, projector.geometry.n_views, projector.geometry.n_bins)


def adjoint(sinograms: torch.Tensor, projector: Projector) -> torch.Tensor:
    """The transpose of `forward`: float32 [..., view, bin] -> [..., row, column], on the sinograms' device."""
    lead = sinograms.shape[:-2]
    rays = sinograms.reshape(-1, projector.geometry.n_views * projector.geometry.n_bins)
    rows, columns = projector.grid.shape
    out = rays.new_zeros((len(rays), rows, columns))
    for group in _groups(projector.geometry, projector.grid, str(sinograms.device)):
        along, width = (columns, rows) if group.over_columns else (rows, columns)
        across = width + 2 * PAD
        padded = rays.new_zeros((len(rays), along * across))
        for chunk in _chunks(len(group.rays), along):
            at, share = _positions(group, chunk, along, across)
            values = (rays[:, group.rays[chunk]] * group.length[chunk])[..., None].expand(-1, -1, along)
            padded.index_add_(1, at.reshape(-1), (values * (1.0 - share)).reshape(len(rays), -1))
            padded.index_add_(1, at.reshape(-1) + 1, (values * share).reshape(len(rays), -1))
        image = padded.reshape(len(rays), along, across)[:, :, PAD:-PAD]
        out += image.transpose(1, 2) if group.over_columns else image
    return out.reshape(*lead, rows, columns)


@lru_cache(maxsize=8)
def _groups(geometry: Geometry, grid: ImageGrid, device: str) -> tuple[_Group, ...]:
    # MPS has no float64; float32 positions are right to 3e-5 pixel at 512 pixels.
    precise = torch.float32 if device.startswith("mps") else torch.float64
    steps, ranges = (torch.from_numpy(part) for part in step_table(geometry, grid))
    groups = []
    for over_columns in (True, False):
        rays = torch.nonzero(ranges[:, 0] == int(over_columns)).reshape(-1)
        first, increment, length = (steps[rays, column] for column in range(3))
        groups.append(
            _Group(
                rays.to(device),
                first.to(device, precise)[:, None],
                increment.to(device, precise)[:, None],
                length.to(device, torch.float32),
                ranges[rays, 1].to(device)[:, None],
                ranges[rays, 2].to(device)[:, None],
                over_columns,
            )
        )
    return tuple(groups)


def _chunks(count: int, along: int) -> list[slice]:
    size = max(1, _SAMPLES // along)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _positions(group: _Group, chunk: slice, along: int, across: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat index and share of the next pixel of every sample [ray, step]; samples outside read the padding."""
    k = torch.arange(along, device=group.rays.device)
    position = group.first[chunk] + k * group.increment[chunk]
    inside = (k >= group.start[chunk]) & (k < group.stop[chunk])
    position = torch.where(inside, position, torch.zeros_like(position))
    low = position.to(torch.int64)
    return k * across + low, (position - low).to(torch.float32)
