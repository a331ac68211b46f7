"""Draws the dimensions of one vertebra and builds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.phantom.levels import MEANS, LevelMean
from ctrestoration.anatomy.phantom.shapes import Array, Shape, capsule
from ctrestoration.anatomy.phantom.vertebra import Body, Pedicle, Plate, Spinous, Vertebra, articular

Vector = NDArray[np.float64]
_MIN_GAP = 0.4  # bone left between pedicle and canal, mm


@dataclass(frozen=True)
class Drawn:
    """Dimensions of one patient's vertebra.

    Attributes:
        mean: dimensions after all variation.
        wedge: height difference front minus back of the body, mm (positive = higher in front).
        transverse: left and right pedicle angle.
        sagittal: left and right pedicle angle.
        widths: left and right pedicle width.
        osteophyte: 0 none .. 1 many.
    """

    mean: LevelMean
    wedge: float
    transverse: tuple[float, float]
    sagittal: tuple[float, float]
    widths: tuple[float, float]
    osteophyte: float


def draw(level: str, generator: np.random.Generator, scale: float, pedicle_scale: float, osteophyte: float) -> Drawn:
    """Dimensions of one level: the mean, scaled by the patient's size, with sample variation."""
    mean = MEANS[level]
    lengths = {
        name: getattr(mean, name) * scale * float(np.clip(generator.normal(1, 0.03), 0.92, 1.08))
        for name in ("width", "depth", "height", "disc", "process_span", "spinous_length")
    }
    canal = {
        name: getattr(mean, name) * (0.5 + 0.5 * scale) * float(np.clip(generator.normal(1, 0.03), 0.94, 1.06))
        for name in ("canal_width", "canal_depth")
    }
    height = mean.pedicle_height * scale * float(np.clip(generator.normal(1, 0.04), 0.9, 1.1))
    width = mean.pedicle_width * pedicle_scale * float(np.clip(generator.normal(1, 0.06), 0.86, 1.14))
    sides = np.clip(generator.normal(1, 0.03, 2), 0.93, 1.07)
    transverse = mean.transverse + np.clip(generator.normal(0, 2.0), -4, 4) + generator.normal(0, 0.8, 2)
    sagittal = mean.sagittal + np.clip(generator.normal(0, 2.0), -4, 4) + generator.normal(0, 0.8, 2)
    wedge = generator.normal(0.3, 0.4) * scale
    return Drawn(
        replace(mean, **lengths, **canal, pedicle_height=height, pedicle_width=width),
        float(wedge),
        (float(transverse[0]), float(transverse[1])),
        (float(sagittal[0]), float(sagittal[1])),
        (float(width * sides[0]), float(width * sides[1])),
        osteophyte,
    )


def build(level: str, drawn: Drawn, center: Vector, axes: Vector, generator: np.random.Generator) -> Vertebra:
    """The vertebra of a level at a frame."""
    m = drawn.mean
    canal = (0.0, m.depth / 2 + m.canal_depth / 2 - 0.6, m.canal_width / 2, m.canal_depth / 2)
    pedicles = tuple(_pedicle(level, drawn, canal, side) for side in (1, -1))
    waist, hollow = generator.uniform([0.08, 1.2], [0.13, 2.4])
    body = Body(m.width, m.depth, m.height, drawn.wedge, float(waist), float(hollow), _osteophytes(drawn, generator))
    arch = _arch(level, drawn, canal, pedicles, generator)
    processes = _processes(level, drawn, canal, pedicles)
    return Vertebra(level, center, axes, body, (pedicles[0], pedicles[1]), arch, processes, canal)


def joint_processes(upper: Vertebra, lower: Vertebra) -> tuple[Shape, ...]:
    """Inferior articular processes of `upper`, as shapes in the frame of `lower`."""
    turn = (upper.axes.T @ lower.axes).astype(np.float32)
    shift = (upper.axes.T @ (lower.center - upper.center)).astype(np.float32)
    far = np.full(3, 1e3)

    def moved(shape: Shape) -> Shape:
        def distance(x: Array, y: Array, z: Array) -> Array:
            u, v, w = (turn[n, 0] * x + turn[n, 1] * y + turn[n, 2] * z + shift[n] for n in range(3))
            return shape.distance(u, v, w)

        return Shape(distance, -far, far)

    return tuple(moved(shape) for shape in upper.processes[-2:])


def _pedicle(level: str, drawn: Drawn, canal: tuple[float, float, float, float], side: int) -> Pedicle:
    """The pedicle of one side, as close to the canal as its width lets it come."""
    m = drawn.mean
    index = 0 if side > 0 else 1
    transverse, sagittal = np.radians(drawn.transverse[index]), np.radians(drawn.sagittal[index])
    width = drawn.widths[index]
    direction = np.array(
        [-side * np.sin(transverse) * np.cos(sagittal), -np.cos(transverse) * np.cos(sagittal), -np.sin(sagittal)]
    )
    rise = 0.20 if level[0] in "CT" else 0.16
    y = m.depth / 2 + (2.0 if level[0] in "CT" else 2.5)
    z = rise * m.height
    angle = np.linspace(0, np.pi, 91)
    # The wall next to the canal: the axis stays half a width (plus flare) away from the canal's outline.
    outline = np.stack([side * canal[2] * np.sin(angle), canal[1] - canal[3] * np.cos(angle)], axis=1)
    flat = direction[:2] / np.linalg.norm(direction[:2])
    normal = np.array([-flat[1], flat[0]]) if -flat[1] * side > 0 else np.array([flat[1], -flat[0]])
    along = (outline - [0.0, y]) @ flat
    need = (outline @ normal) + width / 2 + np.minimum(0.014 * along**2, 2.2) + _MIN_GAP
    near = np.abs(along) < 9.0
    # Solve (x, y).normal = max(need) for x on the line at this y.
    x = (need[near].max() - y * normal[1]) / normal[0]
    return Pedicle(np.array([x, y, z]), direction, width, m.pedicle_height, side)


def _osteophytes(drawn: Drawn, generator: np.random.Generator) -> tuple[tuple[float, float, float, float], ...]:
    m = drawn.mean
    count = int(generator.poisson(7 * drawn.osteophyte))
    bumps = []
    for _ in range(min(count, 10)):
        angle = generator.uniform(np.pi * 1.02, np.pi * 1.98)  # front and sides
        end = generator.choice([-1.0, 1.0])
        radius = generator.uniform(2.0, 4.2) * (0.6 + 0.4 * drawn.osteophyte)
        bumps.append(
            (
                float(m.width / 2 * np.cos(angle)),
                float(m.depth / 2 * np.sin(angle)),
                float(end * (m.height / 2 - 0.5)),
                float(radius),
            )
        )
    return tuple(bumps)


def _arch(
    level: str,
    drawn: Drawn,
    canal: tuple[float, float, float, float],
    pedicles: tuple[Pedicle, ...],
    generator: np.random.Generator,
) -> tuple[Plate | Spinous, ...]:
    m = drawn.mean
    thoracic = level[0] in "CT"
    radius = 3.1 if thoracic else 3.7
    back = canal[1] + canal[3]
    roof = back + radius * 1.05
    low, high = (-0.62 * m.height, 0.28 * m.height) if thoracic else (-0.46 * m.height, 0.30 * m.height)
    plates: list[Plate | Spinous] = []
    for pedicle in pedicles:
        x = pedicle.side * (canal[2] + radius * 0.9)
        plates.append(Plate((x, canal[1] + 0.15 * canal[3]), (0.0, roof), low + 2, high, radius, -0.10))
    lean = float(generator.normal(0, 1.2))
    if thoracic:
        plates.append(
            Spinous(roof, roof + m.spinous_length, -0.36 * m.height, 0.06 * m.height, m.spinous_slope, 2.7, lean)
        )
    else:
        plates.append(
            Spinous(roof, roof + m.spinous_length, -0.46 * m.height, -0.02 * m.height, m.spinous_slope, 3.2, lean)
        )
    return tuple(plates)


def _processes(
    level: str, drawn: Drawn, canal: tuple[float, float, float, float], pedicles: tuple[Pedicle, ...]
) -> tuple[Shape, ...]:
    """Transverse processes, superior facets, and, last, the two inferior facets."""
    m = drawn.mean
    transverse, superior, inferior = [], [], []
    mid = canal[1]
    for pedicle in pedicles:
        side = pedicle.side
        lateral = canal[2] + 4.0
        root_z = float(pedicle.isthmus[2])
        flip = np.array([side, 1.0, 1.0])
        if level[0] in "CT" and level not in ("T12",):
            root, tip = (lateral + 1.0, mid + 6.5, root_z - 1.5), (m.process_span, mid + 16.0, root_z + 3.0)
            transverse.append(capsule(flip * root, flip * tip, 5.0, 4.8))
        elif level == "T12":
            root, tip = (lateral + 1.0, mid + 6.0, root_z - 3.0), (m.process_span, mid + 10.0, root_z - 2.0)
            transverse.append(capsule(flip * root, flip * tip, 5.0, 4.0))
        else:
            x0 = abs(float(pedicle.isthmus[0])) + 2.0
            root, tip = (x0, mid + 5.5, root_z - 3.5), (m.process_span, mid + 15.0, root_z - 0.5)
            transverse.append(capsule(flip * root, flip * tip, 5.0, 3.1))
        if level[0] in "CT" and level != "T12":
            back = canal[1] + 0.55 * canal[3]
            top = m.height / 2 + 5.0
            superior.append(articular(side, (lateral, back, root_z - 2), (lateral + 1.5, back + 1.0, top), (4.0, 3.4)))
            inferior.append(
                articular(
                    side,
                    (lateral - 1.5, back + 4, -0.2 * m.height),
                    (lateral, back + 7.0, -m.height / 2 - 6.0),
                    (3.8, 3.3),
                )
            )
        else:
            spread = max(0.0, abs(float(pedicle.isthmus[0])) - lateral)
            back = canal[1] + 0.45 * canal[3]
            x = lateral + 2.5 + 0.55 * spread
            superior.append(
                articular(side, (x, back - 1.0, root_z - 1), (x + 1.5, back + 1.5, m.height / 2 + 8.0), (6.2, 5.0))
            )
            inferior.append(
                articular(
                    side,
                    (x - 4.0, back + 5.5, -0.25 * m.height),
                    (x - 4.2, back + 6.5, -m.height / 2 - 8.0),
                    (5.6, 4.8),
                )
            )
    return (*transverse, *superior, *inferior)
