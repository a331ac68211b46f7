"""Backprojection of the FBP and its transpose in Triton, for CUDA tensors. Imported only with Triton.

Pixels read bins in `backproject`, and in `spread` bins ask the pixels that read them: sums in a fixed order, without
atomics, so equal inputs give equal bits. Both take a pixel's place and weight from `_triton_places.place`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from ctrestoration.physics._triton_kernels import (
    BLOCK,
    TILE_COLUMNS,
    TILE_ROWS,
    both_ways,
    on,
    one_by_one,
    side_by_side,
    tiles,
)
from ctrestoration.physics._triton_places import MARGIN, pixels_of_tile, place, places
from ctrestoration.physics.geometry import Geometry, ImageGrid

if TYPE_CHECKING:
    from ctrestoration.physics._torch_fbp import ReconstructionOperator


@dataclass(frozen=True)
class _Strips:
    """Between the rays on either side of a ray lie the pixels that read its bin.

    Attributes:
        edges: float32 [4, ray], index across of the ray before at step 0 and its increment, and of the ray after.
        ranges: int32 [2, ray], first step inside the image and one past the last, negated and shifted (-1 - first) for
            strips that step over columns.
        candidates: the most pixels of one step.
    """

    edges: torch.Tensor
    ranges: torch.Tensor
    candidates: int


def backproject(filtered: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
    """B: float32 [..., view, bin] -> [..., row, column], on the tensor's device."""
    geometry, (rows, columns) = operator.geometry, operator.grid.shape
    facts = places(geometry, operator.grid, str(filtered.device))
    stack = filtered.reshape(-1, geometry.n_views * geometry.n_bins)
    beside = side_by_side(stack)
    out = stack.new_empty((len(beside), rows * columns, beside.shape[-1]))
    if len(stack):
        with on(filtered.device):
            _backproject[(tiles(rows, columns), len(out))](
                beside, facts.cosines, facts.sines, out,
                geometry.n_views, geometry.n_bins, rows, columns, *facts.numbers,
                facts.kind, out.shape[-1], TILE_ROWS, TILE_COLUMNS,
            )  # fmt: skip
    return one_by_one(out, len(stack)).reshape(*filtered.shape[:-2], rows, columns)


def spread(images: torch.Tensor, operator: ReconstructionOperator) -> torch.Tensor:
    """B^T: float32 [..., row, column] -> [..., view, bin], on the tensor's device."""
    geometry, (rows, columns) = operator.geometry, operator.grid.shape
    facts = places(geometry, operator.grid, str(images.device))
    strips = _strips(geometry, operator.grid, str(images.device))
    stack = images.reshape(-1, rows, columns)
    rays = geometry.n_views * geometry.n_bins
    turned = both_ways(stack)
    out = stack.new_empty((len(turned), rays, turned.shape[-1]))
    if len(stack):
        with on(images.device):
            _spread[(triton.cdiv(rays, BLOCK), len(out))](
                turned, strips.edges, strips.ranges, facts.cosines, facts.sines, out,
                rays, geometry.n_bins, rows, columns, *facts.numbers,
                MARGIN, strips.candidates, facts.kind, out.shape[-1], BLOCK,
            )  # fmt: skip
    return one_by_one(out, len(stack)).reshape(*images.shape[:-2], geometry.n_views, geometry.n_bins)


@lru_cache(maxsize=8)
def _strips(geometry: Geometry, grid: ImageGrid, device: str) -> _Strips:
    # A ray before the first and one after the last; all others stay where they are.
    wider = type(geometry)(**{**vars(geometry), "n_bins": geometry.n_bins + 2})
    cosine, sine, s = np.moveaxis(wider.rays(), -1, 0)
    (rows, columns), (dy, dx) = grid.shape, grid.spacing
    x, y = grid.coordinates()
    middle = (slice(None), slice(1, -1))
    over_columns = np.abs(sine[middle]) * dy >= np.abs(cosine[middle]) * dx
    edges = []
    for side in (slice(None, -2), slice(2, None)):
        co, si, s_ = cosine[:, side], sine[:, side], s[:, side]
        with np.errstate(divide="ignore", invalid="ignore"):
            # As in `steps.step_table`, along the middle ray's axis.
            down = (0.5 * (rows - 1) - (s_ - x[0] * co) / si / dy, dx * co / si / dy)
            right = (0.5 * (columns - 1) + (s_ - y[0] * si) / co / dx, dy * si / co / dx)
            edges += [np.where(over_columns, a, b).ravel() for a, b in zip(down, right, strict=True)]
    over = over_columns.ravel()
    begin, end = _inside(edges, np.where(over, rows, columns), np.where(over, columns, rows))
    widths = [np.abs(edges[0] - edges[2] + k * (edges[1] - edges[3])) for k in (begin, end - 1)]
    widest = float(np.where(begin < end, np.maximum(*widths), 0.0).max(initial=0.0))
    begin, end = np.where(begin < end, begin, np.iinfo(np.int32).max - 1), np.where(begin < end, end, 0)
    ranges = np.stack([np.where(over, -1 - begin, begin), end]).astype(np.int32)
    candidates = min(math.floor((widest + 2 * MARGIN) * (1 + 1e-4)) + 1, max(rows, columns) + 1)
    return _Strips(
        torch.from_numpy(np.stack(edges).astype(np.float32)).to(device), torch.from_numpy(ranges).to(device), candidates
    )


def _inside(
    edges: list[NDArray[np.float64]], across: NDArray[np.int64], along: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First step at which a strip may touch the image, and one past the last."""
    begins, ends = [], []
    for first, increment in ((edges[0], edges[1]), (edges[2], edges[3])):
        with np.errstate(divide="ignore", invalid="ignore"):
            limits = np.stack([-1.0 - MARGIN - first, across + MARGIN - first]) / increment
        steep = np.abs(increment) < 1e-6  # parallel to the steps: inside for all of them, or next to one that is
        begins.append(np.where(steep, 0, np.floor(limits.min(axis=0))))
        ends.append(np.where(steep, along, np.ceil(limits.max(axis=0)) + 1))
    begin = np.clip(np.minimum(*begins), 0, along)
    end = np.clip(np.maximum(*ends), 0, along)
    # A strip wider than the image may have both its edges beside it.
    wide = np.abs(edges[0] - edges[2]) + along * np.abs(edges[1] - edges[3]) >= across
    return np.where(wide, 0, begin).astype(np.int64), np.where(wide, along, end).astype(np.int64)


@triton.jit
def _backproject(  # type: ignore[no-untyped-def]
    filtered, cosines, sines, out, n_views, n_bins, rows, columns,
    x_first, y_first, dx, dy, distance, middle, per_pitch,
    KIND: tl.constexpr, SLICES: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile of pixels of `SLICES` slices, from filtered views [group, ray, slice]."""
    row, column = pixels_of_tile(columns, TILE_ROWS, TILE_COLUMNS)
    group = tl.program_id(1).to(tl.int64)
    base = filtered + group * SLICES * n_views * n_bins
    beside = tl.arange(0, SLICES)[None, :]
    x = x_first + column * dx
    y = y_first - row * dy
    total = tl.zeros([TILE_ROWS * TILE_COLUMNS, SLICES], dtype=tl.float32)
    for view in range(n_views):
        c = tl.load(cosines + view)
        s = tl.load(sines + view)
        at, weight = place(x, y, c, s, distance, middle, per_pitch, KIND)
        floor = tl.floor(at)
        low = floor.to(tl.int32)
        share = at - floor
        ray = base + ((view * n_bins + low) * SLICES)[:, None] + beside
        value = tl.load(ray, mask=((low >= 0) & (low < n_bins))[:, None], other=0.0)
        following = tl.load(ray + SLICES, mask=((low >= -1) & (low < n_bins - 1))[:, None], other=0.0)
        total += weight[:, None] * (value + share[:, None] * (following - value))
    pixel = row * columns + column
    target = out + group * SLICES * rows * columns + (pixel * SLICES)[:, None] + beside
    tl.store(target, total, mask=((row < rows) & (column < columns))[:, None])


@triton.jit
def _spread(  # type: ignore[no-untyped-def]
    images, edges, ranges, cosines, sines, out, rays, n_bins, rows, columns,
    x_first, y_first, dx, dy, distance, middle, per_pitch, margin,
    CANDIDATES: tl.constexpr, KIND: tl.constexpr, SLICES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`BLOCK` bins of `SLICES` slices, from images [group, 2 pixels, slice]."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    held = ray < rays
    view = ray // n_bins
    bins = (ray % n_bins).to(tl.float32)
    c = tl.load(cosines + view, mask=held, other=1.0)
    s = tl.load(sines + view, mask=held, other=0.0)
    before = tl.load(edges + ray, mask=held, other=0.0)
    before_step = tl.load(edges + rays + ray, mask=held, other=0.0)
    after = tl.load(edges + 2 * rays + ray, mask=held, other=0.0)
    after_step = tl.load(edges + 3 * rays + ray, mask=held, other=0.0)
    begins = tl.load(ranges + ray, mask=held, other=2147483646)
    over_columns = begins < 0
    begins = tl.where(over_columns, -1 - begins, begins)
    begin = tl.min(begins, axis=0)
    stop = tl.load(ranges + rays + ray, mask=held, other=0)
    end = tl.max(stop, axis=0)
    plane = rows * columns
    across = tl.where(over_columns, rows, columns)
    group = tl.program_id(1).to(tl.int64)
    base = images + group * (2 * SLICES) * plane
    beside = tl.arange(0, SLICES)[None, :]
    other_plane = tl.where(over_columns, plane, 0)
    total = tl.zeros([BLOCK, SLICES], dtype=tl.float32)
    for k in range(begin, end):
        lowest = tl.minimum(before + k * before_step, after + k * after_step) - margin
        # Strips outside the image may lie anywhere, further than an integer counts.
        index = tl.ceil(tl.minimum(tl.maximum(lowest, -1.0), 1.0 * across)).to(tl.int32)
        inside = (k >= begins) & (k < stop)
        for _ in range(CANDIDATES):
            x = x_first + tl.where(over_columns, k, index) * dx
            y = y_first - tl.where(over_columns, index, k) * dy
            at, weight = place(x, y, c, s, distance, middle, per_pitch, KIND)
            floor = tl.floor(at)
            share = at - floor
            read = tl.where(floor == bins, 1.0 - share, tl.where(floor == bins - 1.0, share, 0.0))
            touched = inside & (index >= 0) & (index < across)
            pixel = other_plane + k * across + index
            value = tl.load(base + (pixel * SLICES)[:, None] + beside, mask=touched[:, None], other=0.0)
            total += (read * weight)[:, None] * value
            index += 1
    target = out + group * SLICES * rays + (ray * SLICES)[:, None] + beside
    tl.store(target, total, mask=held[:, None])
