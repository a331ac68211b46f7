"""A simple placement: two straight screws a vertebra beside its canal, joined by rods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.implants.plan import Plan, Rod, Screw, Side
from ctrestoration.implants.voxelize import head_center

BESIDE_CANAL = 6.0
"""The screw's axis passes the canal's edge at this distance in mm: half a lumbar pedicle, and a bit."""

CONVERGENCE_DEG = 10.0
DIAMETER, SHAFT = 6.5, 45.0
BEHIND_CANAL_FRONT = 28.0
"""The entry lies this far behind the front edge of the canal, in mm."""


def plan_screws(spine: SpineSegmentation, *, levels: Sequence[str], control: Control = SILENT) -> Plan:
    """Screws on both sides of the named levels, and a rod a side.

    The placement knows the canal only: it is as good as a sketch. Patients lie supine in LPS.

    Args:
        spine: the segmented spine, with its canal.
        levels: which of its levels.
        control: reported to between levels.

    Raises:
        InputError: a level that was not found, or no canal.
    """
    found = {level.name: level for level in spine.levels}
    missing = [name for name in levels if name not in found]
    if missing:
        raise InputError(f"Level {missing[0]!r} was not found: the segmentation holds {', '.join(found)}.")
    if not spine.canal.any():
        raise InputError("No spinal canal was found, so that no screw can be placed safely beside it.")
    screws = [
        _screw(spine, found[name], side)
        for name in control.track(levels, "Planning screws")
        for side in ("left", "right")
    ]
    rods = [_rod([screw for screw in screws if screw.side == side], side) for side in ("left", "right")]
    return Plan(tuple(screws), tuple(rod for rod in rods if rod is not None))


def _screw(spine: SpineSegmentation, level: SpineLevel, side: Side) -> Screw:
    grid = spine.labels.grid
    height = level.center[2]
    k, j, i = np.nonzero(spine.canal)
    canal = grid.to_world(np.stack([i, j, k], axis=-1))
    near = canal[np.abs(canal[:, 2] - height) < max(4.0, grid.spacing[2])]
    if not len(near):
        raise InputError(f"The spinal canal was not found at {level.name}.")
    sign = 1.0 if side == "left" else -1.0
    middle, front = np.median(near[:, 0]), np.percentile(near[:, 1], 5)
    edge = np.percentile(sign * (near[:, 0] - middle), 95)
    axis = np.array([-sign * np.sin(np.radians(CONVERGENCE_DEG)), -np.cos(np.radians(CONVERGENCE_DEG)), 0.0])
    beside = np.array([middle + sign * (edge + BESIDE_CANAL), front, _pedicle_height(spine, level, height)])
    entry = beside - axis * BEHIND_CANAL_FRONT
    return Screw(level.name, side, _point(entry), _point(entry + axis * SHAFT), DIAMETER)


def _pedicle_height(spine: SpineSegmentation, level: SpineLevel, height: float) -> float:
    """Pedicles leave the upper half of the body: a little above the vertebra's center."""
    return height + 0.12 * float(np.ptp(_heights(spine, level)))


def _heights(spine: SpineSegmentation, level: SpineLevel) -> NDArray[np.float64]:
    k, j, i = np.nonzero(spine.labels.array == level.label)
    return np.asarray(spine.labels.grid.to_world(np.stack([i, j, k], axis=-1))[:, 2])


def _rod(screws: list[Screw], side: Side) -> Rod | None:
    if len(screws) < 2:
        return None
    centers = [head_center(screw) for screw in screws]
    return Rod(side, tuple(_point(center) for center in centers))


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z
