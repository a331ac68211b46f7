"""Paints the body wall: skin, fat, abdominal muscles, the fat of the cavity, back muscles and psoas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import NAME_ID
from ctrestoration.anatomy.phantom.canvas import Box, Canvas
from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Array, Shape, ellipse_distance, ellipsoid, tube, union
from ctrestoration.anatomy.phantom.texture import SolidNoise
from ctrestoration.anatomy.phantom.trunk import Trunk

FAT_HU, MUSCLE_HU, SKIN_HU = -102.0, 54.0, 25.0
_SKIN_MM = 1.8
_EVERYWHERE = np.array([-400.0, -400.0, -520.0]), np.array([400.0, 400.0, 620.0])


def paint_wall(canvas: Canvas, trunk: Trunk, noise: SolidNoise) -> None:
    """Paint skin, subcutaneous fat, the muscle wall with its fat planes, and the fat inside the cavity."""

    def fat(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        x, y, z = box.masked(mask)
        # Fibrous septa: thin sheets where slow noise crosses zero.
        sheet = np.exp(-((noise(x, y, z, (7.0, 5.0, 9.0)) / 0.10) ** 2))
        return FAT_HU + 26 * sheet

    def mesentery(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        return FAT_HU + 5 + 7 * noise(*box.masked(mask), 6.0)

    for box in canvas.boxes(*_EVERYWHERE):
        skin = trunk.skin.distance(box.x, box.y, box.z)
        if not (skin < 4).any():
            continue
        canvas.paint_box(box, skin, SKIN_HU, NAME_ID["skin"])
        canvas.paint_box(box, skin + np.float32(_SKIN_MM), fat, NAME_ID["subcutaneous_fat"])
        wall = trunk.wall.distance(box.x, box.y, box.z)
        cavity = trunk.cavity.distance(box.x, box.y, box.z)
        _paint_muscle_wall(canvas, box, trunk, wall, cavity, noise)
        canvas.paint_box(box, cavity, mesentery, NAME_ID["visceral_fat"])


def _paint_muscle_wall(canvas: Canvas, box: Box, trunk: Trunk, wall: Array, cavity: Array, noise: SolidNoise) -> None:
    def muscle(inner: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        x, y, z = inner.masked(mask)
        depth, inside = -wall[mask], cavity[mask]
        share = depth / np.maximum(depth + inside, np.float32(1.0))  # 0 outside .. 1 at the cavity
        wobble = np.float32(0.04) * noise(x, y, z, 18.0)
        side = np.clip((np.abs(x) - 58) / 12, 0, 1)
        plane = np.zeros_like(share)
        for at in (0.36, 0.70):  # between external, internal oblique and transversus
            off = (share - np.float32(at) + wobble) * (depth + inside)
            plane = np.maximum(plane, np.exp(-((off / np.float32(0.9)) ** 2)) * side)
        # Linea alba and the gaps beside the rectus.
        front = np.clip(-(y + 40) / 20, 0, 1)
        for at, width in ((0.0, 1.4), (61.0, 1.9)):
            plane = np.maximum(plane, np.exp(-(((np.abs(x) - np.float32(at)) / np.float32(width)) ** 2)) * front)
        hu = MUSCLE_HU + 4 * noise(x, y, z, (3.0, 3.0, 9.0))
        return hu + (FAT_HU - hu) * np.float32(0.9) * plane

    canvas.paint_box(box, wall, muscle, NAME_ID["muscle"])
    # Behind, between the fascia and the cavity, lies fat that the back muscles then fill.
    behind = trunk.behind(box.y, box.z)
    reach = np.clip(88 - np.float32(0.45) * np.maximum(box.z - 40, 0), 56, 88)
    bay = ellipse_distance(box.x, behind - 44, reach, np.float32(38))
    pocket = np.maximum(np.maximum(wall + np.float32(4.5), np.float32(14) - behind), bay)
    canvas.paint_box(box, pocket, FAT_HU + 4, NAME_ID["visceral_fat"])


def paint_muscles(canvas: Canvas, trunk: Trunk, patient: Patient, noise: SolidNoise) -> None:
    """Paint erector spinae, quadratus lumborum, psoas, iliacus and gluteal muscles."""

    def muscle(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        return _streaked(noise, box.masked(mask), patient.muscle_fat, d)

    def lean(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
        return _streaked(noise, box.masked(mask), 0.3 * patient.muscle_fat, d)

    for side, name in ((1, "left"), (-1, "right")):
        canvas.paint(_quadratus(trunk, side), lean, NAME_ID["muscle"])
        canvas.paint(_latissimus(trunk, side), lean, NAME_ID["muscle"])
        canvas.paint(_crus(trunk, side), lean, NAME_ID["muscle"])
        for column in _back_columns(trunk, patient, side):
            canvas.paint(column, muscle, NAME_ID[f"autochthon_{name}"])
        canvas.paint(_psoas(trunk, patient, side), lean, NAME_ID[f"iliopsoas_{name}"])
        for gluteal, label in _gluteals(trunk, side):
            canvas.paint(gluteal, muscle, NAME_ID[f"{label}_{name}"])


def _streaked(noise: SolidNoise, points: tuple[Array, Array, Array], fat: float, d: Array) -> Array:
    """Muscle HU with fat between the fascicles; more fat toward the surface and with age."""
    x, y, z = points
    fiber = noise(x, y, z, (2.6, 2.2, 16.0))
    share = np.clip((fiber - np.float32(1.75 - 4.2 * fat)) * np.float32(0.75), 0, 1) * np.float32(0.85)
    hu = np.float32(MUSCLE_HU - 30 * fat) + 4 * noise(x, y, z, (4.0, 4.0, 10.0))
    return hu + (np.float32(FAT_HU) - hu) * share


def _through(trunk: Trunk, rows: Sequence[tuple[float, float, float]], side: int) -> NDArray[np.float64]:
    return np.array([trunk.at_spine(side * x, y, z) for z, x, y in rows])


def _back_columns(trunk: Trunk, patient: Patient, side: int) -> list[Shape]:
    """Multifidus next to the spinous processes, longissimus and iliocostalis beside it."""
    size = patient.bone_scale
    inner = [
        (-150, 15, 40),
        (-90, 17, 49),
        (-30, 16, 50),
        (40, 15, 51),
        (110, 13, 46),
        (220, 12, 44),
        (340, 12, 40),
        (420, 12, 30),
    ]
    outer = [
        (-110, 26, 46),
        (-60, 34, 50),
        (-10, 40, 50),
        (50, 41, 50),
        (110, 35, 46),
        (210, 27, 45),
        (330, 25, 42),
        (420, 20, 32),
    ]
    radii_inner = np.array([6, 12, 13.5, 13, 11, 10, 9.5, 9]) * size
    radii_outer = np.array([8, 16, 19.5, 19, 15, 13, 12, 11]) * size
    return [
        tube(_through(trunk, inner, side), radii_inner, (0.9, 1.1, 1)),
        tube(_through(trunk, outer, side), radii_outer, (1.18, 0.92, 1)),
    ]


def _quadratus(trunk: Trunk, side: int) -> Shape:
    rows = [(-55, 76, 26), (-20, 70, 22), (30, 58, 19), (85, 46, 18)]
    return tube(_through(trunk, rows, side), [7, 10, 9.5, 5], (1.35, 0.8, 1))


def _latissimus(trunk: Trunk, side: int) -> Shape:
    """A thin sheet over the back of the ribs."""
    rows = [(40, 92, 30), (100, 96, 36), (170, 104, 38), (240, 108, 32)]
    return tube(_through(trunk, rows, side), [5, 7, 9, 11], (1.6, 0.7, 1))


def _crus(trunk: Trunk, side: int) -> Shape:
    """The diaphragm's crus beside the aorta."""
    rows = [(40, 15, -22), (80, 20, -22), (115, 24, -28), (150, 27, -42)]
    return tube(_through(trunk, rows, side), [3.0, 4.5, 5.0, 3.0], (0.8, 1.5, 1))


def _psoas(trunk: Trunk, patient: Patient, side: int) -> Shape:
    size = 0.9 * patient.bone_scale
    near = [(88, 24, -4), (45, 32, -2), (0, 39, -3), (-40, 46, -8), (-75, 52, -28)]
    points = [*_through(trunk, near, side)]
    # Along the brim of the pelvis to the front of the hip, in absolute terms: the spine has left backward.
    points += [
        np.array([side * 72.0, -25.0, -120.0]),
        np.array([side * 88.0, -46.0, -165.0]),
        np.array([side * 92.0, -40.0, -225.0]),
    ]
    return tube(np.array(points), np.array([4.0, 11.5, 17, 21, 21, 19, 17, 14]) * size, (0.95, 1.08, 1))


def _gluteals(trunk: Trunk, side: int) -> list[tuple[Shape, str]]:
    maximus = ellipsoid((side * 82.0, 62.0, -160.0), (62, 30, 78))
    medius = union(
        [
            ellipsoid((side * 122.0, 8.0, -118.0), (22, 48, 52)),
            ellipsoid((side * 84.0, -8.0, -98.0), (24, 30, 46)),
        ]
    )
    return [(maximus, "gluteus_maximus"), (medius, "gluteus_medius")]
