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


def pick(box: Any, start: str) -> None:
    """The item of a combo box whose text begins so."""
    box.currentIndex = next(number for number in range(box.count) if box.itemText(number).startswith(start))


def press(widget: Any, button: Any) -> None:
    """A button whose job ends well."""
    if not button.enabled:
        raise RuntimeError(button.toolTip)
    button.click()
    wait(lambda: widget.shell.session.idle)
    if widget.shell.ui.progressBar.value != 1000:
        raise RuntimeError(widget.shell.ui.log.plainText)


def simulate(widget: Any) -> None:
    """Step 3: the screws of L3, in the slices that hold them."""
    widget.shell.ui.steps.currentIndex = 2
    parameters = widget.logic.getParameterNode()
    parameters.spineSegmentation.GetDisplayNode().SetVisibility(False)
    ui = widget.shell.panels["simulatePage"].ui
    ui.scanAdvanced.collapsed = False
    line = next(one for one in slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") if one.GetName() == "L3 left")
    height = line.GetNthControlPointPosition(0)[2]
    origin, spacing = parameters.inputVolume.GetOrigin()[2], parameters.inputVolume.GetSpacing()[2]
    middle = round((height - origin) / spacing)
    ui.partBox.click()
    ui.firstSlice.value, ui.lastSlice.value = middle - 3, middle + 3
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode"):
        node.GetDisplayNode().SetVisibility(False)
    press(widget, ui.simulateButton)
    for name in ("Red", "Green", "Yellow"):
        view = slicer.app.layoutManager().sliceWidget(name)
        view.mrmlSliceNode().SetOrientationToDefault()
        view.sliceLogic().FitSliceToBackground()
    slicer.util.setSliceViewerLayers(fit=True)
    red = slicer.app.layoutManager().sliceWidget("Red")
    red.mrmlSliceNode().SetOrientationToAxial()
    red.mrmlSliceNode().SetSliceOffset(height)
    picture("MARInpaint-3-simulate")


def correct(widget: Any) -> None:
    """Step 4: LI and NMAR on the simulated scan; the synthesized voxels are outlined."""
    widget.shell.ui.steps.currentIndex = 3
    ui = widget.shell.panels["correctPage"].ui
    for name in ("Linear", "Normalized"):
        pick(ui.methodBox, name)
        press(widget, ui.correctButton)
    picture("MARInpaint-4-correct")


def compare(widget: Any) -> None:
    """Step 5: side by side, numbers, the difference, a profile."""
    widget.shell.ui.steps.currentIndex = 4
    panel = widget.shell.panels["comparePage"]
    ui, idle = panel.ui, lambda: widget.shell.session.idle
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        node.GetDisplayNode().SetVisibility(False)
    pick(ui.windowBox, "Bone")
    ui.showButton.click()
    wait(idle)
    press(widget, ui.measureButton)
    zoom(panel)
    picture("MARInpaint-5-compare")
    pick(ui.windowBox, "Soft")
    ui.overlayBox.currentIndex = 1
    wait(idle)
    zoom(panel)
    picture("MARInpaint-5-difference")
    ui.overlayBox.currentIndex = 0
    pick(ui.windowBox, "Bone")
    wait(idle)
    x, y, z = metal_center(widget)
    ui.lineButton.click()
    line = slicer.mrmlScene.GetFirstNodeByName("Profile")
    line.AddControlPoint(45 - x, -y, z)
    line.AddControlPoint(-45 - x, -y, z)
    wait(idle)
    zoom(panel)
    scroll(widget, ui.profileSection)
    picture("MARInpaint-5-profile")


def metal_center(widget: Any) -> tuple[float, float, float]:
    """Center of the metal, LPS mm."""
    parameters = widget.logic.getParameterNode()
    right, anterior, superior = parameters.metalSegmentation.GetSegmentCenterRAS(parameters.metalSegment)
    return -right, -anterior, superior


def zoom(panel: Any) -> None:
    """Look at the spine in all views."""
    right, anterior, superior = panel.shell._parameters.metalSegmentation.GetSegmentCenterRAS(
        panel.shell._parameters.metalSegment
    )
    for node in panel.session.nodes.comparison.layout.sliceNodes():
        node.JumpSliceByCentering(right, anterior, superior)
        x, y, z = node.GetFieldOfView()
        node.SetFieldOfView(240.0, 240.0 * y / x, z)


def scroll(widget: Any, child: Any) -> None:
    """Scroll the module panel to one of its widgets."""
    area = child.parent()
    while area is not None and not area.inherits("QScrollArea"):
        area = area.parent()
    if area is not None:
        slicer.app.processEvents()
        area.ensureWidgetVisible(child)


def main() -> None:
    """All steps in turn."""
    slicer.util.mainWindow().resize(1600, 1000)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.selectModule("MARInpaint")
    widget = slicer.modules.MARInpaintWidget
    volume = load_phantom()
    widget.shell.ui.inputSelector.setCurrentNode(volume)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    for step in (segment, instrument, simulate, correct, compare):
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
