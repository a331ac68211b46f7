"""One vertebra as a solid: body, pedicles, laminae, articular, transverse and spinous processes.

The solid lives in the vertebra's own frame: origin at the body's center, x to the patient's left, y posterior, z up.
Laminae are tall plates that meet in the midline, so that the ring around the canal stays closed on thick slices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.phantom.shapes import Array, Shape, capsule, ellipse_distance, smooth_max, smooth_min

Vector = NDArray[np.float64]
BODY, PEDICLE, POSTERIOR, CANAL = 1, 2, 3, 4


@dataclass(frozen=True)
class Pedicle:
    """One pedicle in the vertebra's frame.

    Attributes:
        isthmus: its narrowest point.
        direction: unit vector from back to front, the way a screw goes.
        width: at the isthmus, across the axis.
        height: at the isthmus.
        side: +1 left, -1 right.
    """

    isthmus: Vector
    direction: Vector
    width: float
    height: float
    side: int

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance to the pedicle: an elliptic bar, narrowest at the isthmus, open at neither end."""
        d = self.direction.astype(np.float32)
        across = np.cross(d, [0.0, 0.0, 1.0])
        across = (across / np.linalg.norm(across)).astype(np.float32)
        over = np.cross(across, d)
        p = self.isthmus.astype(np.float32)
        dx, dy, dz = x - p[0], y - p[1], z - p[2]
        t = dx * d[0] + dy * d[1] + dz * d[2]
        u = dx * across[0] + dy * across[1] + dz * across[2]
        v = dx * over[0] + dy * over[1] + dz * over[2]
        flare = np.minimum(np.float32(0.014) * t * t, np.float32(2.2))
        side = ellipse_distance(u, v, np.float32(self.width / 2) + flare, np.float32(self.height / 2) + flare)
        return smooth_max(side, np.abs(t) - np.float32(self.reach), 3.0)

    @property
    def reach(self) -> float:
        """Half the length of the bar."""
        return 9.0 + 0.25 * self.height


@dataclass(frozen=True)
class Plate:
    """A lamina: a round-edged plate over the segment from `a` to `b` in the axial plane.

    It stands along z from `low` to `high` and leans by `shear` mm in y for each mm of z.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    low: float
    high: float
    radius: float
    shear: float = 0.0

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm."""
        ys = y - np.float32(self.shear) * z
        dx, dy = self.b[0] - self.a[0], self.b[1] - self.a[1]
        px, py = x - np.float32(self.a[0]), ys - np.float32(self.a[1])
        t = np.clip((px * np.float32(dx) + py * np.float32(dy)) / np.float32(dx * dx + dy * dy), 0, 1)
        ex, ey = px - t * np.float32(dx), py - t * np.float32(dy)
        ez = np.maximum(np.maximum(z - np.float32(self.high), np.float32(self.low) - z), 0)
        return np.sqrt(ex * ex + ey * ey + ez * ez) - np.float32(self.radius)


@dataclass(frozen=True)
class Spinous:
    """The spinous process: a midline plate that falls backward and swells at its tip."""

    start: float
    stop: float
    low: float
    high: float
    slope: float
    thickness: float
    lean: float = 0.0

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm."""
        along = np.clip((y - np.float32(self.start)) / np.float32(self.stop - self.start), 0, 1)
        shifted = z + np.float32(self.slope) * (y - np.float32(self.start))
        ex = x - np.float32(self.lean) * along
        ey = np.maximum(np.maximum(np.float32(self.start) - y, y - np.float32(self.stop)), 0)
        # Taller at the root than at the tip, as the hatchet shape of a lumbar process seen from the side.
        ez = np.maximum(np.maximum(shifted - np.float32(self.high) + 2 * along, np.float32(self.low) - shifted), 0)
        stretch = np.float32(1 / np.hypot(1, self.slope))
        return np.sqrt(ex * ex + ey * ey + (ez * stretch) ** 2) - np.float32(self.thickness) * (
            np.float32(0.85) + np.float32(0.4) * along * along
        )


@dataclass(frozen=True)
class Body:
    """The vertebral body: a waisted elliptic cylinder with concave endplates, a flat back and osteophytes."""

    width: float
    depth: float
    height: float
    wedge: float
    waist: float = 0.10
    endplate: float = 1.6
    osteophytes: tuple[tuple[float, float, float, float], ...] = ()  # x, y, z, radius

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm."""
        half = np.float32(self.height / 2) * (1 - np.float32(self.wedge / self.depth / self.height * 2) * y)
        level = np.clip(z / half, -1, 1)
        lip = 1 - np.float32(self.waist) * (1 - level * level)
        a, b = np.float32(self.width / 2) * lip, np.float32(self.depth / 2) * lip
        # A superellipse, flattened behind where the canal is.
        flat = np.where(y > 0, y * (1 + np.float32(0.10) * np.maximum(1 - np.abs(x / a), 0)), y)
        p, q = np.abs(x) / a, np.abs(flat) / b
        rho = np.sqrt(p * p + q * q + np.float32(-0.10) * p * q)
        side = (rho - 1) * np.float32(min(self.width, self.depth) / 2) * (np.float32(1.15))
        hollow = np.float32(self.endplate) * np.maximum(1 - rho * rho / np.float32(0.7), 0)
        value = smooth_max(side, np.abs(z) - half + hollow, 2.2)
        for ox, oy, oz, radius in self.osteophytes:
            bump = np.sqrt((x - np.float32(ox)) ** 2 + (y - np.float32(oy)) ** 2 + 2 * (z - np.float32(oz)) ** 2)
            value = smooth_min(value, bump - np.float32(radius), 3.0)
        return value


@dataclass(frozen=True)
class Vertebra:
    """A vertebra, placed in design space.

    Attributes:
        name: its level.
        center: of the body, design space LPS mm.
        axes: columns left, posterior, up.
        body: its body.
        pedicles: left, right.
        arch: laminae and spinous process.
        processes: transverse and articular processes.
        canal: canal's center (x, y) and half-axes in this frame.
        joints: inferior articular processes of the vertebra above, carved out of this one with a joint space.
    """

    name: str
    center: Vector
    axes: Vector
    body: Body
    pedicles: tuple[Pedicle, Pedicle]
    arch: tuple[Plate | Spinous, ...]
    processes: tuple[Shape, ...]
    canal: tuple[float, float, float, float]
    joints: tuple[Shape, ...] = field(default=())

    def to_frame(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Coordinates in the vertebra's frame of design points."""
        c, m = self.center.astype(np.float32), self.axes.astype(np.float32)
        dx, dy, dz = x - c[0], y - c[1], z - c[2]
        return (
            dx * m[0, 0] + dy * m[1, 0] + dz * m[2, 0],
            dx * m[0, 1] + dy * m[1, 1] + dz * m[2, 1],
            dx * m[0, 2] + dy * m[1, 2] + dz * m[2, 2],
        )

    def to_design(self, points: Vector) -> Vector:
        """Design points of points (..., 3) in the vertebra's frame."""
        return np.asarray(points) @ self.axes.T + self.center

    def members(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Distances to body, pedicles and posterior elements at points of this frame, before they are joined."""
        body = self.body.distance(x, y, z)
        pedicle = np.minimum(self.pedicles[0].distance(x, y, z), self.pedicles[1].distance(x, y, z))
        rear = self.processes[0].distance(x, y, z)
        for shape in self.processes[1:]:
            rear = smooth_min(rear, shape.distance(x, y, z), 3.0)
        # The joint space is cut from the processes only: cut from a lamina, it would open the ring round the canal.
        for joint in self.joints:
            rear = np.maximum(rear, np.float32(1.1) - joint.distance(x, y, z))
        for part in self.arch:
            rear = smooth_min(rear, part.distance(x, y, z), 3.0)
        return body, pedicle, rear

    def join(self, body: Array, pedicle: Array, rear: Array, canal: Array) -> Array:
        """The whole vertebra from its members, with the canal cut free."""
        whole = smooth_min(smooth_min(body, pedicle, 2.5), rear, 2.5)
        return np.maximum(whole, np.float32(0.2) - canal)

    def canal_distance(self, x: Array, y: Array) -> Array:
        """Distance to the canal, an elliptic bore along this frame's z axis."""
        cx, cy, a, b = (np.float32(value) for value in self.canal)
        return ellipse_distance(x - cx, y - cy, a, b)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance to the vertebra at design points."""
        u, v, w = self.to_frame(x, y, z)
        return self.join(*self.members(u, v, w), self.canal_distance(u, v))

    def parts(self, x: Array, y: Array, z: Array) -> NDArray[np.uint8]:
        """BODY, PEDICLE or POSTERIOR at design points inside the vertebra."""
        u, v, w = self.to_frame(x, y, z)
        body, pedicle, rear = self.members(u, v, w)
        t = np.full(np.shape(u), np.inf, dtype=np.float32)
        for bar in self.pedicles:
            offset = np.stack([u - bar.isthmus[0], v - bar.isthmus[1], w - bar.isthmus[2]], axis=-1)
            t = np.where(np.sign(u) == bar.side, offset @ -bar.direction, t)
        # Cut where surgeons do: the body ends at its back wall, the pedicle where the articular mass begins.
        part = np.where(t > 8.0, POSTERIOR, np.where(pedicle <= rear, PEDICLE, POSTERIOR))
        part = np.where((rear < pedicle) & (t < 8.0) & (pedicle < 1.0), PEDICLE, part)
        return np.where(body <= 0.3, BODY, part).astype(np.uint8)

    @property
    def shape(self) -> Shape:
        """The vertebra as a shape in design space with the box that holds it."""
        low, high = self.extent
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        placed = self.to_design(corners)
        return Shape(self.distance, placed.min(axis=0), placed.max(axis=0))

    @property
    def extent(self) -> tuple[Vector, Vector]:
        """Box of the vertebra in its own frame."""
        lows, highs = [], []
        body = self.body
        margin = 7.0 if body.osteophytes else 2.0
        lows.append([-body.width / 2 - margin, -body.depth / 2 - margin, -body.height / 2 - abs(body.wedge) - margin])
        highs.append([body.width / 2 + margin, body.depth / 2 + margin, body.height / 2 + abs(body.wedge) + margin])
        for shape in self.processes:
            lows.append(list(shape.low - 1.5))
            highs.append(list(shape.high + 1.5))
        for part in self.arch:
            if isinstance(part, Spinous):
                fall = part.slope * (part.stop - part.start)
                grow = 1.5 * part.thickness * float(np.hypot(1, part.slope)) + 1
                lows.append([-8.0 - abs(part.lean), part.start - 8, part.low - fall - grow])
                highs.append([8.0 + abs(part.lean), part.stop + 8, part.high + grow])
        return np.min(lows, axis=0), np.max(highs, axis=0)


def articular(
    side: int, low: tuple[float, float, float], high: tuple[float, float, float], radii: tuple[float, float]
) -> Shape:
    """An articular process between two points given for the left side."""
    mirror = np.array([side, 1.0, 1.0])
    return capsule(mirror * low, mirror * high, *radii)
