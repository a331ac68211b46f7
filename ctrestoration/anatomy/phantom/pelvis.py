"""The sacrum with the first sacral vertebra, the hip bones, the femurs and the bladder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import LEVEL_ID, NAME_ID, SACRUM_ID
from ctrestoration.anatomy.phantom.bones import paint_bone
from ctrestoration.anatomy.phantom.canvas import Canvas
from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Array, Shape, capsule, ellipsoid, half_space, smooth_min, tube, union
from ctrestoration.anatomy.phantom.spine import CORTEX_HU, Spine, spongiosa
from ctrestoration.anatomy.phantom.texture import SolidNoise
from ctrestoration.anatomy.phantom.trunk import Trunk
from ctrestoration.anatomy.phantom.vertebra import BODY, PEDICLE, POSTERIOR, Body, Pedicle
from ctrestoration.anatomy.phantom.vertebra_build import Drawn

Vector = NDArray[np.float64]
_SEGMENTS = (
    (-13.0, 25.5, 16.5, 15.0),
    (-39.0, 20.0, 11.5, 13.5),
    (-62.0, 17.0, 9.0, 11.5),
    (-82.0, 15.0, 8.0, 10.0),
    (-99.0, 12.0, 6.5, 9.0),
)
"""For S1..S5: s along the curve, half-width, half-depth and half-height of the body."""


_S1_END = -27.0  # s where S1 ends and S2 begins


@dataclass(frozen=True)
class Sacrum:
    """The sacrum in design space.

    Attributes:
        spine: the curve it continues.
        center: of the S1 body.
        axes: of S1, columns left, posterior, up.
        pedicles: S1 screw corridors, left and right, in that frame.
        shape: the whole bone.
        canal: canal's center and half-axes in the frame of S1.
        body_size: width, depth, height of S1.
    """

    spine: Spine
    center: Vector
    axes: Vector
    pedicles: tuple[Pedicle, Pedicle]
    shape: Shape
    canal: tuple[float, float, float, float]
    body_size: tuple[float, float, float]

    @property
    def first_segment(self) -> Shape:
        """S1 alone: the bone above the scar of the first fused disc."""
        point, axes = self.spine.curve.frame(_S1_END)
        below = half_space(point, -axes[:, 2])
        whole = self.shape
        low = np.array([whole.low[0], whole.low[1], point[2] - 32.0])  # the cut is tilted
        return Shape(lambda x, y, z: np.maximum(whole.distance(x, y, z), below(x, y, z)), low, whole.high)


def build_sacrum(spine: Spine, patient: Patient) -> Sacrum:
    """The sacrum below the spine's curve."""
    size = patient.bone_scale
    drawn = spine.drawn["S1"]
    center, axes = spine.curve.frame(_SEGMENTS[0][0] - 1.0)
    width, depth = drawn.mean.width, drawn.mean.depth
    height = 28.0 * size
    first = Body(width, depth, height, 4.0 * size, 0.04, 0.8)
    pedicles = tuple(_corridor(drawn, side, index, depth) for index, side in enumerate((1, -1)))
    lower = [_segment(spine, row, size) for row in _SEGMENTS[1:]]
    wings = [wing for side in (1, -1) for wing in _wing(spine, center, axes, side, size)]
    rear = _posterior_wall(spine, size)
    holes = [_foramen(spine, s, side, size) for s in (-28.0, -52.0, -73.0) for side in (1, -1)]

    def distance(x: Array, y: Array, z: Array) -> Array:
        dx, dy, dz = x - np.float32(center[0]), y - np.float32(center[1]), z - np.float32(center[2])
        m = axes.astype(np.float32)
        u, v, w = (dx * m[0, n] + dy * m[1, n] + dz * m[2, n] for n in range(3))
        value = first.distance(u, v, w)
        for pedicle in pedicles:
            value = smooth_min(value, pedicle.distance(u, v, w), 4.0)
        for part in lower:
            value = smooth_min(value, part.distance(x, y, z), 5.0)
        for wing in wings:
            value = smooth_min(value, wing.distance(x, y, z), 7.0)
        value = smooth_min(value, rear.distance(x, y, z), 3.0)
        for hole in holes:
            value = np.maximum(value, -hole.distance(x, y, z))
        return np.maximum(value, np.float32(0.3) - spine.canal_distance(x, y, z))

    low, high = (
        np.min([part.low for part in (*wings, rear, *lower)], axis=0),
        np.max([part.high for part in (*wings, rear)], axis=0),
    )
    reach = center + axes[:, 1] * (-depth / 2) + axes[:, 2] * height / 2
    shape = Shape(distance, np.minimum(low, reach) - 3, np.maximum(high, reach) + np.array([3.0, 3.0, 8.0]))
    row = int(np.argmin(np.abs(spine.curve.s - _SEGMENTS[0][0])))
    canal = (0.0, float(spine.canal_offset[row]), float(spine.canal_width[row]), float(spine.canal_depth[row]))
    return Sacrum(spine, center, axes, (pedicles[0], pedicles[1]), shape, canal, (width, depth, height))


def paint_sacrum(canvas: Canvas, sacrum: Sacrum, patient: Patient, noise: SolidNoise) -> None:
    """Paint the sacrum: S1 with its own label down to the first fused disc, the rest as sacrum."""
    shape = sacrum.shape
    for box in canvas.boxes(shape.low, shape.high):
        distance = shape.distance(box.x, box.y, box.z)
        outer, inner = canvas.coverage(distance), canvas.coverage(distance + np.float32(1.1))
        mask = outer > 0
        if not mask.any():
            continue
        points = box.masked(mask)
        content = spongiosa(noise, canvas, points, 0.80 * patient.trabecular_hu, 1.0)
        wing = np.clip((np.abs(points[0] - np.float32(sacrum.center[0])) - 26) / 12, 0, 1)
        content = content * (1 - np.float32(0.55) * wing)  # the wings of the sacrum hold mostly fat
        index, _, behind = sacrum.spine.curve.coordinates(*points)
        s = sacrum.spine.curve.s[index]
        for at in (_S1_END, -51.0, -72.5, -91.0):  # scars of the fused discs
            scar = np.exp(-(((s - at) / 1.6) ** 2)) * (behind < 4)
            content = content + np.float32(120) * scar.astype(np.float32)
        hu = canvas.hu[box.where]
        bone = np.float32(CORTEX_HU * 0.9) * (outer[mask] - inner[mask]) + content * inner[mask]
        hu[mask] = hu[mask] * (1 - outer[mask]) + bone
        solid = distance <= 0
        x, y, z = box.masked(solid)
        index, _, behind = sacrum.spine.curve.coordinates(x, y, z)
        upper = sacrum.spine.curve.s[index] > _S1_END
        canvas.labels[box.where][solid] = np.where(upper, LEVEL_ID["S1"], SACRUM_ID)
        side = np.abs(x - np.float32(sacrum.center[0]))
        part = np.where(behind < sacrum.body_size[1] / 2, np.where(side < 24, BODY, POSTERIOR), POSTERIOR)
        part = np.where(upper & (behind >= sacrum.body_size[1] / 2 - 4) & (behind < 28) & (side < 40), PEDICLE, part)
        canvas.sublabels[box.where][solid] = np.where(upper, part, 0)


def paint_hips(canvas: Canvas, patient: Patient, trunk: Trunk, noise: SolidNoise) -> None:
    """Paint the hip bones, the femurs and the bladder."""
    marrow = 0.7 * patient.trabecular_hu + 20
    bladder = ellipsoid((0.0, -48.0, -178.0), (40, 32, 30))
    canvas.paint(bladder, 45.0, NAME_ID["urinary_bladder"])
    canvas.paint(bladder.grown(-3.0), 6.0, NAME_ID["urinary_bladder"])
    for side, name in ((1, "left"), (-1, "right")):
        paint_bone(canvas, _femur(side, patient.bone_scale), marrow, 2.0, noise, NAME_ID[f"femur_{name}"])
        paint_bone(canvas, _hip(side, patient.bone_scale, trunk), marrow, 1.5, noise, NAME_ID[f"hip_{name}"])


def _corridor(drawn: Drawn, side: int, index: int, depth: float) -> Pedicle:
    transverse = np.radians(drawn.transverse[index])
    sagittal = np.radians(drawn.sagittal[index])
    mean = drawn.mean
    direction = np.array(
        [-side * np.sin(transverse) * np.cos(sagittal), -np.cos(transverse) * np.cos(sagittal), -np.sin(sagittal)]
    )
    x = mean.canal_width / 2 + 0.5 * drawn.widths[index] - 1.5
    return Pedicle(
        np.array([side * x, depth / 2 + 2.0, 3.0]), direction, drawn.widths[index], mean.pedicle_height, side
    )


def _segment(spine: Spine, row: tuple[float, float, float, float], size: float) -> Shape:
    point, axes = spine.curve.frame(row[0])
    return ellipsoid(point, np.array([row[1], row[2], row[3] * 1.12]) * size, axes)


def _wing(spine: Spine, center: Vector, axes: Vector, side: int, size: float) -> list[Shape]:
    """The lateral mass: from the S1 body out to the sacroiliac joint, tapering down to S3."""

    def place(x: float, y: float, s: float) -> Vector:
        point, frame = spine.curve.frame(s)
        return np.asarray(point + frame @ np.array([side * x * size, y * size, 0.0]))

    return [
        capsule(place(24, 6, -13), place(46, 14, -16), 13.0 * size, 11.0 * size),
        capsule(place(40, 14, -14), place(36, 12, -44), 12.0 * size, 10.5 * size),
        capsule(place(20, 4, -38), place(36, 10, -44), 10.0 * size, 10.0 * size),
        capsule(place(36, 10, -44), place(22, 4, -84), 10.0 * size, 6.5 * size),
        capsule(place(14, 2, -64), place(27, 6, -62), 8.0 * size, 8.0 * size),
    ]


def _posterior_wall(spine: Spine, size: float) -> Shape:
    """Fused laminae with the median crest, and the facets of S1."""
    parts = []
    s = spine.curve.s

    def place(x: float, behind: float, at: float) -> Vector:
        row = int(np.argmin(np.abs(s - at)))
        point, frame = spine.curve.frame(at)
        roof = float(spine.canal_offset[row] + spine.canal_depth[row])
        return np.asarray(point + frame @ np.array([x * size, roof + behind, 0.0]))

    for at in np.arange(-8.0, -84.0, -8.0):
        wide = float(np.interp(at, [-84, -8], [11, 19]))
        parts += [tube(np.array([place(-wide, -6, at), place(0, 2.8, at), place(wide, -6, at)]), [4.6, 3.6, 4.6])]
    parts.append(
        tube(np.array([place(0, 3, -10), place(0, 9, -24), place(0, 8, -48), place(0, 3, -80)]), [3.4, 4.2, 3.8, 3.0])
    )
    for side in (1, -1):
        parts.append(capsule(place(side * 21, -6, -10), place(side * 23, -5, 9), 5.5, 4.6))
    return union(parts)


def _foramen(spine: Spine, s: float, side: int, size: float) -> Shape:
    point, frame = spine.curve.frame(s)
    front = point + frame @ np.array([side * 23 * size, -26 * size, -4.0])
    back = point + frame @ np.array([side * 20 * size, 34 * size, 2.0])
    return capsule(front, back, 6.0 * size, 3.4 * size)


def _hip(side: int, size: float, trunk: Trunk) -> Shape:
    """Iliac wing as a bent slab, acetabulum, ischium and pubis."""
    parts: list[Shape] = []
    # Rows from crest to brim: (z, [(x, y, radius) from the sacroiliac joint to the front]).
    rows = [
        (-48, [(66, 52, 3.5), (88, 38, 3.2), (108, 14, 3.2), (122, -12, 4.0)]),
        (-64, [(58, 60, 6.0), (82, 42, 3.2), (106, 14, 2.8), (124, -22, 4.2), (127, -38, 4.5)]),
        (-82, [(53, 64, 8.0), (74, 44, 4.0), (100, 12, 2.8), (122, -28, 4.2), (126, -48, 5.5)]),
        (-100, [(52, 62, 8.5), (68, 40, 5.0), (94, 8, 3.2), (116, -30, 4.5), (121, -50, 5.5)]),
        (-118, [(52, 54, 7.5), (66, 30, 6.0), (90, 0, 5.0), (108, -34, 6.0)]),
        (-136, [(72, 22, 6.5), (88, -4, 8.0), (100, -32, 7.0)]),
        (-150, [(78, 18, 8.0), (92, -6, 11.0), (96, -28, 8.0)]),
    ]
    lines = []
    for z, row in rows:
        known = np.array([(side * x * size, y + 0.0, z, r) for x, y, r in row], dtype=float)
        u = np.linspace(0, len(known) - 1, 12)
        lines.append(np.stack([np.interp(u, range(len(known)), known[:, n]) for n in range(4)], axis=1))
    for upper, lower in itertools.pairwise(lines):
        for part in (0.0, 0.25, 0.5, 0.75):
            line = (1 - part) * upper + part * lower
            step = np.abs(upper[:, 2] - lower[:, 2]).mean() / 8
            stretch = 1 + step / np.maximum(line[:, 3], 2.5).mean()
            parts.append(tube(line[:, :3], line[:, 3], (1, 1, float(stretch))))
    cup = ellipsoid((side * 90 * size, -10.0, -176.0), (33, 33, 32))
    head = ellipsoid((side * 92 * size, -11.0, -178.0), (27, 27, 27))
    socket = cup.minus(head)
    open_side = socket.distance

    def cut(x: Array, y: Array, z: Array) -> Array:
        lateral = side * x - np.float32(98 * size) + 0.5 * (z + 176)
        return np.maximum(open_side(x, y, z), lateral)

    parts.append(Shape(cut, cup.low, cup.high))
    pubis = np.array(
        [(side * 70, -34, -178), (side * 44, -62, -182), (side * 14, -72, -192), (side * 9, -70, -206)], float
    )
    ischium = np.array(
        [
            (side * 80, 18, -188),
            (side * 70, 28, -222),
            (side * 60, 18, -244),
            (side * 34, -30, -232),
            (side * 10, -66, -212),
        ],
        float,
    )
    parts += [tube(pubis, [9.5, 7.0, 8.0, 7.5], (1, 0.9, 1.1)), tube(ischium, [13, 13, 12, 6.5, 6.5], (1, 0.95, 1))]
    return union(parts)


def _femur(side: int, size: float) -> Shape:
    head = ellipsoid((side * 92 * size, -11.0, -178.0), (23.5, 23.5, 23.5))
    neck = capsule((side * 96 * size, -8, -182), (side * 128 * size, 6, -204), 14.0, 17.0)
    shaft = tube(
        np.array(
            [
                (side * 134.0 * size, 6, -196),
                (side * 132.0 * size, 4, -235),
                (side * 122.0 * size, 0, -300),
                (side * 112.0, -4, -400),
            ]
        ),
        [15, 17, 14.5, 14.5],
    )
    return union([head, neck, shaft])
