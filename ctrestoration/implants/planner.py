"""Plans pedicle screws on a vertebra's mask, as a surgeon would: down the pedicle's axis, from behind.

For each vertebra: its own frame (`bone`), the canal, the axis of each pedicle (`pedicle`), entry behind, size by rule
(`sizing`), grade on the mask (`grading`). Where something is wrong with a vertebra, it is left out, and the plan
says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.implants.bone import (
    Bone,
    CanalView,
    Endplates,
    Frame,
    body_frame,
    bone_of,
    canal_from_mask,
    find_canal,
    lattice,
)
from ctrestoration.implants.catalogue import diameters_for, level_table, preset_for
from ctrestoration.implants.checks import construct_problems
from ctrestoration.implants.grading import judge
from ctrestoration.implants.pedicle import Axis, first_isthmus, fit_axis
from ctrestoration.implants.plan import Patient, Plan, Screw, Side
from ctrestoration.implants.rods import rods_for
from ctrestoration.implants.sizing import MODES, Mode, Size, diameter_for, length_for
from ctrestoration.implants.trajectory import (
    FAR_TURNS,
    NEAR_TURNS,
    Refused,
    VertebraView,
    balanced,
    bodies_touch,
    path_through,
    room_along,
    settled_axis,
    straightened,
)
from ctrestoration.volume import LabelMap

Vector = NDArray[np.float64]
_COLLAPSED, _WEDGED = 0.35, 0.75
_CLICK_MM = 6.0


Views = dict[tuple[str, Side], tuple[VertebraView, Vector]]
"""(level, side) -> the vertebra and the pedicle's isthmus, LPS mm."""


def plan_screws(
    spine: SpineSegmentation | LabelMap,
    *,
    levels: Sequence[str] | None = None,
    mode: Mode = "clinical",
    rods: bool = True,
    control: Control = SILENT,
) -> Plan:
    """Screws on both sides of the named levels, and a rod a side.

    Args:
        spine: the segmented spine, or labels of vertebrae by name or number, in any orientation.
        levels: which of its levels, e.g. ["L3", "L4"]; None takes every complete one.
        mode: "clinical" or "conservative", see `sizing`.
        rods: join the heads.
        control: reported to between levels.

    Returns:
        The plan; its warnings name every screw that was not placed, with the reason.

    Raises:
        InputError: a level that was not found, an unknown mode, labels without vertebrae.
        Cancelled: where the control asks to stop.
    """
    return plan_with_views(spine, levels=levels, mode=mode, rods=rods, control=control)[0]


def plan_with_views(
    spine: SpineSegmentation | LabelMap,
    *,
    levels: Sequence[str] | None = None,
    mode: Mode = "clinical",
    rods: bool = True,
    control: Control = SILENT,
) -> tuple[Plan, Views]:
    """As `plan_screws`, with what is needed to judge other screws in the same pedicles."""
    if mode not in MODES:
        raise InputError(f"Unknown planning mode {mode!r}: choose one of {', '.join(MODES)}.")
    segmentation = _segmentation(spine, control.part(0.0, 0.1))
    found = {level.name: level for level in segmentation.levels}
    chosen = list(levels) if levels is not None else list(segmentation.complete_levels)
    missing = [name for name in chosen if name not in found]
    if missing:
        raise InputError(f"Level {missing[0]!r} was not found: the segmentation holds {', '.join(found)}.")
    if not chosen:
        raise InputError(f"{segmentation.labels.name} holds no complete vertebra to put screws into.")
    planner = Planner(segmentation, mode)
    if segmentation.method in ("fallback", "points"):
        planner.warnings.append(
            "Planned on bone found by threshold and shape: grades are no better than that; check the screws on the CT."
        )
    screws: list[Screw] = []
    for name in control.part(0.1, 0.95).track(chosen, "Planning screws"):
        screws.extend(planner.level(found[name]))
    screws = _apart(screws, planner.warnings)
    joined = rods_for(screws, planner.warnings) if rods else ()
    plan = Plan(
        tuple(screws), joined, tuple(planner.warnings), (), Patient.of(segmentation.labels.grid),
        {"mode": mode, "levels": chosen},
    )  # fmt: skip
    problems = [text for text in construct_problems(plan) if text not in plan.warnings]
    control.report(1.0, "Planning screws")
    return replace(plan, warnings=(*plan.warnings, *problems)), planner.views


def _segmentation(spine: SpineSegmentation | LabelMap, control: Control) -> SpineSegmentation:
    if isinstance(spine, SpineSegmentation):
        return spine
    from ctrestoration.anatomy.spine.from_labels import segment_from_labels

    return segment_from_labels(spine.grid, spine, control=control)


class Planner:
    """Plans level by level; keeps what neighbors need of each other.

    Attributes:
        warnings: what was not done, or should be looked at.
        views: of the screws that were planned.
    """

    def __init__(self, spine: SpineSegmentation, mode: Mode) -> None:
        self.spine = spine
        self.mode = mode
        self.warnings: list[str] = []
        self.views: Views = {}
        self._bones: dict[int, Bone | None] = {}

    def level(self, level: SpineLevel) -> list[Screw]:
        """The screws of one vertebra, left and right; none, and a warning, where it is not fit for any."""
        try:
            if not level.complete:
                raise Refused(f"{level.note or 'it is incomplete'}; nothing is placed in a part of a vertebra")
            view, axes = self.pedicles(level)
        except (Refused, InputError) as error:
            reason = str(error).removeprefix(f"{level.name}: ").rstrip(".")
            self.warnings.append(f"{level.name}: no screws: {reason}.")
            return []
        screws = []
        for side, axis in axes.items():
            try:
                screws.append(self._screw(view, side, axis))
            except Refused as error:
                self.warnings.append(f"{level.name} {side}: no screw: {error}.")
        return screws

    def pedicles(self, level: SpineLevel) -> tuple[VertebraView, dict[Side, Axis]]:
        """One vertebra, and the axes of the pedicles that were recognized on it.

        Raises:
            Refused: the vertebra is not fit for screws.
            InputError: its mask tells too little.
        """
        return self._axes(self._view(level))

    def _view(self, level: SpineLevel) -> VertebraView:
        """Frame, canal and distances of one vertebra."""
        bone = self._bone(level)
        if bone is None:
            raise Refused("its mask is empty")
        frame, ends = body_frame(bone, self._up(level, bone))
        collapsed = self._check_shape(level, bone, frame, ends)
        places, depth = lattice(bone, frame)
        canal = find_canal(places, depth) or self._given_canal(places, frame)
        if canal is None:
            raise Refused(
                "no closed canal was found in its mask, so that no screw can be kept out of it; "
                "close the ring of the mask, or give three points for this level"
            )
        if not canal.closed:
            self.warnings.append(f"{level.name}: the ring around the canal is open in its mask; check the canal side.")
        return VertebraView(level.name, bone, frame, ends, canal, collapsed)

    def _bone(self, level: SpineLevel) -> Bone | None:
        if level.label not in self._bones:
            mask = self.spine.labels.array == level.label
            self._bones[level.label] = bone_of(level.name, mask, self.spine.labels.grid) if mask.any() else None
        return self._bones[level.label]

    def _up(self, level: SpineLevel, bone: Bone) -> Vector:
        """From the neighbors' bodies; the patient's long axis where there are none."""
        order = [other.name for other in self.spine.levels]
        place = order.index(level.name)
        above = self._neighbor(place - 1) or bone
        below = self._neighbor(place + 1) or bone
        up = above.center - below.center
        length = float(np.linalg.norm(up))
        return up / length if length > 5 else np.array([0.0, 0.0, 1.0])

    def _neighbor(self, place: int) -> Bone | None:
        if not 0 <= place < len(self.spine.levels):
            return None
        level = self.spine.levels[place]
        return self._bone(level) if level.complete else None

    def _given_canal(self, places: tuple[Vector, Vector, Vector], frame: Frame) -> CanalView | None:
        if not self.spine.canal.any():
            return None
        x, y, z = places
        local = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
        index = np.rint(self.spine.labels.grid.to_index(frame.world(local))).astype(int)[..., ::-1]
        shape = np.array(self.spine.canal.shape)
        within = ((index >= 0) & (index < shape)).all(axis=-1)
        index = np.clip(index, 0, shape - 1)
        inside = self.spine.canal[index[..., 0], index[..., 1], index[..., 2]] & within
        return canal_from_mask(places, inside)

    def _check_shape(self, level: SpineLevel, bone: Bone, frame: Frame, ends: Endplates) -> bool:
        """Refuse crushed and fused vertebrae; warn of wedged and collapsed ones, and return whether it is one."""
        low, usual = min(ends.front, ends.middle, ends.back), self._usual_height(level, ends)
        if low < _COLLAPSED * usual:
            raise Refused(
                f"it looks fractured: its body is {ends.front:.0f} mm high in front, {ends.middle:.0f} in the middle "
                f"and {ends.back:.0f} mm behind"
            )
        if low < _WEDGED * usual:
            self.warnings.append(
                f"{level.name}: the body is wedged or collapsed ({ends.front:.0f} mm high in front, {ends.middle:.0f} "
                f"in the middle, {ends.back:.0f} mm behind, {usual:.0f} expected): a fracture?"
            )
        if max(ends.front, ends.middle) > 45:
            raise Refused(f"its body would be {ends.middle:.0f} mm high: two vertebrae in one mask, or a fused block")
        order = [other.name for other in self.spine.levels]
        for place in (order.index(level.name) - 1, order.index(level.name) + 1):
            other = self._neighbor(place)
            if other is not None and bodies_touch(bone, other, frame):
                raise Refused(
                    f"its body and that of {other.level} touch: a fused block, or a mask that does not show the disc?"
                )
        return low < _WEDGED * usual

    def _usual_height(self, level: SpineLevel, ends: Endplates) -> float:
        """The height the body would have by itself and by its neighbors."""
        place = [other.name for other in self.spine.levels].index(level.name)
        heights = [max(ends.front, ends.middle, ends.back)]
        for other in (self._neighbor(place - 1), self._neighbor(place + 1)):
            if other is not None:
                heights.append(1.9 * float(other.distance.max()))
        return float(np.median(heights))

    def _axes(self, view: VertebraView) -> tuple[VertebraView, dict[Side, Axis]]:
        """Both pedicles' axes, their angles drawn together."""
        places, depth = lattice(view.bone, view.frame)
        table = level_table(view.name)
        prior = (table.transverse_deg, table.sagittal_deg)
        found: dict[Side, Axis] = {}
        sides: tuple[tuple[Side, int], ...] = (("left", 1), ("right", -1))
        for side, sign in sides:
            axis = self._clicked_axis(view, side, sign, prior)
            start = None if axis else first_isthmus(places, depth, view.canal, sign, view.ends.middle)
            if start is not None:
                axis = fit_axis(view.bone, view.frame, view.frame.world(start), sign, prior)
            if axis is None:
                self.warnings.append(f"{view.name} {side}: no screw: no pedicle was recognized in the mask.")
            else:
                found[side] = axis
        if len(found) < 2:
            return view, found
        # A crushed body says little about left and right: there the line through the isthmuses is the better axis.
        frame = straightened(view.frame, found) if view.collapsed else view.frame
        return replace(view, frame=frame), balanced(frame, found)

    def _clicked_axis(self, view: VertebraView, side: Side, sign: int, prior: tuple[float, float]) -> Axis | None:
        """The axis near a clicked isthmus, midway between the walls; None, and a warning, where that leads away."""
        points = self.spine.points.get(view.name)
        if points is None:
            return None
        isthmus, _ = points.pedicle_axis(side)
        axis = fit_axis(view.bone, view.frame, isthmus, sign, prior)
        if axis is None or float(np.linalg.norm(axis.isthmus - isthmus)) > _CLICK_MM:
            self.warnings.append(
                f"{view.name} {side}: no pedicle was recognized in the CT within {_CLICK_MM:g} mm of "
                "the point that was given; check it."
            )
            return None
        return axis

    def _screw(self, view: VertebraView, side: Side, axis: Axis) -> Screw:
        sign = 1 if side == "left" else -1
        usual = level_table(view.name).diameter_mm[0]
        settled = settled_axis(view, axis, sign, NEAR_TURNS)
        if view.collapsed and 2 * room_along(view, settled) < 0.8 * min(usual, axis.width):
            # A collapsed body leaves the way that its pedicle points to; look further up and down.
            settled = settled_axis(view, axis, sign, FAR_TURNS)
        axis = settled
        entry, front, direction = path_through(view, axis, sign)
        room = room_along(view, replace(axis, direction=direction))
        size = diameter_for(view.name, axis.width, max(room, 0.0), self.mode)
        if size is None:
            raise Refused(
                f"the pedicle is {axis.width:.1f} mm wide, with room for a {2 * max(room, 0):.1f} mm shaft: too "
                f"narrow for the smallest screw of {diameters_for(view.name)[0]:g} mm"
            )
        path = float((front - entry) @ direction)
        size, length = _with_length(view.name, size, path)
        if length is None:
            raise Refused(f"the way to the anterior cortex is {path:.0f} mm, too short for the shortest screw")
        preset = preset_for(view.name, size.diameter_mm)
        target = entry + length * direction
        verdict = judge(
            entry, target, size.diameter_mm, patient_side=sign, isthmus=axis.isthmus, axes=view.frame.axes,
            depth=view.bone.depth, canal=view.canal_distance,
        )  # fmt: skip
        if verdict.canal_mm < 0:
            raise Refused("no path was found that stays out of the spinal canal")
        if verdict.grade not in ("A", "B"):
            raise Refused(f"the best path found would breach the {verdict.side} wall by {verdict.breach_mm:.1f} mm")
        transverse, sagittal = view.frame.angles(sign, direction)
        screw = Screw(
            view.name, side, _point(entry), _point(target), size.diameter_mm, "Ti6Al4V", verdict.grade,
            round(verdict.breach_mm, 2), verdict.side, round(verdict.canal_mm, 2), round(transverse, 1),
            round(sagittal, 1), round(axis.width, 1), preset.core_ratio, preset.pitch_mm,
        )  # fmt: skip
        self.views[view.name, side] = (view, axis.isthmus)
        self._remark(screw, size.narrow, transverse, sagittal)
        return screw

    def _remark(self, screw: Screw, narrow: bool, transverse: float, sagittal: float) -> None:
        """What a surgeon would point out."""
        table = level_table(screw.level)
        where = f"{screw.level} {screw.side}"
        if narrow:
            self.warnings.append(
                f"{where}: narrow pedicle, {screw.pedicle_width_mm:.1f} mm for a {screw.diameter_mm:g} mm screw."
            )
        if screw.canal_mm is not None and screw.canal_mm < 0.5:
            self.warnings.append(f"{where}: only {max(screw.canal_mm, 0):.1f} mm between screw and canal.")
        if screw.grade not in (None, "A"):
            self.warnings.append(f"{where}: grade {screw.grade}, {screw.breach_mm:.1f} mm {screw.breach_side}.")
        if abs(transverse - table.transverse_deg) > 14 or abs(sagittal - table.sagittal_deg) > 14:
            self.warnings.append(
                f"{where}: unusual direction, {transverse:.0f} degrees medial and {sagittal:.0f} caudal "
                f"(usual {table.transverse_deg:g} and {table.sagittal_deg:g})."
            )
        if screw.length_mm < table.length_mm[0] - 0.01:
            self.warnings.append(
                f"{where}: short screw, {screw.length_mm:.0f} mm; usual from {table.length_mm[0]:g} mm."
            )


def _with_length(level: str, size: Size, path_mm: float) -> tuple[Size, float | None]:
    """The size with its length; a thinner screw where only those are made short enough."""
    for diameter in sorted((d for d in diameters_for(level) if d <= size.diameter_mm), reverse=True):
        length = length_for(level, diameter, path_mm)
        if length is not None:
            return Size(diameter, size.narrow), length
    return size, None


def _apart(screws: list[Screw], warnings: list[str]) -> list[Screw]:
    """Shorten the two screws of a vertebra by 5 mm at a time while they would meet in its body."""
    from ctrestoration.implants.checks import gap_mm

    out = list(screws)
    for n, one in enumerate(screws):
        for m in range(n + 1, len(screws)):
            if out[m].level != one.level:
                continue
            while gap_mm(out[n], out[m]) < 0.5 and min(out[n].length_mm, out[m].length_mm) >= 30:
                out[n], out[m] = _shorter(out[n]), _shorter(out[m])
                warnings.append(f"{one.level}: both screws shortened by 5 mm, else their tips would meet.")
    return out


def _shorter(screw: Screw) -> Screw:
    entry, target = np.array(screw.entry), np.array(screw.target)
    return replace(screw, target=_point(target - 5.0 * (target - entry) / screw.length_mm))


def _point(values: Vector) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z
