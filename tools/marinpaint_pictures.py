"""Clicks through MARInpaint on the phantom inside Slicer, and keeps a picture of the window at each step.

    Slicer --no-splash --additional-module-paths MARInpaint --python-script tools/marinpaint_pictures.py

The pictures of docs/tutorial-mar.md; written to Resources/Screenshots.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("MARINPAINT_PICTURES", ROOT / "Resources" / "Screenshots"))


def wait(until: Callable[[], Any], seconds: float = 600.0) -> None:
    """Let the application work until something is so."""
    end = time.monotonic() + seconds
    while not until():
        slicer.app.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise RuntimeError("waited too long")


def picture(name: str) -> None:
    """The main window as it is."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    slicer.util.forceRenderAllViews()
    slicer.util.delayDisplay("", 500)
    slicer.util.mainWindow().grab().save(str(FOLDER / f"{name}.png"))
    print(f"wrote {name}.png")


def load_phantom() -> Any:
    """The phantom, by the button of Sample Data."""
    from CTRestorationLib.widgets.mar.samples import makePhantom

    done: list[Any] = []
    makePhantom(done.append)
    wait(lambda: done)
    return done[0]


def segment(widget: Any) -> None:
    """Step 1: the spine from the phantom's labels."""
    ui = widget.shell.panels["segmentPage"].ui
    labels = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    ui.spineSource.setCurrentNode(labels)
    ui.spineButton.click()
    wait(lambda: widget.shell.session.idle)
    picture("MARInpaint-1-segment")


def instrument(widget: Any) -> None:
    """Step 2: screws and rods, and the view along one of them."""
    panel = widget.shell.panels["instrumentPage"]
    widget.shell.ui.steps.currentIndex = 1
    panel.ui.planButton.click()
    wait(lambda: widget.shell.session.idle)
    layout = slicer.app.layoutManager()
    spine = widget.logic.getParameterNode().spineSegmentation
    spine.CreateClosedSurfaceRepresentation()
    spine.GetDisplayNode().SetOpacity3D(0.35)
    panel.ui.screwTable.setCurrentCell(2, 0)
    view = layout.threeDWidget(0).threeDView()
    view.resetFocalPoint()
    view.resetCamera()
    camera = slicer.modules.cameras.logic().GetViewActiveCameraNode(view.mrmlViewNode()).GetCamera()
    camera.Azimuth(150)
    camera.Elevation(15)
    camera.Zoom(2.2)
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    picture("MARInpaint-2-instrument")


def main() -> None:
    """All steps in turn."""
    slicer.util.mainWindow().resize(1600, 1000)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.selectModule("MARInpaint")
    widget = slicer.modules.MARInpaintWidget
    volume = load_phantom()
    widget.shell.ui.inputSelector.setCurrentNode(volume)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    for step in (segment, instrument):
        step(widget)


if __name__ == "__main__":
    code = 0
    try:
        main()
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    slicer.util.exit(code)
