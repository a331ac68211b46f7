"""The spine as a whole: where each vertebra sits, its discs and canal, and painting them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy import labels as names
from ctrestoration.anatomy.phantom.canvas import Box, Canvas
from ctrestoration.anatomy.phantom.curve import SpineCurve
from ctrestoration.anatomy.phantom.levels import MOBILE
from ctrestoration.anatomy.phantom.patient import Patient, stream
from ctrestoration.anatomy.phantom.shapes import Array, Shape, capsule, ellipse_distance, smooth_max, union
from ctrestoration.anatomy.phantom.texture import SolidNoise
from ctrestoration.anatomy.phantom.vertebra import CANAL, Vertebra
from ctrestoration.anatomy.phantom.vertebra_build import Drawn, build, draw, joint_processes

Vector = NDArray[np.float64]
CORTEX_HU = 1050.0
_DISC_AGE_LOSS = 0.12  # share of disc height lost between 40 and 85 years


@dataclass(frozen=True)
class Spine:
    """The placed spine.

    Attributes:
        curve: its line.
        centers: s of each body's center.
        drawn: dimensions of each level.
        vertebrae: T1 .. L5.
        canal_offset: distance of the canal's center behind the curve, per curve sample.
        canal_width: half-axis to the left, per curve sample.
        canal_depth: half-axis backward, per curve sample.
        trabecular_hu: mean of the spongiosa.
    """

    curve: SpineCurve
    centers: dict[str, float]
    drawn: dict[str, Drawn]
    vertebrae: dict[str, Vertebra]
    canal_offset: Array
    canal_width: Array
    canal_depth: Array
    trabecular_hu: float

    def canal_distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance to the canal at design points."""
        index, a, b = self.curve.coordinates(x, y, z)
        return ellipse_distance(a, b - self.canal_offset[index], self.canal_width[index], self.canal_depth[index])

    @property
    def canal_line(self) -> Vector:
        """Centers of the canal along the curve in design space, caudal to cranial."""
        return self.curve.point + self.canal_offset[:, None] * self.curve.posterior

    @property
    def canal_shape(self) -> Shape:
        """The canal with its box."""
        line = self.canal_line
        return Shape(self.canal_distance, line.min(axis=0) - 18, line.max(axis=0) + np.array([18.0, 18.0, 0.0]))


def place_spine(seed: int, patient: Patient, pedicle_scale: float) -> Spine:
    """Draw every vertebra and set it on the curve."""
    g = stream(seed, "vertebrae")
    drawn = {
        level: draw(level, g, patient.bone_scale, pedicle_scale, patient.osteophyte * (1.0 if level[0] == "L" else 0.6))
        for level in (*MOBILE, "S1")
    }
    wear = 1 - _DISC_AGE_LOSS * float(np.clip((patient.age - 40) / 45, 0, 1))
    centers, s = {}, 0.0
    for level in reversed(MOBILE):
        mean = drawn[level].mean
        s += mean.disc * wear
        centers[level] = s + mean.height / 2
        s += mean.height
    curve = SpineCurve.build(
        centers,
        lordosis_deg=patient.lordosis_deg,
        kyphosis_deg=patient.kyphosis_deg,
        sacral_slope_deg=patient.sacral_slope_deg,
        scoliosis_deg=patient.scoliosis_deg,
        scoliosis_apex=patient.scoliosis_apex,
        scoliosis_length=patient.scoliosis_length,
    )
    vertebrae: dict[str, Vertebra] = {}
    for level in MOBILE:
        center, axes = curve.frame(centers[level])
        vertebra = build(level, drawn[level], center, axes, g)
        if vertebrae:
            upper = next(reversed(vertebrae.values()))
            vertebra = _with_joints(vertebra, upper)
        vertebrae[level] = vertebra
    return Spine(curve, centers, drawn, vertebrae, *_canal(curve, centers, vertebrae), patient.trabecular_hu)


def _with_joints(vertebra: Vertebra, upper: Vertebra) -> Vertebra:
    from dataclasses import replace

    return replace(vertebra, joints=joint_processes(upper, vertebra))


def _canal(curve: SpineCurve, centers: dict[str, float], vertebrae: dict[str, Vertebra]) -> tuple[Array, Array, Array]:
    rows = [(centers[level], *vertebrae[level].canal[1:]) for level in vertebrae]
    top = rows[0]
    rows += [(top[0] + 60, 16.0, 12.0, 7.5)]
    rows += [(-15.0, 24.0, 14.5, 8.0), (-40.0, 21.0, 13.0, 6.5), (-70.0, 17.0, 10.0, 4.5), (-100.0, 12.0, 6.0, 2.5)]
    offset, width, depth = (curve.along([(row[0], row[n]) for row in rows]) for n in (1, 2, 3))
    return offset, width, depth


def paint_discs(canvas: Canvas, spine: Spine) -> None:
    """Paint the discs: annulus, nucleus, and a rim that reaches under the endplates."""
    for level in MOBILE:
        mean = spine.drawn[level].mean
        lower = MOBILE[MOBILE.index(level) + 1] if level != "L5" else "S1"
        below = spine.drawn[lower].mean
        middle = spine.centers[level] - mean.height / 2 - mean.disc / 2
        point, axes = spine.curve.frame(middle)
        half = mean.disc / 2 + 4.5
        a, b = 0.25 * (mean.width + below.width) * 1.01, 0.25 * (mean.depth + below.depth) * 1.01
        tilt = point.astype(np.float32), axes.astype(np.float32)

        def local(x: Array, y: Array, z: Array, tilt: tuple[Array, Array] = tilt) -> list[Array]:
            c, m = tilt
            return [(x - c[0]) * m[0, n] + (y - c[1]) * m[1, n] + (z - c[2]) * m[2, n] for n in range(3)]

        def distance(x: Array, y: Array, z: Array, a: float = a, b: float = b, half: float = half) -> Array:
            u, v, w = local(x, y, z)
            return smooth_max(ellipse_distance(u, v, np.float32(a), np.float32(b)), np.abs(w) - np.float32(half), 2.0)

        def value(box: Box, mask: NDArray[np.bool_], d: Array) -> Array:
            return 82 + 26 * np.clip(1 + d / np.float32(9.0), 0, 1)

        reach = np.array([a + 2, b + 14, b + 14])
        canvas.paint(Shape(distance, point - reach, point + reach), value, names.DISC_ID[level])


def paint_canal(canvas: Canvas, spine: Spine) -> None:
    """Paint epidural fat, the thecal sac, the cord down to L1, nerve roots, and the foramina's fat."""
    _paint_foramina(canvas, spine)
    shape = spine.canal_shape
    cord_end = spine.centers["L1"] - 6
    s = spine.curve.s
    for box in canvas.boxes(shape.low, shape.high):
        index, a, b = spine.curve.coordinates(box.x, box.y, box.z)
        b = b - spine.canal_offset[index]
        width, depth = spine.canal_width[index], spine.canal_depth[index]
        canal = ellipse_distance(a, b, width, depth)
        canvas.paint_box(box, canal, -70.0, names.NAME_ID["spinal_canal"], CANAL)
        sac = ellipse_distance(a, b + np.float32(0.08) * depth, width * np.float32(0.82), depth * np.float32(0.84))
        canvas.paint_box(box, sac, 18.0)
        level = s[index].astype(np.float32)
        cord = ellipse_distance(a, b, width * np.float32(0.44), depth * np.float32(0.46))
        cord = np.maximum(cord, np.float32(cord_end) - level)
        canvas.paint_box(box, cord, 38.0, names.NAME_ID["spinal_cord"])
        roots = np.hypot(np.abs(a) - width * np.float32(0.38), b - depth * np.float32(0.28)) - np.float32(1.6)
        canvas.paint_box(box, np.maximum(roots, level - np.float32(cord_end)), 34.0)


def _paint_foramina(canvas: Canvas, spine: Spine) -> None:
    for level, vertebra in spine.vertebrae.items():
        mean = spine.drawn[level].mean
        _, y, width, _ = vertebra.canal
        fats, roots = [], []
        for side in (1, -1):
            low = -mean.height / 2
            inner = vertebra.to_design(np.array([side * (width - 3), y - 1, low + 1]))
            outer = vertebra.to_design(np.array([side * (width + 9), y - 1, low]))
            fats.append(capsule(inner, outer, 7.5, 6.0))
            far = vertebra.to_design(np.array([side * (width + 22), y - 7, low - 9]))
            roots.append(capsule(vertebra.to_design(np.array([side * (width + 1), y - 1, low + 3])), outer, 2.0, 3.0))
            roots.append(capsule(outer, far, 3.0, 2.2))
        canvas.paint(union(fats), -85.0)
        canvas.paint(union(roots), 38.0)


def paint_vertebrae(canvas: Canvas, spine: Spine, noise: SolidNoise) -> None:
    """Paint the vertebrae: cortical shell, spongiosa with vertical trabeculae, the basivertebral vein."""
    for level, vertebra in spine.vertebrae.items():
        shape = vertebra.shape
        for box in canvas.boxes(shape.low, shape.high):
            paint_vertebra(canvas, box, vertebra, spine.trabecular_hu, noise, names.LEVEL_ID[level])


def paint_vertebra(
    canvas: Canvas, box: Box, vertebra: Vertebra, trabecular_hu: float, noise: SolidNoise, label: int
) -> None:
    """Paint one vertebra in one box."""
    u, v, w = vertebra.to_frame(box.x, box.y, box.z)
    body, pedicle, rear = vertebra.members(u, v, w)
    whole = vertebra.join(body, pedicle, rear, vertebra.canal_distance(u, v))
    inside = np.clip((np.minimum(pedicle, rear) - body + 1) / 3, 0, 1)  # 1 in the body, 0 in the arch
    shell = np.float32(1.35) - inside * np.float32(0.65)
    outer, inner = canvas.coverage(whole), canvas.coverage(whole + shell)
    mask = outer > 0
    if not mask.any():
        return
    depth, core = np.maximum(-whole[mask], 0), inside[mask]
    content = spongiosa(noise, canvas, (u[mask], v[mask], w[mask]), trabecular_hu, core)
    # The arch is dense far below its surface; under the endplates the spongiosa is denser, too.
    content += (1 - core) * np.float32(600) * np.exp(-depth / np.float32(2.4))
    end = np.exp(-np.maximum(np.float32(vertebra.body.height / 2) - np.abs(w[mask]), 0) / np.float32(3.0)) * core
    content += np.float32(0.35 * trabecular_hu) * end
    vein = np.hypot(w[mask], u[mask] * np.float32(0.35)) < 2.0
    content = np.where(vein & (v[mask] > 0.1 * vertebra.body.depth) & (core > 0.5), 0.45 * content + 20, content)
    bone = np.float32(CORTEX_HU) * (outer[mask] - inner[mask]) + content * inner[mask]
    hu = canvas.hu[box.where]
    hu[mask] = hu[mask] * (1 - outer[mask]) + bone
    solid = whole <= 0
    canvas.labels[box.where][solid] = label
    parts = vertebra.parts(*box.masked(solid))
    canvas.sublabels[box.where][solid] = parts


def spongiosa(
    noise: SolidNoise, canvas: Canvas, local: tuple[Array, Array, Array], mean_hu: float, inside: Array | float
) -> Array:
    """HU of trabecular bone: fine vertical struts over slow variation, weaker where voxels average over them."""
    x, y, z = local
    voxel = float(np.prod(canvas.grid.spacing)) ** (1 / 3)
    fine = noise(x, y, z, (0.9, 0.9, 2.2)) * np.float32(46 / (0.7 + 0.5 * voxel))
    slow = noise(x, y, z, (2.6, 2.6, 4.5)) * np.float32(34)
    base = np.float32(mean_hu) * (np.float32(1.15) - np.float32(0.15) * inside)
    return base + (fine + slow) * np.float32(0.5 + mean_hu / 320)
