"""The projector's kernels in Triton, for CUDA tensors. Imported only with Triton.

The same table of steps and the same sums as `_numba_kernels`. The adjoint gathers: every pixel asks the rays that may
touch it, so nothing is added by atomics and equal inputs give equal bits. Both kernels read a ray's position from the
same integers, so a pixel has the same weight in both: the adjoint is the exact transpose.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl

from ctrestoration.physics._triton_places import MARGIN, pixels_of_tile, places, span
from ctrestoration.physics.geometry import Geometry, ImageGrid
from ctrestoration.physics.steps import PAD, step_table

if TYPE_CHECKING:
    from ctrestoration.physics.projector import Projector

UNIT = 2.0**32
"""Positions across are 64-bit integers in units of 2^-32 pixel: right to 1e-7 pixel after a thousand steps, exactly
repeatable, and faster than float64 on GPUs that have little of it. The upper half is the pixel, the lower the share."""

BLOCK = 128
"""Rays or pixels of a program, one a thread."""

TOGETHER = 4
"""Slices at most that a program computes with the same positions. They lie innermost in memory, so that one thread
reads a pixel of all of them by one instruction, of 16 bytes at most."""

_NOWHERE = -8
"""Position across of a ray that misses the image."""


@dataclass(frozen=True)
class _Table:
    """The rays of one geometry and grid on one device.

    Attributes:
        first: int64 [ray], position across at step 0 in units of 1 / `UNIT` pixel.
        increment: int64 [ray], what a step adds.
        length: float32 [ray], step length in mm, negative for rays that step over columns.
        ranges: int32 [2, ray], first step inside the image and one past the last.
    """

    first: torch.Tensor
    increment: torch.Tensor
    length: torch.Tensor
    ranges: torch.Tensor


def forward(images: torch.Tensor, projector: Projector) -> torch.Tensor:
    """Line integrals [..., view, bin] of float32 images [..., row, column], on the images' device."""
    geometry, (rows, columns) = projector.geometry, projector.grid.shape
    table = _table(geometry, projector.grid, str(images.device))
    stack = images.reshape(-1, rows, columns)
    rays = geometry.n_views * geometry.n_bins
    turned = both_ways(stack)
    out = stack.new_empty((len(turned), rays, turned.shape[-1]))
    if len(stack):
        with on(images.device):
            _project[(triton.cdiv(rays, BLOCK), len(out))](
                turned, table.first, table.increment, table.length, table.ranges, out,
                rays, rows, columns, out.shape[-1], BLOCK,
            )  # fmt: skip
    return one_by_one(out, len(stack)).reshape(*images.shape[:-2], geometry.n_views, geometry.n_bins)


def adjoint(sinograms: torch.Tensor, projector: Projector) -> torch.Tensor:
    """The transpose of `forward`: float32 [..., view, bin] -> [..., row, column], on the sinograms' device."""
    geometry, (rows, columns) = projector.geometry, projector.grid.shape
    table = _table(geometry, projector.grid, str(sinograms.device))
    facts = places(geometry, projector.grid, str(sinograms.device))
    stack = sinograms.reshape(-1, geometry.n_views * geometry.n_bins)
    beside = side_by_side(stack)
    out = stack.new_empty((len(beside), rows * columns, beside.shape[-1]))
    if len(stack):
        with on(sinograms.device):
            _gather[(tiles(rows, columns), len(out))](
                beside, table.first, table.increment, table.length, facts.cosines, facts.sines, out,
                geometry.n_views, geometry.n_bins, rows, columns, *facts.numbers,
                MARGIN, facts.candidates, facts.kind, out.shape[-1], TILE_ROWS, TILE_COLUMNS,
            )  # fmt: skip
    return one_by_one(out, len(stack)).reshape(*sinograms.shape[:-2], rows, columns)


TILE_ROWS, TILE_COLUMNS = 8, BLOCK // 8
"""Pixels of a program: close together, so that they read the same few rays."""


def tiles(rows: int, columns: int) -> int:
    """How many tiles cover an image."""
    return int(triton.cdiv(rows, TILE_ROWS) * triton.cdiv(columns, TILE_COLUMNS))


def side_by_side(stack: torch.Tensor) -> torch.Tensor:
    """[slice, number] -> [group, number, slice], the slices of a group innermost; the last group filled with zeros."""
    slices = min(TOGETHER, 1 << max(len(stack) - 1, 0).bit_length())
    missing = -len(stack) % slices
    if missing:
        stack = torch.cat((stack, stack.new_zeros((missing, stack.shape[1]))))
    return stack.reshape(-1, slices, stack.shape[1]).transpose(1, 2).contiguous()


def one_by_one(grouped: torch.Tensor, count: int) -> torch.Tensor:
    """The way back from `side_by_side`, for so many slices."""
    return grouped.transpose(1, 2).reshape(-1, grouped.shape[1])[:count].contiguous()


def both_ways(stack: torch.Tensor) -> torch.Tensor:
    """Images [slice, row, column] and their transposes, side by side [group, 2 pixels, slice].

    Rays that step over columns read the transpose: neighboring rays find their pixels in neighboring memory.
    """
    return side_by_side(torch.cat((stack.flatten(1), stack.transpose(1, 2).flatten(1)), dim=1))


def on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current GPU, which need not be the tensor's."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@lru_cache(maxsize=8)
def _table(geometry: Geometry, grid: ImageGrid, device: str) -> _Table:
    steps, ranges = step_table(geometry, grid)
    hit = ranges[:, 1] < ranges[:, 2]
    first = np.rint(np.where(hit, steps[:, 0] - PAD, _NOWHERE) * UNIT).astype(np.int64)
    increment = np.rint(np.where(hit, steps[:, 1], 0.0) * UNIT).astype(np.int64)
    length = np.where(ranges[:, 0] == 1, -steps[:, 2], steps[:, 2]).astype(np.float32)
    limits = np.where(hit[:, None], ranges[:, 1:], np.array([np.iinfo(np.int32).max, 0])).astype(np.int32)
    tensors = (torch.from_numpy(np.ascontiguousarray(part)) for part in (first, increment, length, limits.T))
    return _Table(*(tensor.to(device) for tensor in tensors))


@triton.jit
def _project(  # type: ignore[no-untyped-def]
    images, first, increment, length, ranges, out, rays, rows, columns, SLICES: tl.constexpr, BLOCK: tl.constexpr
):
    """Line integrals of `BLOCK` neighboring rays through `SLICES` images [group, 2 pixels, slice]."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    held = ray < rays
    position = tl.load(first + ray, mask=held, other=0)
    step = tl.load(increment + ray, mask=held, other=0)
    signed = tl.load(length + ray, mask=held, other=0.0)
    begin = tl.min(tl.load(ranges + ray, mask=held, other=2147483647), axis=0)
    stop = tl.load(ranges + rays + ray, mask=held, other=0)
    end = tl.max(stop, axis=0)
    plane = rows * columns
    over_columns = signed < 0.0
    across = tl.where(over_columns, rows, columns)
    group = tl.program_id(1).to(tl.int64)
    base = images + group * (2 * SLICES) * plane
    beside = tl.arange(0, SLICES)[None, :]
    line = tl.where(over_columns, plane, 0) + begin * across
    position += step * begin
    total = tl.zeros([BLOCK, SLICES], dtype=tl.float32)
    for k in range(begin, end):
        low = (position >> 32).to(tl.int32)
        share = (position & 0xFFFFFFFF).to(tl.uint32).to(tl.float32) * 2.3283064365386963e-10
        inside = k < stop
        below = inside & (low >= 0) & (low < across)
        above = inside & (low >= -1) & (low < across - 1)
        at = base + ((line + low) * SLICES)[:, None] + beside
        value = tl.load(at, mask=below[:, None], other=0.0)
        following = tl.load(at + SLICES, mask=above[:, None], other=0.0)
        total += value + share[:, None] * (following - value)
        position += step
        line += across
    target = out + group * SLICES * rays + (ray * SLICES)[:, None] + beside
    tl.store(target, total * tl.abs(signed)[:, None], mask=held[:, None])


@triton.jit
def _gather(  # type: ignore[no-untyped-def]
    sinograms, first, increment, length, cosines, sines, out, n_views, n_bins, rows, columns,
    x_first, y_first, dx, dy, distance, middle, per_pitch, margin,
    CANDIDATES: tl.constexpr, KIND: tl.constexpr, SLICES: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    """The adjoint in a tile of pixels, for `SLICES` sinograms [group, ray, slice]."""
    row, column = pixels_of_tile(columns, TILE_ROWS, TILE_COLUMNS)
    group = tl.program_id(1).to(tl.int64)
    base = sinograms + group * SLICES * n_views * n_bins
    beside = tl.arange(0, SLICES)[None, :]
    x = x_first + column * dx
    y = y_first - row * dy
    total = tl.zeros([TILE_ROWS * TILE_COLUMNS, SLICES], dtype=tl.float32)
    for view in range(n_views):
        c = tl.load(cosines + view)
        s = tl.load(sines + view)
        center, reach = span(x, y, c, s, dx, dy, distance, middle, per_pitch, KIND)
        lowest = tl.ceil(center - reach - margin).to(tl.int32)
        for n in range(CANDIDATES):
            candidate = lowest + n
            held = (candidate >= 0) & (candidate < n_bins)
            ray = view * n_bins + candidate
            signed = tl.load(length + ray, mask=held, other=0.0)
            over_columns = signed < 0.0
            k = tl.where(over_columns, column, row)
            index = tl.where(over_columns, row, column)
            step = tl.load(increment + ray, mask=held, other=0)
            position = tl.load(first + ray, mask=held, other=0) + step * k
            away = (position >> 32).to(tl.int32) - index
            share = (position & 0xFFFFFFFF).to(tl.uint32).to(tl.float32) * 2.3283064365386963e-10
            weight = tl.where(away == 0, 1.0 - share, tl.where(away == -1, share, 0.0)) * tl.abs(signed)
            value = tl.load(base + (ray * SLICES)[:, None] + beside, mask=held[:, None], other=0.0)
            total += weight[:, None] * value
    pixel = row * columns + column
    target = out + group * SLICES * rows * columns + (pixel * SLICES)[:, None] + beside
    tl.store(target, total, mask=((row < rows) & (column < columns))[:, None])
