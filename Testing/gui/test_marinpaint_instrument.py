"""Step 2 of MARInpaint in the stand-in: plan, drag, edit, scatter, undo, by hand, files, other implants."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from marinpaint_bench import addLabels, addVolume, plan, reopen, waitForJobs


@pytest.fixture
def widget(load_module: Any) -> Any:
    """The module with the phantom's vertebrae chosen, on the page Instrument."""
    volume = addVolume()
    labels = addLabels(volume)
    widget = load_module("MARInpaint")
    state = widget.logic.getParameterNode()
    state.spineSegmentation, state.levels = labels, "L2,L3"
    widget.shell.ui.steps.currentIndex = 1
    return widget


@pytest.fixture
def planned(widget: Any) -> Any:
    """With screws at L2 and L3, as the button Plan would place them."""
    presenter(widget)._write(plan(), remember=False, regrade=False)
    waitForJobs(widget)
    return widget


def ui(widget: Any) -> Any:
    return widget.shell.panels["instrumentPage"].ui


def presenter(widget: Any) -> Any:
    return widget.shell.panels["instrumentPage"].presenter


def rows(widget: Any) -> list[list[str]]:
    table = ui(widget).screwTable
    return [[cell(table, row, column) for column in range(table.columnCount)] for row in range(table.rowCount)]


def cell(table: Any, row: int, column: int) -> str:
    combo = table.cellWidget(row, column)
    return table.item(row, column).text() if combo is None else combo.currentText


def drag(line: Any, end: int, lps: tuple[float, float, float], release: bool = True) -> None:
    kind = slicer.vtkMRMLMarkupsNode
    line.InvokeEvent(kind.PointStartInteractionEvent)
    line.SetNthControlPointPositionWorld(end, -lps[0], -lps[1], lps[2])
    if release:
        line.InvokeEvent(kind.PointEndInteractionEvent)


def test_what_is_missing(load_module: Any) -> None:
    widget = load_module("MARInpaint")
    widget.shell.ui.steps.currentIndex = 1
    assert "Choose a CT volume" in ui(widget).planButton.toolTip
    widget.shell.ui.inputSelector.setCurrentNode(addVolume())
    slicer.app.processEvents()
    assert not ui(widget).planButton.enabled
    assert "Segment the spine first" in ui(widget).planButton.toolTip


def test_levels_are_checked_in_the_table(widget: Any) -> None:
    table = ui(widget).levelTable
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    assert [name for name in names if name in ("L2", "L3")] == ["L2", "L3"]
    ui(widget).noLevelsButton.click()
    assert not ui(widget).planButton.enabled
    assert "Check at least one level" in ui(widget).planButton.toolTip
    table.item(names.index("L3"), 0).setCheckState(qt.Qt.Checked)
    assert widget.logic.getParameterNode().levels == "L3"
    assert ui(widget).planButton.enabled


def test_a_plan_is_the_command_lines(widget: Any) -> None:
    ui(widget).planButton.click()
    waitForJobs(widget)
    expected, screws = plan(), presenter(widget).screws()
    assert [(s.level, s.side, s.diameter_mm, s.grade) for s in screws] == [
        (s.level, s.side, s.diameter_mm, s.grade) for s in expected.screws
    ]
    for mine, theirs in zip(screws, expected.screws, strict=True):
        assert math.dist(mine.entry, theirs.entry) < 1e-5
        assert math.dist(mine.target, theirs.target) < 1e-5
    table = rows(widget)
    assert [row[:2] for row in table] == [["L2", "left"], ["L2", "right"], ["L3", "left"], ["L3", "right"]]
    assert table[0][2] == f"{screws[0].diameter_mm:g} mm"
    assert table[0][4] == "Ti6Al4V"
    assert table[0][5] == screws[0].grade
    assert len(presenter(widget).plan().rods) == 2


def test_a_dragged_end_moves_the_row_at_once_and_the_grade_after_release(planned: Any) -> None:
    line, screw = presenter(planned).lines()[0], presenter(planned).screws()[0]
    rods = presenter(planned).plan().rods
    tip = (screw.target[0] - 16.0, screw.target[1], screw.target[2])
    drag(line, 1, tip, release=False)
    row = rows(planned)[0]
    assert row[3] == f"{math.dist(screw.entry, tip):.1f} mm"
    assert row[5] == "..."
    assert presenter(planned).plan().rods == rods
    drag(line, 1, tip)
    waitForJobs(planned)
    assert presenter(planned).plan().rods != rods
    assert rows(planned)[0][5] in tuple("ABCDE")
    assert rows(planned)[0][5] != "A"
    assert presenter(planned).screws()[0].breach_mm > 0
    assert "L2 left" in ui(planned).warningText.text


def test_diameter_and_material_are_edited_in_the_row(planned: Any) -> None:
    table = ui(planned).screwTable
    combo = table.cellWidget(2, 2)
    combo.currentIndex = combo.findText("7.5 mm")
    waitForJobs(planned)
    assert presenter(planned).screws()[2].diameter_mm == 7.5
    assert rows(planned)[2][5] in tuple("ABCDE")
    material = table.cellWidget(2, 4)
    material.currentIndex = material.findText("316L")
    waitForJobs(planned)
    assert presenter(planned).screws()[2].material == "316L"
    ui(planned).undoButton.click()
    waitForJobs(planned)
    assert presenter(planned).screws()[2].material == "Ti6Al4V"


def test_a_selected_row_turns_the_red_view(planned: Any) -> None:
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    if red is None:
        red = slicer.vtkMRMLSliceNode()
        red.SetName("Red")
        red.SetLayoutName("Red")
        red.SetSingletonTag("Red")
        red = slicer.mrmlScene.AddNode(red)
    ui(planned).screwTable.setCurrentCell(1, 0)
    screw = presenter(planned).screws()[1]
    matrix = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS())
    for point in (screw.entry, screw.target):
        away = matrix[:3, 2] @ (matrix[:3, 3] - [-point[0], -point[1], point[2]])
        assert abs(away) < 1e-3
    assert ui(planned).removeScrewButton.enabled


def test_remove_and_undo(planned: Any) -> None:
    ui(planned).screwTable.setCurrentCell(0, 0)
    ui(planned).removeScrewButton.click()
    waitForJobs(planned)
    assert len(rows(planned)) == 3
    assert len(presenter(planned).plan().rods) == 1
    ui(planned).undoButton.click()
    waitForJobs(planned)
    assert len(rows(planned)) == 4
    assert len(presenter(planned).plan().rods) == 2
    assert not ui(planned).removeScrewButton.enabled
    waitForJobs(planned)


def test_undo_takes_back_a_drag_only(planned: Any) -> None:
    before = presenter(planned).screws()
    line = presenter(planned).lines()[0]
    line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    line.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)  # a click: nothing to take back
    depth = len(presenter(planned)._undo)
    drag(line, 1, (*before[0].target[:2], before[0].target[2] + 9.0))
    waitForJobs(planned)
    assert presenter(planned).screws()[0] != before[0]
    assert len(presenter(planned)._undo) == depth + 1
    ui(planned).undoButton.click()
    waitForJobs(planned)
    assert presenter(planned).screws() == before
    assert len(presenter(planned).plan().rods) == 2


def test_a_line_deleted_by_somebody_else(planned: Any) -> None:
    slicer.mrmlScene.RemoveNode(presenter(planned).lines()[3])
    assert [row[:2] for row in rows(planned)] == [["L2", "left"], ["L2", "right"], ["L3", "left"]]
    waitForJobs(planned)


def test_planning_again_asks_before_it_replaces(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    panel = planned.shell.panels["instrumentPage"]
    monkeypatch.setattr(panel, "confirm", lambda question: asked.append(question) or False)
    before = presenter(planned).screws()
    ui(planned).planButton.click()
    assert "4 screws at L2, L3" in asked[0]
    assert presenter(planned).screws() == before
    assert planned.shell.session.running == ""
    state = planned.logic.getParameterNode()
    state.levels = "L3"
    monkeypatch.setattr(panel, "confirm", lambda question: True)
    drag(presenter(planned).lines()[0], 1, (*before[0].target[:2], before[0].target[2] + 3.0))
    moved = presenter(planned).screws()[0]
    waitForJobs(planned)
    ui(planned).planButton.click()
    waitForJobs(planned)
    after = presenter(planned).screws()
    assert len(after) == 4
    assert math.dist(after[0].target, moved.target) < 1e-6
    assert len(presenter(planned).plan().rods) == 2


def test_scatter_follows_the_seed_and_undo_brings_the_plan_back(planned: Any) -> None:
    before = presenter(planned).screws()
    results = []
    for seed in (3, 3):
        ui(planned).scatterSeed.value = seed
        ui(planned).scatterButton.click()
        waitForJobs(planned)
        results.append(presenter(planned).screws())
        ui(planned).undoButton.click()
        waitForJobs(planned)
    assert results[0] == results[1] != before
    assert all(math.dist(a.target, b.target) < 1e-6 for a, b in zip(before, presenter(planned).screws(), strict=True))


def test_a_screw_by_hand(planned: Any) -> None:
    template = presenter(planned).screws()[1]
    ui(planned).screwTable.setCurrentCell(1, 0)
    ui(planned).removeScrewButton.click()
    ui(planned).addScrewButton.click()
    line = presenter(planned)._placing.line
    for point in (template.entry, template.target):
        line.AddControlPointWorld(-point[0], -point[1], point[2])
    waitForJobs(planned)
    added = [s for s in presenter(planned).screws() if math.dist(s.target, template.target) < 1e-2]
    assert len(added) == 1
    assert (added[0].level, added[0].side) == ("L2", "right")
    assert added[0].grade
    assert not ui(planned).addScrewButton.checked
    assert slicer.mrmlScene.GetFirstNodeByName("Head, then tip") is None


def test_placing_can_be_called_off(widget: Any) -> None:
    ui(widget).addScrewButton.click()
    assert ui(widget).addScrewButton.checked
    ui(widget).addScrewButton.click()
    assert not ui(widget).addScrewButton.checked
    assert slicer.mrmlScene.GetFirstNodeByName("Head, then tip") is None


def test_plans_in_files(planned: Any, tmp_path: Path, dialogs: Any) -> None:
    path = tmp_path / "plan"
    dialogs.answers.append(str(path))
    ui(planned).savePlanButton.click()
    before = presenter(planned).screws()
    ui(planned).screwTable.setCurrentCell(0, 0)
    ui(planned).removeScrewButton.click()
    dialogs.answers.append(f"{path}.json")
    ui(planned).loadPlanButton.click()
    waitForJobs(planned)
    after = presenter(planned).screws()
    assert all(math.dist(a.entry, b.entry) < 1e-6 for a, b in zip(before, after, strict=True))
    (tmp_path / "plan.json").write_text("{}")
    dialogs.answers.append(f"{path}.json")
    ui(planned).loadPlanButton.click()
    assert any("is no plan" in text for _, text in dialogs.told)
    assert len(rows(planned)) == 4


def test_a_plan_of_another_patient_is_refused(planned: Any, tmp_path: Path, dialogs: Any) -> None:
    from ctrestoration.implants.plan import save_plan

    save_plan(presenter(planned).plan(), tmp_path / "plan.json")
    other = addVolume("other")
    other.SetSpacing(1.0, 1.0, 1.0)
    planned.shell.ui.inputSelector.setCurrentNode(other)
    dialogs.answers.append(str(tmp_path / "plan.json"))
    ui(planned).loadPlanButton.click()
    assert any("another CT" in text for _, text in dialogs.told)


def test_other_implants(widget: Any, dialogs: Any) -> None:
    controls = ui(widget)
    titles = [controls.deviceKind.itemText(n) for n in range(controls.deviceKind.count)]
    controls.deviceKind.currentIndex = titles.index("Hip stem with head")
    assert controls.sizeTable.item(0, 0).text() == "Length (mm)"
    controls.sizeTable.item(0, 1).setText("120")
    controls.addDeviceButton.click()
    assert controls.deviceList.count == 1
    assert "Hip stem" in controls.deviceList.item(0).text()
    device = presenter(widget).plan().devices[0]
    assert device.kind == "hip-stem"
    assert device.sizes["length_mm"] == 120
    controls.sizeTable.item(0, 1).setText("900")
    controls.addDeviceButton.click()
    assert any("110..160" in text for _, text in dialogs.told)
    controls.sizeTable.item(0, 1).setText("long")
    controls.addDeviceButton.click()
    assert any("expected a number" in text for _, text in dialogs.told)
    assert controls.deviceList.count == 1
    controls.deviceList.currentRow = 0
    controls.removeDeviceButton.click()
    assert controls.deviceList.count == 0


def test_a_cross_link_runs_from_left_to_right(widget: Any) -> None:
    controls = ui(widget)
    titles = [controls.deviceKind.itemText(n) for n in range(controls.deviceKind.count)]
    controls.deviceKind.currentIndex = titles.index("Cross-link between two rods")
    controls.addDeviceButton.click()
    device = presenter(widget).plan().devices[0]
    assert np.allclose(device.axis, (1, 0, 0))
    assert np.allclose(device.facing, (0, -1, 0))


def test_rods_are_switched_off_and_on(planned: Any) -> None:
    ui(planned).planRods.click()
    waitForJobs(planned)
    assert presenter(planned).plan().rods == ()
    ui(planned).planRods.click()
    waitForJobs(planned)
    assert len(presenter(planned).plan().rods) == 2


def test_a_scene_closed_while_planning(widget: Any) -> None:
    ui(widget).planButton.click()
    slicer.app.processEvents()
    slicer.mrmlScene.Clear()
    assert rows(widget) == []
    assert widget.shell.session.running == ""
    assert not ui(widget).planButton.enabled


def test_a_plan_survives_saving_and_loading(planned: Any, tmp_path: Path) -> None:
    before = presenter(planned).screws()
    reopen(tmp_path / "scene.mrb")
    after = presenter(planned).screws()
    assert [(s.level, s.side, s.grade) for s in after] == [(s.level, s.side, s.grade) for s in before]
    assert [row[:2] for row in rows(planned)] == [[s.level, s.side] for s in before]
    drag(presenter(planned).lines()[0], 1, (before[0].target[0] - 16, *before[0].target[1:]))
    assert rows(planned)[0][5] == "..."
    waitForJobs(planned)
