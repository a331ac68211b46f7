"""The extension, configured once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from extension_lists import Extension, cmake, configured, install


@pytest.fixture(scope="session")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Extension:
    """What the CMake lists ask for."""
    if cmake() is None:
        pytest.skip("no cmake in this environment: pip install 'ctrestoration[dev]'")
    return configured(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def installed(extension: Extension, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that an installed extension puts on Slicer's path."""
    return install(extension, tmp_path_factory.mktemp("installed"))
