"""Finds the spinal canal without trained weights: a soft hole in a ring of bone that runs on from slice to slice.

One axial slice shows a closed ring only at the height of the pedicles. Bone is therefore gathered over a slab of
about 15 mm, in which the rings of neighboring vertebrae close one another's gaps; the hole that is left in each
slice is a candidate, and the chain of candidates that moves least from slice to slice is the canal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import SILENT, Control

_THRESHOLDS = (160.0, 110.0, 220.0)  # HU, tried in this order until the canal is found in most slices
_SLAB_MM = 15.0
_AREA_MM2 = (45.0, 700.0)
_ROI_MM = (52.0, 65.0, 78.0)  # to either side, forward, backward of the rough spine position
_GAP_MM = 25.0  # longest stretch without a candidate that a chain may bridge
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Canal:
    """The canal in the turned volume (rows posterior, columns left, slices superior).

    Attributes:
        line: (n, 3) mm = index (i, j, k) times spacing, ascending z, one point a slice.
        mask: bool [z, y, x].
        seen: share of the line's slices in which the hole itself was seen, 0..1.
        threshold: HU above which a voxel counted as bone.
    """

    line: NDArray[np.float64]
    mask: NDArray[np.bool_]
    seen: float
    threshold: float


@dataclass(frozen=True)
class _Hole:
    z: int
    y: float
    x: float
    area: float
    mask: NDArray[np.bool_]
    corner: tuple[int, int]


def find_canal(array: Array, spacing: tuple[float, float, float], control: Control = SILENT) -> Canal | None:
    """The canal, or None where no chain of rings is found.

    Args:
        array: HU [z, y, x], axes superior, posterior, left.
        spacing: (x, y, z) mm.
        control: progress and cancel.
    """
    control.report(0.0, "Looking for the spinal canal")
    rough = rough_spine(array, spacing)
    if rough is None:
        return None
    best: Canal | None = None
    for number, threshold in enumerate(_THRESHOLDS):
        holes = []
        for z in range(len(array)):
            control.report((number + z / len(array)) / len(_THRESHOLDS), "Looking for the spinal canal")
            holes.append(_holes(array, spacing, z, rough[z], threshold))
        chain = _chain(holes, spacing)
        found = _trace(chain, array.shape, spacing, threshold)
        if found is not None and (best is None or len(found.line) * found.seen > 1.15 * len(best.line) * best.seen):
            best = found
        if best is not None and len(best.line) * best.seen > 0.7 * len(array):
            break
    return best


def rough_spine(array: Array, spacing: tuple[float, float, float]) -> NDArray[np.float64] | None:
    """Rough row and column of the spine in each slice, (n, 2): the densest bone in the back half of the body."""
    from scipy import ndimage

    fy, fx = (max(1, round(4.0 / value)) for value in (spacing[1], spacing[0]))
    nz, ny, nx = array.shape
    blocks = array[:, : ny // fy * fy, : nx // fx * fx].reshape(nz, ny // fy, fy, nx // fx, fx)
    if 0 in blocks.shape:
        return None
    bone = (blocks > 180).mean(axis=(2, 4), dtype=np.float32)
    body = blocks.mean(axis=(2, 4)) > -300
    density = ndimage.gaussian_filter(bone, (min(6.0 / spacing[2], 3.0), 3, 3))
    if density.max() < 0.02:
        return None
    rows, columns = np.arange(density.shape[1])[:, None], np.arange(density.shape[2])[None, :]
    found = np.full((nz, 2), np.nan)
    for z in range(nz):
        inside = ndimage.binary_opening(body[z], iterations=2)
        if not inside.any():
            continue
        row, column = np.nonzero(inside)
        y0, y1, x0, x1 = (int(value) for value in (row.min(), row.max(), column.min(), column.max()))
        weight = (rows > y0 + 0.40 * (y1 - y0)) * np.exp(-(((columns - (x0 + x1) / 2) / (0.2 * (x1 - x0) + 1)) ** 2))
        y, x = divmod(int((density[z] * weight).argmax()), density.shape[2])
        found[z] = (y + 0.5) * fy, (x + 0.5) * fx
    known = np.isfinite(found[:, 0])
    if not known.any():
        return None
    height = np.arange(nz)
    filled = np.stack([np.interp(height, height[known], found[known, n]) for n in range(2)], axis=1)
    window = max(3, int(27 / spacing[2]) // 2 * 2 + 1)
    return np.asarray(ndimage.median_filter(filled, size=(min(window, 2 * nz - 1), 1), mode="nearest"))


def _holes(
    array: Array, spacing: tuple[float, float, float], z: int, center: NDArray[np.float64], threshold: float
) -> list[_Hole]:
    from scipy import ndimage

    sx, sy, sz = spacing
    y0 = max(int(center[0] - _ROI_MM[1] / sy), 0)
    x0 = max(int(center[1] - _ROI_MM[0] / sx), 0)
    window = (slice(y0, int(center[0] + _ROI_MM[2] / sy)), slice(x0, int(center[1] + _ROI_MM[0] / sx)))
    reach = int(_SLAB_MM / 2 / sz)
    bone = (array[max(z - reach, 0) : z + reach + 1, window[0], window[1]] > threshold).any(axis=0)
    closed = ndimage.binary_closing(bone, iterations=max(1, round(1.0 / sx)))
    region, count = ndimage.label(ndimage.binary_fill_holes(closed) & ~closed)
    here = array[z][window]
    holes = []
    for number, where in enumerate(ndimage.find_objects(region, count), start=1):
        mask = region[where] == number
        area = float(mask.sum() * sx * sy)
        if not _AREA_MM2[0] <= area <= _AREA_MM2[1] or not -90 < float(here[where][mask].mean()) < 120:
            continue
        rows, columns = np.nonzero(mask)
        corner = (where[0].start + y0, where[1].start + x0)
        holes.append(_Hole(z, float(rows.mean() + corner[0]), float(columns.mean() + corner[1]), area, mask, corner))
    return holes


def _chain(holes: list[list[_Hole]], spacing: tuple[float, float, float]) -> list[_Hole]:
    """The chain of holes with the best sum of (1 - movement - gap - change of area), by dynamic programming."""
    sx, sy, sz = spacing
    gap = max(2, round(_GAP_MM / sz))
    score: dict[int, float] = {}
    previous: dict[int, _Hole | None] = {}
    for hole in (hole for row in holes for hole in row):
        score[id(hole)], previous[id(hole)] = 1.0, None
        for z in range(max(hole.z - gap, 0), hole.z):
            for other in holes[z]:
                rise = (hole.z - z) * sz
                moved = float(np.hypot((hole.y - other.y) * sy, (hole.x - other.x) * sx))
                if moved > rise + 2.5:
                    continue
                cost = 0.35 * moved / rise + 0.03 * (rise - sz) + 0.15 * abs(float(np.log(hole.area / other.area)))
                value = score[id(other)] + 1.0 - cost
                if value > score[id(hole)]:
                    score[id(hole)], previous[id(hole)] = value, other
    everything = [hole for row in holes for hole in row]
    if not everything:
        return []
    link: _Hole | None = max(everything, key=lambda candidate: score[id(candidate)])
    chain: list[_Hole] = []
    while link is not None:
        chain.append(link)
        link = previous[id(link)]
    return chain[::-1]


def _trace(
    chain: list[_Hole], shape: tuple[int, ...], spacing: tuple[float, float, float], threshold: float
) -> Canal | None:
    from scipy import ndimage

    if len(chain) < 2 or (chain[-1].z - chain[0].z + 1) * spacing[2] < 12.0:
        return None
    known = np.array([hole.z for hole in chain])
    z = np.arange(known[0], known[-1] + 1)
    width = max(1.0, 6.0 / spacing[2])
    line = []
    for values in ([hole.x for hole in chain], [hole.y for hole in chain]):
        filled = np.interp(z, known, values)
        filled = ndimage.median_filter(filled, size=5, mode="nearest")
        line.append(ndimage.gaussian_filter1d(filled, width, mode="nearest"))
    mask = np.zeros(shape, dtype=bool)
    for hole in chain:
        rows, columns = hole.mask.shape
        y, x = hole.corner
        mask[hole.z, y : y + rows, x : x + columns] |= hole.mask
    radius = float(np.sqrt(np.median([hole.area for hole in chain]) / np.pi)) * 0.9
    rows, columns = np.arange(shape[1])[:, None] * spacing[1], np.arange(shape[2])[None, :] * spacing[0]
    for n in np.flatnonzero(~np.isin(z, known)):
        x, y = line[0][n] * spacing[0], line[1][n] * spacing[1]
        mask[z[n]] |= (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    points = np.stack([line[0] * spacing[0], line[1] * spacing[1], z * spacing[2]], axis=1)
    return Canal(points, mask, len(chain) / len(z), threshold)
