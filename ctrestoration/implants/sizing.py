"""Which screw fits a pedicle.

Rule: the largest diameter on offer of at most 80 % of the pedicle's width (Solitro 2019) and 1 mm less than it; at most
the level's usual maximum. Pedicles of the mid thoracic spine are narrower than the screws surgeons use there, and
expand: the clinical mode does not go below the level's usual minimum as long as the screw stays inside both walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ctrestoration.implants.catalogue import diameters_for, level_table, preset_for

Mode = Literal["clinical", "conservative"]
MODES: tuple[Mode, ...] = ("clinical", "conservative")
SHARE, WALLS_MM = 0.8, 1.0
PATH_SHARE, CORTEX_MM = 0.85, 5.0
_LEAST_WALLS_MM = 0.5


@dataclass(frozen=True)
class Size:
    """A diameter, and what a surgeon should know of it."""

    diameter_mm: float
    narrow: bool


def diameter_for(level: str, width_mm: float, room_mm: float, mode: Mode) -> Size | None:
    """The screw diameter for a pedicle; None where it is too narrow for the smallest one.

    Args:
        level: "L3"; an unknown name takes thoracolumbar values.
        width_mm: of the isthmus.
        room_mm: smallest distance from the planned axis to the pedicle's surface.
        mode: see the module.
    """
    offered = diameters_for(level)
    usual = level_table(level).diameter_mm
    inside = min(width_mm - _LEAST_WALLS_MM, 2 * room_mm)
    by_rule = [d for d in offered if d <= min(SHARE * width_mm, width_mm - WALLS_MM, usual[1], inside)]
    rule = max(by_rule, default=None)
    if mode == "clinical" and (rule is None or rule < usual[0]):
        expanded = [d for d in offered if d <= min(usual[0], inside) and (rule is None or d > rule)]
        if expanded:
            return Size(max(expanded), narrow=True)
    return None if rule is None else Size(rule, narrow=rule < usual[0])


def length_for(level: str, diameter_mm: float, path_mm: float) -> float | None:
    """The longest screw on offer within 85 % of the way to the anterior cortex that leaves 5 mm before it."""
    limit = min(PATH_SHARE * path_mm, path_mm - CORTEX_MM, level_table(level).length_mm[1])
    offered = preset_for(level, diameter_mm).lengths_mm
    return max((length for length in offered if length <= limit), default=None)
