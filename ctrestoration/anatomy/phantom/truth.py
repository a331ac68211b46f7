"""What is true of a phantom: vertebra frames, pedicle axes, and distances to bone and canal at any point.

Everything is in the patient's world, LPS mm, after the phantom's warp. The record part is JSON; the distances are
computed from the phantom's own solids, not from its voxels, and therefore hold below the voxel size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

Vector = NDArray[np.float64]
Implicit = Callable[[Vector], Vector]
_SAMPLE_MM = 0.7


@dataclass(frozen=True)
class PedicleTruth:
    """One pedicle.

    Attributes:
        isthmus: its narrowest point, on the axis, LPS mm.
        direction: unit vector of the axis, from back to front as a screw goes.
        width: of the bone across the axis at the isthmus, mm.
        height: of the bone along the third direction, mm.
        entry: where the axis leaves the bone behind, LPS mm.
        transverse_deg: angle of the axis in the vertebra's frame, positive = tip toward the midline.
        sagittal_deg: positive = tip caudal.
    """

    isthmus: tuple[float, float, float]
    direction: tuple[float, float, float]
    width: float
    height: float
    entry: tuple[float, float, float]
    transverse_deg: float
    sagittal_deg: float


@dataclass(frozen=True)
class LevelTruth:
    """One vertebra.

    Attributes:
        name: "C5" .. "S1".
        label: its value in the label map.
        center: center of the body, LPS mm.
        left: unit vector to the vertebra's left.
        posterior: unit vector.
        up: unit vector.
        body_size: width, depth, height of the body, mm.
        canal_center: center of the canal at this level, LPS mm.
        canal_size: width and depth of the canal, mm.
        visible: whether any of it is in the volume.
        complete: whether all of it is in the volume; False = cut by the volume's edge.
        pedicles: "left" and "right".
    """

    name: str
    label: int
    center: tuple[float, float, float]
    left: tuple[float, float, float]
    posterior: tuple[float, float, float]
    up: tuple[float, float, float]
    body_size: tuple[float, float, float]
    canal_center: tuple[float, float, float]
    canal_size: tuple[float, float]
    visible: bool
    complete: bool
    pedicles: dict[str, PedicleTruth]


@dataclass(frozen=True)
class SurfaceDistance:
    """Signed distance to the surface of an implicit solid, from dense surface points and their normals.

    Attributes:
        implicit: points (n, 3) -> value, negative inside.
        low: corner of a box that holds the solid.
        high: other corner.
    """

    implicit: Implicit
    low: Vector
    high: Vector
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, points: Any) -> Vector:
        """Signed distance in mm, negative inside, of points (..., 3); within about 0.1 mm."""
        points = np.asarray(points, dtype=np.float64)
        flat = points.reshape(-1, 3)
        tree, normals = self._surface()
        distance, nearest = tree.query(flat)
        offset = flat - tree.data[nearest]
        plane = np.einsum("ij,ij->i", offset, normals[nearest])
        aside = np.sqrt(np.maximum(distance**2 - plane**2, 0))
        # Close by, the tangent plane at the nearest sample is the better surface than the sample itself.
        magnitude = np.where(aside < _SAMPLE_MM, np.abs(plane), distance)
        sign = np.where(self.implicit(flat) < 0, -1.0, 1.0)
        return np.asarray((sign * magnitude).reshape(points.shape[:-1]))

    def _surface(self) -> tuple[cKDTree, Vector]:
        if not self._cache:
            from scipy.spatial import cKDTree

            surface, normals = _project(self.implicit, _near_surface(self.implicit, self.low, self.high))
            self._cache["surface"] = (cKDTree(surface), normals)
        tree, normals = self._cache["surface"]
        return tree, normals


@dataclass(frozen=True)
class SpineTruth:
    """The phantom's truth.

    Attributes:
        levels: name -> vertebra, cranial to caudal, every one that touches the volume.
        canal_line: centers of the canal from cranial to caudal, (n, 3) LPS mm.
        lesions: liver lesions: center, radii in mm, HU, label value.
        parameters: seed, options and everything that was drawn.
        bones: level -> signed distance of the bone (S1: the whole sacrum).
        canal: signed distance of the canal.
    """

    levels: dict[str, LevelTruth]
    canal_line: Vector
    lesions: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]
    bones: dict[str, SurfaceDistance] = field(repr=False)
    canal: SurfaceDistance = field(repr=False)

    def bone_distance(self, level: str, points: Any) -> Vector:
        """Signed distance in mm to the true surface of a vertebra's bone at LPS points (..., 3), negative inside.

        Raises:
            InputError: a level that does not touch the volume.
        """
        if level not in self.bones:
            raise InputError(f"The phantom has no {level} in its volume; it has {', '.join(self.bones)}.")
        return self.bones[level](points)

    def canal_distance(self, points: Any) -> Vector:
        """Signed distance in mm to the true spinal canal at LPS points (..., 3), negative inside the canal."""
        return self.canal(points)

    @property
    def complete_levels(self) -> tuple[str, ...]:
        """Levels wholly inside the volume, cranial to caudal."""
        return tuple(name for name, level in self.levels.items() if level.complete)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types: every vertebra, pedicle axis, the canal, lesions and parameters."""
        from dataclasses import asdict

        return {
            "units": "mm and degrees, LPS world",
            "levels": {name: asdict(level) for name, level in self.levels.items()},
            "canal_line": np.round(self.canal_line, 3).tolist(),
            "lesions": list(self.lesions),
            "parameters": self.parameters,
        }


def _near_surface(implicit: Implicit, low: Vector, high: Vector) -> Vector:
    """Lattice points within about a sample of the surface, found on a coarse lattice first."""
    coarse = 3 * _SAMPLE_MM
    axes = [np.arange(low[n], high[n] + coarse, coarse) for n in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    # Half a cell's diagonal is 0.87 of its side; the warp and the joined shapes may stretch distances by a third.
    points = points[np.abs(implicit(points)) < 1.3 * 0.87 * coarse + _SAMPLE_MM]
    steps = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * _SAMPLE_MM
    points = (points[:, None, :] + steps[None]).reshape(-1, 3)
    return points[np.abs(implicit(points)) < _SAMPLE_MM]


def _project(implicit: Implicit, points: Vector) -> tuple[Vector, Vector]:
    """The points moved onto the surface along the gradient, and outward unit normals there."""
    step = 0.05
    for _ in range(3):
        value = implicit(points)
        gradient = np.stack([(implicit(points + step * axis) - value) / step for axis in np.eye(3)], axis=1)
        square = np.maximum((gradient**2).sum(axis=1), 0.1)
        points = points - np.clip(gradient * (value / square)[:, None], -1.5, 1.5)
    arrived = np.abs(implicit(points)) < 0.05
    return points[arrived], (gradient / np.sqrt(square)[:, None])[arrived]
