"""Shared fixtures of the tests that need no Slicer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party CT data; tests that use it skip where it is absent."""
    folder = Path(os.environ.get("CTRESTORATION_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no CT data in {folder}: set CTRESTORATION_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tiny run of the fault tests comes to when nothing happens to it."""
    from core import training_children as runs

    root = tmp_path_factory.mktemp("undisturbed") / "run"
    runs.new_run(root)
    assert runs.train(root) == 0
    return runs.result(root)
