"""Step 4, Correct, in the stand-in; the children are real, on a few slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from marinpaint_bench import addVolume, phantom, wait, waitForJobs

from ctrestoration import registry
from CTRestorationLib.nodes import segmentations, volumes

SLICES = slice(22, 30)


@pytest.fixture
def widget(load_module: Any) -> Any:
    """MARInpaint with eight slices of the phantom that hold two rods, at step 4."""
    slicer.app.userSettings().remove("CTRestoration/MARInpaint")
    volume = addVolume(metal=True)
    slicer.util.updateVolumeFromArray(volume, np.array(slicer.util.arrayFromVolume(volume)[SLICES]))
    widget = load_module("MARInpaint")
    widget.shell.ui.steps.currentIndex = 3
    slicer.app.processEvents()
    return widget


def ui(widget: Any) -> Any:
    return widget.shell.panels["correctPage"].ui


def parameters(widget: Any) -> Any:
    return widget.logic.getParameterNode()


def choose(widget: Any, name: str) -> None:
    box = ui(widget).methodBox
    box.currentIndex = list(registry.methods("mar")).index(name)


def usePart(widget: Any, first: int = 3, last: int = 4) -> None:
    state = parameters(widget)
    state.correctPart, state.correctFirst, state.correctLast = True, first, last


def useMetal(widget: Any, mask: Any = None) -> None:
    state = parameters(widget)
    if mask is None:
        mask = slicer.util.arrayFromVolume(state.inputVolume) > 7000
    state.metalSegmentation, state.metalSegment = segmentations.writeMask(mask, "metal", state.inputVolume)


def named(name: str, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    return next((node for node in slicer.util.getNodesByClass(kind) if node.GetName() == name), None)


def correct(widget: Any) -> None:
    assert ui(widget).correctButton.enabled, ui(widget).correctButton.toolTip
    ui(widget).correctButton.click()
    waitForJobs(widget)


def test_every_registered_method_is_offered_without_torch(widget: Any) -> None:
    import subprocess
    import sys

    box = ui(widget).methodBox
    assert [box.itemText(n).split("(")[-1].rstrip(")") for n in range(box.count)] == list(registry.methods("mar"))
    assert box.currentText.endswith("(nmar)")
    code = (
        "import sys; from CTRestorationLib.presenters.mar import choices; choices.methods(); "
        "[choices.devices(choices.methodNamed(w), True) for w, *_ in choices.methods()]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_the_device_is_gray_with_its_reason(widget: Any) -> None:
    controls = ui(widget)
    assert not controls.deviceBox.enabled
    assert "computes on the CPU only" in controls.deviceBox.toolTip
    assert controls.deviceBox.currentText == "CPU"


def test_a_method_of_a_gpu_can_choose_its_device(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(registry.get("mar", "li")), "on_device", lambda self, device: self, raising=False)
    choose(widget, "li")
    controls = ui(widget)
    assert controls.deviceBox.enabled
    controls.deviceBox.currentIndex = 1
    assert parameters(widget).correctDevice == "cpu"
    widget.shell.session.installed = lambda name: name != "torch"
    widget.shell.refresh()
    assert not controls.deviceBox.enabled
    assert "PyTorch is not installed" in controls.deviceBox.toolTip


def test_an_uncertainty_is_asked_for_where_there_is_one(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ui(widget).uncertaintyBox.enabled
    assert "does not say how sure" in ui(widget).uncertaintyBox.toolTip
    monkeypatch.setattr(type(registry.get("mar", "li")), "gives_uncertainty", True, raising=False)
    choose(widget, "li")
    assert ui(widget).uncertaintyBox.enabled
    asked: list[list[str]] = []
    from CTRestorationLib.jobs.runner import JobRunner

    start = JobRunner.start
    monkeypatch.setattr(
        JobRunner, "start", lambda self, words, folder: asked.append(words) or start(self, words, folder)
    )
    usePart(widget)
    ui(widget).correctButton.click()
    waitForJobs(widget)
    assert "--uncertainty" in asked[-1]  # the child, which knows no such method, refuses
    ui(widget).uncertaintyBox.checked = False
    correct(widget)
    assert "--uncertainty" not in asked[-1]
    assert named("CT LI") is not None


def test_an_empty_scene_says_what_is_missing(load_module: Any) -> None:
    widget = load_module("MARInpaint")
    widget.shell.ui.steps.currentIndex = 3
    assert "Choose a CT volume" in ui(widget).correctButton.toolTip


def test_a_clinical_ct_by_threshold(widget: Any) -> None:
    from CTRestorationLib.nodes import hierarchy, provenance

    usePart(widget)
    choose(widget, "li")
    source = parameters(widget).inputVolume
    before = np.array(slicer.util.arrayFromVolume(source))
    assert "projected from its image" in ui(widget).sinogramLabel.text
    assert not ui(widget).fromAcquisition.enabled
    correct(widget)
    result, filled = named("CT LI"), named("CT LI synthesized", "vtkMRMLSegmentationNode")
    assert np.array_equal(volumes.gridOfNode(result).affine, volumes.gridOfNode(source).affine)
    after = slicer.util.arrayFromVolume(result)
    assert np.array_equal(slicer.util.arrayFromVolume(source), before)
    assert np.array_equal(after[[0, 1, 2, 5, 6, 7]], before[[0, 1, 2, 5, 6, 7]])
    assert not np.array_equal(after[3:5], before[3:5])
    display = filled.GetDisplayNode()
    assert display.GetVisibility()
    mask = segmentations.maskFromSegment(filled, filled.GetSegmentation().GetNthSegmentID(0), source)
    assert mask[3:5].any()
    assert not mask[[0, 1, 2, 5, 6, 7]].any()
    facts = provenance.provenanceOf(result)
    assert facts["options"][:2] == ["--method", "li"]
    assert hierarchy.folderOf(result) == hierarchy.folderOf(filled) != 0
    assert "turquoise outline" in ui(widget).resultLabel.text
    assert "/" not in facts["result"]["metal"]


def test_two_methods_give_two_results_to_compare(widget: Any) -> None:
    usePart(widget)
    useMetal(widget)
    for name in ("li", "li"):
        choose(widget, name)
        correct(widget)
    assert named("CT LI") is not None
    assert named("CT LI_1") is not None
    checked = widget.shell.session.nodes.comparison.checked(parameters(widget))
    assert [node.GetName() for node in checked] == ["CT", "CT LI", "CT LI_1"]
    assert "as earlier corrections took here" in ui(widget).estimateLabel.text


def test_bad_metal_is_refused_in_one_sentence(widget: Any) -> None:
    controls = ui(widget)
    useMetal(widget, np.zeros((8, 96, 96), bool))
    assert "is empty: segment metal again" in controls.correctButton.toolTip
    mask = np.zeros((8, 96, 96), bool)
    mask[6, 50:53, 50:53] = True
    useMetal(widget, mask)
    controls.partBox.click()
    assert (controls.firstSlice.value, controls.lastSlice.value) == (4, 7)
    controls.firstSlice.value, controls.lastSlice.value = 0, 2
    assert "The metal lies in slices 6 to 6: none of it is in slices 0 to 2" in controls.correctButton.toolTip


def test_no_metal_at_all_makes_no_result(widget: Any, dialogs: Any) -> None:
    source = parameters(widget).inputVolume
    slicer.util.updateVolumeFromArray(source, np.array(phantom().volume.array[SLICES]))
    correct(widget)
    assert any("No metal found, nothing to correct; no volume was made" in text for _, text in dialogs.told)
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1


def test_lost_sinograms_are_looked_for_and_the_image_offered(widget: Any, dialogs: Any) -> None:
    source = parameters(widget).inputVolume
    source.SetAttribute("CTRestoration.acquisition", "/nowhere/lost.npz")
    usePart(widget)
    choose(widget, "li")
    assert "they were in /nowhere/lost.npz" in ui(widget).sinogramLabel.text
    dialogs.answers.append(False)
    correct(widget)
    _kind, text = dialogs.told[-1]
    assert "looked for /nowhere/lost.npz" in text
    assert "projected from the image instead?" in text
    assert named("CT LI") is None
    dialogs.answers.append(True)
    correct(widget)
    assert named("CT LI") is not None


def test_moved_sinograms_are_found_beside_the_scene(widget: Any, tmp_path: Path) -> None:
    source = parameters(widget).inputVolume
    source.SetAttribute("CTRestoration.acquisition", "/nowhere/moved.npz")
    slicer.mrmlScene.SetURL(str(tmp_path / "case.mrml"))
    try:
        (tmp_path / "case-ctrestoration").mkdir()
        (tmp_path / "case-ctrestoration" / "moved.npz").write_bytes(b"")
        widget.shell.refresh()
        assert ui(widget).sinogramLabel.text == "Sinograms: moved.npz"
        assert not ui(widget).metalSelector.enabled
        ui(widget).fromAcquisition.checked = False
        assert "not used" in ui(widget).sinogramLabel.text
        assert ui(widget).metalSelector.enabled
    finally:
        slicer.mrmlScene.SetURL("")


def test_a_broken_file_of_sinograms_is_one_sentence(widget: Any, tmp_path: Path, dialogs: Any) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no sinograms")
    parameters(widget).inputVolume.SetAttribute("CTRestoration.acquisition", str(tmp_path / "broken.npz"))
    widget.shell.refresh()
    correct(widget)
    assert any("broken.npz" in text for _, text in dialogs.told)
    assert named("CT NMAR") is None


def test_cancel_and_scene_close_leave_nothing(widget: Any) -> None:
    session = widget.shell.session
    ui(widget).correctButton.click()
    wait(lambda: session._run is not None and session._run.runner is not None)
    ui(widget).correctButton.click()
    waitForJobs(widget)
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    ui(widget).correctButton.click()
    wait(lambda: session._run is not None and session._run.runner is not None)
    runner = session._run.runner
    slicer.mrmlScene.Clear()
    wait(lambda: not runner.running)
    slicer.app.processEvents()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []


def test_a_volume_deleted_in_mid_job_is_one_sentence(widget: Any, dialogs: Any) -> None:
    from CTRestorationLib.nodes.mar import MarNodes

    source = parameters(widget).inputVolume
    other = MarNodes(slicer.mrmlScene).volumes.arrayToVolumeNode(
        np.array(slicer.util.arrayFromVolume(source)), "other", source
    )
    parameters(widget).correctVolume = other
    usePart(widget)
    choose(widget, "li")
    ui(widget).correctButton.click()
    session = widget.shell.session
    wait(lambda: session._run is not None and session._run.runner is not None)
    slicer.mrmlScene.RemoveNode(other)
    waitForJobs(widget)
    assert any("other was removed from the scene meanwhile" in text for _, text in dialogs.told)
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["CT"]
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_the_uncertainty_comes_with_the_result(widget: Any) -> None:
    """No classical method gives one: the part of the job after the child, with files as a network writes them."""
    from types import SimpleNamespace

    from ctrestoration.volume import LabelMap, Volume
    from CTRestorationLib.jobs.exchange import exhaust
    from CTRestorationLib.nodes.mar import MarNodes

    source, results = parameters(widget).inputVolume, MarNodes(slicer.mrmlScene).results
    grid = volumes.gridOfNode(source)
    spread = np.zeros(grid.shape, np.float32)
    spread[3:5, 40:60, 40:60] = np.linspace(10, 90, 20)
    presenter = widget.shell.panels["correctPage"].presenter
    task = SimpleNamespace(volume=source, method="net")
    facts = {"result": {"metal": "Metal", "synthesized_voxels": 0, "uncertainty": "half-width in HU"}}
    image, mask = Volume(np.zeros(grid.shape, np.float32), grid), LabelMap(np.zeros(grid.shape, np.uint16), grid)
    exhaust(presenter._results(task, image, mask, Volume(spread, grid), facts))
    assert presenter._result.endswith("Uncertainty: half-width in HU.")
    result, shown = named("CT NET"), named("CT NET uncertainty")
    assert results.uncertaintyOf(result) is shown
    assert shown not in results.candidates()
    display = shown.GetDisplayNode()
    assert display.GetWindowLevelMin() == 0
    assert 80 < display.GetWindowLevelMax() <= 90
    assert "Uncertainty (HU)" in volumes.legendOf(shown).GetTitleText()
