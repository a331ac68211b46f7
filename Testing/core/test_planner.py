"""The planner: axes it knows, refusals with their reasons, and the public masks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from core.vertebra_masks import axis, spine
from scipy.spatial.transform import Rotation

from ctrestoration.control import Control
from ctrestoration.errors import Cancelled, InputError
from ctrestoration.implants import Plan, plan_screws
from ctrestoration.implants.sizing import diameter_for, length_for
from ctrestoration.io.labels import read_labels
from ctrestoration.volume import LabelMap


@lru_cache(maxsize=1)
def planned() -> Plan:
    return plan_screws(spine(), levels=["L3"])


def test_screws_run_down_the_known_pedicles():
    assert len(planned().screws) == 2
    for screw in planned().screws:
        side = 1 if screw.side == "left" else -1
        isthmus, direction = axis(side)
        isthmus = isthmus + np.array([0, 0, -12.0])
        found = (np.array(screw.target) - screw.entry) / screw.length_mm
        assert np.degrees(np.arccos(found @ direction)) < 4
        offset = isthmus - np.array(screw.entry)
        assert np.linalg.norm(offset - (offset @ found) * found) < 0.8
        assert (isthmus - screw.entry) @ found >= 8  # enters well behind the isthmus
        assert screw.grade == "A"
        assert screw.canal_mm > 0
        assert screw.diameter_mm <= 0.8 * 9.6
        assert screw.transverse_deg == pytest.approx(12, abs=4)


def test_the_plan_does_not_depend_on_how_the_labels_are_stored():
    labels = spine()
    array = np.transpose(labels.array, (2, 0, 1))[::-1, :, ::-1]
    affine = np.eye(4)
    affine[:3, :3] = labels.grid.affine[:3, :3][:, [1, 2, 0]] * [-1, 1, -1]
    first = labels.grid.to_world([labels.array.shape[2] - 1, labels.array.shape[1] - 1, 0])
    affine[:3, 3] = first
    from ctrestoration.volume import Grid

    turned = LabelMap(array, Grid(array.shape, affine), labels.names, "turned")
    again = plan_screws(turned, levels=["L3"])
    for one, other in zip(planned().screws, again.screws, strict=True):
        assert np.allclose(one.entry, other.entry, atol=0.3)
        assert np.allclose(one.target, other.target, atol=0.3)
        assert one.diameter_mm == other.diameter_mm


def test_an_oblique_grid_is_planned_as_well():
    direction = Rotation.from_euler("xyz", [12, -8, 15], degrees=True).as_matrix()
    plan = plan_screws(spine(direction=direction), levels=["L3"])
    assert [screw.side for screw in plan.screws] == ["left", "right"]
    assert all(screw.grade == "A" for screw in plan.screws)


def test_two_levels_are_joined_by_a_rod_on_each_side():
    plan = plan_screws(spine(), levels=["L3", "L2"])
    assert len(plan.screws) == 4
    assert [rod.side for rod in plan.rods] == ["left", "right"]
    for rod in plan.rods:
        heights = [point[2] for point in rod.points]
        assert heights == sorted(heights, reverse=True)


def test_a_narrow_pedicle_gets_no_screw_and_the_plan_says_why():
    plan = plan_screws(spine(radius=2.0), levels=["L3"])
    assert not plan.screws
    assert any("too narrow for the smallest screw" in text and "L3 left" in text for text in plan.warnings)


def test_a_cut_vertebra_gets_no_screw_and_the_plan_says_why():
    plan = plan_screws(spine(cut=True), levels=["L2", "L3"])
    assert {screw.level for screw in plan.screws} == {"L2"}
    assert any(text.startswith("L3: no screws: cut by the edge of the volume") for text in plan.warnings)


def test_without_a_closed_canal_nothing_is_placed():
    plan = plan_screws(spine(arch=False), levels=["L3"])
    assert not plan.screws
    assert any("no closed canal" in text for text in plan.warnings)


def test_fused_bodies_are_refused():
    plan = plan_screws(spine(gap_mm=0.0, height=32.0), levels=["L3"])
    assert not plan.screws
    assert any("fused" in text for text in plan.warnings)


def test_a_crushed_body_gets_no_screw_and_is_named_a_fracture():
    labels = spine()
    array = labels.array.copy()
    points = labels.grid.to_world(np.stack(np.indices(array.shape)[::-1], axis=-1))
    body = (array == 29) & (points[..., 1] < 12)
    array[body & (points[..., 2] > -15)] = 0
    array[body & (points[..., 2] < -22)] = 0
    plan = plan_screws(LabelMap(array, labels.grid, labels.names, "crushed"), levels=["L3"])
    assert not plan.screws
    assert any("a fracture?" in text or "fractured" in text for text in plan.warnings)


def test_unknown_levels_and_modes_are_named():
    with pytest.raises(InputError, match="Level 'L5' was not found: the segmentation holds L2, L3, L4"):
        plan_screws(spine(), levels=["L5"])
    with pytest.raises(InputError, match="choose one of clinical, conservative"):
        plan_screws(spine(), levels=["L3"], mode="bold")  # type: ignore[arg-type]


def test_cancel_stops_the_planner():
    with pytest.raises(Cancelled):
        plan_screws(spine(), levels=["L3"], control=Control(cancel=lambda: True))


def test_sizes_follow_the_rules():
    assert diameter_for("L3", 10.0, 4.9, "clinical").diameter_mm == 6.5  # the level's usual maximum
    assert diameter_for("T6", 6.5, 3.2, "conservative").diameter_mm == 5.0  # 80 % of the width
    narrow = diameter_for("T9", 5.6, 2.7, "clinical")
    assert (narrow.diameter_mm, narrow.narrow) == (5.0, True)  # not below the usual minimum while both walls hold
    assert diameter_for("T9", 5.6, 2.7, "conservative").diameter_mm == 4.0
    assert diameter_for("T5", 4.2, 1.9, "clinical") is None
    assert length_for("L3", 6.5, 60.0) == 50.0
    assert length_for("L3", 6.5, 54.0) == 45.0
    assert length_for("L3", 6.5, 20.0) is None


def test_planner_on_phantoms_it_never_saw():
    from ctrestoration.anatomy.phantom import PhantomOptions, spine_phantom
    from ctrestoration.implants.grading import judge

    phantom = spine_phantom(
        size=(64, 80, 72),
        spacing=(1.5, 1.5, 2.0),
        seed=911,
        region="L2",
        options=PhantomOptions(noise_hu=0, table=False),
    )
    levels = [name for name in phantom.truth.complete_levels if name in ("L1", "L2", "L3")]
    plan = plan_screws(phantom.labels, levels=levels)
    assert len(plan.screws) == 2 * len(levels) >= 4
    errors = []
    for screw in plan.screws:
        level = phantom.truth.levels[screw.level]
        pedicle = level.pedicles[screw.side]
        verdict = judge(
            screw.entry, screw.target, screw.diameter_mm, patient_side=1 if screw.side == "left" else -1,
            isthmus=pedicle.isthmus, axes=np.array([level.left, level.posterior, level.up]).T,
            depth=lambda points, name=screw.level: -phantom.truth.bone_distance(name, points),
            canal=phantom.truth.canal_distance,
        )  # fmt: skip
        assert verdict.grade in ("A", "B")
        assert verdict.canal_mm > 0
        assert verdict.tip_mm > 0
        direction = (np.array(screw.target) - screw.entry) / screw.length_mm
        errors.append(np.degrees(np.arccos(direction @ np.array(pedicle.direction))))
    assert np.median(errors) < 4.5


@pytest.mark.real_data
def test_all_eighteen_screws_of_the_public_masks(shared_data: Path):
    path = shared_data / "volumes" / "verse004_vert_SEG.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    plan = plan_screws(read_labels(path))
    assert len(plan.screws) == 18
    for left, right in zip(plan.screws[::2], plan.screws[1::2], strict=True):
        assert abs(left.transverse_deg - right.transverse_deg) <= 8
    assert all(screw.grade in ("A", "B") and screw.canal_mm > 0 for screw in plan.screws)
    assert any("L1" in text and "collapsed" in text for text in plan.warnings)
