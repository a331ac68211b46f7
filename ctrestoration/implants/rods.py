"""Rods: bent through the heads of one side, with an overhang and a smallest bend radius."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.catalogue import catalogue
from ctrestoration.implants.plan import Plan, Rod, Screw, Side

Vector = NDArray[np.float64]
SADDLE_MM = 0.5
"""The rod's axis passes this close to the center of every head's saddle."""


def head_center(screw: Screw) -> Vector:
    """Where the rod runs through a screw's head, LPS mm."""
    entry, target = np.asarray(screw.entry, dtype=np.float64), np.asarray(screw.target, dtype=np.float64)
    scale = catalogue()["head"]["rod_center_mm"]
    return np.asarray(entry - scale * (target - entry) / np.linalg.norm(target - entry))


def rods_for(
    screws: Sequence[Screw], warnings: list[str], diameter_mm: float = 5.5, material: str = "Ti6Al4V"
) -> tuple[Rod, ...]:
    """A rod for each side that has two heads or more; the points are the saddles, cranial to caudal."""
    rods = []
    sides: tuple[Side, Side] = ("left", "right")
    for side in sides:
        heads = sorted((head_center(s) for s in screws if s.side == side and s.head), key=lambda point: -point[2])
        if len(heads) < 2:
            if screws:
                warnings.append(f"No rod on the {side}: it takes two screws or more.")
            continue
        rods.append(Rod(side, tuple(_point(head) for head in heads), diameter_mm, material))
    return tuple(rods)


def centerline(rod: Rod, step_mm: float = 1.0) -> Vector:
    """Points along the bent rod's axis with its overhang, (n, 3) LPS mm: a C2 spline through its points."""
    from scipy.interpolate import CubicSpline

    points = np.asarray(rod.points, dtype=np.float64)
    keep = np.r_[True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6]
    points = points[keep]
    if len(points) < 2:
        return np.asarray(rod.points, dtype=np.float64)
    chord = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    spline = CubicSpline(chord, points, bc_type="natural")
    overhang = float(catalogue()["rods"]["overhang_mm"])
    inner = np.linspace(0, chord[-1], max(2, int(np.ceil(chord[-1] / step_mm)) + 1))
    curve = spline(inner)
    first, last = (spline(t, 1) / np.linalg.norm(spline(t, 1)) for t in (0.0, chord[-1]))
    beyond = np.linspace(step_mm, overhang, max(1, round(overhang / step_mm)))[:, None]
    return np.concatenate([(curve[0] - beyond * first)[::-1], curve, curve[-1] + beyond * last])


def bend_radius(points: Vector) -> float:
    """The smallest radius of curvature along a polyline of even steps, mm; infinite for a straight one."""
    if len(points) < 3:
        return float("inf")
    a, b, c = points[:-2], points[1:-1], points[2:]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    sides = np.linalg.norm(b - a, axis=1) * np.linalg.norm(c - b, axis=1) * np.linalg.norm(c - a, axis=1)
    with np.errstate(divide="ignore"):
        radius = np.where(area > 1e-9, sides / (2 * np.maximum(area, 1e-12)), np.inf)
    return float(radius.min())


def rod_problems(plan: Plan) -> list[str]:
    """A sentence for each rod that bends too sharply, misses a head, or leaves a head's cone."""
    rules = catalogue()
    problems = []
    for rod in plan.rods:
        curve = centerline(rod)
        radius = bend_radius(curve)
        if radius < rules["rods"]["minimum_bend_radius_mm"]:
            problems.append(
                f"The {rod.side} rod bends with a radius of {radius:.0f} mm; at least "
                f"{rules['rods']['minimum_bend_radius_mm']:g} mm: the heads do not line up."
            )
        tangents = np.gradient(curve, axis=0)
        for screw in plan.screws:
            if screw.side == rod.side and screw.head:
                problems.extend(_head(screw, rod, curve, tangents, rules["head"]["cone_deg"]))
    return problems


def _head(screw: Screw, rod: Rod, curve: Vector, tangents: Vector, cone_deg: float) -> list[str]:
    center = head_center(screw)
    away = np.linalg.norm(curve - center, axis=1)
    nearest = int(np.argmin(away))
    tangent = tangents[nearest] / np.linalg.norm(tangents[nearest])
    offset = curve[nearest] - center
    miss = float(np.linalg.norm(offset - (offset @ tangent) * tangent))
    where = f"{screw.level} {screw.side}"
    if miss > SADDLE_MM:
        return [f"{where}: the rod passes {miss:.1f} mm beside the head; at most {SADDLE_MM} mm."]
    direction = np.asarray(screw.target) - np.asarray(screw.entry)
    tilt = float(np.degrees(np.arcsin(np.clip(abs(direction @ tangent) / np.linalg.norm(direction), 0, 1))))
    if tilt > cone_deg:
        return [f"{where}: the head would have to tilt {tilt:.0f} degrees for the rod; its cone allows {cone_deg:g}."]
    return []


def _point(values: Vector) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z
