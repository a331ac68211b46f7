"""Step 3, Simulate, in the stand-in; the children are real, on a small scanner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from marinpaint_bench import addVolume, phantom, plan, wait, waitForJobs

from CTRestorationLib.nodes import segmentations, volumes
from CTRestorationLib.nodes.acquisitions import ATTRIBUTE


@pytest.fixture
def widget(load_module: Any, tmp_path: Path) -> Iterator[Any]:
    """MARInpaint with the phantom, at step 3."""
    slicer.app.userSettings().remove("CTRestoration/MARInpaint")
    usual, slicer.app.temporaryPath = slicer.app.temporaryPath, str(tmp_path / "temporary")
    addVolume()
    widget = load_module("MARInpaint")
    widget.shell.ui.steps.currentIndex = 2
    parameters(widget).simulatePreset = "adn-256"
    slicer.app.processEvents()
    yield widget
    slicer.mrmlScene.SetURL("")
    slicer.app.temporaryPath = usual


def ui(widget: Any) -> Any:
    return widget.shell.panels["simulatePage"].ui


def parameters(widget: Any) -> Any:
    return widget.logic.getParameterNode()


def addMetal(volume: Any, first: int = 24, last: int = 26) -> Any:
    """A rod of three slices as a segment."""
    mask = np.zeros((56, 96, 96), bool)
    mask[first : last + 1, 60:63, 40:43] = True
    return segmentations.writeMask(mask, "metal", volume)


def useMetal(widget: Any, first: int = 24, last: int = 26) -> Any:
    state = parameters(widget)
    node, segment = addMetal(state.inputVolume, first, last)
    ui(widget).metalSource.currentIndex = 1
    state.metalSegmentation, state.metalSegment = node, segment
    return node


def usePart(widget: Any, first: int = 24, last: int = 26) -> None:
    """A few slices only, so that tests are quick."""
    state = parameters(widget)
    state.simulatePart, state.simulateFirst, state.simulateLast = True, first, last


def names(kind: str = "vtkMRMLScalarVolumeNode") -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass(kind)]


def simulate(widget: Any) -> None:
    assert ui(widget).simulateButton.enabled, ui(widget).simulateButton.toolTip
    ui(widget).simulateButton.click()
    waitForJobs(widget)


def test_it_says_what_is_missing(widget: Any) -> None:
    controls = ui(widget)
    assert not controls.simulateButton.enabled
    assert "Plan screws" in controls.simulateButton.toolTip
    assert controls.materialBox.isHidden()
    controls.metalSource.currentIndex = 1
    assert not controls.materialBox.isHidden()
    assert "Segment metal first" in controls.simulateButton.toolTip
    node, _ = addMetal(parameters(widget).inputVolume)
    parameters(widget).metalSegmentation = node
    assert controls.simulateButton.enabled
    assert controls.segmentBox.currentText == "metal"


def test_an_empty_segment_is_refused(widget: Any) -> None:
    useMetal(widget)
    empty, segment = segmentations.writeMask(np.zeros((56, 96, 96), bool), "nothing", parameters(widget).inputVolume)
    parameters(widget).metalSegmentation = empty
    assert segment not in ("", None)
    assert "is empty" in ui(widget).simulateButton.toolTip


def test_the_range_begins_with_the_metal_and_must_hold_some(widget: Any) -> None:
    useMetal(widget)
    controls = ui(widget)
    assert not controls.firstSlice.enabled
    controls.partBox.click()
    assert (controls.firstSlice.value, controls.lastSlice.value) == (22, 28)
    assert controls.firstSlice.enabled
    assert controls.simulateButton.enabled
    controls.lastSlice.value = 23
    assert "lies in slices 24 to 26: none of it is in slices 22 to 23" in controls.simulateButton.toolTip
    controls.lastSlice.value = 99
    assert "no range within 0 to 55" in controls.simulateButton.toolTip


def test_choices_are_the_cores(widget: Any) -> None:
    from ctrestoration.physics.materials import material_names
    from ctrestoration.physics.presets import PRESETS
    from ctrestoration.physics.spectra import spectrum_names

    controls = ui(widget)
    assert controls.presetBox.count == len(PRESETS)
    assert controls.spectrumBox.count == len(spectrum_names())
    assert controls.materialBox.count == len(material_names("metal")) + len(material_names("ceramic"))
    for box, field in (
        (controls.materialBox, "simulateMaterial"),
        (controls.presetBox, "simulatePreset"),
        (controls.spectrumBox, "simulateSpectrum"),
        (controls.fbpModeBox, "simulateFbpMode"),
        (controls.fbpWindowBox, "simulateFbpWindow"),
    ):
        before = getattr(parameters(widget), field)
        box.currentIndex = (box.currentIndex + 1) % box.count
        assert getattr(parameters(widget), field) != before


def test_a_segment_becomes_a_scan_with_everything_that_belongs_to_it(widget: Any) -> None:
    from ctrestoration.acquisition import Acquisition
    from CTRestorationLib.nodes import hierarchy, provenance

    useMetal(widget)
    usePart(widget)
    before = np.array(slicer.util.arrayFromVolume(parameters(widget).inputVolume))
    assert "About" in ui(widget).estimateLabel.text
    assert "not yet measured" in ui(widget).estimateLabel.text
    simulate(widget)
    state = parameters(widget)
    assert state.simulatedVolume.GetName() == "CT metal simulated"
    assert state.simulatedReference.GetName() == "CT without metal"
    assert np.array_equal(slicer.util.arrayFromVolume(state.inputVolume), before)
    grid = volumes.gridOfNode(state.inputVolume).crop((24, 0, 0), (27, 96, 96))
    assert np.array_equal(volumes.gridOfNode(state.simulatedVolume).affine, grid.affine)
    path = Path(state.simulatedVolume.GetAttribute(ATTRIBUTE))
    acquisition = Acquisition.load(path)
    assert acquisition.image.grid.mismatch(grid) is None
    assert "temporary folder until the scene is saved" in ui(widget).resultLabel.text
    assert provenance.provenanceOf(state.simulatedVolume)["result"]["preset"] == "adn-256"
    assert hierarchy.folderOf(state.simulatedVolume) == hierarchy.folderOf(state.simulatedReference) != 0
    assert (state.correctVolume, state.compareReference) == (state.simulatedVolume, state.simulatedReference)
    assert "as earlier scans took here" in ui(widget).estimateLabel.text
    assert state.metalSegmentation.GetName() == "metal"


def test_a_plan_brings_its_metal_along(widget: Any) -> None:
    state = parameters(widget)
    from CTRestorationLib.nodes.plans import PlanNodes

    PlanNodes(slicer.mrmlScene).write(plan(), state.inputVolume)
    widget.shell.refresh()
    controls = ui(widget)
    assert controls.simulateButton.enabled, controls.simulateButton.toolTip
    metal = widget.shell.panels["simulatePage"].presenter.metalSlices()
    usePart(widget, metal[0] + 8, metal[0] + 9)
    simulate(widget)
    state = parameters(widget)
    assert state.metalSegmentation.GetName() == "CT implants"
    mask = segmentations.maskFromSegment(state.metalSegmentation, state.metalSegment, state.simulatedVolume)
    assert mask.any()
    assert slicer.util.arrayFromVolume(state.simulatedVolume)[mask].mean() > 2500


def test_results_keep_an_oblique_flipped_geometry_and_its_transform(widget: Any) -> None:
    from CTRestorationLib.nodes.geometry import vtkMatrixOf

    source, state = parameters(widget).inputVolume, parameters(widget)
    turn = np.deg2rad(20.0)
    directions = np.array([[1, 0, 0], [0, np.cos(turn), np.sin(turn)], [0, np.sin(turn), -np.cos(turn)]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = directions * (2.4, 2.4, 2.5), (-110.123456789, 80.5, 12.25)
    source.SetIJKToRASMatrix(vtkMatrixOf(matrix))
    slicer.util.updateVolumeFromArray(source, np.array(phantom().volume.array[24:28]))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    shift = np.eye(4)
    shift[:3, 3] = (5.0, -7.0, 11.0)
    transform.SetMatrixTransformToParent(vtkMatrixOf(shift))
    source.SetAndObserveTransformNodeID(transform.GetID())
    mask = np.zeros((4, 96, 96), bool)
    mask[1, 60:63, 40:43] = True
    state.metalSegmentation, state.metalSegment = segmentations.writeMask(mask, "metal", source)
    ui(widget).metalSource.currentIndex = 1
    simulate(widget)
    state = parameters(widget)
    for node in (state.simulatedVolume, state.simulatedReference):
        assert np.array_equal(volumes.gridOfNode(node).affine, volumes.gridOfNode(source).affine)
        assert node.GetParentTransformNode() is transform
    metal = slicer.util.arrayFromVolume(state.simulatedVolume)
    assert metal[mask].mean() > 2500
    # Slices are counted from the feet, the stored ones from the head.
    usePart(widget, 2, 2)
    simulate(widget)
    part = parameters(widget).simulatedVolume
    assert np.allclose(volumes.gridOfNode(part).affine, volumes.gridOfNode(source).crop((1, 0, 0), (2, 96, 96)).affine)
    assert slicer.util.arrayFromVolume(part)[mask[1:2]].mean() > 2500


def test_sinograms_move_beside_the_scene_when_it_is_saved(widget: Any, tmp_path: Path) -> None:
    useMetal(widget)
    usePart(widget)
    simulate(widget)
    volume = parameters(widget).simulatedVolume
    old = Path(volume.GetAttribute(ATTRIBUTE))
    assert "CTRestoration-acquisitions" in str(old)
    slicer.mrmlScene.SetURL(str(tmp_path / "case.mrml"))
    slicer.mrmlScene.SetRootDirectory(str(tmp_path))
    assert slicer.mrmlScene.Commit()
    widget.enter()
    waitForJobs(widget)
    new = tmp_path / "case-ctrestoration" / old.name
    assert new.is_file()
    assert not old.exists()
    assert Path(volume.GetAttribute(ATTRIBUTE)) == new
    widget.shell.refresh()
    assert f"beside the scene: case-ctrestoration/{new.name}" in ui(widget).resultLabel.text
    simulate(widget)
    unsaved = Path(parameters(widget).simulatedVolume.GetAttribute(ATTRIBUTE))
    assert unsaved.parent == new.parent
    slicer.mrmlScene.Clear()
    assert new.is_file()
    assert not unsaved.exists()


def test_sinograms_stay_where_the_folder_of_the_scene_takes_none(widget: Any, tmp_path: Path) -> None:
    useMetal(widget)
    usePart(widget)
    simulate(widget)
    path = Path(parameters(widget).simulatedVolume.GetAttribute(ATTRIBUTE))
    (tmp_path / "case-ctrestoration").write_text("a file where the folder should be")
    slicer.mrmlScene.SetURL(str(tmp_path / "case.mrml"))
    assert slicer.mrmlScene.Commit()
    for _ in range(3):
        widget.shell.refresh()
        waitForJobs(widget)
    assert path.is_file()
    assert widget.shell.ui.log.plainText.count("They stay in the temporary folder") == 1


def test_sinograms_of_a_scene_that_was_never_saved_go_with_it(widget: Any) -> None:
    useMetal(widget)
    usePart(widget)
    simulate(widget)
    path = Path(parameters(widget).simulatedVolume.GetAttribute(ATTRIBUTE))
    assert path.is_file()
    slicer.mrmlScene.Clear()
    assert not path.exists()


def test_cancelled_half_way_leaves_nothing(widget: Any) -> None:
    useMetal(widget)
    before = (names(), names("vtkMRMLSegmentationNode"))
    ui(widget).simulateButton.click()
    session = widget.shell.session
    wait(lambda: session._run is not None and session._run.runner is not None)
    assert "Cancel" in ui(widget).simulateButton.text
    ui(widget).simulateButton.click()
    waitForJobs(widget)
    assert (names(), names("vtkMRMLSegmentationNode")) == before
    folder = Path(slicer.app.temporaryPath) / "CTRestoration-acquisitions"
    assert not folder.exists() or not list(folder.iterdir())


def test_a_scene_closed_in_mid_job_gets_nothing(widget: Any) -> None:
    useMetal(widget)
    ui(widget).simulateButton.click()
    session = widget.shell.session
    wait(lambda: session._run is not None and session._run.runner is not None)
    runner = session._run.runner
    slicer.mrmlScene.Clear()
    wait(lambda: not runner.running)
    slicer.app.processEvents()
    assert names() == []
    assert session.running == ""


def test_an_input_deleted_in_mid_job_is_no_disaster(widget: Any) -> None:
    useMetal(widget)
    usePart(widget)
    ui(widget).simulateButton.click()
    slicer.app.processEvents()
    slicer.mrmlScene.RemoveNode(parameters(widget).inputVolume)
    waitForJobs(widget)
    assert names() == []


def test_a_single_slice_and_a_sheared_volume(widget: Any, dialogs: Any) -> None:
    from CTRestorationLib.nodes.geometry import vtkMatrixOf

    source, state = parameters(widget).inputVolume, parameters(widget)
    slicer.util.updateVolumeFromArray(source, np.array(phantom().volume.array[24:25]))
    mask = np.zeros((1, 96, 96), bool)
    mask[0, 60:63, 40:43] = True
    state.metalSegmentation, state.metalSegment = segmentations.writeMask(mask, "metal", source)
    ui(widget).metalSource.currentIndex = 1
    simulate(widget)
    assert parameters(widget).simulatedVolume is not None
    count = len(names())
    sheared = np.diag([2.4, 2.4, 2.5, 1.0])
    sheared[0, 1] = 0.5
    source.SetIJKToRASMatrix(vtkMatrixOf(sheared))
    state.metalSegmentation, state.metalSegment = segmentations.writeMask(mask, "metal", source)
    simulate(widget)
    assert any("not at right angles" in text for _, text in dialogs.told)
    assert len(names()) == count
