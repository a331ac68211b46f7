"""Plans in the scene: round trips, drags, deletions, saving."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from example_plans import example_plan
from geometries import to_vtk

from ctrestoration.errors import InputError
from ctrestoration.implants.construct import parts_of
from ctrestoration.implants.plan import Device, Patient, Plan, Screw
from CTRestorationLib.nodes import hierarchy, volumes
from CTRestorationLib.nodes.plans import PlanNodes


@pytest.fixture
def plan(ct):
    return example_plan(volumes.gridOfNode(ct))


@pytest.fixture
def nodes(scene, ct, plan):
    found = PlanNodes(scene)
    found.write(plan, ct)
    yield found
    found.release()


def model_of(line):
    return line.GetNodeReference("CTRestoration.model")


def bounds_lps(parts):
    points = np.concatenate([part.mesh.points for part in parts])
    return points.min(axis=0), points.max(axis=0)


def assert_model(model, parts, tolerance=1e-4):
    """The model fills the bounding box of the parts, in RAS."""
    low, high = bounds_lps(parts)
    x0, x1, y0, y1, z0, z1 = model.GetPolyData().GetBounds()
    np.testing.assert_allclose((-x1, -y1, z0), low, atol=tolerance)
    np.testing.assert_allclose((-x0, -y0, z1), high, atol=tolerance)


def assert_same_plan(found, wanted, tolerance):
    assert len(found.screws) == len(wanted.screws)
    for a, b in zip(found.screws, wanted.screws, strict=True):
        np.testing.assert_allclose((a.entry, a.target), (b.entry, b.target), rtol=0, atol=tolerance)
        assert replace(a, entry=b.entry, target=b.target) == b
    for a, b in zip(found.rods, wanted.rods, strict=True):
        np.testing.assert_allclose(a.points, b.points, rtol=0, atol=tolerance)
        assert replace(a, points=b.points) == b
    for a, b in zip(found.devices, wanted.devices, strict=True):
        np.testing.assert_allclose((a.position, a.axis), (b.position, b.axis), rtol=0, atol=tolerance)
        assert replace(a, position=b.position, axis=b.axis) == b
    assert (found.warnings, found.settings) == (wanted.warnings, wanted.settings)


def test_plan_goes_in_and_comes_back_exactly(nodes, plan, ct):
    found = nodes.read(ct)
    assert found.patient == Patient.of(volumes.gridOfNode(ct))
    assert replace(found, patient=None) == plan
    assert nodes.read(None).patient is None


def test_plan_fits_every_geometry(awkward, scene):
    nodes, plan = PlanNodes(scene), example_plan(volumes.gridOfNode(awkward))
    nodes.write(plan, awkward)
    assert replace(nodes.read(awkward), patient=None) == plan


def test_lines_run_from_head_to_tip_in_ras(nodes, plan):
    for line, screw in zip(nodes.lines(), plan.screws, strict=True):
        for number, (x, y, z) in enumerate((screw.entry, screw.target)):
            point = [0.0] * 3
            line.GetNthControlPointPositionWorld(number, point)
            assert point == [-x, -y, z]
        assert line.GetName() == f"{screw.level} {screw.side}"
        assert line.GetFixedNumberOfControlPoints()


def test_models_lie_where_the_plan_puts_metal(nodes, plan):
    parts = parts_of(plan)
    for line in nodes.lines():
        mine = [part for part in parts if part.name.startswith(f"screw {line.GetName()}")]
        assert len(mine) == 4  # shaft, base and two walls: the set screw is left out
        assert_model(model_of(line), mine)
        assert model_of(line).GetDisplayNode().GetVisibility2D()
    for side in ("left", "right"):
        model = slicer.util.getNode(f"rod {side} model")
        assert_model(model, [part for part in parts if part.name == f"rod {side}"])
    (cage,) = nodes.devices()
    assert_model(model_of(cage), [part for part in parts if part.name.startswith("plif-cage")])


def test_models_face_outward(nodes):
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    assert models
    for model in models:
        data = model.GetPolyData()
        normals = vtk.util.numpy_support.vtk_to_numpy(data.GetPointData().GetNormals())
        points = vtk.util.numpy_support.vtk_to_numpy(data.GetPoints().GetData())
        # Divergence theorem over the points: outward normals point away from the middle on the whole.
        assert (normals * (points - points.mean(axis=0))).sum() > 0, model.GetName()


def test_everything_lies_in_one_folder_beside_the_ct(scene, ct, nodes, plan):
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.folderWithRole(scene, "plan")
    assert tree.GetItemName(folder) == "CT plan"
    count = 2 * (len(plan.screws) + len(plan.rods) + len(plan.devices))
    assert tree.GetNumberOfItemChildren(folder) == count
    nodes.write(plan, ct)
    assert hierarchy.folderWithRole(scene, "plan") == folder
    assert tree.GetNumberOfItemChildren(folder) == count


def test_writing_again_replaces_everything(scene, ct, nodes, plan):
    count = scene.GetNumberOfNodes()
    for _ in range(3):
        nodes.write(plan, ct)
    assert scene.GetNumberOfNodes() == count
    nodes.write(Plan(), ct)
    assert nodes.lines() == []
    assert replace(nodes.read(ct), patient=None) == Plan()
    for kind in ("vtkMRMLModelNode", "vtkMRMLMarkupsNode", "vtkMRMLModelDisplayNode", "vtkMRMLMarkupsDisplayNode"):
        assert slicer.util.getNodesByClass(kind) == [], kind


def test_other_peoples_lines_are_left_alone(scene, ct, plan):
    own = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "my ruler")
    nodes = PlanNodes(scene)
    nodes.write(plan, ct)
    nodes.write(Plan(), ct)
    assert own.GetScene() is scene
    assert own not in nodes.lines()


def drag(line, number, position, release=True):
    """What the markups widget does."""
    line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    line.SetNthControlPointPositionWorld(number, *position)
    if release:
        line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)


class Log:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda line: self.calls.append((name, line.GetName()))


def follow(nodes):
    log = Log()
    nodes.observe(log.moved, log.released, log.removed)
    return log


def test_drag_moves_screw_model_and_rods(nodes, plan, ct):
    log = follow(nodes)
    line = nodes.lines()[0]
    x, y, z = plan.screws[0].entry
    drag(line, 0, (-(x + 2), -(y + 1), z + 3), release=False)
    screw = nodes.screwOf(line)
    assert screw.entry == pytest.approx((x + 2, y + 1, z + 3), abs=1e-9)
    assert screw.target == plan.screws[0].target
    assert (screw.grade, screw.breach_mm, screw.canal_mm) == (None, None, None)
    assert screw.material == "CoCrMo"
    assert model_of(line).GetPolyData().GetNumberOfCells() < 200  # the quick tube
    assert log.calls == [("moved", "L3 left")]
    line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert log.calls == [("moved", "L3 left"), ("released", "L3 left")]
    warnings = []
    nodes.regenerateRods(warnings)
    assert warnings == []
    moved = nodes.read(ct)
    assert moved.screws[1:] == plan.screws[1:]
    (old_left, old_right), (left, right) = plan.rods, moved.rods
    assert right == old_right
    assert left.points[1] == old_left.points[1]
    assert left.points[0] != old_left.points[0]
    assert (left.diameter_mm, left.material) == (6.0, "CoCrMo")
    parts = parts_of(moved)
    assert_model(model_of(line), [part for part in parts if part.name.startswith("screw L3 left")])
    assert_model(slicer.util.getNode("rod left model"), [part for part in parts if part.name == "rod left"])


def test_move_from_elsewhere_rebuilds_the_threaded_model(nodes, ct):
    log = follow(nodes)
    line = nodes.lines()[2]
    position = [0.0] * 3
    line.GetNthControlPointPositionWorld(1, position)
    line.SetNthControlPointPositionWorld(1, position[0], position[1] + 4, position[2])
    assert log.calls == [("moved", "L4 left")]
    parts = [part for part in parts_of(nodes.read(ct)) if part.name.startswith("screw L4 left")]
    assert_model(model_of(line), parts)


def test_screw_under_a_transform_is_where_it_is_seen(scene, nodes, plan):
    log = follow(nodes)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    matrix = np.eye(4)
    matrix[:3, 3] = (1.0, 2.0, 3.0)
    transform.SetMatrixTransformToParent(to_vtk(matrix))
    line = nodes.lines()[0]
    line.SetAndObserveTransformNodeID(transform.GetID())
    assert ("moved", "L3 left") in log.calls
    x, y, z = plan.screws[0].entry
    assert nodes.screwOf(line).entry == pytest.approx((x - 1, y - 2, z + 3), abs=1e-9)


def test_handle_moves_a_device(nodes, plan, ct):
    log = follow(nodes)
    (handle,) = nodes.devices()
    device = plan.devices[0]
    x, y, z = device.position
    handle.SetNthControlPointPositionWorld(1, -x, -y, z + 30)
    moved = nodes.deviceOf(handle)
    assert moved.position == pytest.approx(device.position, abs=1e-9)
    assert moved.axis == pytest.approx((0, 0, 1), abs=1e-9)
    assert moved.sizes == device.sizes
    parts = [part for part in parts_of(nodes.read(ct)) if part.name.startswith("plif-cage")]
    assert_model(model_of(handle), parts)
    assert log.calls == []
    drag(handle, 0, (0, 0, 0))
    assert nodes.deviceOf(handle).position == (0, 0, 0)


def test_our_own_changes_call_nobody(nodes, plan, ct):
    log = follow(nodes)
    nodes.write(plan, ct)
    line = nodes.addScrew(replace(plan.screws[0], level="L2"))
    nodes.setScrew(line, nodes.screwOf(line))
    nodes.updateModel(line)
    nodes.regenerateRods([])
    nodes.remove(line)
    nodes.remove(nodes.addDevice(plan.devices[0]))
    assert log.calls == []
    drag(nodes.lines()[1], 0, (1, 2, 3))  # written after `observe`, and followed all the same
    assert log.calls == [("moved", "L3 right"), ("released", "L3 right")]


def test_user_may_drag_and_delete_between_the_steps(scene, nodes, plan, ct):
    log = follow(nodes)
    steps = nodes.writeSteps(plan, ct)
    done = 0
    for _ in steps:
        done += 1
        for line in nodes.lines()[:1]:
            drag(line, 0, (1, 2, done))
    assert done > 10
    assert ("released", "L3 left") in log.calls
    assert nodes.screwOf(nodes.lines()[0]).entry == (-1, -2, done)
    moved = nodes.lines()[0]
    for count, _ in enumerate(nodes.regenerateRodsSteps([])):
        if count == 1:
            scene.RemoveNode(moved)
            for curve in slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode"):
                scene.RemoveNode(curve)
    assert len(nodes.lines()) == 3
    nodes.regenerateRods([])
    assert [rod.side for rod in nodes.rods()] == ["right"]
    half_done = nodes.writeSteps(plan, ct)
    next(half_done)
    half_done.close()
    drag(nodes.lines()[0], 0, (4, 4, 4))
    assert log.calls[-1][0] == "released"


def test_grade_follows_the_judgment(nodes):
    line = nodes.lines()[0]
    graded = replace(nodes.screwOf(line), grade="D", breach_mm=4.5)
    nodes.setScrew(line, graded)
    assert nodes.screwOf(line) == graded
    red, green, _ = line.GetDisplayNode().GetSelectedColor()
    assert red > 2 * green
    assert model_of(line).GetDisplayNode().GetColor() == line.GetDisplayNode().GetSelectedColor()
    nodes.setScrew(line, replace(graded, diameter_mm=7.5))
    assert nodes.screwOf(line).diameter_mm == 7.5
    assert nodes.screwOf(line).grade is None
    nodes.setScrew(line, replace(graded, diameter_mm=7.5, grade="D", breach_mm=5.0))
    assert nodes.screwOf(line).grade == "D"


def test_judgment_of_another_place_does_not_count(nodes):
    line = nodes.lines()[0]
    screw = nodes.screwOf(line)
    elsewhere = replace(screw, entry=(screw.entry[0] + 1, *screw.entry[1:]), grade="A")
    nodes.setScrew(line, elsewhere)
    assert nodes.screwOf(line).grade is None
    assert nodes.screwOf(line).entry == screw.entry


def test_deleted_line_takes_its_model_along(scene, nodes):
    log = follow(nodes)
    line = nodes.lines()[0]
    model, display = model_of(line), model_of(line).GetDisplayNode()
    scene.RemoveNode(line)
    assert not scene.IsNodePresent(model)
    assert not scene.IsNodePresent(display)
    assert log.calls == [("removed", "L3 left")]
    assert len(nodes.lines()) == 3
    warnings = []
    nodes.regenerateRods(warnings)
    assert warnings == ["No rod on the left: it takes two screws or more."]
    assert [rod.side for rod in nodes.rods()] == ["right"]
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode")[0].GetName() == "rod right"
    assert len(slicer.util.getNodesByClass("vtkMRMLModelNode")) == 3 + 1 + 1


def test_deleted_model_comes_back(scene, nodes):
    follow(nodes)
    line = nodes.lines()[0]
    scene.RemoveNode(model_of(line))
    drag(line, 0, (1, 2, 3))
    assert model_of(line) is not None
    assert model_of(line).GetPolyData().GetNumberOfCells() > 1000
    scene.RemoveNode(model_of(line).GetDisplayNode())
    drag(line, 0, (2, 2, 3))
    assert model_of(line).GetDisplayNode() is not None


def test_deleted_folder_and_notes(scene, nodes, plan, ct):
    follow(nodes)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.folderWithRole(scene, "plan")
    tree.RemoveItem(folder)
    scene.RemoveNode(slicer.util.getNode("Plan notes"))
    for line in nodes.lines():
        drag(line, 0, (1, 2, 3))
    nodes.regenerateRods([])
    nodes.read(ct)
    nodes.write(plan, ct)
    assert replace(nodes.read(ct), patient=None) == plan


def test_scene_close_while_followed(scene, nodes):
    log = follow(nodes)
    drag(nodes.lines()[0], 0, (1, 2, 3), release=False)
    log.calls.clear()
    scene.Clear(False)
    assert log.calls == []
    assert nodes.lines() == []
    assert nodes.read(None) == Plan()
    nodes.regenerateRods([])
    nodes.write(Plan((Screw("L3", "left", (0, 0, 0), (0, 40, 0), 6.5),)), None)
    drag(nodes.lines()[0], 0, (1, 2, 3))
    assert log.calls == [("moved", "L3 left"), ("released", "L3 left")]


def test_released_nodes_are_let_go(scene, nodes):
    log = follow(nodes)
    reference = vtk.vtkWeakReference()
    line = nodes.lines()[0]
    reference.Set(line)
    scene.RemoveNode(line)
    del line
    log.calls.clear()
    gc.collect()
    assert reference.Get() is None
    count = len(nodes._observers)
    assert count == 4 + 4 * 4  # four of the scene, four for each of three screws and a device
    nodes.release()
    drag(nodes.lines()[0], 0, (1, 2, 3))
    scene.RemoveNode(nodes.lines()[0])
    assert log.calls == []
    assert len(nodes._observers) == 0


def test_unfinished_lines_are_no_screws(scene, nodes):
    follow(nodes)
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "half")
    line.SetAttribute("CTRestoration.role", "screw")
    line.AddControlPointWorld(vtk.vtkVector3d(1, 2, 3))
    assert line not in nodes.lines()
    with pytest.raises(InputError, match="half has not both its ends"):
        nodes.screwOf(line)
    line.AddControlPointWorld(vtk.vtkVector3d(1, 2, 43))
    assert nodes.screwOf(line).length_mm == 40
    line.SetAttribute("CTRestoration.plan", "{spoiled")
    assert nodes.screwOf(line).diameter_mm == 6.5
    line.SetNthControlPointPositionWorld(1, 1, 2, 3)  # both ends in one point
    nodes.updateModel(line)
    nodes.regenerateRods([])


def test_unknown_device_is_refused(nodes):
    with pytest.raises(InputError, match="no implant 'spoon'"):
        nodes.addDevice(Device("spoon", (0, 0, 0)))
    assert len(nodes.devices()) == 1


def test_spoiled_handle_is_let_be(scene, nodes, ct):
    follow(nodes)
    (handle,) = nodes.devices()
    handle.SetAttribute("CTRestoration.plan", '{"sizes": 3}')
    assert nodes.devices() == []
    drag(handle, 0, (1, 2, 3))
    with pytest.raises(InputError, match="plif-cage carries no implant"):
        nodes.deviceOf(handle)
    assert nodes.read(ct).devices == ()


def test_two_followers_of_one_scene_do_not_disturb_each_other(scene, nodes, plan, ct):
    second = PlanNodes(scene)
    first, other = follow(nodes), follow(second)
    nodes.write(plan, ct)
    assert first.calls == []
    drag(second.lines()[0], 0, (1, 2, 3))
    assert first.calls == [("moved", "L3 left"), ("released", "L3 left")]
    assert other.calls[-2:] == first.calls
    second.release()


def test_plan_survives_saving(scene, nodes, plan, ct, tmp_path):
    path = tmp_path / "plan.mrb"
    assert scene.WriteToMRB(str(path))
    scene.Clear(True)
    later = PlanNodes(scene)
    log = follow(later)
    scene.ReadFromMRB(str(path), False)
    like = slicer.util.getNode("CT")
    found = later.read(like)
    assert_same_plan(found, plan, 1e-6)
    line = later.lines()[0]
    assert line.GetFixedNumberOfControlPoints()
    assert model_of(line).GetName() == "screw L3 left"
    assert hierarchy.folderWithRole(scene, "plan")
    log.calls.clear()
    drag(line, 0, (1, 2, 3))
    assert log.calls == [("moved", "L3 left"), ("released", "L3 left")]
    assert later.screwOf(line).entry == (-1, -2, 3)
    count = len(slicer.util.getNodesByClass("vtkMRMLModelNode"))
    later.regenerateRods([])
    assert len(slicer.util.getNodesByClass("vtkMRMLModelNode")) == count


@pytest.mark.parametrize(("orientation", "up"), [("axial", (0, 1, 0)), ("sagittal", (0, 0, 1))])
def test_slice_is_turned_into_the_screw(scene, nodes, orientation, up):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    for line in nodes.lines():
        nodes.resliceAlong(line, view, orientation)
        matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
        assert matrix[:3, 1] @ up > 0.7
        inverse = np.linalg.inv(matrix)
        for number in range(2):
            point = [0.0] * 3
            line.GetNthControlPointPositionWorld(number, point)
            assert (inverse @ [*point, 1])[2] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="Unknown orientation"):
        nodes.resliceAlong(nodes.lines()[0], view, "upside-down")


def test_standing_screw_is_resliced_too(scene, nodes):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    for orientation in ("axial", "sagittal"):
        for direction in np.eye(3):
            line = nodes.addScrew(Screw("L1", "left", (0, 0, 0), tuple(40 * direction), 6.5))
            nodes.resliceAlong(line, view, orientation)
            matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
            assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
            assert abs(matrix[:3, 2] @ (direction * (-1, -1, 1))) < 1e-9
