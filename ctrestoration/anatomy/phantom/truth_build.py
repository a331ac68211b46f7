"""Computes the truth of a phantom from its solids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import LEVEL_ID
from ctrestoration.anatomy.phantom.shapes import Shape
from ctrestoration.anatomy.phantom.spine import Spine
from ctrestoration.anatomy.phantom.truth import Implicit, LevelTruth, PedicleTruth, SpineTruth, SurfaceDistance
from ctrestoration.anatomy.phantom.vertebra import Pedicle
from ctrestoration.anatomy.phantom.warp import Warp
from ctrestoration.volume import Grid

Vector = NDArray[np.float64]
_MAX_SHIFT_MM = 1.5  # beyond it, the opening is not the pedicle's: the S1 corridor has no wall to one side


@dataclass(frozen=True)
class Bone:
    """What the truth of one level is computed from.

    Attributes:
        shape: the solid in design space.
        center: of the body, design space.
        axes: columns left, posterior, up.
        pedicles: left, right, in the bone's frame.
        body_size: width, depth, height.
        canal: canal's center (x, y) and half-axes in the frame.
        extent: what must lie in the volume for the level to be complete.
    """

    shape: Shape
    center: Vector
    axes: Vector
    pedicles: tuple[Pedicle, Pedicle]
    body_size: tuple[float, float, float]
    canal: tuple[float, float, float, float]
    extent: Shape


def build_truth(
    grid: Grid,
    warp: Warp,
    spine: Spine,
    bones: dict[str, Bone],
    lesions: tuple[dict[str, Any], ...],
    parameters: dict[str, Any],
) -> SpineTruth:
    """The truth of everything that touches the grid."""
    levels, distances = {}, {}
    for name, bone in bones.items():
        implicit = _implicit(warp, bone.shape.distance)
        low, high = _patient_box(warp, bone.shape)
        visible, complete = _in_grid(grid, warp, bone.extent, *_patient_box(warp, bone.extent))
        if not visible:
            continue
        distances[name] = SurfaceDistance(implicit, low, high)
        levels[name] = _level(name, warp, bone, implicit, complete)
    canal = spine.canal_shape
    first, last = _grid_box(grid)
    low, high = _patient_box(warp, canal)
    low[2], high[2] = max(low[2], first[2] - 30), min(high[2], last[2] + 30)
    line = warp.to_patient(spine.canal_line[::-16])
    return SpineTruth(
        levels, line, lesions, parameters, distances, SurfaceDistance(_implicit(warp, canal.distance), low, high)
    )


def _implicit(warp: Warp, distance: Callable[..., Any]) -> Implicit:
    def implicit(points: Vector) -> Vector:
        design = warp.to_design(points)
        return np.asarray(distance(design[:, 0], design[:, 1], design[:, 2]), dtype=np.float64)

    return implicit


def _level(name: str, warp: Warp, bone: Bone, implicit: Implicit, complete: bool) -> LevelTruth:
    center = warp.to_patient(bone.center)
    # The warped frame: where short steps along the design axes arrive, made orthogonal again.
    arm = 8.0
    tips = warp.to_patient(bone.center + arm * bone.axes.T) - warp.to_patient(bone.center - arm * bone.axes.T)
    u, _, vt = np.linalg.svd(tips.T)
    axes = u @ vt
    cx, cy, a, b = bone.canal
    canal = warp.to_patient(bone.center + bone.axes @ np.array([cx, cy, 0.0]))
    sides = {
        ("left", "right")[n]: _pedicle(pedicle, warp, bone, axes, implicit) for n, pedicle in enumerate(bone.pedicles)
    }
    return LevelTruth(
        name, LEVEL_ID[name], _triple(center), _triple(axes[:, 0]), _triple(axes[:, 1]), _triple(axes[:, 2]),
        _triple(np.array(bone.body_size)), _triple(canal), (round(2 * a, 3), round(2 * b, 3)), True, complete, sides,
    )  # fmt: skip


def _pedicle(pedicle: Pedicle, warp: Warp, bone: Bone, axes: Vector, implicit: Implicit) -> PedicleTruth:
    place = bone.center + bone.axes @ pedicle.isthmus
    along = bone.axes @ pedicle.direction
    isthmus = warp.to_patient(place)
    direction = warp.to_patient(place + 10 * along) - warp.to_patient(place - 10 * along)
    direction /= np.linalg.norm(direction)
    across = np.cross(direction, axes[:, 2])
    across /= np.linalg.norm(across)
    over = np.cross(across, direction)
    widths = [_reach(implicit, isthmus, sign * across) for sign in (1, -1)]
    heights = [_reach(implicit, isthmus, sign * over) for sign in (1, -1)]
    # Where neighboring parts thicken one wall, the axis goes through the middle of the bone as it is.
    shift = 0.5 * (widths[0] - widths[1]) * across + 0.5 * (heights[0] - heights[1]) * over
    if np.linalg.norm(shift) < _MAX_SHIFT_MM:
        isthmus = isthmus + shift
    width, height = sum(widths), sum(heights)
    entry = isthmus - _reach(implicit, isthmus, -direction, 45.0) * direction
    local = axes.T @ direction
    transverse = np.degrees(np.arctan2(-pedicle.side * local[0], -local[1]))
    sagittal = np.degrees(np.arcsin(-local[2]))
    return PedicleTruth(
        _triple(isthmus), _triple(direction, 6), round(width, 3), round(height, 3), _triple(entry),
        round(float(transverse), 3), round(float(sagittal), 3),
    )  # fmt: skip


def _reach(implicit: Implicit, start: Vector, direction: Vector, limit: float = 25.0) -> float:
    """Distance from a point inside to where the ray first leaves the bone, in mm."""
    t = np.arange(0, limit, 0.1)
    value = implicit(start + t[:, None] * direction)
    outside = np.flatnonzero(value > 0)
    if not outside.size or outside[0] == 0:
        return float(limit if not outside.size else 0.0)
    n = int(outside[0])
    return float(t[n - 1] + 0.1 * value[n - 1] / (value[n - 1] - value[n]))


def _patient_box(warp: Warp, shape: Shape) -> tuple[Vector, Vector]:
    reach = min(warp.reach_mm, 15.0) + 1.0
    return shape.low - reach, shape.high + reach


def _grid_box(grid: Grid) -> tuple[Vector, Vector]:
    half = 0.5 * np.array(grid.spacing)
    first = np.array(grid.origin) - half
    return first, first + np.array(grid.spacing) * grid.shape[::-1]


def _in_grid(grid: Grid, warp: Warp, shape: Shape, low: Vector, high: Vector) -> tuple[bool, bool]:
    """Whether any, and whether all, of a bone lies in the grid, judged on a 3 mm lattice."""
    # A bone in the outermost voxels counts as cut: whoever sees only the labels cannot know that it ends there.
    first, last = _grid_box(grid)
    first, last = first + grid.spacing, last - grid.spacing
    if (low > last).any() or (high < first).any():
        return False, False
    if (low > first).all() and (high < last).all():
        return True, True
    axes = [np.arange(low[n], high[n] + 3, 3.0) for n in range(3)]
    bone = shape.distance(*warp.on_axes(*axes)) < 0
    within = [(axes[n] > first[n]) & (axes[n] < last[n]) for n in range(3)]
    inside = within[2][:, None, None] & within[1][None, :, None] & within[0][None, None, :]
    return bool((bone & inside).any()), not bool((bone & ~inside).any())


def _triple(values: Vector, digits: int = 4) -> tuple[float, float, float]:
    x, y, z = (round(float(value), digits) for value in values)
    return x, y, z
