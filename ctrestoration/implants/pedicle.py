"""The axis of a pedicle: found as the line midway between its walls, near its narrowest place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.bone import STEP, Bone, CanalView, Frame

Vector = NDArray[np.float64]
_REACH, _RAY_STEP = 15.0, 0.5
_ALONG = np.arange(-8.0, 8.01, 1.0)
_PRIOR_MM2 = {"transverse": 40.0, "sagittal": 80.0}
"""Weight of the level's usual angles against the walls that were seen. The upper and lower walls run into facets,
transverse process and body within millimeters, and say little about the sagittal angle."""


@dataclass(frozen=True)
class Axis:
    """A pedicle.

    Attributes:
        isthmus: its narrowest point, midway between the walls, LPS mm.
        direction: unit vector, back to front.
        width: between medial and lateral wall at the isthmus, mm.
        height: between upper and lower wall, mm.
    """

    isthmus: Vector
    direction: Vector
    width: float
    height: float


def first_isthmus(
    axes: tuple[Vector, Vector, Vector], depth: NDArray[np.float64], canal: CanalView, side: int, height: float
) -> Vector | None:
    """A point (x, y, z) of the frame near the pedicle's narrowest place.

    It lies in the coronal plane beside the canal whose largest inscribed sphere is smallest.

    Args:
        axes: of the lattice.
        depth: [z, y, x] on it.
        canal: of the same vertebra.
        side: +1 left, -1 right.
        height: of the body, mm.
    """
    x, y, z = axes
    rows = np.flatnonzero((y >= canal.front - 4) & (y <= canal.center[1] + 1))
    columns = np.flatnonzero(
        (side * (x - canal.center[0]) > canal.half_width - 4) & (side * (x - canal.center[0]) < canal.half_width + 17)
    )
    levels = np.flatnonzero((z > -0.30 * height) & (z < 0.70 * height))
    if not (len(rows) and len(columns) and len(levels)):
        return None
    block = depth[np.ix_(levels, rows, columns)]
    # Lateral to the canal's wall in that very plane: the body's corner must not be taken for the pedicle.
    best = block.max(axis=(0, 2))
    if best.max() <= 0.5:
        return None
    narrow = int(np.argmin(np.where(best > 0.5, best, np.inf)))
    plane = block[:, narrow, :]
    deep = np.argwhere(plane > 0.85 * plane.max())
    k, i = deep.mean(axis=0)
    return np.array([x[columns[0]] + i * STEP, y[rows[narrow]], z[levels[0]] + k * STEP])


def fit_axis(
    bone: Bone, frame: Frame, start: Vector, side: int, prior_deg: tuple[float, float], weight: float = 1.0
) -> Axis | None:
    """The line midway between the pedicle's walls.

    Rays go from the line to the medial, lateral, upper and lower wall at steps of 1 mm; places where the bone widens
    (body, processes) count little. The level's usual angle decides where the walls do not.

    Args:
        bone: the vertebra.
        frame: its axes.
        start: a point inside the pedicle, LPS mm.
        side: +1 left, -1 right.
        prior_deg: usual transverse and sagittal angle.
        weight: of the usual angle; 1 as published, 0 not at all.
    """
    prior = frame.direction(side, *prior_deg)
    point, direction = start.copy(), prior.copy()
    width = height = 0.0
    for turn in range(8):
        across = np.cross(direction, frame.axes[:, 2])
        across /= np.linalg.norm(across)
        over = np.cross(across, direction)
        wide = _walls(bone, point, direction, across, over * max(height, 6.0) / 5)
        tall = _walls(bone, point, direction, over, across * max(width, 4.0) / 6)
        if wide is None or tall is None:
            return None
        near = np.abs(_ALONG) <= 2
        width, height = float(wide[1][near].min()), float(tall[1][near].min())
        if not (np.isfinite(width) and np.isfinite(height)):
            return None
        narrow = np.exp(-(((wide[1] - width) / (0.30 * width)) ** 2))
        low = np.exp(-(((tall[1] - height) / (0.30 * height)) ** 2))
        slopes = [float(prior @ axis / (prior @ direction)) for axis in (across, over)]
        a, b = _line(wide[0], narrow, slopes[0], weight * _PRIOR_MM2["transverse"])
        c, d = _line(tall[0], low * np.sqrt(narrow), slopes[1], weight * _PRIOR_MM2["sagittal"])
        point = point + a * across + c * over
        step = 0.7 if turn < 6 else 1.0
        direction = direction + step * (b * across + d * over)
        direction /= np.linalg.norm(direction)
        slide = float(np.clip((narrow * _ALONG).sum() / narrow.sum(), -2, 2))
        point = point + (0.6 * slide if turn < 6 else 0.0) * direction
    return Axis(point, direction, width, height)


def _walls(bone: Bone, point: Vector, direction: Vector, ray: Vector, aside: Vector) -> tuple[Vector, Vector] | None:
    """Offset of the middle between the two walls along `ray`, and their distance, at each place along the axis.

    The median over three parallel rays; infinite width where a wall is not met.
    """
    reach = np.arange(0, _REACH + 0.01, _RAY_STEP)
    signs, shifts = np.array([1.0, -1.0]), np.array([-1.0, 0.0, 1.0])
    points = (
        point
        + _ALONG[:, None, None, None, None] * direction
        + shifts[:, None, None, None] * aside
        + signs[:, None, None] * reach[:, None] * ray
    )
    depth = bone.depth(points)
    outside = depth < 0
    hit = outside.any(axis=-1)
    first = np.argmax(outside, axis=-1)
    before = np.maximum(first - 1, 0)
    inner = np.take_along_axis(depth, before[..., None], -1)[..., 0]
    outer = np.take_along_axis(depth, first[..., None], -1)[..., 0]
    wall = (before + np.where(first > 0, inner / np.maximum(inner - outer, 1e-9), 0)) * _RAY_STEP
    wall = np.where(hit & (first > 0), wall, np.where(hit, np.nan, np.inf))
    finite = np.isfinite(wall).all(axis=-1)
    if not finite.any():
        return None
    middle = np.where(
        finite, 0.5 * (np.nan_to_num(wall[..., 0], posinf=0) - np.nan_to_num(wall[..., 1], posinf=0)), np.nan
    )
    span = np.where(finite, np.nan_to_num(wall, posinf=0).sum(axis=-1), np.nan)
    known = finite.sum(axis=1) >= 2
    middle = np.where(known, np.nan_to_num(_median(middle)), 0.0)
    span = np.where(known, _median(span), np.inf)
    return middle, span


def _median(values: Vector) -> Vector:
    rows = np.isfinite(values).any(axis=1)
    out = np.full(len(values), np.nan)
    if rows.any():
        out[rows] = np.nanmedian(values[rows], axis=1)
    return out


def _line(offsets: Vector, weights: Vector, slope: float, ridge: float) -> tuple[float, float]:
    """Offset and slope of the weighted line through `offsets`, drawn toward `slope`."""
    matrix = np.array(
        [
            [weights.sum() + 1e-6, (weights * _ALONG).sum()],
            [(weights * _ALONG).sum(), (weights * _ALONG**2).sum() + ridge],
        ]
    )
    a, b = np.linalg.solve(matrix, [(weights * offsets).sum(), (weights * offsets * _ALONG).sum() + ridge * slope])
    return float(a), float(np.clip(b, -0.5, 0.5))
