"""Masks of simple vertebrae for the tests of the planner: a body, an arch around the canal, two straight pedicles."""

from __future__ import annotations

import numpy as np

from ctrestoration.volume import Grid, LabelMap

LEVEL_ID = {"L2": 30, "L3": 29, "L4": 28}


def spine(
    *,
    radius: float = 4.5,
    angle_deg: float = 12.0,
    gap_mm: float = 9.0,
    height: float = 26.0,
    arch: bool = True,
    direction: np.ndarray | None = None,
    cut: bool = False,
) -> LabelMap:
    """Three lumbar vertebrae, one above the other, on a grid of 1.2 mm."""
    size = (82, 92, 78) if not cut else (50, 92, 78)
    grid = Grid.from_parts(size, (1.2, 1.2, 1.2), (-46.0, -30.0, -60.0 if not cut else -14.0))
    if direction is not None:
        middle = grid.to_world((np.array(size[::-1]) - 1) / 2)
        shape = tuple(np.array(size))
        turned = Grid.from_parts(shape, (1.2, 1.2, 1.2), (0, 0, 0), direction)
        origin = middle - turned.to_world((np.array(size[::-1]) - 1) / 2)
        grid = Grid.from_parts(shape, (1.2, 1.2, 1.2), tuple(origin), direction)
    k, j, i = np.indices(grid.shape)
    points = grid.to_world(np.stack([i, j, k], axis=-1))
    labels = np.zeros(grid.shape, dtype=np.uint16)
    step = height + gap_mm
    for level, z in (("L2", step), ("L3", 0.0), ("L4", -step)):
        labels[vertebra(points - [0, 0, z - 12.0], radius, angle_deg, height, arch)] = LEVEL_ID[level]
    return LabelMap(labels, grid, {value: f"vertebrae_{name}" for name, value in LEVEL_ID.items()}, "test spine")


def vertebra(points: np.ndarray, radius: float, angle_deg: float, height: float, arch: bool) -> np.ndarray:
    """Which points lie in the vertebra whose body is centered at the origin."""
    x, y, z = np.moveaxis(points, -1, 0)
    body = ((x / 23) ** 2 + (y / 16) ** 2 < 1) & (np.abs(z) < height / 2)
    out = body
    for side in (1, -1):
        middle, direction = axis(side, radius, angle_deg)
        along = (points - middle) @ direction
        away = np.linalg.norm(points - middle - along[..., None] * direction, axis=-1)
        bar = np.maximum(0.012 * along**2, 0)
        out = out | ((away < radius + bar) & (np.abs(along) < 16))
    if arch:
        ring = ((x / 17) ** 2 + ((y - 23) / 13.5) ** 2 < 1) & ((x / 11.5) ** 2 + ((y - 23) / 7.5) ** 2 > 1)
        out = out | (ring & (y > 27) & (z > -12) & (z < 10))
        out = out | ((np.abs(x) < 3) & (y > 33) & (y < 52) & (z > -12) & (z < 3))
    canal = (x / 11) ** 2 + ((y - 23) / 7.3) ** 2 < 1
    return out & ~canal


def axis(side: int, radius: float = 4.5, angle_deg: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """Isthmus and direction of the pedicle of one side, in the vertebra's frame."""
    a = np.radians(angle_deg)
    return np.array([side * (12.6 + radius), 19.0, 5.0]), np.array([-side * np.sin(a), -np.cos(a), 0.0])
