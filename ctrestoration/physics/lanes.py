"""Rays that walk through mirrored images in step, so that one walk serves eight of them.

A scan is symmetric: the ray that crosses the image from the left is, mirrored, one that crosses it from the right. A
group of such rays takes the same steps through differently turned copies of the image. With the copies innermost in
memory, one step reads two short vectors instead of sixteen scattered numbers.

Symmetries are found in the table of steps itself, so that every geometry that has them profits. Scans that have too
few (short scans, views over an odd arc) are projected ray by ray instead; which way is a matter of geometry and grid
alone, so results do not depend on the size of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctrestoration.physics.geometry import Geometry, ImageGrid
from ctrestoration.physics.steps import PAD, step_table

LANES = 8
"""Floats that are computed together; the most copies that a symmetric scan needs."""

FRACTION_BITS = 31
"""Positions are integers in units of 2^-31 pixel: exact sums, so that a walk can be taken up anywhere."""

FEWEST = 4
"""With fewer copies the lanes would be too empty to pay."""

FILLED = 0.8
"""Symmetries are used where at least this share of the lanes has a ray to serve."""


@dataclass(frozen=True)
class Walks:
    """Walks through copies of an image, all of one shape.

    Attributes:
        copies: for each copy whether the image is transposed, then mirrored across, then along the steps.
        along: steps from one side of the copy to the other.
        across: pixels the other way, without padding.
        steps: int64 [walk, 2]: position across at step 0 in the padded copy and its increment a step, in units of
            2^-FRACTION_BITS pixel.
        ranges: int32 [walk, 2]: first step inside the image, one past the last.
        lengths: float32 [walk]: step length in mm.
        rays: int32 [walk, copy]: number of the ray that takes this walk through this copy, -1 where none does.
    """

    copies: tuple[tuple[bool, bool, bool], ...]
    along: int
    across: int
    steps: NDArray[np.int64]
    ranges: NDArray[np.int32]
    lengths: NDArray[np.float32]
    rays: NDArray[np.int32]

    @property
    def slices_at_once(self) -> int:
        """How many slices share the lanes."""
        return LANES // len(self.copies)

    def serving(self, chosen: NDArray[np.bool_]) -> Walks:
        """The walks that some chosen rays [ray] take; rays are numbered anew among the chosen."""
        number = np.append(np.where(chosen, np.cumsum(chosen, dtype=np.int32) - np.int32(1), np.int32(-1)), -1)
        rays = number.astype(np.int32)[self.rays]  # -1 reads the last, -1 again
        kept = (rays >= 0).any(axis=1)
        return replace(
            self, steps=self.steps[kept], ranges=self.ranges[kept], lengths=self.lengths[kept], rays=rays[kept]
        )


def forward(images: NDArray[np.float32], groups: tuple[Walks, ...], out: NDArray[np.float32]) -> None:
    """Line integrals of images [slice, row, column] -> out [slice, ray]; rays of no walk are 0."""
    from ctrestoration.physics import _numba_lanes

    out[...] = 0.0
    for walks in groups:
        lanes = np.zeros((walks.along, walks.across + 2 * PAD, LANES), dtype=np.float32)
        for start in range(0, len(images), walks.slices_at_once):
            some = slice(start, start + walks.slices_at_once)
            views = [_turned(image, copy) for image in images[some] for copy in walks.copies]
            # Stacked, then turned: faster than filling the lanes one by one. A last group may leave lanes as they were.
            lanes[:, PAD:-PAD, : len(views)] = np.stack(views).transpose(1, 2, 0)
            _numba_lanes.forward(lanes, walks.steps, walks.ranges, walks.lengths, walks.rays, out[some])


def adjoint(rays: NDArray[np.float32], groups: tuple[Walks, ...], out: NDArray[np.float32]) -> None:
    """The transpose of `forward`: rays [slice, ray] -> out [slice, row, column]."""
    from ctrestoration.physics import _numba_lanes

    out[...] = 0.0
    for walks in groups:
        lanes = np.empty((walks.along, walks.across + 2 * PAD, LANES), dtype=np.float32)
        for start in range(0, len(rays), walks.slices_at_once):
            some = slice(start, start + walks.slices_at_once)
            _numba_lanes.adjoint(rays[some], walks.steps, walks.ranges, walks.lengths, walks.rays, lanes)
            copies = np.ascontiguousarray(lanes[:, PAD:-PAD].transpose(2, 0, 1))
            for z, image in enumerate(out[some]):
                for number, copy in enumerate(walks.copies):
                    view = _turned(image, copy)
                    view += copies[z * len(walks.copies) + number]


def _turned(image: NDArray[np.float32], copy: tuple[bool, bool, bool]) -> NDArray[np.float32]:
    """A view of the image [along, across]."""
    transposed, across, along = copy
    view = image.T if transposed else image
    return view[:: -1 if along else 1, :: -1 if across else 1]


@lru_cache(maxsize=4)
def symmetric_walks(geometry: Geometry, grid: ImageGrid) -> tuple[Walks, ...]:
    """Group the rays of a scan into walks; none where it has too few symmetries. The last few are kept.

    Returns:
        Walks that together serve every ray that meets the image, or ().
    """
    steps, ranges = step_table(geometry, grid)
    inside = np.flatnonzero(ranges[:, 1] < ranges[:, 2]).astype(np.int32)
    square = grid.shape[0] == grid.shape[1] and grid.spacing[0] == grid.spacing[1]
    for turned, mirrored in ((True, True), (True, False), (False, True)):
        if turned and not square:
            continue
        parts = tuple(
            _grouped(steps, ranges, grid.shape, rays, turned, mirrored) for rays in _kinds(ranges, inside, turned)
        )
        lanes = sum(part.rays.size for part in parts)
        if parts and inside.size >= FILLED * lanes and all(len(part.copies) >= FEWEST for part in parts):
            return parts
    return ()


def _kinds(ranges: NDArray[np.int32], inside: NDArray[np.int32], turned: bool) -> Iterator[NDArray[np.int32]]:
    """Rays that may share copies: all where the image may be turned, else by the axis that they step along."""
    if turned:
        if inside.size:
            yield inside
        return
    for over_columns in (1, 0):
        rays = inside[ranges[inside, 0] == over_columns]
        if rays.size:
            yield rays


def _sides(shape: tuple[int, int], over_columns: bool) -> tuple[int, int]:
    """(along, across)."""
    return (shape[1], shape[0]) if over_columns else shape


def _grouped(
    steps: NDArray[np.float64],
    ranges: NDArray[np.int32],
    shape: tuple[int, int],
    rays: NDArray[np.int32],
    turned: bool,
    mirrored: bool,
) -> Walks:
    """The walks of rays under the symmetries of a square (turned, mirrored), or a part of them."""
    over_columns = ranges[rays, 0]
    along, across = _sides(shape, bool(over_columns[0]))
    last = across - 1 + 2 * PAD
    first, increment = steps[rays, 0], steps[rays, 1]
    # Mirrored: every walk climbs. Turned only: transposing and mirroring across is a turn by 90 degrees.
    flip = increment < 0 if mirrored else over_columns == 1 if turned else np.zeros(len(rays), dtype=bool)
    first, increment = np.where(flip, last - first, first), np.where(flip, -increment, increment)
    # Half a turn leaves the climb: the lower start of the two is the walk.
    opposite = last - (first + (along - 1) * increment)
    half = opposite < first - 1e-7
    first = np.where(half, opposite, first)
    copy = 4 * over_columns * turned + 2 * (flip ^ half) + half
    # Equal to rounding; a pair that a boundary of rounding parts stays two walks, which costs a little, no more.
    key = np.rint(increment * 1e8).astype(np.int64) * (1 << 36) + np.rint(first * 1e6).astype(np.int64)
    walk = _numbered(key, copy)
    used, copy = np.unique(copy, return_inverse=True)
    order = np.argsort(walk, kind="stable")
    heads = order[np.searchsorted(walk[order], np.arange(walk.max() + 1))]
    # Walks in the order of their first ray: neighbors in memory are neighbors on the detector.
    rank = np.argsort(np.argsort(heads, kind="stable"), kind="stable")
    heads = np.sort(heads)
    table = np.full((len(heads), len(used)), -1, dtype=np.int32)
    table[rank[walk], copy] = rays
    limits = ranges[rays[heads], 1:]
    limits = np.where(half[heads, None], along - limits[:, ::-1], limits)
    axis = over_columns[0] if not turned else 0
    copies = tuple((bool(c >> 2 if turned else axis), bool(c >> 1 & 1), bool(c & 1)) for c in used)
    walked = np.rint(np.stack([first[heads], increment[heads]], axis=1) * (1 << FRACTION_BITS)).astype(np.int64)
    limits = np.ascontiguousarray(limits, dtype=np.int32)
    return Walks(copies, along, across, walked, limits, steps[rays[heads], 2].astype(np.float32), table)


def _numbered(key: NDArray[np.int64], copy: NDArray[np.int64]) -> NDArray[np.intp]:
    """A number for every (key, how often it came before for the same copy): rays scanned twice are two walks."""
    order = np.lexsort((copy, key))
    new = np.ones(len(key), dtype=bool)
    new[1:] = (key[order][1:] != key[order][:-1]) | (copy[order][1:] != copy[order][:-1])
    starts = np.flatnonzero(new)
    again = np.arange(len(key)) - np.repeat(starts, np.diff(np.append(starts, len(key))))
    times = np.empty(len(key), dtype=np.int64)
    times[order] = again
    _, number = (
        np.unique(np.stack([key, times]), axis=1, return_inverse=True)
        if times.any()
        else np.unique(key, return_inverse=True)
    )
    return np.asarray(number).ravel()
