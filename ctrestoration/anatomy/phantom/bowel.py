"""Paints stomach, small bowel and colon: walls, fluid or stool, and gas that lies on top."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import NAME_ID
from ctrestoration.anatomy.phantom.canvas import Box, Canvas
from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Array, Shape, tube, union
from ctrestoration.anatomy.phantom.texture import SolidNoise
from ctrestoration.anatomy.phantom.trunk import Trunk

Vector = NDArray[np.float64]
GAS_HU = -960.0


@dataclass(frozen=True)
class Loop:
    """One piece of bowel.

    Attributes:
        path: points along it.
        radii: one a point.
        gas: share of its cross-section that is gas, 0..1, lying toward the patient's front.
        stool: whether it holds stool rather than fluid.
        label: value in the label map.
    """

    path: Vector
    radii: Vector
    gas: float
    stool: bool
    label: int


def paint_bowel(
    canvas: Canvas, trunk: Trunk, patient: Patient, noise: SolidNoise, generator: np.random.Generator
) -> None:
    """Paint the whole bowel, back to front."""
    loops = [*_small_bowel(trunk, generator), *_colon(trunk, generator), _stomach(trunk, generator)]
    for loop in loops:
        if canvas.sees(loop.path.min(axis=0) - 45, loop.path.max(axis=0) + 45):
            _paint_loop(canvas, _inside(loop, trunk), patient, noise)


def _inside(loop: Loop, trunk: Trunk) -> Loop:
    """The loop moved inward where it would reach through the wall of the cavity."""
    path = loop.path.copy()
    for _ in range(25):
        depth = trunk.cavity.distance(*(path[:, n].astype(np.float32) for n in range(3)))
        out = depth > -(loop.radii + 2.0)
        if not out.any():
            break
        path[out, 0] *= 0.97
        path[out, 1] += 0.04 * (-45.0 - path[out, 1])
    return replace(loop, path=path)


def _paint_loop(canvas: Canvas, loop: Loop, patient: Patient, noise: SolidNoise) -> None:
    wall = 88.0 if patient.contrast else 42.0
    canvas.paint(tube(loop.path, loop.radii), wall, loop.label)
    lumen = tube(loop.path, np.maximum(loop.radii - 2.3, 2.0))
    canvas.paint(lumen, _stool(noise) if loop.stool else _fluid(noise), loop.label)
    if loop.gas <= 0:
        return
    # Fluid finds one height in a loop.
    level = np.float32(loop.path[:, 1].mean() + loop.radii.mean() * (2 * loop.gas - 1) * 0.8)
    canvas.paint(union([_above(part, level) for part in lumen.parts]), GAS_HU)


def _above(shape: Shape, level: np.float32) -> Shape:
    """The part of a shape toward the patient's front from a level."""
    return Shape(lambda x, y, z: np.maximum(shape.distance(x, y, z), y - level), shape.low, shape.high)


def _fluid(noise: SolidNoise) -> Any:
    def value(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        return 20 + 8 * noise(*box.masked(mask), 3.5)

    return value


def _stool(noise: SolidNoise) -> Any:
    def value(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        x, y, z = box.masked(mask)
        bubbles = np.clip(noise(x, y, z, 2.0) - 0.7, 0, 1.2)
        return 30 + 25 * noise(x, y, z, 4.0) - 420 * bubbles

    return value


def _small_bowel(trunk: Trunk, generator: np.random.Generator) -> list[Loop]:
    """Loops laid in rows through the middle of the abdomen, each shifted and bent at random."""
    loops = []
    rows = [(x, y, z) for z in (30, 5, -20, -45, -70, -95, -120) for y in (-58, -82, -106) for x in (-62, -22, 20, 60)]
    rows += [(x, y, z) for z in (80, 58) for y in (-48, -72) for x in (34, 66)]  # jejunum, under the stomach
    for x, y, z in rows:
        if generator.random() < 0.14:
            continue
        front = trunk.cavity.at(z)[1]
        center = np.array([x, max(trunk.spine(min(z, 0))[1] * 0.3 + y, front + 17), z], float)
        center += generator.normal(0, 6, 3)
        count = 6
        angle = generator.uniform(0, 2 * np.pi) + np.linspace(0, generator.uniform(1.8, 4.2), count)
        wide = generator.uniform(15, 24)
        tilt = generator.uniform(-0.6, 0.6)
        path = center + np.stack(
            [wide * np.cos(angle), 0.55 * wide * np.sin(angle), 12 * np.sin(angle + 1.2) + tilt * 10 * np.cos(angle)],
            axis=1,
        )
        # Never through the front wall, never into the spine.
        path[:, 1] = np.maximum(path[:, 1], front + 14)
        path[:, 1] = np.minimum(path[:, 1], [trunk.spine(point[2])[1] - 46 for point in path])
        radius = generator.uniform(9.0, 13.5)
        radii = radius * (1 + 0.10 * np.sin(np.linspace(0, 9, count) + generator.uniform(0, 6)))
        gas = generator.uniform(0.3, 0.8) if generator.random() < 0.13 else 0.0
        loops.append(Loop(path, radii, gas, False, NAME_ID["small_bowel"]))
    return loops


def _colon(trunk: Trunk, generator: np.random.Generator) -> list[Loop]:
    label = NAME_ID["colon"]
    ascending = _curve([_side(trunk, -0.80, -42, z) for z in (-95, -55, -15, 22)])
    across = _curve([
        _side(trunk, -0.74, -52, 26), _front(trunk, -75, 30, 16), _front(trunk, -30, 26, -6),
        _front(trunk, 25, 26, -2), _front(trunk, 72, 32, 30), _side(trunk, 0.76, -40, 72),
    ])  # fmt: skip
    descending = _curve([_side(trunk, 0.84, -18, z) for z in (72, 30, -20, -62, -92)])
    sigmoid = _curve(
        [
            _side(trunk, 0.75, -30, -95),
            np.array([60.0, -42, -125]),
            np.array([18.0, -20, -140]),
            np.array([2.0, 22, -150]),
            np.array([0.0, 48, -178]),
        ]
    )
    loops = []
    for path, radius, gas, stool in (
        (ascending, 23.0, generator.uniform(0.1, 0.5), True),
        (across, 18.0, generator.uniform(0.35, 0.9), bool(generator.random() < 0.5)),
        (descending, 14.0, generator.uniform(0.0, 0.6), True),
        (sigmoid, 14.0, generator.uniform(0.1, 0.6), True),
    ):
        phase = generator.uniform(0, 6)
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
        haustra = 1 + 0.15 * np.sin(2 * np.pi * length / 27 + phase)
        loops.append(Loop(path, radius * haustra * generator.uniform(0.9, 1.12), gas, stool, label))
    return loops


def _stomach(trunk: Trunk, generator: np.random.Generator) -> Loop:
    rows = [(150, 52, -44), (120, 58, -58), (88, 54, -84), (66, 28, -98), (60, -2, -94), (62, -28, -82)]
    path = _curve([trunk.at_spine(x, y, z) for z, x, y in rows])
    path[:, 1] = np.maximum(path[:, 1], [trunk.cavity.at(point[2])[1] + 26 for point in path])
    radii = np.interp(np.linspace(0, 1, len(path)), [0, 0.25, 0.55, 0.8, 1], [35, 38, 28, 19, 13])
    return Loop(path, radii * generator.uniform(0.85, 1.1), generator.uniform(0.25, 0.6), False, NAME_ID["stomach"])


def _curve(points: list[Vector]) -> Vector:
    """A smooth path through points, sampled about every 9 mm."""
    from scipy.interpolate import PchipInterpolator

    known = np.array(points, dtype=float)
    s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(known, axis=0), axis=1))]
    return np.asarray(PchipInterpolator(s, known)(np.linspace(0, s[-1], max(3, int(s[-1] / 9)))))


def _side(trunk: Trunk, share: float, y: float, z: float) -> Vector:
    return np.array([share * trunk.cavity.at(z)[0], y, z])


def _front(trunk: Trunk, x: float, depth: float, z: float) -> Vector:
    return np.array([x, trunk.cavity.at(z)[1] + depth, z])
