"""The comparison layout: linked views of its own, one window, and everything as it was afterwards."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import slicer

from ctrestoration.errors import InputError
from CTRestorationLib.nodes import comparison, volumes
from CTRestorationLib.nodes.comparison import ComparisonLayout, layoutDescription, registerLayouts, viewName


@pytest.fixture
def results(ct):
    made = [volumes.arrayToVolumeNode(np.full((30, 36, 40), n, np.float32), f"result {n}", ct) for n in range(5)]
    return [ct, *made]


@pytest.fixture
def layout(scene):
    """The layout node as the application has it, in the four-up layout."""
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(scene)
    logic.GetLayoutNode().SetViewArrangement(3)
    yield logic.GetLayoutNode()
    logic.SetMRMLScene(None)


@pytest.mark.parametrize("count", range(1, 7))
def test_description_is_valid_and_has_its_own_views(count):
    root = ElementTree.fromstring(layoutDescription(count))  # noqa: S314 - our own text
    views = [view.get("singletontag") for view in root.iter("view")]
    assert views == [viewName(n) for n in range(count)]
    for view in root.iter("view"):
        assert {one.get("name") for one in view.iter("property")} == {
            "orientation", "viewlabel", "viewcolor", "viewgroup",
        }  # fmt: skip


def test_registering_twice_is_harmless(scene, layout):
    registerLayouts()
    registerLayouts()
    for count in range(1, 7):
        assert layout.IsLayoutDescription(5600 + count)


@pytest.mark.parametrize("manager", ["layout", "none"])
def test_volumes_are_shown_linked_in_one_window(scene, results, manager, request):
    node = request.getfixturevalue("layout") if manager == "layout" else None
    view = ComparisonLayout(scene, None)
    for count in (2, 3, 6):
        view.show(results[:count], (-160, 240))
        assert view.isShown()
        if node is not None:
            assert node.GetViewArrangement() == 5600 + count
        assert len(view.sliceNodes()) == count
        for number, volume in enumerate(results[:count]):
            composite = view.compositeNode(number)
            assert composite.GetBackgroundVolumeID() == volume.GetID()
            assert composite.GetLinkedControl()
            assert composite.GetHotLinkedControl()
            assert not composite.GetForegroundVolumeID()
            display = volume.GetDisplayNode()
            assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-160, 240)
            slices = view.sliceNodes()[number]
            assert slices.GetLayoutName() == viewName(number)
            assert slices.GetOrientation() == "Axial"
            assert slices.GetLayoutLabel() == volume.GetName()
            assert slices.GetSliceOffset() == view.sliceNodes()[0].GetSliceOffset()
    kinds = ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode")
    for kind in kinds:
        ours = [n.GetLayoutName() for n in slicer.util.getNodesByClass(kind) if "CTRest" in n.GetLayoutName()]
        assert sorted(ours) == [viewName(n) for n in range(6)]


def test_everything_is_given_back(scene, results, layout):
    results[1].GetDisplayNode().SetAutoWindowLevel(True)
    before = [(v.GetDisplayNode().GetWindow(), v.GetDisplayNode().GetLevel()) for v in results]
    view = ComparisonLayout(scene)
    view.show(results[:3], (-160, 240))
    view.setWindow(-1000, 3000)
    view.show(results[:2], (0, 80))
    assert results[0].GetDisplayNode().GetWindow() == 80
    view.restore()
    assert layout.GetViewArrangement() == 3
    assert [(v.GetDisplayNode().GetWindow(), v.GetDisplayNode().GetLevel()) for v in results] == before
    assert results[1].GetDisplayNode().GetAutoWindowLevel()
    assert not any(view.compositeNode(n).GetLinkedControl() for n in range(6))
    view.restore()
    assert layout.GetViewArrangement() == 3


def test_layout_that_the_user_chose_meanwhile_stays(scene, results, layout):
    view = ComparisonLayout(scene)
    view.show(results[:2], (-160, 240))
    layout.SetViewArrangement(6)
    view.restore()
    assert layout.GetViewArrangement() == 6


def test_overlays(scene, results):
    view = ComparisonLayout(scene)
    view.show(results[:2], (-160, 240), results[5], 0.4)
    for number in range(2):
        assert view.compositeNode(number).GetForegroundVolumeID() == results[5].GetID()
        assert view.compositeNode(number).GetForegroundOpacity() == 0.4
    view.setOpacity(0.7)
    assert view.compositeNode(1).GetForegroundOpacity() == 0.7
    view.show(results[:2], (-160, 240), [None, results[5]])
    assert not view.compositeNode(0).GetForegroundVolumeID()
    assert view.compositeNode(1).GetForegroundVolumeID() == results[5].GetID()
    view.show(results[:2], (-160, 240))
    assert not view.compositeNode(1).GetForegroundVolumeID()


def test_flicker_shows_each_in_turn(scene, results, layout):
    view = ComparisonLayout(scene)
    view.show(results[:3], (-160, 240))
    shown = [view.flicker(results[0], results[2]) for _ in range(4)]
    assert shown == [results[0], results[2]] * 2
    assert layout.GetViewArrangement() == 5601
    assert view.compositeNode(0).GetBackgroundVolumeID() == results[2].GetID()
    assert view.sliceNodes()[0].GetLayoutLabel() == results[2].GetName()
    assert len(view.sliceNodes()) == 1
    for volume in (results[0], results[2]):
        assert volume.GetDisplayNode().GetWindowLevelMin() == -160
    view.show(results[:3], (-160, 240))
    assert layout.GetViewArrangement() == 5603
    assert view.flicker(results[1], results[0]) is results[1]
    view.restore()
    assert layout.GetViewArrangement() == 3


def test_the_slice_that_was_looked_at_is_kept(scene, results):
    red = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    red.SetLayoutName("Red")
    red.SetOrientation("Axial")
    red.SetSliceOffset(110.0)
    view = ComparisonLayout(scene)
    view.show(results[:2], (-160, 240))
    assert [node.GetSliceOffset() for node in view.sliceNodes()] == [110.0, 110.0]
    for node in view.sliceNodes():
        node.SetSliceOffset(120.0)
    view.show(results[:3], (-160, 240))
    assert [node.GetSliceOffset() for node in view.sliceNodes()] == [120.0] * 3


def test_bad_input(scene, results):
    view = ComparisonLayout(scene)
    with pytest.raises(InputError, match="2 to 6 volumes"):
        view.show(results[:1], (0, 1))
    with pytest.raises(InputError, match="2 to 6 volumes"):
        view.show([*results, results[0]], (0, 1))
    with pytest.raises(InputError, match="must rise"):
        view.show(results[:2], (1, 1))
    with pytest.raises(InputError, match="as many overlays"):
        view.show(results[:2], (0, 1), [None])
    with pytest.raises(InputError, match="No volume"):
        view.show([results[0], None], (0, 1))


def test_deletions_and_scene_close(scene, results, layout):
    view = ComparisonLayout(scene)
    view.show(results[:3], (-160, 240))
    scene.RemoveNode(results[1])
    view.setWindow(0, 100)
    assert results[2].GetDisplayNode().GetWindow() == 100
    scene.RemoveNode(view.compositeNode(0))
    view.setOpacity(0.5)
    assert [view.compositeNode(number).GetForegroundOpacity() for number in range(3)] == [0.5] * 3
    view.restore()
    assert not view.isShown()
    assert layout.GetViewArrangement() == 3
    view.show([results[0], results[2]], (-160, 240))
    shown = [view.compositeNode(number).GetBackgroundVolumeID() for number in range(2)]
    assert shown == [results[0].GetID(), results[2].GetID()]
    scene.Clear(False)
    view.setWindow(0, 100)
    view.restore()
    assert view.sliceNodes() == []


def test_scene_saved_in_the_layout_opens_in_it(scene, results, layout, tmp_path):
    view = ComparisonLayout(scene)
    view.show(results[:2], (-160, 240))
    path = tmp_path / "comparison.mrb"
    assert scene.WriteToMRB(str(path))
    scene.Clear(False)
    registerLayouts()
    scene.ReadFromMRB(str(path), True)
    found = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert found.GetViewArrangement() == comparison._FIRST_LAYOUT + 2
    assert found.IsLayoutDescription(found.GetViewArrangement())
    shown = ComparisonLayout(scene).compositeNode(1).GetBackgroundVolumeID()
    assert scene.GetNodeByID(shown).GetName() == "result 0"


def test_a_chart_lies_below_the_views_and_goes_with_them(scene, results, layout):
    view = ComparisonLayout(scene, None)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    assert not view.showChart(chart)
    view.show(results[:3], (-160, 240), labels=["Reference", "LI", "NMAR"])
    assert [node.GetLayoutLabel() for node in view.sliceNodes()] == ["Reference", "LI", "NMAR"]
    assert view.showChart(chart)
    assert view.isShown()
    assert layout.GetViewArrangement() == 5613
    tags = [one.get("singletontag") for one in ElementTree.fromstring(layoutDescription(3, True)).iter("view")]  # noqa: S314
    assert tags == [viewName(0), viewName(1), viewName(2), "CTRestorationPlot"]
    plots = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
    assert [node.GetPlotChartNodeID() for node in plots] == [chart.GetID()]
    view.show(results[:2], (-160, 240))
    assert layout.GetViewArrangement() == 5612
    view.restore()
    assert layout.GetViewArrangement() == 3
    assert not view.showChart(chart)
