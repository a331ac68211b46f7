"""Shapes as signed distance functions: negative inside, in mm, first order exact at the surface.

A shape knows the box that holds it, so that only the voxels of that box are ever evaluated. Points come as three
arrays x, y, z (float32, any shape that broadcasts); distances go out as one array.

Formulas: the usual first-order bound for ellipsoids (|p/r| (|p/r| - 1) / |p/r^2|), round cones as capsules with a
linear radius, and the polynomial smooth minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Triple = Sequence[float] | NDArray[Any]
Distance = Callable[[Array, Array, Array], Array]
FAR = np.float32(1e3)


@dataclass(frozen=True)
class Shape:
    """A solid.

    Attributes:
        distance: (x, y, z) -> signed distance in mm.
        low: lower corner (x, y, z) of a box that holds the solid.
        high: upper corner.
        parts: where given, the solid is their plain union, and each part is evaluated in its own box only.
    """

    distance: Distance
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    parts: tuple[Shape, ...] = field(default=())

    def minus(self, *others: Shape, gap: float = 0.0) -> Shape:
        """This solid without the others (grown by `gap` mm)."""

        def distance(x: Array, y: Array, z: Array) -> Array:
            value = self.distance(x, y, z)
            for other in others:
                value = np.maximum(value, np.float32(gap) - other.distance(x, y, z))
            return value

        return Shape(distance, self.low, self.high)

    def within(self, other: Shape, margin: float = 0.0) -> Shape:
        """The part of this solid that lies in the other, at least `margin` mm under its surface."""
        low, high = np.maximum(self.low, other.low), np.minimum(self.high, other.high)
        return Shape(
            lambda x, y, z: np.maximum(self.distance(x, y, z), other.distance(x, y, z) + np.float32(margin)), low, high
        )

    def grown(self, margin: float) -> Shape:
        """The solid with its surface moved outward by `margin` mm."""
        return Shape(
            lambda x, y, z: self.distance(x, y, z) - np.float32(margin),
            self.low - max(margin, 0),
            self.high + max(margin, 0),
        )


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Polynomial smooth minimum: a fillet of about k mm where two surfaces meet, exact elsewhere."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(0.25 * k)


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Polynomial smooth maximum: an edge rounded by about k mm."""
    return -smooth_min(-a, -b, k)


def ellipse_distance(u: Array, v: Array, radius_u: Any, radius_v: Any) -> Array:
    """First-order distance to an ellipse with half-axes that may vary from point to point."""
    p, q = u / radius_u, v / radius_v
    k0 = np.sqrt(p * p + q * q)
    k1 = np.sqrt((p / radius_u) ** 2 + (q / radius_v) ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))


def ellipsoid(center: Triple, radii: Triple, turn: NDArray[np.float64] | None = None) -> Shape:
    """An ellipsoid; `turn` holds its axes as columns (identity when absent)."""
    c, r = np.asarray(center, float), np.asarray(radii, float)
    axes = np.eye(3) if turn is None else np.asarray(turn, float)
    cf, rf, af = c.astype(np.float32), r.astype(np.float32), axes.astype(np.float32)

    def distance(x: Array, y: Array, z: Array) -> Array:
        k0, k1 = np.float32(0), np.float32(0)
        dx, dy, dz = x - cf[0], y - cf[1], z - cf[2]
        for n in range(3):
            p = (dx, dy, dz)[n] / rf[n] if turn is None else (dx * af[0, n] + dy * af[1, n] + dz * af[2, n]) / rf[n]
            square = p * p
            k0 = k0 + square
            k1 = k1 + square / (rf[n] * rf[n])
        k0 = np.sqrt(k0)
        return np.asarray(k0 * (k0 - 1) / np.sqrt(np.maximum(k1, np.float32(1e-10))), dtype=np.float32)

    reach = np.sqrt(((axes * r) ** 2).sum(axis=1))
    return Shape(distance, c - reach, c + reach)


def capsule(a: Triple, b: Triple, radius_a: float, radius_b: float | None = None) -> Shape:
    """A rod from a to b with round ends; the radius runs linearly from `radius_a` to `radius_b`."""
    start, stop = np.asarray(a, float), np.asarray(b, float)
    end_radius = radius_a if radius_b is None else radius_b
    s, d = start.astype(np.float32), (stop - start).astype(np.float32)
    length2 = np.float32(max(float((d * d).sum()), 1e-6))
    r0, dr = np.float32(radius_a), np.float32(end_radius - radius_a)

    def distance(x: Array, y: Array, z: Array) -> Array:
        dx, dy, dz = x - s[0], y - s[1], z - s[2]
        t = np.clip((dx * d[0] + dy * d[1] + dz * d[2]) / length2, 0, 1)
        ex, ey, ez = dx - t * d[0], dy - t * d[1], dz - t * d[2]
        return np.asarray(np.sqrt(ex * ex + ey * ey + ez * ez) - (r0 + t * dr), dtype=np.float32)

    reach = max(radius_a, end_radius)
    return Shape(distance, np.minimum(start, stop) - reach, np.maximum(start, stop) + reach)


def flat_capsule(a: Triple, b: Triple, radius: float, stretch: Triple, radius_b: float | None = None) -> Shape:
    """A capsule stretched along the axes x, y, z by factors `stretch` (a rib is taller than it is thick)."""
    factor = np.asarray(stretch, float)
    inner = capsule(np.asarray(a, float) / factor, np.asarray(b, float) / factor, radius, radius_b)
    fx, fy, fz = factor.astype(np.float32)
    scale = np.float32(factor.min())
    return Shape(
        lambda x, y, z: inner.distance(x / fx, y / fy, z / fz) * scale, inner.low * factor, inner.high * factor
    )


def union(shapes: Sequence[Shape]) -> Shape:
    """Plain union; each part keeps its own box."""
    parts = tuple(leaf for shape in shapes for leaf in (shape.parts or (shape,)))

    def distance(x: Array, y: Array, z: Array) -> Array:
        value = parts[0].distance(x, y, z)
        for part in parts[1:]:
            value = np.minimum(value, part.distance(x, y, z))
        return value

    low = np.min([part.low for part in parts], axis=0)
    high = np.max([part.high for part in parts], axis=0)
    return Shape(distance, low, high, parts)


def blend(shapes: Sequence[Shape], k: float) -> Shape:
    """Union with fillets of about k mm."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        value = shapes[0].distance(x, y, z)
        for shape in shapes[1:]:
            value = smooth_min(value, shape.distance(x, y, z), k)
        return value

    low = np.min([shape.low for shape in shapes], axis=0) - k / 4
    high = np.max([shape.high for shape in shapes], axis=0) + k / 4
    return Shape(distance, low, high)


def tube(points: Any, radii: Triple | float, stretch: Triple = (1, 1, 1)) -> Shape:
    """A chain of capsules through points (n, 3) with one radius a point."""
    points = np.asarray(points, float)
    radius = np.broadcast_to(np.asarray(radii, float), (len(points),))
    return union(
        [
            flat_capsule(points[n], points[n + 1], float(radius[n]), stretch, float(radius[n + 1]))
            if tuple(stretch) != (1, 1, 1)
            else capsule(points[n], points[n + 1], float(radius[n]), float(radius[n + 1]))
            for n in range(len(points) - 1)
        ]
    )


def half_space(point: Triple, normal: Triple) -> Distance:
    """Distance to a plane, positive on the side the normal points to."""
    p, n = np.asarray(point, np.float32), np.asarray(normal, np.float32)
    n = n / np.linalg.norm(n)
    return lambda x, y, z: (x - p[0]) * n[0] + (y - p[1]) * n[1] + (z - p[2]) * n[2]
