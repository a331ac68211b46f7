"""How well a screw lies: Gertzbein-Robbins grade, breach in mm and its side, distance to the canal.

Gertzbein and Robbins, Spine 15 (1990) 11: A no breach, B below 2 mm, C 2 to 4, D 4 to 6, E 6 mm or more. The bone and
the canal are given as functions, so that a plan is judged by the planner's own mask or by a phantom's truth alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Distance = Callable[[Vector], Vector]
ZONE_MM = (-8.0, 12.0)
"""The pedicle along the screw, from behind to in front of the isthmus."""

_BELOW_ENTRY = 2.0
_STEP = 0.5


@dataclass(frozen=True)
class Judgment:
    """A screw against bone and canal.

    Attributes:
        grade: "A" to "E".
        breach_mm: how far the shaft leaves the bone in the pedicle, 0 where it does not.
        side: "medial", "lateral", "cranial" or "caudal" where it breaches.
        canal_mm: from the shaft's surface to the canal; negative = in the canal.
        tip_mm: depth of the tip below the surface of the bone; negative = through the anterior cortex.
    """

    grade: str
    breach_mm: float
    side: str | None
    canal_mm: float
    tip_mm: float


def letter(breach_mm: float) -> str:
    """The grade of a breach in mm."""
    if breach_mm <= 0:
        return "A"
    return "BCDE"[int(np.searchsorted([2.0, 4.0, 6.0], breach_mm, side="right"))]


def judge(
    entry: Any,
    target: Any,
    diameter_mm: float,
    *,
    patient_side: int,
    isthmus: Any,
    axes: Vector,
    depth: Distance,
    canal: Distance,
) -> Judgment:
    """Grade one screw.

    Args:
        entry: where the shaft enters the bone, LPS mm.
        target: its tip, LPS mm.
        diameter_mm: outer diameter.
        patient_side: +1 left, -1 right.
        isthmus: the pedicle's narrowest point, LPS mm.
        axes: columns left, posterior, up of the vertebra.
        depth: LPS points (..., 3) -> mm below the bone's surface, negative outside.
        canal: LPS points (..., 3) -> mm outside the canal, negative inside.
    """
    entry, target, isthmus = (np.asarray(point, dtype=np.float64) for point in (entry, target, isthmus))
    radius = diameter_mm / 2
    length = float(np.linalg.norm(target - entry))
    direction = (target - entry) / length
    middle = float((isthmus - entry) @ direction)
    # Just below the entry the nearest surface is the one the screw came through: no wall of the pedicle.
    start = max(middle + ZONE_MM[0], radius + _BELOW_ENTRY)
    along = np.arange(start, min(middle + ZONE_MM[1], length - radius), _STEP)
    along = along if along.size else np.array([min(max(middle, 0.0), length)])
    centers = entry + along[:, None] * direction
    room = depth(centers)
    worst = int(np.argmin(room))
    breach = max(0.0, radius - float(room[worst]))
    breach = breach if breach >= 0.05 else 0.0  # below what the distances are good for
    whole = entry + np.arange(1.0, length + 0.01, _STEP)[:, None] * direction
    canal_mm = float(canal(whole).min()) - radius
    tip = float(depth(target[None])[0])
    side = _side(centers[worst], direction, radius, axes, depth, patient_side) if breach > 0 else None
    return Judgment(letter(breach), round(breach, 3), side, round(canal_mm, 3), round(tip, 3))


def _side(center: Vector, direction: Vector, radius: float, axes: Vector, depth: Distance, patient_side: int) -> str:
    """The side of the shaft that is least covered."""
    across = np.cross(direction, axes[:, 2])
    across /= np.linalg.norm(across)
    over = np.cross(across, direction)
    angle = np.arange(0, 2 * np.pi, np.pi / 12)
    ring = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * over
    normal = ring[int(np.argmin(depth(center + radius * ring)))]
    x, _, z = axes.T @ normal
    if abs(z) > abs(x):
        return "cranial" if z > 0 else "caudal"
    return "medial" if x * patient_side < 0 else "lateral"
