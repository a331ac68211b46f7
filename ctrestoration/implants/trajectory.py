"""The way of a screw through one vertebra: both sides balanced, kept off the walls, and entered from behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.bone import Bone, CanalView, Endplates, Frame, frame_from
from ctrestoration.implants.catalogue import level_table
from ctrestoration.implants.pedicle import Axis
from ctrestoration.implants.plan import Side

Vector = NDArray[np.float64]
POSTERIOR_MM = 8.0
"""The entry lies at least this far behind the isthmus; nearer, the path came out of the pedicle's side."""

_TRANSVERSE_SYMMETRY, _APART_DEG = 0.5, 4.0
_TURNS = (0.0, -2.5, 2.5, -5.0, 5.0, -7.5, 7.5)


@dataclass(frozen=True)
class VertebraView:
    """Everything about one vertebra that its two screws share."""

    name: str
    bone: Bone
    frame: Frame
    ends: Endplates
    canal: CanalView
    collapsed: bool = False

    @property
    def along(self) -> Vector:
        """Where along its axis a pedicle must have room, mm from the isthmus; in front of it lies the body."""
        return np.arange(-4.0, 4.1 if self.collapsed else 10.1, 1.0)

    def canal_distance(self, points: Vector) -> Vector:
        """Mm outside the canal at LPS points (..., 3), negative inside.

        The outline stands for the whole height of the level, so that it may run into a pedicle; what lies at some
        depth in bone lies at least that far from the canal.
        """
        depth = self.bone.depth(points)
        outline = self.canal.clearance(self.frame.local(points))
        return np.where(depth > 0, np.maximum(outline, depth), outline)


class Refused(Exception):  # noqa: N818 - a finding, turned into a sentence of the plan
    """A vertebra or side that gets no screw, with the reason."""


def straightened(frame: Frame, found: dict[Side, Axis]) -> Frame:
    """The frame turned about its up axis, so that left and right run through the two isthmuses."""
    posterior = np.cross(frame.axes[:, 2], found["left"].isthmus - found["right"].isthmus)
    length = float(np.linalg.norm(posterior))
    return frame if length < 5 else frame_from(frame.origin, frame.axes[:, 2], posterior / length)


def balanced(frame: Frame, found: dict[Side, Axis]) -> dict[Side, Axis]:
    """Draw the two sides' angles together: measured apart, they differ by more than pedicles do."""
    angles = {side: frame.angles(1 if side == "left" else -1, axis.direction) for side, axis in found.items()}
    mean = np.mean(list(angles.values()), axis=0)
    apart = abs(angles["left"][0] - angles["right"][0])
    share = max(_TRANSVERSE_SYMMETRY, 1 - _APART_DEG / max(apart, 1e-6))
    out: dict[Side, Axis] = {}
    for side, axis in found.items():
        transverse = angles[side][0] + share * (mean[0] - angles[side][0])
        direction = frame.direction(1 if side == "left" else -1, transverse, float(mean[1]))
        out[side] = replace(axis, direction=direction)
    return out


NEAR_TURNS = tuple((a, b) for a in (-2.0, 0.0, 2.0) for b in (-4.0, -2.0, 0.0, 2.0, 4.0))
FAR_TURNS = tuple((a, b) for a in (-2.0, 0.0, 2.0) for b in np.arange(-20.0, 20.1, 4.0))


def room_along(view: VertebraView, axis: Axis) -> float:
    """Smallest distance in mm from the axis to the surface of the bone, in the pedicle."""
    return float(view.bone.depth(axis.isthmus + view.along[:, None] * axis.direction).min())


def settled_axis(view: VertebraView, axis: Axis, sign: int, turns: tuple[tuple[float, float], ...]) -> Axis:
    """The axis moved and turned a little where that keeps the shaft farther from the walls.

    What the level's largest screw needs is enough: more clearance would only draw the axis into the body's middle.
    """
    transverse, sagittal = view.frame.angles(sign, axis.direction)
    across = np.cross(axis.direction, view.frame.axes[:, 2])
    across /= np.linalg.norm(across)
    over = np.cross(across, axis.direction)
    steps = (-1.2, -0.6, 0.0, 0.6, 1.2)
    shifts = [(u, v) for u in steps for v in steps]
    starts = np.array([axis.isthmus + u * across + v * over for u, v in shifts])
    directions = np.array([view.frame.direction(sign, transverse + a, sagittal + b) for a, b in turns])
    points = starts[:, None, None] + view.along[:, None] * directions[:, None]
    enough = min(0.45 * min(axis.width, axis.height), 0.5 * level_table(view.name).diameter_mm[1] + 0.3)
    room = np.minimum(view.bone.depth(points).min(axis=-1), enough)
    cost = 0.1 * np.linalg.norm(shifts, axis=1)[:, None] + 0.02 * (np.array(turns) ** 2).sum(axis=1)
    best = np.unravel_index(int(np.argmax(room - cost)), room.shape)
    return replace(axis, isthmus=starts[best[0]], direction=directions[best[1]])


def path_through(view: VertebraView, axis: Axis, sign: int) -> tuple[Vector, Vector, Vector]:
    """Entry, exit in front, and direction; turned a little where the axis itself leaves through the pedicle's side."""
    transverse, sagittal = view.frame.angles(sign, axis.direction)
    turns = sorted(((a, b) for a in _TURNS for b in _TURNS), key=lambda pair: abs(pair[0]) + abs(pair[1]))
    for a, b in turns:
        direction = axis.direction if a == b == 0 else view.frame.direction(sign, transverse + a, sagittal + b)
        behind = _leaves(view.bone, axis.isthmus, -direction)
        ahead = _leaves(view.bone, axis.isthmus, direction)
        if behind >= POSTERIOR_MM and ahead >= 12:
            return axis.isthmus - behind * direction, axis.isthmus + ahead * direction, direction
    raise Refused("no straight path from behind leads through the pedicle into the body")


def _leaves(bone: Bone, start: Vector, direction: Vector) -> float:
    """Distance from a point inside to where the ray first leaves the bone, mm; 0 where it starts outside."""
    along = np.arange(0.0, 80.0, 0.25)
    depth = bone.depth(start + along[:, None] * direction)
    outside = np.flatnonzero(depth <= 0)
    if not outside.size or outside[0] == 0:
        return 0.0
    n = int(outside[0])
    return float(along[n - 1] + 0.25 * depth[n - 1] / (depth[n - 1] - depth[n]))


def bodies_touch(bone: Bone, other: Bone, frame: Frame) -> bool:
    """Whether most of the endplate has bone of the other vertebra within 1 mm beyond it."""
    upward = float((other.center - bone.center) @ frame.axes[:, 2]) > 0
    z = np.arange(2.0, 26.0, 0.5) * (1 if upward else -1)
    x, y = np.meshgrid(np.arange(-10.0, 10.1, 2.0), np.arange(-8.0, 8.1, 2.0))
    local = np.stack(
        [np.broadcast_to(v[..., None], (*x.shape, len(z))) for v in (x, y)] + [np.broadcast_to(z, (*x.shape, len(z)))],
        axis=-1,
    )
    world = frame.world(local)
    return bool((np.maximum(bone.depth(world), other.depth(world)) > -1.0).all(axis=-1).mean() > 0.5)
