"""Judges screws that were moved or added by hand, on the bone and canal of a segmented spine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ctrestoration.anatomy.spine.result import SpineSegmentation
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.implants.checks import construct_problems
from ctrestoration.implants.grading import Judgment, judge
from ctrestoration.implants.plan import Plan, Screw, Side
from ctrestoration.implants.planner import Planner, Views
from ctrestoration.implants.rods import rods_for
from ctrestoration.implants.scatter import Judge, scatter
from ctrestoration.implants.trajectory import Refused


@dataclass(frozen=True)
class Judges:
    """What grades the screws of some levels.

    Attributes:
        views: (level, side) -> the vertebra and its pedicle's isthmus in LPS mm.
        reasons: level -> why its screws cannot be judged, for the levels of which none or one side can.
    """

    views: Views
    reasons: dict[str, str]

    def of(self, screw: Screw) -> Judge | None:
        """What grades that screw wherever it is moved; None where its vertebra tells too little."""
        if (screw.level, screw.side) not in self.views:
            return None
        view, isthmus = self.views[screw.level, screw.side]

        def graded(moved: Screw) -> Judgment:
            return judge(
                moved.entry, moved.target, moved.diameter_mm, patient_side=_sign(moved.side), isthmus=isthmus,
                axes=view.frame.axes, depth=view.bone.depth, canal=view.canal_distance,
            )  # fmt: skip

        return graded

    def reason(self, screw: Screw) -> str:
        """Why that screw cannot be judged."""
        return self.reasons.get(screw.level, f"no pedicle was recognized on the {screw.side} side of its mask")


def judges_for(spine: SpineSegmentation, levels: Sequence[str], control: Control = SILENT) -> Judges:
    """Frames, canals and pedicles of the named levels.

    Args:
        spine: the segmented spine.
        levels: e.g. ["L3", "L4"]; a level that the spine does not hold is given a reason, not refused.
        control: reported to between levels.
    """
    planner = Planner(spine, "clinical")
    found = {level.name: level for level in spine.levels}
    reasons: dict[str, str] = {}
    for name in control.track(list(dict.fromkeys(levels)), "Measuring the pedicles"):
        if name not in found:
            reasons[name] = f"the segmentation does not hold {name}"
            continue
        if not found[name].complete:
            reasons[name] = found[name].note or "it is incomplete"
            continue
        # Planning the level settles its axes: an untouched screw then gets the very grade that it was planned with.
        planner.level(found[name])
        try:
            view, axes = planner.pedicles(found[name])
        except (Refused, InputError) as error:
            reasons[name] = str(error).removeprefix(f"{name}: ").rstrip(".")
            continue
        for side, axis in axes.items():
            planner.views.setdefault((name, side), (view, axis.isthmus))
    return Judges(planner.views, reasons)


def regrade(plan: Plan, spine: SpineSegmentation, *, rods: bool = False, control: Control = SILENT) -> Plan:
    """The plan with every screw graded where it now lies, and warnings that fit it.

    Args:
        plan: edited in any way.
        spine: the bone and canal to judge by.
        rods: lay the rods anew through the heads, with the diameter and material they have.
        control: reported to between levels.

    Returns:
        The same screws with grade, breach, distance to the canal and angles; those of a screw that cannot be judged
        are None, and a warning says why.
    """
    judges = judges_for(spine, [screw.level for screw in plan.screws], control)
    warnings: list[str] = []
    screws = tuple(_graded(screw, judges, warnings) for screw in plan.screws)
    laid = plan.rods
    if rods:
        laid = rods_for(screws, warnings, *((laid[0].diameter_mm, laid[0].material) if laid else ()))
    edited = replace(plan, screws=screws, rods=laid)
    return replace(edited, warnings=(*warnings, *construct_problems(edited)))


def scattered(plan: Plan, spine: SpineSegmentation, seed: int, profile: str, control: Control = SILENT) -> Plan:
    """The plan as it might come out of the operating room; see `implants.scatter.scatter`.

    Raises:
        InputError: a screw that cannot be judged, with the reason, or an unknown profile.
    """
    judges = judges_for(spine, [screw.level for screw in plan.screws], control)
    known: dict[tuple[str, str], Judge] = {}
    for screw in plan.screws:
        found = judges.of(screw)
        if found is None:
            raise InputError(
                f"Screw {screw.level} {screw.side} cannot be scattered, because its grade cannot be judged: "
                f"{judges.reason(screw)}. Remove it from the plan first."
            )
        known[screw.level, screw.side] = found
    moved = scatter(plan, known, seed, profile=profile)
    warnings = [_remark(screw) for screw in moved.screws if screw.grade not in (None, "A")]
    return replace(moved, warnings=(*warnings, *construct_problems(moved)))


def _graded(screw: Screw, judges: Judges, warnings: list[str]) -> Screw:
    grader = judges.of(screw)
    if grader is None or _misses(screw, judges):
        why = judges.reason(screw) if grader is None else "the screw misses the vertebra"
        warnings.append(f"{screw.level} {screw.side}: not graded: {why}.")
        return replace(
            screw, grade=None, breach_mm=None, breach_side=None, canal_mm=None, transverse_deg=None, sagittal_deg=None
        )
    verdict = grader(screw)
    view, _ = judges.views[screw.level, screw.side]
    axis = (np.array(screw.target) - np.array(screw.entry)) / screw.length_mm
    transverse, sagittal = view.frame.angles(_sign(screw.side), axis)
    graded = replace(
        screw, grade=verdict.grade, breach_mm=round(verdict.breach_mm, 2), breach_side=verdict.side,
        canal_mm=round(verdict.canal_mm, 2), transverse_deg=round(transverse, 1), sagittal_deg=round(sagittal, 1),
    )  # fmt: skip
    if graded.grade != "A":
        warnings.append(_remark(graded))
    if verdict.canal_mm < 0.5:
        where = f"{-verdict.canal_mm:.1f} mm inside" if verdict.canal_mm < 0 else f"{verdict.canal_mm:.1f} mm from"
        warnings.append(f"{screw.level} {screw.side}: the screw lies {where} the canal.")
    if verdict.tip_mm < 0:
        warnings.append(f"{screw.level} {screw.side}: the tip leaves the bone by {-verdict.tip_mm:.1f} mm.")
    return graded


def _misses(screw: Screw, judges: Judges) -> bool:
    """Whether no part of the screw's axis lies in its vertebra: distances to bone that far away mean nothing."""
    view, _ = judges.views[screw.level, screw.side]
    along = np.linspace(0.0, 1.0, max(2, int(screw.length_mm)))[:, None]
    axis = np.array(screw.entry) + along * (np.array(screw.target) - np.array(screw.entry))
    return not bool((view.bone.depth(axis) > 0).any())


def _remark(screw: Screw) -> str:
    side = f" {screw.breach_side}" if screw.breach_side else ""
    return f"{screw.level} {screw.side}: grade {screw.grade}, {screw.breach_mm:.1f} mm{side}."


def _sign(side: Side) -> int:
    return 1 if side == "left" else -1
