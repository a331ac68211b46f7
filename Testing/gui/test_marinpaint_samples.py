"""Sample data: registered at startup, the phantom made by a child."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import slicer
from marinpaint_bench import wait

from CTRestorationLib.widgets.mar import samples


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    import sys

    found: list[dict[str, Any]] = []
    module: Any = ModuleType("SampleData")
    module.SampleDataLogic = type(
        "SampleDataLogic", (), {"registerCustomSampleDataSource": staticmethod(lambda **facts: found.append(facts))}
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    samples.registerSamples(lambda name: f"MARInpaint/Resources/{name}")
    return found


def test_two_samples_one_of_them_without_any_download(registered: list[dict[str, Any]]) -> None:
    phantom, public = registered
    assert phantom["uris"] == ""
    assert phantom["customDownloader"] is not None
    assert public["checksums"].removeprefix("SHA256:") in public["uris"]
    assert public["uris"].startswith("https://github.com/Slicer/SlicerTestingData/")


def test_the_phantom_arrives_as_volume_and_labels(registered: list[dict[str, Any]], monkeypatch: Any) -> None:
    monkeypatch.setattr(samples, "_SIZE", ("24", "64", "64"))
    monkeypatch.setattr(samples, "_SPACING", ("4", "4", "4"))
    done: list[Any] = []
    samples.makePhantom(done.append)
    wait(lambda: done)
    assert done[0].GetName() == "Spine phantom"
    labels = slicer.mrmlScene.GetFirstNodeByName("Spine phantom labels")
    names = labels.GetSegmentation().GetSegmentIDs()
    assert any("vertebrae" in labels.GetSegmentation().GetSegment(name).GetName() for name in names)


def test_a_scene_closed_meanwhile_gets_nothing(registered: list[dict[str, Any]], monkeypatch: Any) -> None:
    monkeypatch.setattr(samples, "_SIZE", ("24", "64", "64"))
    registered[0]["customDownloader"](None)
    session = samples._maker.session
    wait(lambda: session._run is not None and session._run.runner is not None)
    runner = session._run.runner
    slicer.mrmlScene.Clear()
    wait(lambda: not runner.running)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
