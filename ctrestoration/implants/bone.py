"""One vertebra as the planner sees it: signed distance to its surface, its own frame, and its canal.

The frame is that of the vertebral body (endplates), not of the whole mask: a wedge or a long spinous process would
tilt the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.volume import Grid

Vector = NDArray[np.float64]
STEP = 1.0
"""Spacing of the frame's lattice in mm."""

MARGIN_MM = 6.0
_LOW, _HIGH = np.array([-46.0, -32.0, -36.0]), np.array([47.0, 77.0, 33.0])
_HOLE_MM2, _HOLE_MM3 = (60.0, 800.0), 200.0
_SLAB_MM = 6


@dataclass(frozen=True)
class Bone:
    """A vertebra's mask as a signed distance.

    Attributes:
        level: its name.
        distance: mm to the surface, positive inside, float32 [z, y, x] on `grid`.
        grid: a crop of the CT's grid around the vertebra.
        center: deepest part of the vertebral body, LPS mm.
        centroid: of the whole mask, LPS mm.
    """

    level: str
    distance: NDArray[np.float32]
    grid: Grid
    center: Vector
    centroid: Vector

    def depth(self, points: Vector) -> Vector:
        """Depth in mm below the surface at LPS points (..., 3), negative outside."""
        from scipy.ndimage import map_coordinates

        index = np.moveaxis(self.grid.to_index(points)[..., ::-1], -1, 0)
        return np.asarray(map_coordinates(self.distance, index, order=1, mode="nearest"), dtype=np.float64)


def bone_of(level: str, mask: NDArray[np.bool_], grid: Grid) -> Bone:
    """The signed distance of a mask [z, y, x].

    Raises:
        InputError: the mask is empty.
    """
    from scipy import ndimage

    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        raise InputError(f"{level} has an empty mask: segment it first.")
    pad = np.ceil(MARGIN_MM / np.array(grid.spacing[::-1])).astype(int)
    start = np.array([side.start for side in found[0]]) - pad
    stop = np.array([side.stop for side in found[0]]) + pad
    inner = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(start, stop, mask.shape, strict=True))
    padding = [(max(-a, 0), max(b - n, 0)) for a, b, n in zip(start, stop, mask.shape, strict=True)]
    crop = _filled(np.pad(mask[inner], padding), grid)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(start[::-1])
    local = Grid((crop.shape[0], crop.shape[1], crop.shape[2]), affine)
    distance = _signed(crop, local.spacing)
    core, count = ndimage.label(distance > 0.65 * distance.max())
    largest = 1 + int(np.argmax(np.bincount(core.ravel())[1:])) if count else 1
    center = local.to_world(np.array(ndimage.center_of_mass(core == largest))[::-1])
    centroid = local.to_world(np.array(ndimage.center_of_mass(crop))[::-1])
    return Bone(level, distance, local, center, centroid)


def _filled(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """The mask without the bubbles that a threshold leaves in spongy bone.

    Holes are filled in sagittal and coronal planes, never in axial ones: there, the canal is a hole.
    """
    from scipy import ndimage

    out = np.asarray(ndimage.binary_fill_holes(mask))
    axial = 2 - int(np.argmax(np.abs(grid.direction[2])))  # the array axis that runs along the patient
    for axis in range(3):
        if axis == axial:
            continue
        planes = np.moveaxis(out, axis, 0)
        for plane in planes:
            if plane.any():
                plane |= ndimage.binary_fill_holes(plane)
    return out


def _signed(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance to the surface, which lies half a voxel before the nearest voxel on the other side."""
    from scipy import ndimage

    step = np.array(spacing[::-1], dtype=np.float32)
    out = np.zeros(mask.shape, dtype=np.float32)
    places = np.indices(mask.shape, dtype=np.int32)
    for side, sign in ((mask, 1), (~mask, -1)):
        nearest = ndimage.distance_transform_edt(side, sampling=step, return_distances=False, return_indices=True)
        away = np.abs(nearest - places).astype(np.float32)
        length = np.sqrt(((away * step[:, None, None, None]) ** 2).sum(axis=0))
        half = 0.5 * length / np.maximum(away.max(axis=0), 1)
        out += sign * np.where(side, length - half, 0)
    # Takes the stairs of the voxels out of the surface.
    return np.asarray(ndimage.gaussian_filter(out, 0.35 / step), dtype=np.float32)


@dataclass(frozen=True)
class Frame:
    """A vertebra's own axes.

    Attributes:
        origin: center of the body, LPS mm.
        axes: columns left, posterior, up; orthonormal.
    """

    origin: Vector
    axes: Vector

    def world(self, local: Vector) -> Vector:
        """LPS points of frame points (..., 3)."""
        return np.asarray(local) @ self.axes.T + self.origin

    def local(self, world: Vector) -> Vector:
        """Frame points of LPS points (..., 3)."""
        return (np.asarray(world) - self.origin) @ self.axes

    def direction(self, side: int, transverse_deg: float, sagittal_deg: float) -> Vector:
        """World direction of a screw, back to front. side: +1 left, -1 right; angles as in the planner's table."""
        a, b = np.radians(transverse_deg), np.radians(sagittal_deg)
        return self.axes @ np.array([-side * np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), -np.sin(b)])

    def angles(self, side: int, direction: Vector) -> tuple[float, float]:
        """(transverse, sagittal) in degrees: positive = tip toward the midline; positive = tip caudal."""
        x, y, z = self.axes.T @ direction
        return float(np.degrees(np.arctan2(-side * x, -y))), float(np.degrees(np.arcsin(np.clip(-z, -1, 1))))


def frame_from(origin: Vector, up: Vector, posterior: Vector) -> Frame:
    """The frame with this up axis, and posterior made perpendicular to it."""
    up = up / np.linalg.norm(up)
    posterior = posterior - (posterior @ up) * up
    posterior = posterior / np.linalg.norm(posterior)
    return Frame(origin, np.stack([np.cross(posterior, up), posterior, up], axis=1))


@dataclass(frozen=True)
class Endplates:
    """The body's height in front, in the middle and behind, in mm."""

    front: float
    middle: float
    back: float


def lattice(bone: Bone, frame: Frame) -> tuple[tuple[Vector, Vector, Vector], NDArray[np.float64]]:
    """Axes (x, y, z) of the frame's lattice in mm, and depth [z, y, x] on it."""
    x, y, z = (np.arange(low, high, STEP) for low, high in zip(_LOW, _HIGH, strict=True))
    local = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    return (x, y, z), bone.depth(frame.world(local))


def body_frame(bone: Bone, up: Vector) -> tuple[Frame, Endplates]:
    """The frame whose up axis is the mean normal of the two endplates, from a first guess of up.

    Raises:
        InputError: no vertebral body can be made out.
    """
    frame = frame_from(bone.center, up, bone.centroid - bone.center)
    ends = None
    for _ in range(2):
        (x, y, z), depth = lattice(bone, frame)
        ends = _endplates(x, y, z, depth > 0)
        if ends is None:
            raise InputError(f"{bone.level}: no vertebral body was recognized in its mask.")
        slopes, _ = ends
        normal = frame.axes @ np.array([-slopes[0], -slopes[1], 1.0])
        tilt = np.degrees(np.arccos(np.clip(normal @ frame.axes[:, 2] / np.linalg.norm(normal), -1, 1)))
        if tilt > 35:
            raise InputError(
                f"{bone.level}: the endplates of its mask do not face each other; is it one whole vertebra?"
            )
        frame = frame_from(bone.center, normal, frame.axes[:, 1])
        if tilt < 2:
            break
    assert ends is not None  # noqa: S101 - the loop ran
    return frame, ends[1]


def _endplates(
    x: Vector, y: Vector, z: Vector, mask: NDArray[np.bool_]
) -> tuple[tuple[float, float], Endplates] | None:
    """Mean slopes (dz/dx, dz/dy) of the two endplates, and the heights."""
    middle = int(np.argmin(np.abs(z)))
    x0, y0 = int(np.argmin(np.abs(x))), int(np.argmin(np.abs(y)))
    front = y0 - int(np.argmin(mask[middle, y0::-1, x0])) if not mask[middle, y0::-1, x0].all() else 0
    reach_y = max(y0 - front, 6) * STEP
    columns = (np.abs(x)[None, :] < 1.0 * reach_y) & (y[:, None] > -0.8 * reach_y) & (y[:, None] < 0.6 * reach_y)
    columns &= mask[middle]
    rows = np.argwhere(columns)
    if len(rows) < 30:
        return None
    runs = mask[:, rows[:, 0], rows[:, 1]]
    above, below = runs[middle:], runs[middle::-1]
    top = np.where(above.all(axis=0), len(above), np.argmin(above, axis=0)) * STEP
    bottom = -np.where(below.all(axis=0), len(below), np.argmin(below, axis=0)) * STEP
    px, py = x[rows[:, 1]], y[rows[:, 0]]
    (sx1, sy1, _), (sx2, sy2, _) = (_plane(px, py, values) for values in (top, bottom))
    height = top - bottom
    thirds = np.percentile(py, [25, 75])
    heights = Endplates(
        float(np.median(height[py < thirds[0]])),
        float(np.median(height[(py >= thirds[0]) & (py <= thirds[1])])),
        float(np.median(height[py > thirds[1]])),
    )
    return (0.5 * (sx1 + sx2), 0.5 * (sy1 + sy2)), heights


def _plane(x: Vector, y: Vector, values: Vector) -> Vector:
    """Least squares plane; osteophytes and foramina are left out in further rounds."""
    matrix = np.stack([x, y, np.ones_like(x)], axis=1)
    keep = np.ones(len(x), dtype=bool)
    for _ in range(3):
        found = np.linalg.lstsq(matrix[keep], values[keep], rcond=None)[0]
        residual = np.abs(values - matrix @ found)
        keep = residual <= max(2.0, 1.5 * float(np.median(residual)))
    return np.asarray(found)


@dataclass(frozen=True)
class CanalView:
    """The canal beside one vertebra, in its frame.

    Attributes:
        center: (x, y) mm.
        front: y of its front edge.
        half_width: mm.
        distance: mm outside the canal's outline [y, x], negative inside; the outline holds over the level's height.
        x: axis of `distance`.
        y: axis of `distance`.
        height: (low, high) z in which the ring was closed.
        closed: True where single planes close the ring; False where a slab of planes was needed.
    """

    center: tuple[float, float]
    front: float
    half_width: float
    distance: NDArray[np.float64]
    x: Vector
    y: Vector
    height: tuple[float, float]
    closed: bool

    def clearance(self, local: Vector) -> Vector:
        """Distance in mm from the canal at frame points (..., 3), negative inside."""
        from scipy.ndimage import map_coordinates

        index = np.stack([(local[..., 1] - self.y[0]) / STEP, (local[..., 0] - self.x[0]) / STEP])
        return np.asarray(map_coordinates(self.distance, index, order=1, mode="nearest"))


def find_canal(axes: tuple[Vector, Vector, Vector], depth: NDArray[np.float64]) -> CanalView | None:
    """The hole that the ring of bone encloses; None where no plane and no slab of 6 mm closes one."""
    from scipy import ndimage

    x, y, _ = axes
    mask = depth > 0
    for slab in (1, _SLAB_MM):
        solid = mask if slab == 1 else ndimage.maximum_filter1d(mask, slab, axis=0)
        holes = np.stack([_holes(plane, x, y) for plane in solid])
        parts, count = ndimage.label(holes)
        if not count:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        best = 1 + int(np.argmax(sizes))
        if sizes[best - 1] * STEP**3 < _HOLE_MM3:
            continue
        return _view(parts == best, axes, closed=slab == 1)
    return None


def canal_from_mask(axes: tuple[Vector, Vector, Vector], inside: NDArray[np.bool_]) -> CanalView | None:
    """The canal from a mask [z, y, x] on the frame's lattice, near the body's height; None where there is none."""
    near = np.abs(axes[2]) < 14
    inside = inside & near[:, None, None]
    return _view(inside, axes, closed=False) if inside.sum() > _HOLE_MM3 else None


def _view(hole: NDArray[np.bool_], axes: tuple[Vector, Vector, Vector], closed: bool) -> CanalView | None:
    from scipy import ndimage

    x, y, z = axes
    planes = np.flatnonzero(hole.any(axis=(1, 2)))
    outline = hole[planes].mean(axis=0) >= 0.5
    if not outline.any():
        return None
    rows, columns = np.nonzero(outline)
    inside = ndimage.distance_transform_edt(outline) - 0.5
    outside = ndimage.distance_transform_edt(~outline) - 0.5
    return CanalView(
        (float(x[columns].mean()), float(y[rows].mean())),
        float(y[rows].min()) - STEP / 2,
        float(np.ptp(x[columns]) + STEP) / 2,
        np.where(outline, -inside, outside) * STEP,
        x, y, (float(z[planes[0]]), float(z[planes[-1]])), closed,
    )  # fmt: skip


def _holes(plane: NDArray[np.bool_], x: Vector, y: Vector) -> NDArray[np.bool_]:
    """Enclosed holes of the size of a canal, behind the body's center and near the midline."""
    from scipy import ndimage

    parts, _ = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
    keep = np.zeros(plane.shape, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        piece = parts[box] == number
        area = piece.sum() * STEP**2
        middle_y = 0.5 * (y[box[0].start] + y[box[0].stop - 1])
        middle_x = 0.5 * (x[box[1].start] + x[box[1].stop - 1])
        if _HOLE_MM2[0] <= area <= _HOLE_MM2[1] and 4 < middle_y < 45 and abs(middle_x) < 14:
            keep[box] |= piece
    return keep
