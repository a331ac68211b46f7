"""The image being painted: partial volume at every surface, each shape evaluated in its own box only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.phantom.shapes import FAR, Array, Shape
from ctrestoration.anatomy.phantom.warp import Warp
from ctrestoration.volume import Grid

_CHUNK_VOXELS = 3_000_000  # bounds the temporary arrays of the largest shapes

Value = float | Callable[["Box", NDArray[np.bool_], Array], Array | float]
"""HU of a tissue: a number, or a function (box, mask, distance inside the mask) -> HU of the masked voxels."""


@dataclass(frozen=True)
class Box:
    """A part of the canvas: its slices, and the design coordinates of its voxels."""

    where: tuple[slice, slice, slice]
    x: Array
    y: Array
    z: Array

    def masked(self, mask: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
        """Design coordinates of the masked voxels."""
        return self.x[mask], self.y[mask], self.z[mask]


class Canvas:
    """HU and label arrays of an axis-aligned LPS grid, painted back to front.

    Attributes:
        hu: float32 [z, y, x].
        labels: uint16 [z, y, x].
        sublabels: uint16 [z, y, x].
    """

    def __init__(self, grid: Grid, warp: Warp) -> None:
        self.grid = grid
        self.warp = warp
        self.hu = np.full(grid.shape, -1000, dtype=np.float32)
        self.labels = np.zeros(grid.shape, dtype=np.uint16)
        self.sublabels = np.zeros(grid.shape, dtype=np.uint16)
        origin, spacing = np.array(grid.origin), np.array(grid.spacing)
        self._axes = [origin[n] + spacing[n] * np.arange(grid.shape[2 - n]) for n in range(3)]

    def boxes(self, low: NDArray[np.float64], high: NDArray[np.float64], margin: float = 0.0) -> Iterator[Box]:
        """The voxels that may lie in a box of design space, in slabs of bounded size; empty where none do."""
        reach = self.warp.reach_mm + margin
        ranges = []
        for axis, values in enumerate(self._axes):
            pad = reach + self.grid.spacing[axis]
            start = int(np.searchsorted(values, low[axis] - pad))
            stop = int(np.searchsorted(values, high[axis] + pad))
            if stop <= start:
                return
            ranges.append((start, stop))
        (x0, x1), (y0, y1), (z0, z1) = ranges
        step = max(2, int(_CHUNK_VOXELS // max(1, (x1 - x0) * (y1 - y0))))
        for first in range(z0, z1, step):
            last = min(first + step, z1)
            coordinates = self.warp.on_axes(self._axes[0][x0:x1], self._axes[1][y0:y1], self._axes[2][first:last])
            yield Box((slice(first, last), slice(y0, y1), slice(x0, x1)), *coordinates)

    def sees(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        """Whether a box of design space may lie in the grid: lets callers skip what is far outside."""
        reach = self.warp.reach_mm
        return all(
            low[n] - reach <= self._axes[n][-1] + self.grid.spacing[n]
            and high[n] + reach >= self._axes[n][0] - self.grid.spacing[n]
            for n in range(3)
        )

    def distance(self, shape: Shape, box: Box) -> Array:
        """Signed distance of a shape in a box; the parts of a union are evaluated near themselves only."""
        if not shape.parts:
            return shape.distance(box.x, box.y, box.z)
        value = np.full(box.x.shape, FAR, dtype=np.float32)
        corner = [box.where[2 - n].start for n in range(3)]
        for part in shape.parts:
            window = []
            for axis in range(3):
                values = self._axes[axis]
                pad = self.warp.reach_mm + 3.0 + 2.0 * max(self.grid.spacing)
                start = int(np.searchsorted(values, part.low[axis] - pad)) - corner[axis]
                stop = int(np.searchsorted(values, part.high[axis] + pad)) - corner[axis]
                window.append(slice(max(start, 0), max(stop, 0)))
            inner = (window[2], window[1], window[0])
            near = value[inner]
            if near.size:
                np.minimum(near, part.distance(box.x[inner], box.y[inner], box.z[inner]), out=near)
        return value

    def coverage(self, distance: Array) -> Array:
        """Share of each voxel inside the surface, from the distance and its change across the voxel.

        The change of the distance from voxel to voxel measures how wide the voxel is across the surface, whatever
        its shape and however the distance is scaled or warped: coverage = 1/2 - distance / width, clipped to 0..1.
        """
        width = np.zeros_like(distance)
        for axis, size in enumerate(distance.shape):
            if size > 1:
                width += np.abs(np.gradient(distance, axis=axis))
        # A true distance changes by at most the voxel's sides: steeper steps are edges between evaluated boxes.
        low, high = 0.7 * min(self.grid.spacing), 1.25 * sum(self.grid.spacing)
        return np.clip(np.float32(0.5) - distance / np.clip(width, np.float32(low), np.float32(high)), 0, 1)

    def paint(self, shape: Shape, value: Value, label: int | None = None, only: tuple[int, ...] = ()) -> None:
        """Paint a shape: HU mixed by coverage, the label where at least half the voxel is covered.

        `only` restricts it to voxels that carry one of these labels so far: a vessel inside its organ.
        """
        for box in self.boxes(shape.low, shape.high):
            distance = self.distance(shape, box)
            if only:
                distance = np.where(np.isin(self.labels[box.where], only), distance, np.maximum(distance, FAR))
            self.paint_box(box, distance, value, label)

    def paint_box(
        self, box: Box, distance: Array, value: Value, label: int | None = None, sublabel: int | None = None
    ) -> None:
        """Paint where a distance is negative in one box."""
        cover = self.coverage(distance)
        mask = cover > 0
        if not mask.any():
            return
        share = cover[mask]
        target = self.hu[box.where]
        content = value(box, mask, distance[mask]) if callable(value) else np.float32(value)
        target[mask] += share * (content - target[mask])
        if label is not None:
            self.labels[box.where][distance <= 0] = label
        if sublabel is not None:
            self.sublabels[box.where][distance <= 0] = sublabel
