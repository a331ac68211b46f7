"""Screws as they end up, not as they were planned.

Deviation from plan of 726 screws (BMC Surgery 2022): tip 1.9 +- 1.5 mm, tail 2.2 +- 1.4 mm. Grades of 728 robot-placed
screws (International Journal of Spine Surgery 2024): A 92.0, B 4.3, C 3.0, D 0.5, E 0.1 %. Adding the deviation to a
centered plan breaches far too often in narrow pedicles; so the grade is drawn first, and a deviation is taken when the
screw then has that grade.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.implants.grading import Judgment
from ctrestoration.implants.plan import Plan, Screw
from ctrestoration.implants.rods import rods_for

Vector = NDArray[np.float64]
Judge = Callable[[Screw], Judgment]

PROFILES: dict[str, dict[str, float]] = {
    "robot": {"A": 92.0, "B": 4.3, "C": 3.0, "D": 0.5, "E": 0.1},
    "freehand": {"A": 80.0, "B": 13.0, "C": 5.0, "D": 1.5, "E": 0.5},
}
"""Percent of screws by grade."""

_TIP, _TAIL = (1.9, 1.5), (2.2, 1.4)
_CORRELATION = 0.4
_TRIES = 400


@dataclass(frozen=True)
class Scattered:
    """A screw and how it came about."""

    screw: Screw
    wanted: str
    tip_mm: float
    tail_mm: float


def scatter_screw(
    screw: Screw, judge: Judge, rng: np.random.Generator, *, profile: str, scale: float = 1.0
) -> Scattered:
    """One screw, moved off its plan.

    Args:
        screw: as planned.
        judge: grades a screw on the bone.
        rng: source of chance.
        profile: a key of `PROFILES`.
        scale: factor on the deviations, 0..5; 0 leaves the screw as planned.

    Returns:
        The first of up to 400 deviations whose grade is the drawn one; else the one nearest to it in grade.

    Raises:
        InputError: an unknown profile or a scale outside its range.
    """
    if profile not in PROFILES:
        raise InputError(f"Unknown scatter profile {profile!r}: choose one of {', '.join(PROFILES)}.")
    if not 0 <= scale <= 5:
        raise InputError(f"The scatter's scale must lie in 0..5, not {scale:g}.")
    shares = np.array(list(PROFILES[profile].values()))
    wanted = "ABCDE"[int(rng.choice(5, p=shares / shares.sum()))]
    if scale == 0:
        return Scattered(screw, "A", 0.0, 0.0)
    best: tuple[int, Scattered] | None = None
    for number in range(_TRIES):
        # A grade that the published deviations hardly reach in a wide pedicle is reached by growing ones.
        growth = scale * (1 + max(0, number - 60) / 60) if wanted > "B" else scale
        moved, tip, tail = _moved(screw, rng, growth)
        verdict = judge(moved)
        graded = replace(
            moved, grade=verdict.grade, breach_mm=round(verdict.breach_mm, 2), breach_side=verdict.side,
            canal_mm=round(verdict.canal_mm, 2),
        )  # fmt: skip
        distance = abs(ord(verdict.grade) - ord(wanted))
        if best is None or distance < best[0]:
            best = (distance, Scattered(graded, wanted, tip, tail))
        if distance == 0:
            break
    assert best is not None  # noqa: S101 - the loop ran
    return best[1]


def scatter(
    plan: Plan, judges: dict[tuple[str, str], Judge], seed: int, *, profile: str = "robot", scale: float = 1.0
) -> Plan:
    """A plan as it might come out of the operating room; the rods follow the heads.

    Args:
        plan: as planned.
        judges: (level, side) -> what grades that screw.
        seed: same seed, same screws, whatever their order.
        profile: a key of `PROFILES`.
        scale: factor on the deviations.
    """
    screws = []
    for number, screw in enumerate(plan.screws):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
        found = scatter_screw(screw, judges[screw.level, screw.side], rng, profile=profile, scale=scale)
        screws.append(found.screw)
    warnings: list[str] = []
    diameter, material = (plan.rods[0].diameter_mm, plan.rods[0].material) if plan.rods else (5.5, "Ti6Al4V")
    rods = rods_for(screws, warnings, diameter, material) if plan.rods else ()
    settings = {**plan.settings, "scatter": {"seed": seed, "profile": profile, "scale": scale}}
    return replace(plan, screws=tuple(screws), rods=rods, settings=settings)


def _moved(screw: Screw, rng: np.random.Generator, scale: float) -> tuple[Screw, float, float]:
    """Tip and tail moved across the axis, in directions that have much in common; lateral twice as often as medial."""
    entry, target = np.array(screw.entry), np.array(screw.target)
    axis = (target - entry) / screw.length_mm
    lateral = np.cross(axis, [0.0, 0.0, 1.0])
    lateral /= np.linalg.norm(lateral)
    outward = 1.0 if screw.side == "left" else -1.0
    lateral *= outward * (1 if lateral[0] >= 0 else -1)
    over = np.cross(axis, lateral)
    tail_angle = rng.uniform(0, 2 * np.pi)
    if np.cos(tail_angle) < 0 and rng.random() < 1 / 3:
        tail_angle = np.pi - tail_angle
    tip_angle = tail_angle if rng.random() < _CORRELATION else rng.uniform(0, 2 * np.pi)
    lengths = [scale * _gamma(rng, *numbers) for numbers in (_TIP, _TAIL)]
    ways = [np.cos(angle) * lateral + np.sin(angle) * over for angle in (tip_angle, tail_angle)]
    new_target, new_entry = target + lengths[0] * ways[0], entry + lengths[1] * ways[1]
    new_target = new_entry + (new_target - new_entry) * screw.length_mm / np.linalg.norm(new_target - new_entry)
    return replace(screw, entry=_point(new_entry), target=_point(new_target)), lengths[0], lengths[1]


def _gamma(rng: np.random.Generator, mean: float, sd: float) -> float:
    return float(rng.gamma((mean / sd) ** 2, sd**2 / mean))


def _point(values: Vector) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z
