"""Paints lungs, heart, mediastinum, ribs with their cartilage, sternum and shoulder blades."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import NAME_ID
from ctrestoration.anatomy.phantom.bones import paint_bone
from ctrestoration.anatomy.phantom.canvas import Box, Canvas
from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Array, Shape, ellipse_distance, ellipsoid, smooth_max, tube, union
from ctrestoration.anatomy.phantom.spine import Spine
from ctrestoration.anatomy.phantom.texture import SolidNoise
from ctrestoration.anatomy.phantom.trunk import Trunk
from ctrestoration.anatomy.phantom.vessels import blood_hu

Vector = NDArray[np.float64]
_TOP = 352.0  # z of the lung apex


def paint_chest(
    canvas: Canvas, trunk: Trunk, patient: Patient, noise: SolidNoise, generator: np.random.Generator
) -> None:
    """Paint mediastinum, heart, lungs and their vessels."""
    artery, vein = blood_hu(patient)
    heart_turn = _turn_z(0.6)
    heart = ellipsoid(trunk.at_spine(26, -80, 200), (56, 42, 46), heart_turn).within(_room(trunk), 4.0)
    low, high = np.array([-190.0, -190.0, 70.0]), np.array([190.0, 130.0, _TOP + 12])
    for box in canvas.boxes(low, high):
        lungs = _lung_distance(trunk, heart, box)
        if not (lungs < 3).any():
            continue

        def air(inner: Box, mask: NDArray[np.bool_], d: Array) -> Array:
            x, y, z = inner.masked(mask)
            # Gravity: the back of a supine lung is denser.
            return -870 + np.float32(0.75) * np.clip(y + 60, -40, 120) + 22 * noise(x, y, z, 4.0)

        for side, name in ((1, "lung_left"), (-1, "lung_right")):
            half = np.maximum(lungs, -side * box.x)
            canvas.paint_box(box, half, air, NAME_ID[name])
    canvas.paint(heart, 0.5 * (artery + vein) - 12 if patient.contrast else 40.0, NAME_ID["heart"])
    canvas.paint(
        ellipsoid(trunk.at_spine(24, -83, 197), (32, 22, 28), heart_turn).within(heart, 8.0),
        vein if patient.contrast else 42.0,
    )
    _paint_great_vessels(canvas, trunk, artery, vein)
    lungs_only = (NAME_ID["lung_left"], NAME_ID["lung_right"])
    canvas.paint(_lung_vessels(trunk, generator), vein - 60 if patient.contrast else 20.0, only=lungs_only)
    canvas.paint(tube(_line(trunk, [(350, 0, -38), (285, 0, -34)]), [10, 9]), 40.0)
    canvas.paint(tube(_line(trunk, [(350, 0, -38), (285, 0, -34)]), [8, 7.5]), -1000.0, NAME_ID["trachea"])
    canvas.paint(
        tube(_line(trunk, [(350, 4, -26), (250, 4, -28), (178, 12, -44)]), [6.5, 6.5, 7]), 38.0, NAME_ID["esophagus"]
    )


def paint_ribs(canvas: Canvas, trunk: Trunk, patient: Patient, spine: Spine, noise: SolidNoise) -> None:
    """Paint twelve pairs of ribs, their cartilage, the sternum and the shoulder blades."""
    marrow = 0.75 * patient.trabecular_hu + 40
    ends = []
    for number in range(1, 13):
        for side, name in ((1, "left"), (-1, "right")):
            path = rib_path(trunk, spine, number, side)
            thick = 3.3 if 2 < number < 12 else 2.9
            rib = tube(path, np.linspace(thick, thick * 1.05, len(path)), (1.0, 1.0, 1.75))
            paint_bone(canvas, rib, marrow, 1.0, noise, NAME_ID[f"rib_{name}_{number}"])
            if number <= 10:
                ends.append((number, side, path[-1]))
    sternum = _sternum(trunk)
    cartilage = []
    for number, side, end in ends:
        height = 318 - 17 * min(number, 7) - (6 if number > 7 else 0)
        x, y = side * 15.0, trunk.wall.at(height)[1] + 9
        middle = 0.5 * (end + np.array([x, y, height])) + np.array([0.0, -2.0, -6.0])
        cartilage.append(tube(np.array([end, middle, [x, y, height]]), [4.2, 4.5, 4.2], (1, 1, 1.4)))
    canvas.paint(union(cartilage), 95.0, NAME_ID["costal_cartilages"])
    paint_bone(canvas, sternum, marrow, 1.0, noise, NAME_ID["sternum"])
    for side, name in ((1, "left"), (-1, "right")):
        paint_bone(canvas, _scapula(trunk, side), marrow, 1.2, noise, NAME_ID[f"scapula_{name}"])


def rib_path(trunk: Trunk, spine: Spine, number: int, side: int) -> Vector:
    """Points along a rib: from the joint with its vertebra by the transverse process's tip around the chest."""
    level = f"T{number}"
    vertebra = spine.vertebrae[level]
    mean = spine.drawn[level].mean
    joint = vertebra.to_design(np.array([side * (mean.width / 2 + 2.5), mean.depth / 2 - 2, 0.35 * mean.height]))
    reach = mean.process_span + (4 if number < 11 else 8)
    neck = vertebra.to_design(np.array([side * reach, mean.depth / 2 + 14.0, 0.35 * mean.height - 1]))
    last = {11: 0.50, 12: 0.34}.get(number, min(0.62 + 0.03 * number, 0.80))
    drop = {1: 28.0, 2: 48.0, 11: 52.0, 12: 34.0}.get(number, 62.0 + 4.0 * number)
    points = [joint, 0.5 * (joint + neck) + vertebra.axes @ np.array([0, 4.0, 0]), neck]
    # Around the chest wall; the angle runs from the back (0) over the side (1/2) to the front (1).
    first = 0.5 - np.arccos(np.clip(abs(neck[0]) / 150, 0, 1)) / np.pi
    for u in np.linspace(max(first + 0.07, 0.12), last, 13):
        share = (u - first) / (0.85 - first)
        z = float(neck[2] - drop * share**1.15)
        wide, front, back = trunk.wall.at(z)
        narrow, inner_front, inner_back = trunk.cavity.at(z)
        half = 0.45 * wide + 0.55 * narrow
        y0, y1 = 0.45 * front + 0.55 * inner_front, 0.35 * min(back, inner_back + 16) + 0.65 * inner_back
        angle = np.pi * u
        sine, cosine = np.sin(angle) ** 0.8, np.sign(np.cos(angle)) * abs(np.cos(angle)) ** 0.8
        points.append(np.array([side * half * sine, 0.5 * (y0 + y1) + 0.5 * (y1 - y0) * cosine, z]))
    return np.array(points)


def _paint_great_vessels(canvas: Canvas, trunk: Trunk, artery: float, vein: float) -> None:
    """Ascending aorta and arch, pulmonary trunk with its main branches, superior vena cava, brachiocephalic veins."""
    arch = [(222, 6, -78), (255, 0, -76), (283, 2, -66), (298, 10, -48), (300, 20, -32), (292, 24, -27)]
    lungs = [(225, 24, -96), (252, 18, -82), (264, 8, -66)]
    canvas.paint(tube(_line(trunk, lungs), [14, 14, 12]), vein, NAME_ID["heart"])
    for side in (1, -1):
        canvas.paint(tube(_line(trunk, [(264, 8, -66), (258, side * 36, -48)]), [10, 8]), vein)
    canvas.paint(tube(_line(trunk, arch), [15, 15.5, 14.5, 13.5, 13, 12.5]), artery, NAME_ID["aorta"])
    canvas.paint(tube(_line(trunk, [(228, -26, -66), (270, -24, -62), (315, -22, -54)]), [10, 9.5, 8.5]), vein)
    for side in (1, -1):
        canvas.paint(tube(_line(trunk, [(312, -20, -56), (325, side * 26, -52), (350, side * 34, -42)]), 6.0), vein)


def _room(trunk: Trunk) -> Shape:
    return Shape(trunk.cavity.distance, np.array([-190.0, -190.0, 70.0]), np.array([190.0, 130.0, _TOP + 12]))


def _lung_distance(trunk: Trunk, heart: Shape, box: Box) -> Array:
    return _lungs(trunk, heart).distance(box.x, box.y, box.z)


def _lungs(trunk: Trunk, heart: Shape) -> Shape:
    def distance(x: Array, y: Array, z: Array) -> Array:
        chest = trunk.cavity.distance(x, y, z) + np.float32(2.5)
        above = (trunk.diaphragm(x, y) - z) * np.float32(0.75)
        behind = trunk.behind(y, z)
        # The spine with its muscles, and the mediastinum in front of it.
        column = ellipse_distance(x, behind - 20, np.float32(27), np.float32(44))
        middle = ellipse_distance(
            x - 4, behind + 66, np.float32(24) + np.float32(0.06) * np.abs(z - 215), np.float32(60)
        )
        value = smooth_max(smooth_max(chest, above, 6.0), -np.minimum(column, middle), 8.0)
        value = np.maximum(value, 4 - heart.distance(x, y, z))
        apex = (z - np.float32(_TOP)) + ((np.abs(x) - 52) ** 2 + (behind + 4) ** 2) / np.float32(90)
        return smooth_max(value, apex * np.float32(0.5), 10.0)

    return Shape(distance, np.array([-190.0, -190.0, 70.0]), np.array([190.0, 130.0, _TOP + 12]))


def _lung_vessels(trunk: Trunk, generator: np.random.Generator) -> Shape:
    """Trees that branch from both hila toward the pleura."""
    branches = []
    for side in (1, -1):
        hilum = trunk.at_spine(side * 34, -42, 245)
        for _ in range(44):
            tip = trunk.at_spine(
                side * generator.uniform(45, 128), generator.uniform(-130, 38), generator.uniform(105, 335)
            )
            t = np.linspace(0, 1, 6)[:, None]
            path = hilum + t * (tip - hilum) + np.sin(np.pi * t) * generator.normal(0, 9, 3)
            branches.append(tube(path, np.linspace(generator.uniform(2.6, 5.0), 0.9, 6)))
            for _ in range(4):
                start = path[generator.integers(2, 5)]
                branches.append(tube(np.array([start, start + generator.normal(0, 22, 3)]), [1.7, 0.7]))
    return union(branches)


def _sternum(trunk: Trunk) -> Shape:
    rows = [(305, 20), (292, 15), (250, 13), (205, 15), (182, 7)]
    points = np.array([[0.0, trunk.wall.at(z)[1] + 9.5, z] for z, _ in rows])
    return tube(points, np.array([width / 2.4 for _, width in rows]), (2.2, 0.85, 1))


def _scapula(trunk: Trunk, side: int) -> Shape:
    """A thin curved blade behind the upper ribs, with its spine."""
    blade = [(205, 82, 44), (235, 84, 46), (265, 88, 46), (295, 95, 42), (318, 108, 30)]
    near = np.array([trunk.at_spine(side * x, y, z) for z, x, y in blade])
    far = near + np.array([[side * d, -f, 0] for d, f in ((12, 6), (26, 14), (38, 24), (42, 30), (20, 16))])
    sheets = [
        tube(np.array([a + u * (b - a) for a, b in zip(near, far, strict=True)]), 2.6) for u in np.linspace(0, 1, 15)
    ]
    ridge = tube(np.array([near[3] + [0, 12, -4], far[4] + [side * 14, -4, 14]]), [4.0, 6.0])
    return union([*sheets, ridge])


def _line(trunk: Trunk, rows: Sequence[tuple[float, float, float]]) -> Vector:
    return np.array([trunk.at_spine(x, y, z) for z, x, y in rows])


def _turn_z(angle: float) -> Vector:
    return np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
