"""The tests that run inside Slicer, run in the stand-in: what fails here fails there."""

from __future__ import annotations

import importlib.util
import sys
import unittest
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "Python"


def classOf(name: str) -> Any:
    """The test class of a file, named after it."""
    spec = importlib.util.spec_from_file_location(f"inside_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


CASES = [
    (kind, case)
    for kind in map(classOf, ("test_marinpaint", "test_marinpaint_results"))
    for case in unittest.defaultTestLoader.getTestCaseNames(kind)
]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[name for _, name in CASES])
def test_inside(load_module: Any, kind: Any, name: str) -> None:
    load_module("MARInpaint", enter=False)
    result = unittest.TestResult()
    kind(name).run(result)
    assert result.wasSuccessful(), "\n".join(text for _, text in result.failures + result.errors)


def test_the_modules_own_test(load_module: Any) -> None:
    import slicer

    load_module("MARInpaint")
    assert unittest.defaultTestLoader.getTestCaseNames(sys.modules["MARInpaint"].MARInpaintTest)
    slicer.selfTests["MARInpaint"]()
