"""Real MRML without the application: slicer-core, a fresh scene for each test, volumes of awkward geometry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="real MRML needs slicer-core: pip install slicer-core", exc_type=ImportError)

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
import core_scene  # noqa: E402
from geometries import GEOMETRIES, add_volume  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _slicer() -> None:
    core_scene.install()


@pytest.fixture(autouse=True)
def scene(_slicer: None) -> Any:
    """The application's scene, empty."""
    return core_scene.fresh_scene()


@pytest.fixture(autouse=True)
def _no_swallowed_errors(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An exception in a VTK observer never reaches the caller: it goes to sys.excepthook, and fails the test here."""
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: errors.append(value))
    yield errors
    assert not errors, f"raised in observers: {errors!r}"


@pytest.fixture(params=sorted(GEOMETRIES))
def awkward(request: pytest.FixtureRequest, scene: Any) -> Any:
    """A volume node of each geometry in turn."""
    return add_volume(scene, request.param)


@pytest.fixture
def ct(scene: Any) -> Any:
    """A plain axial CT node, 40 x 36 x 30 voxels."""
    node = add_volume(scene, "axial", shape=(30, 36, 40))
    node.SetName("CT")
    return node


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
