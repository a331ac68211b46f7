"""Step 1, Segment: metal by threshold with a live preview, vertebrae from wherever they can be had."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from CTRestorationLib.presenters.mar.session import Child, Session
from CTRestorationLib.presenters.mar.step import StepPresenter

_LOWEST_HU, _HIGHEST_HU = 300, 32767
_ABOVE = 1e-3
"""Metal lies above the threshold, the preview shows what is at or above its value."""

_SLAB_VOXELS = 1_000_000
_DENSE_HU = 1000
"""Far below where a scan is ever clipped (1800 HU): the rule for the threshold needs nothing of what lies lower."""


class SegmentPresenter(StepPresenter):
    """Metal and vertebrae of the input.

    The view shows: `showMetalVolume(text)` under the slider, `showMetal(text)` and `showSpine(text)` for what was
    found, `showLevels([(name, volume ml, state)])`, `showSource(method word)`, `setPreview(on)`.
    """

    actions = ("metal", "spine")

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self._preview: Any = None
        self._previewing = False
        self._tail: np.ndarray | None = None
        self._tailOf: Any = None
        self._suggested: float | None = None

    # What may be pressed

    def missing(self, action: str) -> str:
        """What a button lacks."""
        general = super().missing(action)
        if general or action == "metal":
            return general
        method = self.parameters.spineMethod.value
        if method == "labels" and self.parameters.spineSource is None:
            return (
                "Choose the segmentation that holds the vertebrae, or another way to find them: TotalSegmentator, or "
                "by shape."
            )
        if method == "totalsegmentator" and not self.session.installed("totalsegmentator"):
            return (
                "TotalSegmentator is not installed: install it with Slicer's Extensions Manager, or find the vertebrae "
                "by shape."
            )
        return ""

    def run(self, action: str) -> None:
        """Start the job of a button."""
        if action == "metal":
            self.session.start("Segment metal", self._metalJob, action)
        else:
            self.session.start("Segment spine", self._spineJob, action)

    # Metal

    def _metalJob(self, folder: Path) -> Generator[Any, Any, None]:
        parameters, volume = self.parameters, self.session.input
        automatic, threshold = parameters.metalAutomatic, parameters.metalThreshold
        output = folder / "metal.seg.nrrd"
        options = ["--min-volume", f"{parameters.metalMinimumVolume:g}", "--json"]
        if not automatic:
            options += ["--threshold", f"{threshold:g}"]
        if parameters.metalAnywhere:
            options += ["--anywhere"]
        ct = yield from self.session.volumeFile(volume)
        found = yield Child(["segment", "metal", ct, output, *options])
        mask = yield from self.session.readLabels(output)
        segmentation, segment = self.nodes.segmentations.writeMask(
            mask.array > 0, self.nodes.uniqueName(f"{volume.GetName()} metal"), volume
        )
        self.nodes.filed(segmentation, volume, {"command": "segment metal", "options": options, "result": found})
        parameters = self.parameters
        parameters.metalSegmentation, parameters.metalSegment = segmentation, segment
        self.setPreview(False)
        self.refresh()

    def thresholdMoved(self) -> None:
        """The slider was moved: the preview and the volume follow."""
        if self.session.input is None:
            return
        if self._previewing:
            self._preview.show(self.session.input, self.parameters.metalThreshold + _ABOVE)
        self._showVolume()

    def setPreview(self, on: bool) -> None:
        """Show or hide what lies above the threshold in the slice views."""
        on = on and not super().missing("metal")
        if on and self._preview is None:
            self._preview = self.nodes.thresholdPreview()
        if on:
            self._preview.show(self.session.input, self.parameters.metalThreshold + _ABOVE)
        elif self._preview is not None and self._previewing:
            self._preview.hide()
        self._previewing = on
        self.view.setPreview(on)

    def _showVolume(self) -> None:
        """Milliliters above the threshold: at once, from a table of all voxels that is counted once a volume."""
        volume = self.session.input
        if volume is None or self.nodes.problemOf(volume):
            self.view.showMetalVolume("")
            return
        stamp = self.nodes.stamp(volume)
        if self._tailOf != stamp:
            self._tail, self._tailOf, self._suggested = None, stamp, None
            self.session.inBackground("count metal", self._count(volume, stamp))
        if self._tail is None:
            self.view.showMetalVolume("counting ...")
            return
        level = int(np.clip(np.floor(self.parameters.metalThreshold), _LOWEST_HU, _HIGHEST_HU))
        ml = float(self._tail[level - _LOWEST_HU]) * self.nodes.volumes.gridOfNode(volume).voxel_mm3 / 1000
        self.view.showMetalVolume(f"{ml:.2f} ml above the threshold")

    def _count(self, volume: Any, stamp: Any) -> Generator[None, None, None]:
        """How many voxels lie above each HU, slab by slab."""
        array = self.nodes.volumes.arrayOfNode(volume)
        counts = np.zeros(_HIGHEST_HU - _LOWEST_HU + 2, dtype=np.int64)
        highest = [np.zeros(1, dtype=np.float32)]
        flat = array.reshape(-1)
        for start in range(0, flat.size, _SLAB_VOXELS):
            slab = flat[start : start + _SLAB_VOXELS]
            dense = slab[slab > _LOWEST_HU]
            # A voxel of value v lies above the whole number t where ceil(v) > t.
            level = np.clip(np.ceil(dense), _LOWEST_HU, _HIGHEST_HU + 1).astype(np.int64)
            counts += np.bincount(level - _LOWEST_HU, minlength=counts.size)
            highest.append(dense[dense > _DENSE_HU].astype(np.float32))
            yield
        above = counts[::-1].cumsum()[::-1]
        self._tail, self._tailOf = np.append(above[1:], 0), stamp
        self._suggest(np.concatenate(highest))
        self._showVolume()

    def _suggest(self, dense: np.ndarray) -> None:
        """Put the slider where the command line would; its rule looks at the densest voxels only."""
        from ctrestoration.anatomy.metal import metal_threshold

        self._suggested, _, _ = metal_threshold(dense)
        self.followScan()

    def followScan(self) -> None:
        """With "automatic" checked, the slider stands where the scan's own scale puts it."""
        if self.parameters.metalAutomatic and self._suggested is not None:
            self.parameters.metalThreshold = float(self._suggested)

    # Vertebrae

    def _spineJob(self, folder: Path) -> Generator[Any, Any, None]:
        parameters, volume = self.parameters, self.session.input
        method = parameters.spineMethod.value
        output = folder / "spine.seg.nrrd"
        options = ["--method", method, "--json"]
        ct = yield from self.session.volumeFile(volume)
        if method == "labels":
            labels = yield from self.session.labelFile(parameters.spineSource, volume)
            options += ["--labels", str(labels)]
        if method == "fallback" and parameters.spineNamed.strip():
            options += ["--name", parameters.spineNamed.strip()]
        found = yield Child(["segment", "spine", ct, output, *options])
        labels = yield from self.session.readLabels(output)
        name = self.nodes.uniqueName(f"{volume.GetName()} vertebrae")
        segmentation = yield from self.nodes.segmentationSteps(labels, name, volume)
        self.nodes.filed(segmentation, volume, {"command": "segment spine", "options": options, "result": found})
        parameters = self.parameters
        parameters.spineSegmentation = segmentation
        parameters.levels = ",".join(level["name"] for level in found["levels"] if level["complete"])
        self.refresh()

    # What is shown

    def refresh(self) -> None:
        """Buttons, the volume above the threshold, and what was found."""
        super().refresh()
        parameters = self.parameters
        self.view.showSource(parameters.spineMethod.value)
        if self._previewing and self.session.input is None:
            self.setPreview(False)
        self.followScan()
        self._showVolume()
        shown = (parameters.metalSegmentation, parameters.spineSegmentation)
        self.view.showMetal(_metalText(self.nodes.provenanceOf(shown[0])) if shown[0] is not None else "")
        facts = self.nodes.provenanceOf(shown[1]) if shown[1] is not None else None
        result = (facts or {}).get("result") or {}
        self.view.showSpine(" ".join(result.get("notes", ())))
        levels = result.get("levels", ())
        self.view.showLevels([(row["name"], f"{row['volume_ml']:.1f}", row["note"] or "complete") for row in levels])

    def hidden(self) -> None:
        """Take the preview away."""
        if self._previewing:
            self.setPreview(False)

    def sceneClosed(self) -> None:
        """Forget the volume."""
        self.hidden()
        self._preview = None
        self._tail = self._tailOf = self._suggested = None


def _metalText(facts: dict[str, Any] | None) -> str:
    """What was found, for the panel."""
    result = (facts or {}).get("result")
    if not result:
        return ""
    count = result["count"]
    if not count:
        found = "No metal found; the mask is empty."
    else:
        found = f"{count} piece{'s' if count > 1 else ''}, {result['volume_mm3'] / 1000:.2f} ml."
    left = [f"{row['volume_mm3'] / 1000:.2f} ml {row['reason']}" for row in result.get("rejected", ())[:3]]
    more = f" Left out: {'; '.join(left)}." if left else ""
    return f"{found} Threshold: {result['reason']}{more}"
