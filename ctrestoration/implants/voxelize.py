"""Closed meshes on a CT grid, as the share of each voxel that they fill.

Columns of the grid, four by four to each voxel, are cut with every triangle; between entering and leaving the solid,
a column is filled. Along the column the share is exact, however thick the slices, so that only the 4 x 4 columns
across sample. The work goes with the implant, not with the volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.mesh import Mesh
from ctrestoration.volume import Grid

Vector = NDArray[np.float64]
Box = tuple[slice, slice, slice]
SAMPLES = 4


@dataclass(frozen=True)
class Piece:
    """Fractions in a box of a grid."""

    box: Box
    fraction: NDArray[np.float32]


def voxelize(mesh: Mesh, grid: Grid, samples: int = SAMPLES) -> Piece | None:
    """Fraction of each voxel inside a closed mesh; None where it lies outside the grid.

    Args:
        mesh: closed, normals outward, LPS mm.
        grid: any CT grid: anisotropic, oblique or flipped.
        samples: columns to a voxel and direction; they run along the axis with the largest spacing.

    Returns:
        The voxels it can touch and their fractions 0..1, float32 [z, y, x].
    """
    along = int(np.argmax(grid.spacing))  # of i, j, k
    across = [axis for axis in range(3) if axis != along]
    index = grid.to_index(mesh.points)
    size = np.array(grid.shape[::-1])
    low = np.maximum(np.floor(index.min(axis=0) + 0.5).astype(int), 0)
    high = np.minimum(np.floor(index.max(axis=0) + 0.5).astype(int) + 1, size)
    if (low >= high).any():
        return None
    # Columns stand at (n + 0.5) / samples - 0.5 within a voxel: in their own units, at whole numbers.
    flat = (index[:, across] - low[across] + 0.5) * samples - 0.5
    column, height, sign = _crossings(
        flat, index[:, along] - low[along] + 0.5, mesh.triangles, (high - low)[across] * samples
    )
    filled = _fill(column, height, sign, (high - low)[across] * samples, int((high - low)[along]))
    n, m, depth = (high - low)[across[0]], (high - low)[across[1]], (high - low)[along]
    share = filled.reshape(n, samples, m, samples, depth).mean(axis=(1, 3))
    # The array's axes are (across[0], across[1], along) of (i, j, k); the volume's are (k, j, i).
    order = [(*across, along).index(axis) for axis in (2, 1, 0)]
    fraction = np.clip(np.transpose(share, order), 0, 1).astype(np.float32)
    box = tuple(slice(int(low[axis]), int(high[axis])) for axis in (2, 1, 0))
    return Piece((box[0], box[1], box[2]), np.ascontiguousarray(fraction))


def _crossings(
    flat: Vector, height: Vector, triangles: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Vector, Vector]:
    """Where columns at whole numbers meet triangles: column number, height, +1 entering or -1 leaving."""
    # A shift that no vertex shares keeps columns off edges and vertices.
    corner = flat[triangles] + np.array([1.234567e-7, 2.345678e-7])
    first = np.maximum(np.ceil(corner.min(axis=1)).astype(np.int64), 0)
    last = np.minimum(np.floor(corner.max(axis=1)).astype(np.int64), columns - 1)
    wide = np.maximum(last - first + 1, 0)
    count = wide[:, 0] * wide[:, 1]
    which = np.repeat(np.arange(len(triangles)), count)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    u = first[which, 0] + offset // np.maximum(wide[which, 1], 1)
    v = first[which, 1] + offset % np.maximum(wide[which, 1], 1)
    a, b, c = (corner[which, n] for n in range(3))
    du, dv = u.astype(np.float64), v.astype(np.float64)
    wa = (b[:, 0] - du) * (c[:, 1] - dv) - (c[:, 0] - du) * (b[:, 1] - dv)
    wb = (c[:, 0] - du) * (a[:, 1] - dv) - (a[:, 0] - du) * (c[:, 1] - dv)
    wc = (a[:, 0] - du) * (b[:, 1] - dv) - (b[:, 0] - du) * (a[:, 1] - dv)
    area = wa + wb + wc
    # Half-open on purpose: an edge that two triangles share is hit by exactly one of them.
    inside = np.where(area > 0, (wa >= 0) & (wb >= 0) & (wc >= 0), (wa < 0) & (wb < 0) & (wc < 0)) & (area != 0)
    which, u, v, area = which[inside], u[inside], v[inside], area[inside]
    z = height[triangles[which]]
    at = (wa[inside] * z[:, 0] + wb[inside] * z[:, 1] + wc[inside] * z[:, 2]) / area
    return u * columns[1] + v, at, np.sign(area)


def _fill(
    column: NDArray[np.int64], height: Vector, sign: Vector, columns: NDArray[np.int64], depth: int
) -> NDArray[np.float64]:
    """Filled share of each cell [column, depth] from the crossings.

    A crossing at height h fills the rest of its own cell and all cells above by +-1; entering and leaving cancel.
    Which sign enters depends on whether the grid mirrors space; the sum of all lengths is made positive.
    """
    height = np.clip(height, 0, depth)
    cell = np.minimum(height.astype(np.int64), depth - 1)
    rest = np.clip(cell + 1 - height, 0, 1)
    table = np.zeros((int(columns[0] * columns[1]), depth + 1))
    key = column * (depth + 1) + cell
    size = table.size
    flatten = np.bincount(key, sign * rest, size) + np.bincount(key + 1, sign * (1 - rest), size)
    filled = np.cumsum(flatten.reshape(table.shape)[:, :depth], axis=1)
    return filled if filled.sum() >= 0 else -filled


def add(target: NDArray[np.float32], piece: Piece | None) -> None:
    """Put a piece into a volume in place; where parts overlap, the larger fraction counts."""
    if piece is not None:
        region = target[piece.box]
        np.maximum(region, piece.fraction, out=region)
