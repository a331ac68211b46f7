"""Training cases: metal as it occurs, mixed with metal anywhere, each case from its seed alone.

Mix: 55 % planned spine constructs with scatter, 15 % other implants where they belong, 20 % real implants in any pose,
10 % random shapes. Materials of constructs: all titanium 70 %, titanium screws with cobalt-chromium rods 20 %, steel
10 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.result import SpineSegmentation
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.implants.anywhere import (
    moved_anywhere,
    point_in_body,
    random_implants,
    random_rotation,
    random_shapes,
)
from ctrestoration.implants.construct import Part, parts_of, place_parts
from ctrestoration.implants.grading import Judgment, judge
from ctrestoration.implants.plan import Device, Plan, Screw
from ctrestoration.implants.planner import Views, plan_with_views
from ctrestoration.implants.rods import rods_for
from ctrestoration.implants.scatter import PROFILES, scatter
from ctrestoration.volume import Volume

MIX: dict[str, float] = {"spine": 0.55, "realistic": 0.15, "implants-anywhere": 0.20, "shapes": 0.10}
"""Kind of case -> its share."""

MOVED: dict[str, str] = {"spine-moved": "spine", "realistic-moved": "realistic"}
"""Kinds that are not in the mix: the very implants of another kind, all together in any pose anywhere in the body. What
differs from that kind is where the metal lies, and nothing else."""

_OTHER = ("plif-cage", "stent", "sternal-wire", "coil", "clip", "bone-cement")
_MATERIALS = (("Ti6Al4V", "Ti6Al4V"), ("Ti6Al4V", "CoCrMo"), ("316L", "316L"))
_MATERIAL_SHARES = (0.7, 0.2, 0.1)


@dataclass(frozen=True)
class Case:
    """One training case.

    Attributes:
        implants: material -> fraction 0..1, float32 [z, y, x] on the volume's grid.
        description: JSON types: seed, kind, and everything that was drawn.
        plan: of a spine case, else None.
    """

    implants: dict[str, NDArray[np.float32]]
    description: dict[str, Any]
    plan: Plan | None


@dataclass(frozen=True)
class PlannedSpine:
    """A spine with every screw that fits, planned once for the many cases that are drawn from one patient.

    Attributes:
        spine: the vertebrae; its grid may be finer than that of the volume the cases are for.
        plan: a screw for each pedicle that takes one, no rods.
        views: what screws in the same pedicles are judged by.
    """

    spine: SpineSegmentation
    plan: Plan
    views: Views

    @classmethod
    def of(cls, spine: SpineSegmentation, control: Control = SILENT) -> PlannedSpine:
        """Plan all complete levels; a spine without any has an empty plan, whose warning says so.

        Raises:
            Cancelled: where the control asks to stop.
        """
        if not spine.complete_levels:
            return cls(spine, Plan((), (), ("no complete vertebra is segmented",)), {})
        return cls(spine, *plan_with_views(spine, rods=False, control=control))

    @property
    def levels(self) -> list[str]:
        """Levels with a screw, cranial to caudal."""
        return [name for name in self.spine.complete_levels if any(screw.level == name for screw in self.plan.screws)]

    def construct(self, levels: list[str]) -> Plan:
        """The screws of some levels, joined by rods."""
        screws = tuple(screw for screw in self.plan.screws if screw.level in levels)
        warnings: list[str] = []
        rods = rods_for(screws, warnings)
        settings = {**self.plan.settings, "levels": levels}
        return replace(self.plan, screws=screws, rods=rods, warnings=tuple(warnings), settings=settings)


def generate_case(
    volume: Volume,
    seed: int,
    *,
    spine: SpineSegmentation | PlannedSpine | None = None,
    kind: str | None = None,
    control: Control = SILENT,
) -> Case:
    """Metal for one training case; the same volume, spine and seed give the same bits.

    Args:
        volume: CT in HU.
        seed: of everything random, >= 0.
        spine: its vertebrae, planned already where many cases are drawn; without them, or where no screw fits, a
            spine case becomes one of implants anywhere, and its description says so.
        kind: a key of `MIX` or of `MOVED` instead of drawing one.
        control: reported to between parts.

    Raises:
        InputError: an unknown kind or a negative seed.
        Cancelled: where the control asks to stop.
    """
    if int(seed) != seed or seed < 0:
        raise InputError(f"The seed of a case must be an integer from 0 on, not {seed}.")
    known = (*MIX, *MOVED)
    if kind is not None and kind not in known:
        raise InputError(f"Unknown kind of case {kind!r}: choose one of {', '.join(known)}.")
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(int(seed))))
    drawn = str(rng.choice(list(MIX), p=list(MIX.values())))
    kind = kind or drawn
    description: dict[str, Any] = {"seed": int(seed), "kind": kind}
    moved = kind in MOVED
    kind = MOVED.get(kind, kind)
    plan: Plan | None = None
    parts: list[Part] = []
    if kind == "spine":
        plan, facts = _construct(spine, int(seed), rng, control.part(0.0, 0.5))
        description.update(facts)
        if plan is None:
            kind = "implants-anywhere"
        else:
            parts = parts_of(plan)
    if kind == "realistic":
        vertebrae = spine.spine if isinstance(spine, PlannedSpine) else spine
        parts, description["devices"] = _realistic(volume, vertebrae, rng)
    elif kind == "implants-anywhere":
        parts, description["devices"] = random_implants(volume, rng)
    elif kind == "shapes":
        parts, description["devices"] = random_shapes(volume, rng)
    if moved:
        # Random numbers of their own: the implants stay those of the other kind.
        parts = moved_anywhere(parts, volume, np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1]))))
        plan = None
    implants = place_parts(parts, volume.grid, control.part(0.5, 1.0))
    description["metal_ml"] = {
        name: round(float(fraction.sum()) * volume.grid.voxel_mm3 / 1000, 4) for name, fraction in implants.items()
    }
    return Case(implants, description, plan)


def _construct(
    spine: SpineSegmentation | PlannedSpine | None, seed: int, rng: np.random.Generator, control: Control
) -> tuple[Plan | None, dict[str, Any]]:
    """A scattered plan of one to six neighboring levels, and what was drawn."""
    if spine is None:
        return None, {"instead": "implants-anywhere", "reason": "no complete vertebra is segmented"}
    planned = spine if isinstance(spine, PlannedSpine) else PlannedSpine.of(spine, control)
    levels = planned.levels
    if not levels:
        return None, {"instead": "implants-anywhere", "reason": " ".join(planned.plan.warnings)}
    count = min(int(rng.integers(1, 7)), len(levels))
    first = int(rng.integers(0, len(levels) - count + 1))
    chosen = levels[first : first + count]
    plan = planned.construct(chosen)
    profile = str(rng.choice(list(PROFILES)))
    screw_metal, rod_metal = _MATERIALS[int(rng.choice(3, p=_MATERIAL_SHARES))]
    judges: dict[tuple[str, str], Any] = {
        (screw.level, screw.side): _judge(screw, planned.views) for screw in plan.screws
    }
    plan = scatter(plan, judges, seed, profile=profile)
    core, pitch = float(rng.uniform(0.58, 0.72)), float(rng.choice([2.0, 2.75, 2.8, 3.0, 4.0]))
    missing = float(rng.random()) < 0.05
    loose = float(rng.uniform(0.5, 1.0)) if rng.random() < 0.08 else 0.0
    screws = tuple(
        replace(
            screw, material=screw_metal, core_ratio=core, pitch_mm=pitch, set_screw=not (missing and n == 0),
            loosening_mm=loose if n == 0 else 0.0, cannulated_mm=0.0,
        )
        for n, screw in enumerate(plan.screws)
    )  # fmt: skip
    rods = tuple(replace(rod, material=rod_metal) for rod in plan.rods)
    plan = replace(plan, screws=screws, rods=rods)
    grades = {letter: sum(screw.grade == letter for screw in screws) for letter in "ABCDE"}
    return plan, {"levels": chosen, "profile": profile, "screws": screw_metal, "rods": rod_metal, "grades": grades}


def _judge(screw: Screw, views: Views) -> Any:
    view, isthmus = views[screw.level, screw.side]
    sign = 1 if screw.side == "left" else -1

    def graded(moved: Screw) -> Judgment:
        return judge(
            moved.entry, moved.target, moved.diameter_mm, patient_side=sign, isthmus=isthmus, axes=view.frame.axes,
            depth=view.bone.depth, canal=view.canal_distance,
        )  # fmt: skip

    return graded


def _realistic(
    volume: Volume, spine: SpineSegmentation | None, rng: np.random.Generator
) -> tuple[list[Part], list[dict[str, object]]]:
    """One implant of the trunk where it belongs, as far as the anatomy known tells."""
    kind = str(rng.choice(_OTHER))
    levels = [level for level in spine.levels if level.complete] if spine is not None else []
    turn = random_rotation(rng)
    if kind in ("plif-cage", "bone-cement") and levels:
        level = levels[int(rng.integers(len(levels)))]
        where = np.array(level.center) + np.array([rng.uniform(-8, 8), -12.0, 0.0 if kind == "bone-cement" else -17.0])
        device = Device(kind, tuple(where), (float(rng.uniform(-0.3, 0.3)), -1.0, 0.0), (0.0, 0.0, 1.0))
    else:
        device = Device(kind, tuple(point_in_body(volume, rng)), tuple(turn[:, 2]), tuple(turn[:, 0]))
    from ctrestoration.implants.devices import device_parts

    parts = [Part(name, material, mesh) for name, material, mesh in device_parts(device)]
    return parts, [{"kind": kind, "position": [round(float(x), 2) for x in device.position]}]
