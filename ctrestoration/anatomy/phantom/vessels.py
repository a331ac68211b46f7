"""Paints aorta, inferior vena cava, iliac and mesenteric vessels, with calcified plaques."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import NAME_ID
from ctrestoration.anatomy.phantom.canvas import Canvas
from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Shape, ellipsoid, tube, union
from ctrestoration.anatomy.phantom.trunk import Trunk

Vector = NDArray[np.float64]


def blood_hu(patient: Patient) -> tuple[float, float]:
    """HU of arteries and of veins."""
    return (165.0, 150.0) if patient.contrast else (42.0, 40.0)


def paint_vessels(canvas: Canvas, trunk: Trunk, patient: Patient, generator: np.random.Generator) -> None:
    """Paint the great vessels in front of the spine and the branches a CT shows."""
    artery, vein = blood_hu(patient)
    aorta_line = _line(
        trunk,
        [(340, 8, -38), (300, 24, -26), (230, 24, -30), (150, 16, -33), (90, 9, -34), (30, 10, -32), (-34, 8, -33)],
    )
    cava_line = _line(trunk, [(178, -22, -58), (130, -24, -42), (80, -23, -33), (20, -21, -30), (-46, -17, -32)])
    wide = patient.bone_scale * (1 + 0.002 * (patient.age - 50))
    canvas.paint(
        tube(cava_line, np.array([13, 12, 11.5, 11, 10.5]), (1.12, 0.88, 1)), vein, NAME_ID["inferior_vena_cava"]
    )
    for side, name in ((1, "left"), (-1, "right")):
        end = aorta_line[-1]
        down = [
            end,
            end + np.array([side * 16.0, 8.0, -34.0]),
            np.array([side * 42.0, 10.0, -105.0]),
            np.array([side * 70.0, -40.0, -160.0]),
        ]
        canvas.paint(
            tube(np.array(down), np.array([6.5, 5.8, 5.2, 4.6]) * wide), artery, NAME_ID[f"iliac_artery_{name}"]
        )
        low = cava_line[-1]
        back = [
            low,
            low + np.array([side * 20.0 + 6.0, 10.0, -34.0]),
            np.array([side * 46.0, 20.0, -108.0]),
            np.array([side * 66.0, -28.0, -162.0]),
        ]
        canvas.paint(tube(np.array(back), np.array([8, 7, 6.2, 5.5])), vein, NAME_ID[f"iliac_vena_{name}"])
        kidney = trunk.at_spine(side * 46, -14, 42)
        canvas.paint(tube(np.array([trunk.at_spine(side * 12, -34, 40), kidney]), [4.2, 3.4]), vein)
        renal = np.array([trunk.at_spine(side * 8, -30, 46), kidney + np.array([0.0, 5.0, 4.0])])
        canvas.paint(tube(renal, [3.0, 2.4]), artery)
    radii = np.array([12.5, 11.8, 11.2, 10.4, 9.6, 8.8, 8.2]) * wide
    canvas.paint(tube(aorta_line, radii + 1.4), 45.0, NAME_ID["aorta"])
    canvas.paint(tube(aorta_line, radii), artery, NAME_ID["aorta"])
    mesenteric = _line(trunk, [(66, 8, -48), (40, 5, -62), (0, -2, -70), (-40, -14, -72)])
    fat = (NAME_ID["visceral_fat"],)
    canvas.paint(tube(mesenteric, [3.6, 3.4, 3.0, 2.4]), artery, only=fat)
    canvas.paint(tube(mesenteric + np.array([-11.0, 2.0, 0.0]), [5.0, 4.6, 4.0, 3.0]), vein, only=fat)
    _paint_plaques(canvas, aorta_line, radii, patient, generator)
    canvas.paint(
        _mesenteric_branches(trunk, generator),
        vein - 15,
        NAME_ID["mesenteric_vessels"],
        only=(NAME_ID["visceral_fat"],),
    )


def _line(trunk: Trunk, rows: Sequence[tuple[float, float, float]]) -> Vector:
    return np.array([trunk.at_spine(x, y, z) for z, x, y in rows])


def _paint_plaques(
    canvas: Canvas, line: Vector, radii: Vector, patient: Patient, generator: np.random.Generator
) -> None:
    count = int(generator.poisson(26 * patient.calcification))
    for _ in range(count):
        t = len(line) - 1 - abs(generator.normal(0, 1.4))
        if t < 0:
            continue
        n = min(int(t), len(line) - 2)
        center = line[n] + (t - n) * (line[n + 1] - line[n])
        radius = radii[n] + (t - n) * (radii[n + 1] - radii[n])
        angle = generator.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
        size = generator.uniform(0.6, 1.0) * np.array([1.1, generator.uniform(1.5, 4.0), generator.uniform(1.5, 5.0)])
        canvas.paint(ellipsoid(center + radius * turn[:, 0], size, turn), float(generator.uniform(450, 950)))


def _mesenteric_branches(trunk: Trunk, generator: np.random.Generator) -> Shape:
    """Thin winding vessels that fan out in the mesentery."""
    branches = []
    for _ in range(46):
        root = trunk.at_spine(generator.uniform(-20, 15), generator.uniform(-75, -60), generator.uniform(-40, 50))
        target = root + generator.uniform([-75, -45, -60], [75, 5, 25])
        t = np.linspace(0, 1, 6)[:, None]
        bend = generator.normal(0, 7, 3)
        path = root + t * (target - root) + np.sin(np.pi * t) * bend + generator.normal(0, 1.5, (6, 3))
        branches.append(tube(path, np.linspace(generator.uniform(1.6, 2.6), 0.9, 6)))
    return union(branches)
