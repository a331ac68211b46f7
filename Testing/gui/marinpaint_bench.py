"""What the tests of MARInpaint share: a small phantom, a module widget, and waiting for jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import slicer

from ctrestoration.anatomy.phantom import spine_phantom

SIZE, SPACING, SEED = (56, 96, 96), (2.4, 2.4, 2.5), 7


@lru_cache(maxsize=1)
def phantom() -> Any:
    """L2 and L3 whole, in two seconds."""
    return spine_phantom(size=SIZE, spacing=SPACING, seed=SEED)


def addVolume(name: str = "CT", metal: bool = False) -> Any:
    """The phantom as a volume node, with two rods of 8000 HU on request."""
    from ctrestoration.volume import Volume
    from CTRestorationLib.nodes.mar import MarNodes

    volume = phantom().volume
    if metal:
        array = np.array(volume.array)
        array[20:36, 60:64, 40:43] = 8000
        array[20:36, 60:64, 53:56] = 8000
        volume = Volume(array, volume.grid)
    return MarNodes(slicer.mrmlScene).newVolume(volume, name, (1200.0, 300.0))


def addLabels(like: Any) -> Any:
    """The phantom's own labels as a segmentation."""
    from CTRestorationLib.nodes import segmentations

    return segmentations.segmentationFromLabelMap(phantom().labels, "labels", like)


@lru_cache(maxsize=1)
def plan() -> Any:
    """Screws and rods at L2 and L3, by the core."""
    from ctrestoration.anatomy.spine import segment_spine
    from ctrestoration.implants import plan_screws

    spine = segment_spine(phantom().volume, labels=phantom().labels)
    return plan_screws(spine, levels=["L2", "L3"])


def reopen(path: Any) -> None:
    """Save the scene, close it, and open it again while the module is shown."""
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear(False)
    slicer.app.processEvents()
    assert slicer.mrmlScene.ReadFromMRB(str(path))
    slicer.app.processEvents()


def wait(until: Callable[[], Any], seconds: float = 120.0) -> None:
    """Let the application work until something is so."""
    end = time.monotonic() + seconds
    while not until():
        slicer.app.processEvents()
        time.sleep(0.002)
        assert time.monotonic() < end, "waited too long"


def waitForJobs(widget: Any) -> None:
    """Until nothing runs or waits."""
    session = widget.shell.session
    wait(lambda: session.idle)
    slicer.app.processEvents()
