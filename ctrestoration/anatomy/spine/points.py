"""Three points per level instead of a segmentation: the front of the body and the two pedicle isthmuses.

As in planners where a surgeon clicks: the three points fix the vertebra's frame and both pedicle axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.volume import Volume

Vector = NDArray[np.float64]
_SEPARATION_MM = (12.0, 70.0)
_DEPTH_MM = (15.0, 75.0)


@dataclass(frozen=True)
class LevelPoints:
    """Three clicked points and what follows from them, LPS mm.

    Attributes:
        anterior: middle of the front of the body.
        left_isthmus: narrowest point of the left pedicle.
        right_isthmus: narrowest point of the right pedicle.
    """

    anterior: Vector
    left_isthmus: Vector
    right_isthmus: Vector

    def __post_init__(self) -> None:
        for name in ("anterior", "left_isthmus", "right_isthmus"):
            point = np.asarray(getattr(self, name), dtype=np.float64)
            if point.shape != (3,) or not np.isfinite(point).all():
                raise InputError(f"The point {name} needs three finite coordinates (x, y, z) in LPS mm.")
            object.__setattr__(self, name, point)
        apart = float(np.linalg.norm(self.left_isthmus - self.right_isthmus))
        if not _SEPARATION_MM[0] <= apart <= _SEPARATION_MM[1]:
            raise InputError(
                f"The two isthmus points lie {apart:.0f} mm apart; pedicles of one vertebra lie "
                f"{_SEPARATION_MM[0]:.0f}-{_SEPARATION_MM[1]:.0f} mm apart."
            )
        deep = float(np.linalg.norm(self.anterior - 0.5 * (self.left_isthmus + self.right_isthmus)))
        if not _DEPTH_MM[0] <= deep <= _DEPTH_MM[1]:
            raise InputError(
                f"The front of the body lies {deep:.0f} mm from the isthmuses; "
                f"{_DEPTH_MM[0]:.0f}-{_DEPTH_MM[1]:.0f} mm are possible."
            )
        if self.left_isthmus[0] < self.right_isthmus[0]:
            raise InputError(
                "The left isthmus lies to the right of the right one (LPS: x grows to the patient's left); swap them."
            )

    @property
    def axes(self) -> Vector:
        """Columns left, posterior, up, orthonormal: left joins the isthmuses, posterior points away from the front."""
        left = self.left_isthmus - self.right_isthmus
        left = left / np.linalg.norm(left)
        back = 0.5 * (self.left_isthmus + self.right_isthmus) - self.anterior
        back = back - (back @ left) * left
        back = back / np.linalg.norm(back)
        return np.stack([left, back, np.cross(left, back)], axis=1)

    def pedicle_axis(self, side: str) -> tuple[Vector, Vector]:
        """Isthmus and unit direction (back to front) of a pedicle: toward the body's center, in its plane.

        The axis runs from the isthmus to the point in the front third of the body, halfway between the midline and
        the isthmus's own sagittal plane, as a converging screw does.

        Raises:
            InputError: side is neither "left" nor "right".
        """
        if side not in ("left", "right"):
            raise InputError(f"The side must be 'left' or 'right', not {side!r}.")
        isthmus = self.left_isthmus if side == "left" else self.right_isthmus
        axes = self.axes
        half = 0.5 * float((isthmus - self.anterior) @ axes[:, 0])
        depth = float((isthmus - self.anterior) @ axes[:, 1])
        target = (
            self.anterior
            + axes[:, 0] * half
            + axes[:, 1] * (0.3 * depth)
            + axes[:, 2] * float((isthmus - self.anterior) @ axes[:, 2])
        )
        direction = target - isthmus
        return isthmus, direction / np.linalg.norm(direction)

    def pedicle_width(self, volume: Volume, side: str) -> float:
        """Width in mm of the bone across a pedicle's axis at the isthmus, from cortex to cortex.

        Each way the wall is taken where the HU falls most steeply within 14 mm.

        Raises:
            InputError: the isthmus lies outside the volume.
        """
        from scipy.ndimage import map_coordinates

        isthmus, direction = self.pedicle_axis(side)
        index = volume.grid.to_index(isthmus)
        if (index < 0).any() or (index > np.array(volume.grid.shape[::-1]) - 1).any():
            raise InputError(f"The {side} isthmus lies outside {volume.name}.")
        across = np.cross(direction, self.axes[:, 2])
        across /= np.linalg.norm(across)
        width = 0.0
        t = np.arange(0.0, 14.0, 0.25)
        for sign in (1.0, -1.0):
            points = isthmus + sign * t[:, None] * across
            hu = map_coordinates(volume.array, volume.grid.to_index(points).T[::-1], order=1, mode="nearest")
            peak = int(np.argmax(hu[: int(10 / 0.25)]))
            fall = np.diff(hu[peak:])
            width += float(t[peak + int(np.argmin(fall))] + 0.125) if fall.size else float(t[peak])
        return width

    def to_json(self) -> dict[str, Any]:
        """The three points as JSON types."""
        return {name: getattr(self, name).tolist() for name in ("anterior", "left_isthmus", "right_isthmus")}
