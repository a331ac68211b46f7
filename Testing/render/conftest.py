"""Pictures of the scene by Slicer's own displayable managers; written to $CTRESTORATION_PICTURES where it is set."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="real MRML needs slicer-core: pip install slicer-core", exc_type=ImportError)

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "mrml"), str(Path(__file__).parent)]
import core_scene  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _slicer() -> None:
    core_scene.install()


@pytest.fixture
def scene(_slicer: None) -> Any:
    """The application's scene, empty."""
    return core_scene.fresh_scene()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where the pictures of a test go."""
    folder = Path(os.environ.get("CTRESTORATION_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _no_swallowed_errors(monkeypatch: pytest.MonkeyPatch) -> Any:
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: errors.append(value))
    yield
    assert not errors, f"raised in observers: {errors!r}"
