"""The spine from three points a level: vertebrae by threshold and shape, where and named as the points say.

The points give what shape alone cannot: which level it is, where its pedicles are, and how it is turned. Discs are
then looked for above and below the body, and the bone between them is cut out as in the segmentation by shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import LEVEL_ID, LEVELS
from ctrestoration.anatomy.spine.canal import find_canal
from ctrestoration.anatomy.spine.points import LevelPoints
from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.anatomy.spine.split import bone_mask, flood
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.files import read_json, write_json
from ctrestoration.volume import Grid, LabelMap, Volume, axial_orientation

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]
_FORMAT = "ctrestoration level points"
_NAMES = ("anterior", "left_isthmus", "right_isthmus")
_BEFORE_MM, _BEHIND_MM, _SIDE_MM, _HEIGHT_MM = 12.0, 52.0, 50.0, 48.0
_FRONT_OF_CANAL_MM = 3.0
"""Bone this far in front of the isthmuses belongs to the body."""

_ABOVE_DISC_MM, _BELOW_DISC_MM = 10.0, 22.0
"""How far the processes reach beyond the discs."""


def segment_from_points(
    volume: Volume, points: Mapping[str, LevelPoints], *, control: Control = SILENT
) -> SpineSegmentation:
    """The vertebrae that were pointed at.

    Args:
        volume: CT in HU.
        points: level ("L3") -> its three points, LPS mm.
        control: progress and cancel.

    Raises:
        InputError: no points, an unknown level, points outside the CT or where there is no bone, or levels that do
            not follow one another from top to bottom.
        Cancelled: where the control asks to stop.
    """
    names = _ordered(points)
    orientation, grid = axial_orientation(volume.grid)
    array = np.ascontiguousarray(orientation.apply(volume.array))
    canal, line, note = _canal(array, grid, [points[name] for name in names], control.part(0.0, 0.4))
    labels = np.zeros(array.shape, dtype=np.uint16)
    levels = []
    for name in control.part(0.4, 1.0).track(names, "Cutting out the vertebrae"):
        levels.append(_cut_out(labels, array, grid, canal, name, points[name]))
    notes = (
        "Levels are those that were pointed at; borders are found by threshold and shape, and are approximate.",
        *([note] if note else []),
    )
    text = {LEVEL_ID[name]: f"vertebrae_{name}" for name in names}
    return SpineSegmentation(
        LabelMap(orientation.undo(labels), volume.grid, text, "spine"), orientation.undo(canal), line, tuple(levels),
        "points", notes, points={name: points[name] for name in names},
    )  # fmt: skip


def save_points(points: Mapping[str, LevelPoints], path: str | Path) -> None:
    """Write points as JSON.

    Raises:
        OutputError: where the file cannot be written.
    """
    write_json(
        path, {"format": _FORMAT, "units": "LPS mm", "levels": {name: p.to_json() for name, p in points.items()}}
    )


def load_points(path: str | Path) -> dict[str, LevelPoints]:
    """Read points: {"format": "ctrestoration level points", "levels": {"L3": {"anterior": [x, y, z], ...}}}.

    Raises:
        InputError: not there, not JSON, not points, an unknown level, or points that are no vertebra's; the message
            names file and level.
    """
    path = Path(path)
    content = read_json(path, "expected a JSON file with three points a level")
    if not isinstance(content, dict) or content.get("format") != _FORMAT or not isinstance(content.get("levels"), dict):
        raise InputError(f'{path} holds no level points: expected "format": "{_FORMAT}" and "levels".')
    out = {}
    for name, row in content["levels"].items():
        out[name] = _level_points(row, f"{path}, {name}")
    _ordered(out)
    return out


def _level_points(row: Any, where: str) -> LevelPoints:
    if not isinstance(row, dict) or set(row) != set(_NAMES):
        raise InputError(f"{where}: expected the three points {', '.join(_NAMES)}, each [x, y, z] in LPS mm.")
    try:
        return LevelPoints(*(np.asarray(row[key], dtype=np.float64) for key in _NAMES))
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def _ordered(points: Mapping[str, LevelPoints]) -> list[str]:
    """Levels from cranial to caudal."""
    if not points:
        raise InputError("No level was pointed at: give three points for at least one.")
    unknown = [name for name in points if name not in LEVELS]
    if unknown:
        raise InputError(f"Unknown vertebral level {unknown[0]!r}: use C1..C7, T1..T12, L1..L5 or S1.")
    names = sorted(points, key=LEVELS.index)
    heights = [float(0.5 * (points[name].left_isthmus + points[name].right_isthmus)[2]) for name in names]
    for n in range(1, len(names)):
        if heights[n] >= heights[n - 1]:
            raise InputError(
                f"{names[n]} was pointed at above {names[n - 1]} ({heights[n]:.0f} and {heights[n - 1]:.0f} mm): "
                "levels run from top to bottom; check their names."
            )
    return names


def _canal(
    array: NDArray[np.float32], grid: Grid, points: list[LevelPoints], control: Control
) -> tuple[Mask, Vector, str]:
    """The canal in the CT around the levels, on the whole grid."""
    heights = [grid.to_index(p)[2] for level in points for p in (level.left_isthmus, level.right_isthmus)]
    reach = 40.0 / grid.spacing[2]
    first, last = max(int(min(heights) - reach), 0), min(int(np.ceil(max(heights) + reach)) + 1, len(array))
    mask = np.zeros(array.shape, dtype=bool)
    found = find_canal(array[first:last], grid.spacing, control) if last > first else None
    if found is None:
        return mask, np.zeros((0, 3)), "No canal was found in the CT: only the rings of the masks tell where it is."
    mask[first:last] = found.mask
    line = grid.to_world(found.line / np.array(grid.spacing) + np.array([0, 0, first]))[::-1]
    return mask, line, ""


def _cut_out(
    labels: NDArray[np.uint16], array: NDArray[np.float32], grid: Grid, canal: Mask, name: str, points: LevelPoints
) -> SpineLevel:
    """Write one vertebra into the labels, where no other is yet."""
    from scipy.ndimage import gaussian_filter

    for key in _NAMES:
        index = grid.to_index(getattr(points, key))
        if (index < -0.5).any() or (index > np.array(grid.shape[::-1]) - 0.5).any():
            raise InputError(f"{name}: the point {key} lies outside the CT.")
    middle = 0.5 * (points.left_isthmus + points.right_isthmus)
    depth = float((middle - points.anterior) @ points.axes[:, 1])
    body = middle - 0.55 * depth * points.axes[:, 1]
    low, high = _discs(array, grid, body, points.axes)
    box = _box(grid, middle, depth)
    k, j, i = np.indices(array[box].shape)
    world = grid.to_world(np.stack([i + box[2].start, j + box[1].start, k + box[0].start], axis=-1))
    left, back, up = np.moveaxis((world - body) @ points.axes, -1, 0)
    hu = gaussian_filter(array[box], [0.5 / value if value < 1.5 else 0.0 for value in grid.spacing[::-1]])
    marrow = hu[(np.hypot(left, back) < 10) & (np.abs(up - 0.5 * (low + high)) < 6)]
    if not marrow.size or float(np.median(marrow)) < 40:
        found = "nothing" if not marrow.size else f"{np.median(marrow):.0f} HU"
        raise InputError(f"{name}: there is no vertebral body between its points ({found}): are they on this CT?")
    # Half way between soft tissue and this vertebra's own spongiosa; coarse voxels mix thin cortex with fat.
    floor = np.clip(140 - 15 * grid.spacing[0], 100, 125)
    threshold = float(np.clip(0.5 * (np.median(marrow) + 90), floor, 180))
    front = back < 0.55 * depth - _FRONT_OF_CANAL_MM
    bone = bone_mask(hu, front, threshold, grid.spacing) & ~canal[box]
    bone &= (back > -0.45 * depth - 6) & (np.abs(left) < np.where(front, 30, 47))
    # The neighbors claim their own arches; discs belong to none.
    number = np.where(up > high + 1.5, 2, np.where(up < low - 1.5, 3, (up > low + 1.5) & (up < high - 1.5)))
    mask = flood(hu, bone, np.where(front, number, 0), threshold, grid.spacing) == 1
    mask &= (up > low - _BELOW_DISC_MM) & (up < high + _ABOVE_DISC_MM)
    mask = _largest(mask) & (labels[box] == 0)
    labels[box][mask] = LEVEL_ID[name]
    return _described(mask, box, grid, name)


def _box(grid: Grid, middle: Vector, depth: float) -> tuple[slice, slice, slice]:
    """The voxels that a vertebra may fill; the axial grid's axes run nearly along the patient's."""
    low = middle - np.array([_SIDE_MM, depth + _BEFORE_MM, _HEIGHT_MM])
    high = middle + np.array([_SIDE_MM, _BEHIND_MM, _HEIGHT_MM])
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    index = grid.to_index(corners)
    first, last = np.floor(index.min(axis=0)).astype(int), np.ceil(index.max(axis=0)).astype(int) + 1
    ranges = [slice(max(a, 0), min(b, n)) for a, b, n in zip(first, last, grid.shape[::-1], strict=True)]
    return ranges[2], ranges[1], ranges[0]


def _discs(array: NDArray[np.float32], grid: Grid, body: Vector, axes: Vector) -> tuple[float, float]:
    """Heights of the discs below and above the body's center, mm along its own axis.

    Beyond the endplate, the brightest place on the way, the disc is the darkest within 9 mm.
    """
    from scipy.ndimage import gaussian_filter1d, map_coordinates

    s = np.arange(-36.0, 36.1, 0.5)
    u, v = np.meshgrid(np.arange(-8.0, 8.1, 2.0), np.arange(-6.0, 6.1, 2.0))
    across = u.ravel()[:, None] * axes[:, 0] + v.ravel()[:, None] * axes[:, 1]
    where = body + s[:, None, None] * axes[:, 2] + across
    index = np.moveaxis(grid.to_index(where)[..., ::-1], -1, 0)
    profile = gaussian_filter1d(map_coordinates(array, index, order=1, mode="nearest").mean(axis=1), 2.0)
    out = []
    for sign in (-1, 1):
        way = np.flatnonzero((sign * s >= 5) & (sign * s <= 20))[::sign]
        plate = way[int(np.argmax(profile[way]))]
        beyond = np.flatnonzero((sign * (s - s[plate]) >= 0) & (sign * (s - s[plate]) <= 9))[::sign]
        out.append(float(s[beyond[int(np.argmin(profile[beyond]))]]))
    return out[0], out[1]


def _largest(mask: Mask) -> Mask:
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())) if count else mask


def _described(mask: Mask, box: tuple[slice, slice, slice], grid: Grid, name: str) -> SpineLevel:
    where = np.argwhere(mask)
    if not where.size:
        return SpineLevel(name, LEVEL_ID[name], False, "no bone was found at its points", (0.0, 0.0, 0.0), 0.0)
    where = where + np.array([part.start for part in box])
    cut = bool((where == 0).any() or (where == np.array(grid.shape) - 1).any())
    x, y, z = (round(float(value), 2) for value in grid.to_world(where.mean(axis=0)[::-1]))
    note = "cut by the edge of the volume" if cut else ""
    return SpineLevel(name, LEVEL_ID[name], not cut, note, (x, y, z), round(len(where) * grid.voxel_mm3 / 1000, 2))
