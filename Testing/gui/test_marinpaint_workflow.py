"""From an empty scene to the table of numbers, all by clicking, and the same by the command line: equal numbers."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from marinpaint_bench import addLabels, addVolume, phantom, waitForJobs

from ctrestoration.volume import AIR_HU
from CTRestorationLib.nodes import segmentations, volumes

PRESET, METHODS = "adn-256", ("li", "nmar")


def cli(*words: Any) -> Any:
    """What a command prints with --json."""
    command = [sys.executable, "-m", "ctrestoration", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Clicker:
    """The module's widget, by page."""

    def __init__(self, widget: Any) -> None:
        self.widget, self.shell = widget, widget.shell

    def page(self, number: int) -> Any:
        self.shell.ui.steps.currentIndex = number
        return list(self.shell.panels.values())[number].ui

    def press(self, button: Any) -> None:
        assert button.enabled, button.toolTip
        button.click()
        waitForJobs(self.widget)
        assert self.shell.ui.progressBar.value == 1000, self.shell.ui.statusLabel.text


def pick(box: Any, start: str) -> None:
    """Choose the item of a combo box whose text begins so."""
    box.currentIndex = next(number for number in range(box.count) if box.itemText(number).startswith(start))


def byClicking(widget: Any) -> tuple[list[dict[str, str]], tuple[int, int]]:
    """The numbers as copied from the page, and the slices that were scanned."""
    hand = Clicker(widget)
    segment = hand.page(0)
    pick(segment.spineMethod, "Existing")
    segment.spineSource.setCurrentNode(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0])
    hand.press(segment.spineButton)

    instrument = hand.page(1)
    for row in range(instrument.levelTable.rowCount):
        item = instrument.levelTable.item(row, 0)
        if item.checkState() == qt.Qt.Checked and item.text() != "L3":
            item.setCheckState(qt.Qt.Unchecked)
    hand.press(instrument.planButton)
    assert instrument.screwTable.rowCount == 2

    simulate = hand.page(2)
    pick(simulate.metalSource, "Screws")
    pick(simulate.presetBox, PRESET)
    simulate.megaphotons.value = 0.5
    simulate.seed.value = 11
    simulate.partBox.click()
    first = simulate.firstSlice.value
    simulate.lastSlice.value = first + 5
    hand.press(simulate.simulateButton)

    correct = hand.page(3)
    assert correct.fromAcquisition.checked
    for name in METHODS:
        box = correct.methodBox
        box.currentIndex = next(n for n in range(box.count) if box.itemText(n).endswith(f"({name})"))
        hand.press(correct.correctButton)

    compare = hand.page(4)
    hand.press(compare.measureButton)
    compare.copyButton.click()
    return list(csv.DictReader(io.StringIO(slicer.app.clipboard().text()))), (first, first + 5)


def byCommands(folder: Path, part: tuple[int, int]) -> dict[str, Any]:
    """The same on files."""
    from ctrestoration.io.images import write_labels, write_volume

    ct, labels, spine = folder / "ct.nrrd", folder / "labels.seg.nrrd", folder / "spine.seg.nrrd"
    write_volume(phantom().volume, ct)
    write_labels(phantom().labels, labels)
    cli("segment", "spine", ct, spine, "--labels", labels)
    cli("implants", "plan", ct, folder / "plan.json", "--spine", spine, "--levels", "L3")
    scan = folder / "scan"
    dose = ("--photons", 0.5e6, "--seed", 11)
    cli(
        "simulate",
        "metal",
        ct,
        "--plan",
        folder / "plan.json",
        "--out",
        scan,
        "--preset",
        PRESET,
        *dose,
        "--slices",
        *part,
    )
    images = [scan / "input.nii.gz"]
    for name in METHODS:
        images.append(folder / f"{name}.nrrd")
        cli("correct", images[0], images[-1], "--method", name, "--acquisition", scan / "acquisition.npz")
    words = ("--reference", scan / "reference.nii.gz", "--metal", scan / "metal.seg.nrrd")
    return {"scores": cli("evaluate", *images, *words)["images"], "images": images, "mask": scan / "metal.seg.nrrd"}


def test_clicks_and_commands_give_equal_numbers(load_module: Any, tmp_path: Path) -> None:
    from ctrestoration.io.images import read_labels, read_volume

    widget = load_module("MARInpaint")
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    source = addVolume("CT")
    addLabels(source)
    widget.shell.ui.inputSelector.setCurrentNode(source)
    slicer.app.processEvents()
    clicked, part = byClicking(widget)
    expected = byCommands(tmp_path, part)

    names = ["CT metal simulated", *(f"CT metal simulated {name.upper()}" for name in METHODS)]
    assert [row["Image"] for row in clicked] == names
    assert {row["Reference"] for row in clicked} == {"CT without metal"}
    assert {row["Window (HU)"] for row in clicked} == {"-1000 to 1604"}
    assert {row["Mask"] for row in clicked} == {"outside CT implants"}
    for row, scores in zip(clicked, expected["scores"], strict=True):
        assert float(row["PSNR (dB)"]) == scores["psnr_db"]
        assert float(row["SSIM"]) == scores["ssim"]
        assert float(row["RMSE (HU)"]) == scores["rmse_hu"]
        assert float(row["Body RMSE (HU)"]) == scores["regions"]["body"]["rmse_hu"]
        assert float(row["Near-metal RMSE (HU)"]) == scores["ring_rmse_hu"]
        assert float(row["Bone Dice"]) == scores["dice"]
    # A correction that does not correct would pass all of the above.
    assert float(clicked[2]["RMSE (HU)"]) < float(clicked[0]["RMSE (HU)"])

    nodes = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
    for name, path in zip(names, expected["images"], strict=True):
        # Reading raises what lies below air, as padding does; the scene holds the file's own values.
        found = np.maximum(slicer.util.arrayFromVolume(nodes[name]), AIR_HU)
        assert np.array_equal(found, read_volume(path).array)
    state, like = widget.logic.getParameterNode(), nodes[names[0]]
    mask = segmentations.maskFromSegment(state.metalSegmentation, state.metalSegment, like)
    assert mask.any()
    assert np.array_equal(mask, read_labels(expected["mask"], volumes.gridOfNode(like)).array > 0)
