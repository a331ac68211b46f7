"""MARInpaint in the stand-in: frame, Segment, and the life of the scene. The children are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from marinpaint_bench import addLabels, addVolume, phantom, reopen, wait, waitForJobs


@pytest.fixture
def widget(load_module: Any) -> Any:
    return load_module("MARInpaint")


def ui(widget: Any, page: str = "segmentPage") -> Any:
    return widget.shell.panels[page].ui


def parameters(widget: Any) -> Any:
    return widget.logic.getParameterNode()


def choose(widget: Any, volume: Any) -> None:
    widget.shell.ui.inputSelector.setCurrentNode(volume)
    slicer.app.processEvents()


def volumes() -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]


def test_an_empty_scene_says_what_is_missing(widget: Any) -> None:
    for name in ("metalButton", "spineButton"):
        button = getattr(ui(widget), name)
        assert not button.enabled
        assert "Choose a CT volume" in button.toolTip
    assert volumes() == []
    assert not widget.shell.ui.cancelButton.enabled


def test_the_first_volume_is_the_input(load_module: Any) -> None:
    volume = addVolume()
    widget = load_module("MARInpaint")
    assert parameters(widget).inputVolume is volume
    assert ui(widget).metalButton.enabled
    assert "96 x 96 x 56 voxels" in widget.shell.ui.inputState.text


def test_the_first_volume_loaded_while_the_module_is_shown_is_the_input(load_module: Any) -> None:
    widget = load_module("MARInpaint")
    first = addVolume("CT")
    waitForJobs(widget)
    assert widget.logic.getParameterNode().inputVolume is first
    addVolume("another")
    waitForJobs(widget)
    assert widget.logic.getParameterNode().inputVolume is first
    assert widget.shell.ui.inputSelector.currentNode() is first


def test_only_the_page_that_is_shown_takes_room(widget: Any) -> None:
    steps = widget.shell.ui.steps
    for shown in (3, 0):
        steps.currentIndex = shown
        for index in range(steps.count):
            ignored = steps.widget(index).sizePolicy.verticalPolicy() == qt.QSizePolicy.Ignored
            assert ignored == (index != shown)


def test_values_that_are_no_hu_are_noticed(widget: Any) -> None:
    volume = addVolume()
    slicer.util.updateVolumeFromArray(volume, np.zeros((5, 6, 7), np.float32))
    choose(widget, volume)
    assert "do not look like Hounsfield units" in widget.shell.ui.inputState.text


@pytest.mark.parametrize("automatic", [True, False])
def test_metal_is_what_the_core_finds(widget: Any, automatic: bool) -> None:
    from ctrestoration.anatomy.metal import segment_metal
    from CTRestorationLib.nodes import segmentations, volumes

    volume = addVolume(metal=True)
    choose(widget, volume)
    controls = ui(widget)
    controls.metalAutomatic.checked = automatic
    assert controls.metalThreshold.enabled is not automatic
    if not automatic:
        controls.metalThreshold.value = 4000.0
    waitForJobs(widget)
    expected = segment_metal(volumes.volumeFromNode(volume), threshold=None if automatic else 4000.0)
    assert expected.mask.any()
    assert controls.metalThreshold.value == pytest.approx(expected.threshold)
    controls.metalButton.click()
    assert "Cancel" in controls.metalButton.text
    assert widget.shell.ui.cancelButton.enabled
    assert not controls.spineButton.enabled
    assert "running" in controls.spineButton.toolTip
    waitForJobs(widget)
    assert controls.metalButton.text == "Segment metal"
    state = parameters(widget)
    found = segmentations.maskFromSegment(state.metalSegmentation, state.metalSegment, volume)
    assert np.array_equal(found, expected.mask)
    assert "2 pieces" in controls.metalText.text
    assert widget.shell.ui.progressBar.value == 1000
    assert "segment metal" in widget.shell.ui.log.plainText


def test_a_volume_without_metal_gives_an_empty_mask_and_says_so(widget: Any) -> None:
    choose(widget, addVolume())
    ui(widget).metalButton.click()
    waitForJobs(widget)
    assert "No metal found" in ui(widget).metalText.text
    assert parameters(widget).metalSegmentation is not None


def test_the_preview_shows_the_volume_above_the_threshold_and_leaves_nothing(widget: Any) -> None:
    volume = addVolume(metal=True)
    choose(widget, volume)
    controls = ui(widget)
    controls.metalAutomatic.checked = False
    waitForJobs(widget)
    controls.previewBox.checked = True
    controls.metalThreshold.value = 3000.0
    voxels = int((phantom().volume.array > 3000).sum()) + 2 * 16 * 4 * 3
    assert controls.metalVolume.text == f"{voxels * 2.4 * 2.4 * 2.5 / 1000:.2f} ml above the threshold"
    assert "Metal preview" in volumes()
    widget.shell.ui.steps.currentIndex = 1
    assert "Metal preview" not in volumes()
    assert not controls.previewBox.checked


def test_spine_from_an_existing_segmentation(widget: Any) -> None:
    volume = addVolume()
    choose(widget, volume)
    controls = ui(widget)
    assert not controls.spineButton.enabled
    assert "Choose the segmentation" in controls.spineButton.toolTip
    source = addLabels(volume)
    parameters(widget).spineSource = source
    assert controls.spineButton.enabled
    controls.spineButton.click()
    waitForJobs(widget)
    found = parameters(widget).spineSegmentation
    assert found.GetName() == "CT vertebrae"
    assert f"Levels are those of {source.GetName()}," in controls.spineText.text
    rows = [controls.vertebraTable.item(row, 0).text() for row in range(controls.vertebraTable.rowCount)]
    assert "L2" in rows
    assert "L3" in rows
    assert parameters(widget).levels == ",".join(phantom().truth.complete_levels)


def test_a_segmentation_without_vertebrae_is_refused_in_one_sentence(widget: Any, dialogs: Any) -> None:
    from CTRestorationLib.nodes import segmentations

    volume = addVolume()
    choose(widget, volume)
    mask = phantom().labels.array > 0
    parameters(widget).spineSource = segmentations.writeMask(mask, "liver", volume)[0]
    ui(widget).spineButton.click()
    waitForJobs(widget)
    assert parameters(widget).spineSegmentation is None
    assert any("names no vertebra" in text for _, text in dialogs.told)


def test_totalsegmentator_is_asked_for_where_it_is_missing(widget: Any) -> None:
    choose(widget, addVolume())
    ui(widget).spineMethod.currentIndex = 1
    assert "TotalSegmentator is not installed" in ui(widget).spineButton.toolTip
    assert not ui(widget).spineSource.visible


def test_cancel_by_the_button_itself(widget: Any) -> None:
    choose(widget, addVolume(metal=True))
    ui(widget).metalButton.click()
    ui(widget).metalButton.click()
    waitForJobs(widget)
    assert parameters(widget).metalSegmentation is None
    assert "cancelled" in widget.shell.ui.statusLabel.text
    assert ui(widget).metalButton.enabled


def test_a_scene_closed_in_mid_job_gets_nothing_of_it(widget: Any) -> None:
    choose(widget, addVolume(metal=True))
    ui(widget).metalButton.click()
    session = widget.shell.session
    wait(lambda: session._run is not None and session._run.runner is not None)
    runner = session._run.runner
    slicer.mrmlScene.Clear()
    addVolume("other", metal=True)
    wait(lambda: not runner.running)
    slicer.app.processEvents()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert session.running == ""
    assert ui(widget).metalButton.text == "Segment metal"


def test_a_saved_scene_brings_its_choices_back(widget: Any, tmp_path: Path) -> None:
    first, second = addVolume("A"), addVolume("B")
    choose(widget, second)
    state = parameters(widget)
    state.metalAutomatic, state.metalThreshold, state.spineNamed = False, 3100.0, "2=L3"
    state.spineSource = addLabels(first)
    reopen(tmp_path / "scene.mrb")
    state = parameters(widget)
    assert state.inputVolume.GetName() == "B"
    assert state.spineSource.GetName() == "labels"
    assert (state.metalAutomatic, state.metalThreshold, state.spineNamed) == (False, 3100.0, "2=L3")
    assert ui(widget).spineNamed.text == "2=L3"
    assert ui(widget).metalThreshold.value == 3100.0


def test_leaving_and_coming_back_keeps_a_job(widget: Any) -> None:
    choose(widget, addVolume(metal=True))
    ui(widget).metalButton.click()
    widget.exit()
    waitForJobs(widget)
    assert parameters(widget).metalSegmentation is not None
    widget.enter()
    assert "2 pieces" in ui(widget).metalText.text


def test_results_carry_provenance_and_lie_in_a_folder(widget: Any) -> None:
    from CTRestorationLib.nodes import hierarchy, provenance

    choose(widget, addVolume(metal=True))
    ui(widget).metalButton.click()
    waitForJobs(widget)
    node = parameters(widget).metalSegmentation
    facts = provenance.provenanceOf(node)
    assert facts["command"] == "segment metal"
    assert facts["result"]["count"] == 2
    assert hierarchy.folderOf(node)


def test_cleanup_ends_the_job_and_removes_files(widget: Any) -> None:
    choose(widget, addVolume(metal=True))
    ui(widget).metalButton.click()
    session = widget.shell.session
    wait(lambda: session._run is not None and session._run.runner is not None)
    runner, folder = session._run.runner, widget.shell.folder()
    widget.cleanup()
    wait(lambda: not runner.running)
    assert not folder.exists()


def test_what_is_installed_is_looked_at_when_it_is_opened(widget: Any) -> None:
    section = widget.shell.ui.environmentSection
    assert section.findChild(qt.QWidget, "DependencyPage") is None
    section.collapsed = False
    assert section.findChild(qt.QTableWidget, "packageTable").rowCount > 3


def test_a_volume_of_one_slice(widget: Any) -> None:
    from ctrestoration.volume import Grid, Volume
    from CTRestorationLib.nodes import segmentations
    from CTRestorationLib.nodes.mar import MarNodes

    array = np.full((1, 40, 40), -1000, np.float32)
    array[0, 5:35, 5:35] = 40
    array[0, 18:22, 18:22] = 5000
    grid = Grid.from_parts(array.shape, (3.0, 3.0, 3.0))
    volume = MarNodes(slicer.mrmlScene).newVolume(Volume(array, grid), "one", (400.0, 40.0))
    choose(widget, volume)
    ui(widget).metalButton.click()
    waitForJobs(widget)
    state = parameters(widget)
    assert segmentations.maskFromSegment(state.metalSegmentation, state.metalSegment, volume).sum() == 16


def test_an_input_deleted_in_mid_job(widget: Any, dialogs: Any) -> None:
    volume = addVolume(metal=True)
    choose(widget, volume)
    ui(widget).metalButton.click()
    slicer.app.processEvents()
    slicer.mrmlScene.RemoveNode(volume)
    waitForJobs(widget)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert any("removed from the scene" in text for _, text in dialogs.told)
