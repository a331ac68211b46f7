"""What the user sees: CT with segmentation, screws in slices and in 3D, overlays with a legend, comparison views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import slicer
from offscreen import SliceView, ThreeDView, box, colored, saturated

from CTRestorationLib.nodes import segmentations, views, volumes
from CTRestorationLib.nodes.comparison import ComparisonLayout, viewName
from CTRestorationLib.nodes.geometry import LPS_TO_RAS, vtkMatrixOf
from CTRestorationLib.nodes.implantmodels import GRADE_COLORS, UNJUDGED
from CTRestorationLib.nodes.plans import PlanNodes


@dataclass(frozen=True)
class Patient:
    """A phantom and its plan, without a scene."""

    volume: Any
    labels: Any
    plan: Any


@pytest.fixture(scope="session")
def patient() -> Patient:
    from ctrestoration.anatomy.phantom import spine_phantom
    from ctrestoration.implants import plan_screws

    phantom = spine_phantom(size=(64, 100, 100), spacing=(1.5, 1.5, 2.0), seed=911, region="L2")
    levels = list(phantom.truth.complete_levels)[:2]
    plan = plan_screws(phantom.labels, levels=levels)
    grades = "AB" * len(plan.screws)
    screws = tuple(replace(screw, grade=grade) for screw, grade in zip(plan.screws, grades, strict=False))
    return Patient(phantom.volume, phantom.labels, replace(plan, screws=screws))


@pytest.fixture
def ct(scene, patient):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    node.SetIJKToRASMatrix(vtkMatrixOf(LPS_TO_RAS @ patient.volume.grid.affine))
    slicer.util.updateVolumeFromArray(node, patient.volume.array)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(1200, 250)
    return node


@pytest.fixture
def red(scene, ct):
    view = SliceView(scene, "Red")
    view.composite.SetBackgroundVolumeID(ct.GetID())
    view.fit()
    yield view
    view.close()


def at(lps, view):
    """The picture's index of a point."""
    row, column = view.pixel(lps)
    return round(row), round(column)


def test_ct_slice_is_gray_and_the_right_way_round(red, patient, pictures):
    picture = red.picture(pictures / "ct.png")
    assert not saturated(picture).any()
    assert picture.max() > 200
    # The spine lies behind: bright bone in the lower half of an axial slice.
    bright = picture[..., 0] > 180
    assert bright[180:].sum() > 5 * bright[:120].sum()


def test_threshold_preview_is_yellow_where_the_voxels_are(scene, ct, red, patient, pictures):
    preview = segmentations.ThresholdPreview(scene)
    preview.show(ct, 450.0)
    picture = red.picture(pictures / "threshold.png")
    yellow = saturated(picture, 60)
    offset = red.node.GetSliceOffset()
    k = round(patient.volume.grid.to_index((0, 0, offset))[2])
    wanted = (patient.volume.array[k] >= 450).sum()
    millimeters = np.array(red.node.GetFieldOfView()[:2]) / red.window.GetSize()
    found = yellow.sum() * millimeters.prod() / np.prod(patient.volume.grid.spacing[:2])
    assert found == pytest.approx(wanted, rel=0.15)
    red_, green, blue = picture[yellow].mean(axis=0)
    assert red_ > 120 < green
    assert blue < 0.7 * green
    preview.show(ct, 3000.0)
    assert not saturated(red.picture(), 60).any()
    preview.hide()


def test_segmentation_lies_on_its_bone(scene, ct, red, patient, pictures):
    names = {name: value for value, name in patient.labels.names.items()}
    level = patient.plan.screws[0].level
    vertebra = patient.labels.array == names[f"vertebrae_{level}"]
    node, segment = segmentations.writeMask(vertebra, level, ct, color=(0.1, 0.9, 0.3))
    k = int(np.argmax(vertebra.sum(axis=(1, 2))))
    red.node.SetSliceOffset(float(patient.volume.grid.to_world((0, 0, k))[2]))
    picture = red.picture(pictures / "segmentation.png")
    rows, columns = np.nonzero(vertebra[k])
    corners = [(columns.min() - 0.5, rows.min() - 0.5, k), (columns.max() + 0.5, rows.max() + 0.5, k)]
    (r0, c0), (r1, c1) = (red.pixel(patient.volume.grid.to_world(corner)) for corner in corners)
    found = box(saturated(picture))
    assert found == pytest.approx((min(r0, r1), max(r0, r1), min(c0, c1), max(c0, c1)), abs=4)
    node.GetDisplayNode().SetVisibility(False)
    assert not saturated(red.picture()).any()
    assert segmentations.maskFromSegment(node, segment, ct).sum() == vertebra.sum()


@pytest.fixture
def plan_nodes(scene, ct, patient):
    nodes = PlanNodes(scene)
    nodes.write(patient.plan, ct)
    yield nodes
    nodes.release()


def test_screws_are_drawn_in_the_slice_along_them(red, plan_nodes, patient, pictures):
    line, screw = plan_nodes.lines()[0], patient.plan.screws[0]
    views.resliceAlong(line, red.node)
    red.node.SetFieldOfView(90, 90, 1)
    picture = red.picture(pictures / "screw-slice.png")
    found = colored(picture, GRADE_COLORS["A"], 60) & saturated(picture)
    assert found.any()
    (r0, c0), (r1, c1) = red.pixel(screw.entry), red.pixel(screw.target)
    first, last, left, right = box(found)
    radius = screw.diameter_mm / 2 * 360 / 90
    # From the tip to the top of the head, anterior up.
    assert r1 < r0
    assert first == pytest.approx(r1 - radius / 2, abs=10)
    assert last > r0
    assert left < min(c0, c1) + 5
    assert right > max(c0, c1) - 5
    # Both ends have a handle: drawn where the plan says.
    for row, column in ((r0, c0), (r1, c1)):
        around = saturated(picture)[round(row) - 6 : round(row) + 7, round(column) - 6 : round(column) + 7]
        assert around.any()


def test_dragged_screw_is_redrawn(red, plan_nodes, patient, pictures):
    plan_nodes.observe()
    line, screw = plan_nodes.lines()[0], patient.plan.screws[0]
    views.resliceAlong(line, red.node)
    red.node.SetFieldOfView(90, 90, 1)
    before = saturated(red.picture())
    x, y, z = screw.target
    line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    line.SetNthControlPointPositionWorld(1, -x, -(y - 8), z)
    picture = red.picture(pictures / "screw-dragged.png")
    assert (saturated(picture) != before).any()
    assert colored(picture, UNJUDGED).any()  # the grade was for another place
    line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    after = saturated(red.picture(pictures / "screw-released.png"))
    assert box(after)[0] < box(before)[0] - 15  # the tip went 8 mm forward: up


def test_construct_in_3d(scene, ct, plan_nodes, patient, pictures):
    view = ThreeDView(scene)
    view.look((0, 1, -0.1))
    picture = view.picture(pictures / "construct-3d.png")
    lit = picture.max(axis=2) > 30
    assert lit.any()
    green = saturated(picture, 25) & (picture[..., 1] > picture[..., 2].astype(int) + 20)
    metal = lit & ~saturated(picture, 60)
    assert green.sum() > 200
    assert metal.sum() > 200
    # The construct is as high as it is planned, within the picture.
    first, last, left, right = box(lit)
    assert 0 < first < last < 419
    assert 0 < left < right < 419
    for line in plan_nodes.lines():
        plan_nodes.remove(line)
    fewer = view.picture()
    assert (fewer.max(axis=2) > 30).sum() < lit.sum()
    view.close()


def test_uncertainty_over_ct_has_a_legend(scene, ct, red, patient, pictures):
    grid = patient.volume.grid
    shape = grid.shape
    zz, yy, xx = np.indices(shape, dtype=np.float32)
    far = np.hypot((yy - 50) * 1.5, (xx - 50) * 1.5)
    uncertainty = (60 * np.exp(-((far / 20) ** 2)) + 0 * zz).astype(np.float32)
    node = volumes.arrayToVolumeNode(uncertainty, "CT corrected uncertainty", ct)
    legend = volumes.showFloatMap(node, "Uncertainty (HU)", 0.0, 60.0, [red.node])
    red.composite.SetForegroundVolumeID(node.GetID())
    red.composite.SetForegroundOpacity(0.6)
    volumes.refreshLegends()
    picture = red.picture(pictures / "uncertainty.png")
    found = saturated(picture)
    middle = red.pixel(grid.to_world((50, 50, shape[0] // 2)))
    rows, columns = np.nonzero(found[:, :300])
    assert rows.mean() == pytest.approx(middle[0], abs=25)
    assert columns.mean() == pytest.approx(middle[1], abs=25)
    # Far from it the CT is gray: low values are transparent.
    assert not found[20:80, 20:80].any()
    assert found[:, 280:].sum() > 300  # the legend's bar
    legend.SetVisibility(False)
    without = red.picture()
    assert (without != picture)[:, 280:].any(axis=2).sum() > 300  # the legend's bar and numbers
    volumes.hideVolume(node)
    assert not saturated(red.picture()).any()


def test_comparison_views_show_one_slice_in_one_window(scene, ct, patient, pictures):
    brighter = volumes.arrayToVolumeNode(patient.volume.array + np.float32(300), "CT metal simulated", ct)
    difference = volumes.arrayToVolumeNode(np.full(patient.volume.grid.shape, 300, np.float32), "difference", ct)
    comparison = ComparisonLayout(scene)
    comparison.show([ct, brighter], (-400, 800))
    drawn = [SliceView(scene, viewName(number), (300, 300)) for number in range(2)]
    for number, view in enumerate(drawn):
        assert view.composite is comparison.compositeNode(number)
        view.fit()
    first, second = (view.picture(pictures / f"compare-{n}.png") for n, view in enumerate(drawn))
    inside = (first[..., 0] > 30) & (first[..., 0] < 150)
    # 300 HU of a window of 1200 HU are a quarter of the gray scale.
    assert np.median(second[inside].astype(int) - first[inside]) == pytest.approx(255 * 300 / 1200, abs=4)
    volumes.showFloatMap(difference, "Difference (HU)", -500, 500, comparison.sliceNodes())
    comparison.show([ct, brighter], (-400, 800), [None, difference], 0.5)
    first, second = (view.picture(pictures / f"compare-overlay-{n}.png") for n, view in enumerate(drawn))
    assert saturated(second)[100:200, 100:200].mean() > 0.8
    assert not saturated(first).any()
    bar = second[:, 250:].reshape(-1, 3)
    assert len(np.unique(bar // 32, axis=0)) > 8  # the legend's colors
    now = comparison.flicker(ct, brighter)
    assert now is ct
    one = drawn[0].picture()
    assert comparison.flicker(ct, brighter) is brighter
    assert (drawn[0].picture() != one).any()
    for view in drawn:
        view.close()
    comparison.restore()
