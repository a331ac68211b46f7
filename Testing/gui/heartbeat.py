"""How long the window waits: a timer that should beat every few milliseconds, and a quick child that leaves real files.

Used by test_responsive.py and by benchmarks/gui_heartbeat.py.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from ctrestoration.volume import Grid, LabelMap, Volume
from CTRestorationLib.signals import Signal

BEAT_MILLISECONDS = 5


class Heartbeat:
    """Counts beats of a QTimer, and keeps the longest gap between two of them: on the clock, and in CPU time.

    CPU time is this process's own, so that a busy machine does not count.
    """

    def __init__(self) -> None:
        self.beats, self.longest, self.longestCpu = 0, 0.0, 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(BEAT_MILLISECONDS)
        self._timer.connect("timeout()", self._beat)

    def __enter__(self) -> Heartbeat:
        self._last = (time.perf_counter(), time.process_time())
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._beat()
        self._timer.stop()

    def _beat(self) -> None:
        now = (time.perf_counter(), time.process_time())
        self.beats += 1
        self.longest = max(self.longest, now[0] - self._last[0])
        self.longestCpu = max(self.longestCpu, now[1] - self._last[1])
        self._last = now


def body(slices: int, noise: float) -> Volume:
    """A body of water with two rods, 512 x 512."""
    array = np.full((slices, 512, 512), -1000, np.float32)
    array[:, 130:380, 110:400] = 40
    for column in (220, 280):
        array[slices // 3 : 2 * slices // 3, 240:250, column : column + 10] = 9000
    if noise:
        array += np.random.default_rng(1).normal(0, noise, array.shape).astype(np.float32)
    return Volume(array, Grid.from_parts(array.shape, (0.8, 0.8, 2.0)), "large")


class QuickFiles:
    """Results of simulate and correct on that body, made once."""

    def __init__(self, folder: Path, slices: int, noise: float = 0.0) -> None:
        from ctrestoration.io.images import write_labels, write_volume

        self.volume = body(slices, noise)
        self.mask = self.volume.array > 5000
        self._folder = folder
        write_volume(self.volume, folder / "image.nii")
        with gzip.open(folder / "input.nii.gz", "wb", compresslevel=1) as packed:
            packed.write((folder / "image.nii").read_bytes())
        os.link(folder / "input.nii.gz", folder / "reference.nii.gz")
        write_volume(self.volume, folder / "corrected.nrrd")
        labels = LabelMap(self.mask.astype(np.uint16), self.volume.grid, {1: "metal"})
        write_labels(labels, folder / "metal.seg.nrrd")
        os.link(folder / "metal.seg.nrrd", folder / "synthesized.seg.nrrd")
        with (folder / "acquisition.npz").open("wb") as file:
            file.truncate(100_000_000)

    def serve(self, words: list[str]) -> dict[str, Any]:
        """What the command of these words would leave and print."""
        if words[0] == "simulate":
            out = Path(words[words.index("--out") + 1])
            out.mkdir(parents=True)
            for name in ("input.nii.gz", "reference.nii.gz", "metal.seg.nrrd", "acquisition.npz"):
                os.link(self._folder / name, out / name)
            return {"preset": "clinical"}
        os.link(self._folder / "corrected.nrrd", words[2])
        os.link(self._folder / "synthesized.seg.nrrd", words[words.index("--synthesized") + 1])
        return {"metal": "metal: 1 ml", "synthesized_voxels": 1, "provenance": {"slices_corrected": [1]}}


class QuickRunner:
    """A JobRunner whose child is done after a moment."""

    def __init__(self, files: QuickFiles) -> None:
        self.started, self.progress, self.logged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self.running, self.commandLine = False, ""
        self._files = files

    def start(self, words: list[str], _folder: Path) -> None:
        self.running = True
        value = self._files.serve(words)
        qt.QTimer.singleShot(50, lambda: self._end(value))

    def _end(self, value: dict[str, Any]) -> None:
        self.running = False
        self.finished.emit(value)

    def cancel(self) -> None:
        self.running = False
        self.cancelled.emit()

    abandon = cancel


def segmentMetalAndSpine(widget: Any, files: QuickFiles) -> dict[str, Heartbeat]:
    """Both jobs of the first page by their buttons and with the real child, and choosing the volume before them."""
    from CTRestorationLib.nodes import segmentations, volumes
    from CTRestorationLib.nodes.mar import MarNodes

    volume = MarNodes(slicer.mrmlScene).newVolume(files.volume, "large", (400.0, 40.0))
    controls = widget.shell.panels["segmentPage"].ui
    hearts = {"choose volume": beating(widget, lambda: widget.shell.ui.inputSelector.setCurrentNode(volume))}
    hearts["segment metal"] = beating(widget, controls.metalButton.click)
    labels = vertebrae(volumes.gridOfNode(volume))
    widget.logic.getParameterNode().spineSource = segmentations.segmentationFromLabelMap(labels, "labels", volume)
    hearts["segment spine"] = beating(widget, controls.spineButton.click)
    return hearts


def vertebrae(grid: Grid) -> LabelMap:
    """Five boxes by the names of lumbar vertebrae."""
    array = np.zeros(grid.shape, np.uint16)
    high = grid.shape[0] // 5
    for number in range(5):
        array[number * high + 1 : (number + 1) * high - 1, 220:330, 190:320] = 27 + number
    return LabelMap(array, grid, {27 + number: f"vertebrae_L{5 - number}" for number in range(5)})


def beating(widget: Any, begin: Callable[[], None], seconds: float = 300.0) -> Heartbeat:
    """The heartbeat from the beginning of a job to its end."""
    end = time.monotonic() + seconds
    with Heartbeat() as heart:
        begin()
        while not widget.shell.session.idle:
            slicer.app.processEvents()
            time.sleep(0.0005)
            assert time.monotonic() < end, "waited too long"
    return heart


def simulateAndCorrect(widget: Any, files: QuickFiles) -> dict[str, Heartbeat]:
    """Both jobs by their buttons, with a heartbeat each."""
    from CTRestorationLib.nodes import segmentations
    from CTRestorationLib.nodes.mar import MarNodes

    session = widget.shell.session
    session._makeRunner = lambda: QuickRunner(files)
    volume = MarNodes(slicer.mrmlScene).newVolume(files.volume, "large", (400.0, 40.0))
    state = widget.logic.getParameterNode()
    state.inputVolume = volume
    state.metalSegmentation, state.metalSegment = segmentations.writeMask(files.mask, "metal", volume)
    hearts = {}
    for page, panel, button in ((2, "simulatePage", "simulateButton"), (3, "correctPage", "correctButton")):
        widget.shell.ui.steps.currentIndex = page
        controls = widget.shell.panels[panel].ui
        if page == 2:
            controls.metalSource.currentIndex = 1
        slicer.app.processEvents()
        assert getattr(controls, button).enabled, getattr(controls, button).toolTip
        hearts[button.removesuffix("Button")] = beating(widget, getattr(controls, button).click)
    return hearts
