"""Volume: HU values on a grid in patient space; the one image type that data flow through.

Conventions, everywhere in this package: arrays are [z, y, x]; index points are (i, j, k) with i along x (the last
array axis); world points are (x, y, z) in mm, LPS (left, posterior, superior), as in DICOM, NIfTI readers of ITK,
and SimpleITK. 3D Slicer's world is RAS: the Slicer side converts once, at its border.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

AIR_HU = -1024.0
"""Lowest value that reaches any computation: scanners pad with -2048 or -3024 outside the field of view."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: number of voxels (z, y, x).
        affine: 4x4, float64, maps (i, j, k, 1) to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A volume grid needs three sizes (z, y, x) of at least 1, not {self.shape}.")
        if affine.shape != (4, 4):
            raise InputError(f"A volume grid needs a 4x4 index-to-world affine, not shape {affine.shape}.")
        if not np.isfinite(affine).all():
            raise InputError("A volume grid needs a finite index-to-world affine: this one holds NaN or infinity.")
        sides = float(np.prod(np.linalg.norm(affine[:3, :3], axis=0)))
        # Relative to the spacing: small voxels are no singular grid.
        if abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * sides:
            raise InputError("The index-to-world affine is singular: two voxel axes coincide or a spacing is zero.")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_parts(
        cls,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        direction: NDArray[np.float64] | None = None,
    ) -> Grid:
        """A grid from spacing (x, y, z) in mm, origin (world point of voxel 0,0,0) and direction columns."""
        affine = np.eye(4)
        axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64).reshape(3, 3)
        affine[:3, :3] = axes * np.asarray(spacing, dtype=np.float64)
        affine[:3, 3] = origin
        return cls(shape, affine)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (x, y, z) in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def origin(self) -> tuple[float, float, float]:
        """World point of the first voxel's center, LPS mm."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def direction(self) -> NDArray[np.float64]:
        """3x3, columns are the unit vectors of the i, j and k axes in LPS."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_world(self, ijk: Any) -> NDArray[np.float64]:
        """World points (..., 3) in LPS mm of index points (..., 3) = (i, j, k)."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, xyz: Any) -> NDArray[np.float64]:
        """Continuous index points (..., 3) = (i, j, k) of world points (..., 3) in LPS mm."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return (np.asarray(xyz, dtype=np.float64) - self.affine[:3, 3]) @ inverse.T

    def mismatch(self, other: Grid, tolerance_mm: float = 1e-3) -> str | None:
        """None where both grids cover the same voxels; else one clause that says what differs."""
        if self.shape != other.shape:
            return f"size {_times(other.shape[::-1])} against {_times(self.shape[::-1])} voxels (x, y, z)"
        corners = np.array(list(itertools.product(*[(0, n - 1) for n in self.shape[::-1]])), dtype=float)
        distance = float(np.abs(self.to_world(corners) - other.to_world(corners)).max())
        if distance > tolerance_mm:
            return f"the corners lie up to {distance:.4g} mm apart (origin, spacing or direction differ)"
        return None

    def crop(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Grid:
        """The grid of array[start[0]:stop[0], start[1]:stop[1], start[2]:stop[2]] (z, y, x)."""
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start[::-1])
        return Grid((shape[0], shape[1], shape[2]), affine)


@dataclass(frozen=True)
class Orientation:
    """How an array was turned to lie along L, P, S; `undo` turns a result back."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Array [z, y, x] of the original grid -> [S, P, L] order."""
        turned = np.transpose(array, self.axes)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Array in [S, P, L] order -> [z, y, x] of the original grid."""
        turned = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]
        return np.ascontiguousarray(np.transpose(turned, np.argsort(self.axes)))


def axial_orientation(grid: Grid) -> tuple[Orientation, Grid]:
    """The axis permutation and flips that bring a grid closest to LPS, and the grid so turned.

    No interpolation: an oblique volume stays oblique, only its axes are renamed. Axial slices of the turned array
    are its [0], [1], ...: rows run to posterior, columns to the patient's left, slices to superior.
    """
    cosines = np.abs(grid.direction)
    best = max(itertools.permutations(range(3)), key=lambda p: sum(cosines[world, p[world]] for world in range(3)))
    # best[w] is the index axis (i=0, j=1, k=2) that runs along world axis w (L, P, S).
    signs = [grid.affine[world, best[world]] < 0 for world in range(3)]
    axes = tuple(2 - best[world] for world in (2, 1, 0))
    flips = (bool(signs[2]), bool(signs[1]), bool(signs[0]))
    affine = grid.affine.copy()
    sizes = grid.shape[::-1]
    origin = np.zeros(3)
    for world in range(3):
        column = grid.affine[:3, best[world]]
        affine[:3, world] = -column if signs[world] else column
        if signs[world]:
            origin[best[world]] = sizes[best[world]] - 1
    affine[:3, 3] = grid.to_world(origin)
    shape = tuple(sizes[best[world]] for world in (2, 1, 0))
    return Orientation((axes[0], axes[1], axes[2]), flips), Grid((shape[0], shape[1], shape[2]), affine)


def axial_part(grid: Grid, first: int, last: int) -> tuple[slice, slice, slice]:
    """Where a range of axial slices lies in arrays [z, y, x] of a grid, whatever its order of axes.

    Args:
        grid: of the volume.
        first: lowest slice, counted from 0 along the first axis of `Volume.axial()`: from the feet up.
        last: highest slice, itself included.

    Returns:
        One slice per array axis; two of them take everything.

    Raises:
        InputError: a range that is empty or reaches outside the volume.
    """
    orientation, axial = axial_orientation(grid)
    count = axial.shape[0]
    if not 0 <= first <= last < count:
        raise InputError(f"Slices {first} to {last} are no range within 0 to {count - 1}, counted from the feet.")
    start, stop = (count - 1 - last, count - first) if orientation.flips[0] else (first, last + 1)
    part = [slice(None)] * 3
    part[orientation.axes[0]] = slice(start, stop)
    return part[0], part[1], part[2]


@dataclass(frozen=True)
class Volume:
    """A CT volume.

    Attributes:
        array: HU, float32, [z, y, x], read-only, finite, padding raised to `AIR_HU`.
        grid: where the voxels lie.
        name: what to call it in messages and reports.
        provenance: JSON-serializable facts: where it came from and what was done to it.
    """

    array: NDArray[np.float32]
    grid: Grid
    name: str = "volume"
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        if array.shape != self.grid.shape:
            raise InputError(f"{self.name}: the array has shape {array.shape}, its grid {self.grid.shape}.")
        array = array.view()
        array.setflags(write=False)
        object.__setattr__(self, "array", array)

    def axial(self) -> Volume:
        """The same voxels with slices along the first array axis (nearest LPS order), nothing interpolated."""
        orientation, grid = axial_orientation(self.grid)
        return Volume(orientation.apply(self.array), grid, self.name, self.provenance)

    def in_order_of(self, grid: Grid) -> Volume:
        """An axial volume turned back to the axis order of `grid`, of which it is the `axial()` form.

        Raises:
            InputError: the two do not cover the same voxels.
        """
        orientation, axial = axial_orientation(grid)
        difference = self.grid.mismatch(axial)
        if difference is not None:
            raise InputError(f"{self.name} does not cover the voxels of the input: {difference}.")
        return Volume(orientation.undo(self.array), grid, self.name, self.provenance)

    def part(self, where: tuple[slice, slice, slice]) -> Volume:
        """The voxels array[where], at their places in the world; `where` has no steps (see `axial_part`)."""
        ranges = [range(count)[cut] for cut, count in zip(where, self.grid.shape, strict=True)]
        start = (ranges[0].start, ranges[1].start, ranges[2].start)
        stop = (ranges[0].stop, ranges[1].stop, ranges[2].stop)
        return Volume(self.array[where], self.grid.crop(start, stop), self.name, self.provenance)

    def replaced(self, array: NDArray[Any], name: str | None = None, **provenance: Any) -> Volume:
        """A volume on the same grid with other values; `provenance` entries are added to this one's."""
        return Volume(np.asarray(array), self.grid, name or self.name, {**self.provenance, **provenance})


@dataclass(frozen=True)
class LabelMap:
    """A segmentation: one integer per voxel, 0 = background.

    Attributes:
        array: uint16, [z, y, x], read-only.
        grid: where the voxels lie.
        names: label value -> name, e.g. {27: "vertebrae_L5"} (TotalSegmentator's names where they exist).
    """

    array: NDArray[np.uint16]
    grid: Grid
    names: dict[int, str] = field(default_factory=dict)
    name: str = "segmentation"

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, dtype=np.uint16)
        if array.shape != self.grid.shape:
            raise InputError(f"{self.name}: the array has shape {array.shape}, its grid {self.grid.shape}.")
        array = array.view()
        array.setflags(write=False)
        object.__setattr__(self, "array", array)


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in sizes)
