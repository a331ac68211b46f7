"""Coordinates along the canal: arc length, offset to the left, offset backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]
STEP_MM = 1.0


@dataclass(frozen=True)
class CanalFrame:
    """The canal's center line with a frame at each mm of it.

    Positions are mm in the turned volume: index (i, j, k) times spacing, x to the left, y posterior, z superior.

    Attributes:
        point: (n, 3), caudal to cranial, 1 mm apart.
        left: (n, 3) unit vectors.
        back: (n, 3) unit vectors.
        up: (n, 3) unit tangents.
    """

    point: Points
    left: Points
    back: Points
    up: Points

    @classmethod
    def through(cls, line: Points) -> CanalFrame:
        """The frame along a polyline (m, 3) with ascending z."""
        from scipy import ndimage

        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        s = np.arange(0, length[-1], STEP_MM)
        point = np.stack([np.interp(s, length, line[:, axis]) for axis in range(3)], axis=1)
        # The tangent is wanted for planes across the spine: smooth over half a vertebra.
        smooth = ndimage.gaussian_filter1d(point, 7.0, axis=0, mode="nearest")
        up = np.gradient(smooth, axis=0) if len(s) > 1 else np.tile([0.0, 0.0, 1.0], (len(s), 1))
        up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-9)
        left = np.array([1.0, 0.0, 0.0]) - up[:, :1] * up
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        return cls(point, left, np.cross(up, left), up)

    def positions(self, back: Points, left: Points) -> Points:
        """Points (n, len(back), len(left), 3) at the given offsets from every point of the line."""
        return (
            self.point[:, None, None]
            + self.back[:, None, None] * back[None, :, None, None]
            + self.left[:, None, None] * left[None, None, :, None]
        )

    def coordinates(self, x: Points, y: Points, z: Points) -> tuple[Points, Points, Points]:
        """Arc length (continued straight beyond both ends), left and back offset of points in mm."""
        index = np.clip(np.searchsorted(self.point[:, 2], z), 0, len(self.point) - 1)
        for _ in range(3):
            step = self._along(index, x, y, z)
            index = np.clip(index + np.rint(step / STEP_MM), 0, len(self.point) - 1).astype(np.intp)
        s = index * STEP_MM + self._along(index, x, y, z)
        d = (x - self.point[index, 0], y - self.point[index, 1], z - self.point[index, 2])
        a = sum(d[n] * self.left[index, n] for n in range(3))
        b = sum(d[n] * self.back[index, n] for n in range(3))
        return s, np.asarray(a), np.asarray(b)

    def _along(self, index: NDArray[np.intp], x: Points, y: Points, z: Points) -> Points:
        d = (x - self.point[index, 0], y - self.point[index, 1], z - self.point[index, 2])
        return np.asarray(sum(d[n] * self.up[index, n] for n in range(3)))
