"""Plans to put into scenes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctrestoration.implants.plan import Device, Plan, Screw
from ctrestoration.implants.rods import rods_for
from ctrestoration.volume import Grid


def example_plan(grid: Grid, levels: tuple[str, ...] = ("L3", "L4")) -> Plan:
    """Two screws a level with rods and a cage, around the middle of a grid; coordinates are no round numbers."""
    center = grid.to_world([(n - 1) / 2 for n in grid.shape[::-1]])
    screws = []
    for number, level in enumerate(levels):
        for side, sign in (("left", 1.0), ("right", -1.0)):
            entry = center + np.array((sign * 14.123456789, 21.7 + number / 7, -38.1 * number))
            target = center + np.array((sign * 7.0 / 3, -16.4, -38.1 * number + 2.2))
            screws.append(_screw(level, side, entry, target, 6.5 if number else 5.5))
    warnings: list[str] = []
    rods = rods_for(screws, warnings, 6.0, "CoCrMo")
    axis = np.array([0.1, 1.0, -0.2])
    axis /= np.linalg.norm(axis)
    position = center + np.array((0.1, -8.0, -19.0))
    device = Device("plif-cage", _point(position), _point(axis), (1.0, 0.0, 0.0), {"length_mm": 28.0})
    return Plan(tuple(screws), rods, ("The L4 pedicle is narrow.",), (device,), None, {"mode": "straight", "seed": 3})


def _screw(level: str, side: Any, entry: np.ndarray, target: np.ndarray, diameter: float) -> Screw:
    return Screw(
        level, side, _point(entry), _point(target), diameter, "CoCrMo", "B", 1.25, "medial", 3.0625, 11.5, -2.25, 9.75,
        0.7, 2.8, 1.5, True, False, 0.5,
    )  # fmt: skip


def _point(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
