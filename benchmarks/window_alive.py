"""How long MARInpaint holds Slicer's window: the longest CPU time between two turns of the event loop, by job.

    python benchmarks/window_alive.py [--slices 60] [--json]

Runs the module in the stand-in for Slicer on a 512 x 512 volume with two metal rods. CPU time of the process, so that
other work on the machine does not count; rendering is not part of it, since the stand-in has no views.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "Testing" / "standin"), str(ROOT / "Testing" / "gui")]


def add_volume(slices: int) -> Any:
    """A body of water with two rods, 512 x 512."""
    import numpy as np
    import slicer

    from ctrestoration.volume import Grid, Volume
    from CTRestorationLib.nodes.mar import MarNodes

    array = np.full((slices, 512, 512), -1000, np.float32)
    array[:, 130:380, 110:400] = 40
    array[slices // 3 : 2 * slices // 3, 240:250, 220:230] = 9000
    array[slices // 3 : 2 * slices // 3, 240:250, 280:290] = 9000
    grid = Grid.from_parts(array.shape, (0.8, 0.8, 2.0))
    return MarNodes(slicer.mrmlScene).newVolume(Volume(array, grid), "large", (400.0, 40.0))


def add_vertebrae(volume: Any) -> Any:
    """Five boxes by the names of lumbar vertebrae."""
    import numpy as np

    from ctrestoration.volume import LabelMap
    from CTRestorationLib.nodes import segmentations, volumes

    grid = volumes.gridOfNode(volume)
    array = np.zeros(grid.shape, np.uint16)
    high = grid.shape[0] // 5
    for number in range(5):
        array[number * high + 1 : (number + 1) * high - 1, 220:330, 190:320] = 27 + number
    names = {27 + number: f"vertebrae_L{5 - number}" for number in range(5)}
    return segmentations.segmentationFromLabelMap(LabelMap(array, grid, names), "labels", volume)


def longest(widget: Any, begin: Callable[[], None]) -> dict[str, float]:
    """Milliseconds of the longest turn of the event loop during a job, and how many turns there were."""
    import slicer

    worst, turns = 0.0, 0
    start = time.process_time()
    begin()
    worst = time.process_time() - start
    while not widget.shell.session.idle:
        start = time.process_time()
        slicer.app.processEvents()
        worst, turns = max(worst, time.process_time() - start), turns + 1
        time.sleep(0.001)
    return {"longest_ms": round(1000 * worst, 1), "turns": turns}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    import slicerstandin

    slicerstandin.install()
    module = slicerstandin.load_module(ROOT / "MARInpaint" / "MARInpaint.py")
    panel = module.widgetRepresentation()
    panel.enter()
    widget = panel.self()
    volume = add_volume(arguments.slices)
    pages = widget.shell.panels
    rows = {}
    rows["choose the volume"] = longest(widget, lambda: widget.shell.ui.inputSelector.setCurrentNode(volume))
    rows["segment metal"] = longest(widget, pages["segmentPage"].ui.metalButton.click)
    widget.logic.getParameterNode().spineSource = add_vertebrae(volume)
    rows["segment spine"] = longest(widget, pages["segmentPage"].ui.spineButton.click)
    slicerstandin.unload_module(module)
    if arguments.json:
        print(json.dumps({"slices": arguments.slices, "jobs": rows}))
        return
    for name, row in rows.items():
        print(f"{name:20} {row['longest_ms']:8.1f} ms in {row['turns']} turns")


if __name__ == "__main__":
    main()
