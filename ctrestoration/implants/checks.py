"""What is wrong with a construct: screws that run into each other, rods that miss a head or bend too sharply."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.implants.plan import Plan, Screw

Vector = NDArray[np.float64]


def gap_mm(one: Screw, other: Screw) -> float:
    """Distance between the surfaces of two shafts in mm; negative = they overlap."""
    distance = _segments(
        *(np.array(point, dtype=np.float64) for point in (one.entry, one.target, other.entry, other.target))
    )
    return distance - (one.diameter_mm + other.diameter_mm) / 2


def overlaps(plan: Plan) -> list[str]:
    """A sentence for each pair of screws whose shafts overlap."""
    return [
        f"Screws {a.level} {a.side} and {b.level} {b.side} overlap by {-gap:.1f} mm: move or shorten one of them."
        for a, b in itertools.combinations(plan.screws, 2)
        if (gap := gap_mm(a, b)) < -0.05
    ]


def require_sound(plan: Plan) -> None:
    """Refuse a plan whose screws run into each other.

    Raises:
        InputError: the first such pair.
    """
    problems = overlaps(plan)
    if problems:
        raise InputError(problems[0])


def construct_problems(plan: Plan) -> list[str]:
    """Everything that a surgeon would not accept of the construct as a whole."""
    from ctrestoration.implants.rods import rod_problems

    return [*overlaps(plan), *rod_problems(plan)]


def _segments(p: Vector, q: Vector, r: Vector, s: Vector) -> float:
    """Distance between the segments pq and rs."""
    t = np.linspace(0, 1, 61)[:, None]
    points = p + t * (q - p)
    axis = s - r
    along = np.clip((points - r) @ axis / (axis @ axis), 0, 1)
    return float(np.linalg.norm(points - (r + along[:, None] * axis), axis=1).min())
