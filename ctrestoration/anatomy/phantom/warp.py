"""A smooth displacement that takes the symmetry out of the phantom.

The anatomy is drawn in a "design" space; a point of the patient, p (LPS mm), shows the design's point p + u(p), where
u is a tensor-product cubic B-spline with random coefficients. The same u warps the image, the labels and the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOT_MM = 50.0
_LOW = np.array([-350.0, -350.0, -500.0])
_COUNT = (15, 15, 20)  # control points along x, y, z
_SD_OF_CUBIC = 0.333  # standard deviation of a cubic B-spline surface with unit coefficients, mean over a cell


@dataclass(frozen=True)
class Warp:
    """Displacement u in mm; `coefficients` has shape (3, x, y, z)."""

    coefficients: NDArray[np.float32]

    @classmethod
    def random(cls, generator: np.random.Generator, sd_mm: float) -> Warp:
        """A displacement whose components have a standard deviation of about `sd_mm`."""
        noise = generator.standard_normal((3, *_COUNT), dtype=np.float32)
        return cls(np.clip(noise, -2.5, 2.5) * np.float32(sd_mm / _SD_OF_CUBIC))

    @property
    def reach_mm(self) -> float:
        """No displacement component is larger than this."""
        return float(np.abs(self.coefficients).max())

    def on_axes(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
    ) -> list[NDArray[np.float32]]:
        """Design coordinates x, y, z, each an array [z, y, x], of the points of an axis-aligned grid."""
        bx, by, bz = (_basis(values, axis) for axis, values in enumerate((x, y, z)))
        design = []
        for axis, own in enumerate((x[None, None, :], y[None, :, None], z[:, None, None])):
            # (x,y,z) coefficients -> [z, y, x] values, one axis after the other.
            partial = np.tensordot(bz, self.coefficients[axis], axes=(1, 2))  # (Z, x, y)
            partial = np.tensordot(partial, by, axes=(2, 1))  # (Z, x, Y)
            value = np.matmul(partial.transpose(0, 2, 1), bx.T)  # (Z, Y, X)
            value += own.astype(np.float32)
            design.append(value)
        return design

    def to_design(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Design points of patient points, both (..., 3)."""
        from scipy import ndimage

        points = np.asarray(points, dtype=np.float64)
        index = (points.reshape(-1, 3).T - _LOW[:, None]) / KNOT_MM
        moved = [
            ndimage.map_coordinates(self.coefficients[axis], index, order=3, prefilter=False, mode="nearest")
            for axis in range(3)
        ]
        return points + np.stack(moved, axis=-1).reshape(points.shape)

    def to_patient(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Patient points of design points: solves p + u(p) = d by fixed-point iteration (|grad u| is well below 1)."""
        points = np.asarray(points, dtype=np.float64)
        patient = points.copy()
        for _ in range(30):
            step = points - self.to_design(patient)
            patient += step
            if np.abs(step).max() < 1e-5:
                break
        return patient


def _basis(values: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Cubic B-spline weights (points, control points), clamped outside like map_coordinates' "nearest"."""
    position = (np.asarray(values, dtype=np.float64) - _LOW[axis]) / KNOT_MM
    position = np.clip(position, 0, _COUNT[axis] - 1)
    distance = np.abs(position[:, None] - np.arange(-1, _COUNT[axis] + 1))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance) ** 3 / 6
    weight = np.where(distance < 1, inner, np.where(distance < 2, outer, 0.0))
    weight[:, 1] += weight[:, 0]
    weight[:, -2] += weight[:, -1]
    return np.asarray(weight[:, 1:-1], dtype=np.float32)
