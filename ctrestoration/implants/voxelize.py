"""Plans on a CT grid, as one map of metal fractions a material."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.plan import Plan, Screw
from ctrestoration.volume import Grid

HEAD_DIAMETER, HEAD_HEIGHT = 13.0, 16.0
"""A tulip's outer size in mm."""

ROD_BEHIND_ENTRY = 6.9
"""Where the rod's center lies in the tulip, mm behind the entry."""

SAMPLES = 4
"""Samples a voxel and axis; more along an axis of thick slices."""


@dataclass(frozen=True)
class Cylinder:
    """A straight round bar with flat ends; points in LPS mm."""

    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    radius: float

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (..., 3) lie inside."""
        axis = self.stop - self.start
        length = float(np.linalg.norm(axis))
        along = (points - self.start) @ (axis / length)
        away2 = ((points - self.start) ** 2).sum(axis=-1) - along**2
        return (along >= 0) & (along <= length) & (away2 <= self.radius**2)


def place(plan: Plan, grid: Grid) -> dict[str, NDArray[np.float32]]:
    """Metal fractions of a plan's screws and rods.

    Args:
        plan: the construct.
        grid: any CT grid.

    Returns:
        material -> fraction 0..1, float32 [z, y, x]; where parts of one material overlap, the larger fraction counts,
        and several materials are scaled to sum to at most 1.
    """
    maps: dict[str, NDArray[np.float32]] = {}
    for material, part in _parts(plan):
        fraction = maps.setdefault(material, np.zeros(grid.shape, dtype=np.float32))
        box = _box(part, grid)
        if box is not None:
            region = fraction[box]
            np.maximum(region, _fraction(part, grid, box), out=region)
    total = sum(maps.values(), np.zeros(grid.shape, dtype=np.float32))
    if total.max() > 1:
        for fraction in maps.values():
            fraction /= np.maximum(total, 1)
    return maps


def _direction(screw: Screw) -> NDArray[np.float64]:
    axis = np.asarray(screw.target, dtype=float) - np.asarray(screw.entry, dtype=float)
    return axis / np.linalg.norm(axis)


def _parts(plan: Plan) -> Iterator[tuple[str, Cylinder]]:
    for screw in plan.screws:
        entry, target = np.asarray(screw.entry, dtype=float), np.asarray(screw.target, dtype=float)
        yield screw.material, Cylinder(entry, target, screw.diameter_mm / 2)
        yield screw.material, Cylinder(entry, entry - _direction(screw) * HEAD_HEIGHT, HEAD_DIAMETER / 2)
    for rod in plan.rods:
        for start, stop in itertools.pairwise(np.asarray(rod.points, dtype=float)):
            yield rod.material, Cylinder(start, stop, rod.diameter_mm / 2)


def _box(part: Cylinder, grid: Grid) -> tuple[slice, slice, slice] | None:
    """Voxels that the part can touch; None where it lies outside the grid."""
    corners = np.array(
        [
            end + part.radius * np.array(s)
            for end in (part.start, part.stop)
            for s in itertools.product((-1, 1), repeat=3)
        ]
    )
    index = grid.to_index(corners)[:, ::-1]
    low = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, grid.shape)
    if (low >= high).any():
        return None
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _fraction(part: Cylinder, grid: Grid, box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
    finest = min(grid.spacing)
    counts = [SAMPLES * max(1, round(step / finest)) for step in grid.spacing[::-1]]
    axes = [
        np.repeat(np.arange(side.start, side.stop), n) + np.tile((np.arange(n) + 0.5) / n - 0.5, side.stop - side.start)
        for side, n in zip(box, counts, strict=True)
    ]
    out = np.empty([side.stop - side.start for side in box], dtype=np.float32)
    j, i = np.meshgrid(axes[1], axes[2], indexing="ij")
    for z in range(out.shape[0]):
        layers = axes[0][z * counts[0] : (z + 1) * counts[0]]
        inside = np.zeros((out.shape[1], out.shape[2]), dtype=np.float64)
        for k in layers:
            points = grid.to_world(np.stack([i, j, np.full_like(i, k)], axis=-1))
            hit = part.contains(points)
            inside += hit.reshape(out.shape[1], counts[1], out.shape[2], counts[2]).mean(axis=(1, 3))
        out[z] = inside / counts[0]
    return out
