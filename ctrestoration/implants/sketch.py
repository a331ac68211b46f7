"""A construct beside the canal, for vertebrae whose pedicles the segmentation does not show well enough to plan in.

A threshold segmentation of thick slices rounds pedicles off, and the planner then rightly refuses. For showing what
metal does to an image a typical construct in the typical place is enough; it is not judged, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.errors import InputError
from ctrestoration.implants.plan import Patient, Plan, Screw, Side
from ctrestoration.implants.rods import rods_for

BESIDE_CANAL = 6.0
"""The screw's axis passes the canal's edge at this distance in mm: half a lumbar pedicle, and a bit."""

BEHIND_CANAL_FRONT = 28.0
"""The entry lies this far behind the front edge of the canal, in mm."""

CONVERGENCE_DEG = 10.0
DIAMETER, SHAFT = 6.5, 45.0
SIDES: tuple[Side, Side] = ("left", "right")


def sketch_screws(spine: SpineSegmentation, *, levels: Sequence[str]) -> Plan:
    """6.5 x 45 mm screws on both sides of the named levels, beside the canal, joined by rods.

    Args:
        spine: the segmented spine with its canal; the patient lies supine.
        levels: which of its levels.

    Returns:
        The plan; its screws carry no grade, and its first warning says why.

    Raises:
        InputError: a level that was not found, or no canal there.
    """
    found = {level.name: level for level in spine.levels}
    missing = [name for name in levels if name not in found]
    if missing:
        raise InputError(f"Level {missing[0]!r} was not found: the segmentation holds {', '.join(found)}.")
    k, j, i = np.nonzero(spine.canal)
    canal = spine.labels.grid.to_world(np.stack([i, j, k], axis=-1))
    screws = [_screw(spine, canal, found[name], side) for name in levels for side in SIDES]
    warnings = ["Screws were placed beside the spinal canal by rule of thumb, not along planned axes; none is graded."]
    rods = rods_for(screws, warnings)
    patient = Patient.of(spine.labels.grid)
    return Plan(tuple(screws), rods, tuple(warnings), (), patient, {"mode": "sketch", "levels": list(levels)})


def _screw(spine: SpineSegmentation, canal: NDArray[np.float64], level: SpineLevel, side: Side) -> Screw:
    grid = spine.labels.grid
    k, j, i = np.nonzero(spine.labels.array == level.label)
    extent = float(np.ptp(grid.to_world(np.stack([i, j, k], axis=-1))[:, 2]))
    # Pedicles leave the upper half of the body, a little above the vertebra's center.
    height = level.center[2] + 0.12 * extent
    near = canal[np.abs(canal[:, 2] - height) < max(4.0, max(grid.spacing))]
    if not len(near):
        raise InputError(f"The spinal canal was not found at {level.name}: no screw can be placed beside it.")
    sign = 1.0 if side == "left" else -1.0
    middle, front = float(np.median(near[:, 0])), float(np.percentile(near[:, 1], 5))
    edge = float(np.percentile(sign * (near[:, 0] - middle), 95))
    turn = np.radians(CONVERGENCE_DEG)
    axis = np.array([-sign * np.sin(turn), -np.cos(turn), 0.0])
    entry = np.array([middle + sign * (edge + BESIDE_CANAL), front, height]) - axis * BEHIND_CANAL_FRONT
    return Screw(level.name, side, _point(entry), _point(entry + axis * SHAFT), DIAMETER)


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z
