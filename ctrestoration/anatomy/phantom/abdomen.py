"""Paints the organs of the abdomen: liver with lesions, spleen, kidneys, pancreas, stomach and bowel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import NAME_ID
from ctrestoration.anatomy.phantom.canvas import Box, Canvas
from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Array, Shape, blend, ellipsoid, tube, union
from ctrestoration.anatomy.phantom.texture import SolidNoise
from ctrestoration.anatomy.phantom.trunk import Trunk
from ctrestoration.anatomy.phantom.vessels import blood_hu

Vector = NDArray[np.float64]


def paint_organs(
    canvas: Canvas, trunk: Trunk, patient: Patient, noise: SolidNoise, generator: np.random.Generator
) -> Shape:
    """Paint the solid organs; returns the liver, for its lesions."""
    bright = patient.contrast
    _, vein = blood_hu(patient)

    def tissue(mean: float, sd: float, scale: float) -> Any:
        def value(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
            return mean + sd * noise(*box.masked(mask), scale)

        return value

    room = _below_diaphragm(trunk)
    liver = _liver(trunk, generator).within(room, 3.0)
    canvas.paint(liver, tissue(102.0 if bright else 56.0, 3.5, 5.0), NAME_ID["liver"])
    canvas.paint(_liver_vessels(trunk, generator), vein - 8 if bright else 46.0, only=(NAME_ID["liver"],))
    spleen = ellipsoid(trunk.at_spine(98, 4, 122), (33, 54, 58), _turn(0.35, -0.25)).within(room, 3.0)
    canvas.paint(spleen, tissue(108.0 if bright else 47.0, 3.0, 4.0), NAME_ID["spleen"])
    for side, name in ((1, "left"), (-1, "right")):
        _paint_kidney(canvas, trunk, patient, side, name, noise)
    pancreas = tube(
        _line(trunk, [(40, -32, -58), (52, -8, -66), (62, 24, -62), (78, 62, -34)]), [12, 9, 9, 8], (1, 0.9, 1.1)
    )
    canvas.paint(pancreas, _lobulated(noise, 82.0 if bright else 40.0), NAME_ID["pancreas"])
    duodenum = tube(_line(trunk, [(58, -38, -72), (40, -52, -52), (10, -50, -42), (-8, -20, -44), (-2, 18, -48)]), 10.5)
    canvas.paint(duodenum, 62.0 if bright else 42.0, NAME_ID["duodenum"])
    canvas.paint(duodenum.grown(-3.0), 22.0)
    gallbladder = ellipsoid(trunk.at_spine(-62, -88, 44), (14, 18, 26), _turn(0.4, 0.3)).within(room, 3.0)
    canvas.paint(gallbladder, 62.0 if bright else 40.0, NAME_ID["gallbladder"])
    canvas.paint(gallbladder.grown(-1.8), 8.0)
    return liver


def paint_lesions(
    canvas: Canvas, liver: Shape, patient: Patient, noise: SolidNoise, generator: np.random.Generator
) -> tuple[NDArray[np.uint16], tuple[dict[str, Any], ...]]:
    """Paint the liver lesions; returns their label map and their truth in design coordinates."""
    base = 102.0 if patient.contrast else 56.0
    labels = np.zeros(canvas.grid.shape, dtype=np.uint16)
    facts: list[dict[str, Any]] = []
    for number in range(1, patient.lesions + 1):
        radius = float(np.clip(generator.gamma(3.0, 3.0), 3.5, 22.0))
        center = _place_inside(liver, radius + 4.0, [fact["_center"] for fact in facts], generator)
        if center is None:
            continue
        hyper = patient.contrast and generator.random() < 0.2
        delta = float(generator.uniform(22, 34)) if hyper else float(-generator.uniform(25, 45))
        radii = radius * generator.uniform(0.85, 1.15, 3)
        body = ellipsoid(center, radii)

        def distance(x: Array, y: Array, z: Array, body: Shape = body, grain: float = 0.5 * radius + 2) -> Array:
            return body.distance(x, y, z) + np.float32(0.14 * grain) * noise(x, y, z, grain)

        shape = Shape(distance, body.low - 3, body.high + 3)

        def value(box: Box, mask: NDArray[np.bool_], d: Array, delta: float = delta, radius: float = radius) -> Array:
            core = np.clip(-d / np.float32(0.7 * radius), 0, 1)  # necrosis toward the middle
            return (
                base
                + np.float32(delta) * (np.float32(0.8) + np.float32(0.35) * core)
                + 4 * noise(*box.masked(mask), 3.0)
            )

        for box in canvas.boxes(shape.low, shape.high):
            d = shape.distance(box.x, box.y, box.z)
            canvas.paint_box(box, d, value)
            labels[box.where][d <= 0] = number
        facts.append(
            {
                "label": number,
                "kind": "hypervascular" if hyper else "hypodense",
                "radii_mm": [round(float(value), 2) for value in radii],
                "contrast_hu": round(delta, 1),
                "_center": center,
            }
        )
    return labels, tuple(facts)


def _place_inside(solid: Shape, depth: float, others: list[Vector], generator: np.random.Generator) -> Vector | None:
    for _ in range(200):
        point = generator.uniform(solid.low, solid.high)
        x, y, z = (np.array([value], dtype=np.float32) for value in point)
        if float(solid.distance(x, y, z)[0]) < -depth and all(np.linalg.norm(point - other) > 30 for other in others):
            return np.asarray(point)
    return None


def _below_diaphragm(trunk: Trunk) -> Shape:
    def distance(x: Array, y: Array, z: Array) -> Array:
        dome = (z - trunk.diaphragm(x, y)) * np.float32(0.75) + 3
        return np.maximum(trunk.cavity.distance(x, y, z), dome)

    return Shape(distance, np.array([-200.0, -220.0, -260.0]), np.array([200.0, 120.0, 200.0]))


def _liver(trunk: Trunk, generator: np.random.Generator) -> Shape:
    size = float(generator.uniform(0.93, 1.06))
    right = ellipsoid(trunk.at_spine(-82, -34, 122), np.array([62, 84, 92]) * size, _turn(0.15, 0.12))
    left = ellipsoid(trunk.at_spine(-14, -78, 130), np.array([72, 50, 54]) * size, _turn(-0.2, 0.15))
    tip = ellipsoid(trunk.at_spine(-96, -46, 52), np.array([36, 50, 64]) * size, _turn(0.1, 0.1))
    solid = blend([right, left, tip], 18.0)
    # The hilum and the beds of gallbladder and right kidney.
    notch = ellipsoid(trunk.at_spine(-34, -44, 84), (17, 15, 22))
    kidney = _kidney(trunk, size, -1).grown(5.0)
    fissure = tube(np.array([trunk.at_spine(-22, -120, 120), trunk.at_spine(-20, -78, 96)]), [2.5, 4.0])
    return solid.minus(notch, kidney, fissure)


def _liver_vessels(trunk: Trunk, generator: np.random.Generator) -> Shape:
    branches = [tube(_line(trunk, [(80, -26, -52), (96, -44, -44), (108, -62, -40)]), [7, 6.5, 5.5])]
    for root, count, wide in ((trunk.at_spine(-52, -40, 102), 12, 4.2), (trunk.at_spine(-26, -48, 168), 9, 4.6)):
        for _ in range(count):
            tip = trunk.at_spine(generator.uniform(-125, 25), generator.uniform(-100, 25), generator.uniform(60, 165))
            t = np.linspace(0, 1, 6)[:, None]
            path = root + t * (tip - root) + np.sin(np.pi * t) * generator.normal(0, 8, 3)
            branches.append(tube(path, np.linspace(wide, 1.1, 6)))
    return union(branches)


def _kidney_frame(trunk: Trunk, side: int) -> tuple[Vector, Vector]:
    return trunk.at_spine(side * 58, 0, 46 + 5 * side), _turn(-0.45 * side, 0.18 * side)


def _kidney(trunk: Trunk, size: float, side: int) -> Shape:
    center, turn = _kidney_frame(trunk, side)
    return ellipsoid(center, np.array([24, 29, 54]) * size, turn)


def _paint_kidney(canvas: Canvas, trunk: Trunk, patient: Patient, side: int, name: str, noise: SolidNoise) -> None:
    center, turn = _kidney_frame(trunk, side)
    # Fetal lobes dent the surface; fat and calyces reach between the pyramids.
    kidney = _wavy(_kidney(trunk, patient.bone_scale, side), noise, 1.5, 13.0)
    hilum = _wavy(ellipsoid(center + turn @ np.array([-side * 24.0, -6, 0]), (12, 8, 15), turn), noise, 1.5, 6.0)
    solid = kidney.minus(hilum)
    bright = patient.contrast
    canvas.paint(solid, 172.0 if bright else 33.0, NAME_ID[f"kidney_{name}"])
    if bright:  # medulla is darker than cortex in the portal venous phase
        canvas.paint(kidney.minus(hilum, gap=2.0).grown(-6.0), _medulla(noise), NAME_ID[f"kidney_{name}"])
    sinus = ellipsoid(center + turn @ np.array([-side * 12.0, -3, 0]), (9, 7, 25), turn)
    canvas.paint(_wavy(sinus, noise, 3.0, 5.5), -82.0)
    pelvis = tube(np.array([center, center + turn @ np.array([-side * 20.0, -6, -4])]), [3.2, 4.5])
    canvas.paint(pelvis, 14.0)
    down = center + turn @ np.array([-side * 24.0, -6, -10])
    ureter = [down, trunk.at_spine(side * 38, -20, -10), trunk.at_spine(side * 36, -32, -60)]
    canvas.paint(tube(np.array(ureter), 2.2), 25.0)


def _wavy(shape: Shape, noise: SolidNoise, height_mm: float, scale_mm: float) -> Shape:
    """The shape with its surface moved in and out by noise of this standard deviation and grain."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        x, y, z = np.broadcast_arrays(x, y, z)
        return shape.distance(x, y, z) + np.float32(height_mm) * noise(x, y, z, scale_mm)

    return Shape(distance, shape.low - 2 * height_mm, shape.high + 2 * height_mm)


def _medulla(noise: SolidNoise) -> Any:
    def value(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        return 143 + 24 * np.tanh(3 * noise(*box.masked(mask), 6.5))

    return value


def _lobulated(noise: SolidNoise, mean: float) -> Any:
    def value(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        fat = np.clip(noise(*box.masked(mask), 2.2) - 0.9, 0, 1)
        return mean - 100 * fat

    return value


def _line(trunk: Trunk, rows: Sequence[tuple[float, float, float]]) -> Vector:
    return np.array([trunk.at_spine(x, y, z) for z, x, y in rows])


def _turn(about_z: float, about_y: float) -> Vector:
    cz, sz, cy, sy = np.cos(about_z), np.sin(about_z), np.cos(about_y), np.sin(about_y)
    return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
