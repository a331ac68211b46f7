"""The tests that run inside Slicer, run in the stand-in: what fails here fails there."""

from __future__ import annotations

import importlib.util
import unittest
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[1] / "Python" / "test_marinpaint.py"
spec = importlib.util.spec_from_file_location("inside_test_marinpaint", FILE)
inside = importlib.util.module_from_spec(spec)
spec.loader.exec_module(inside)
CASES = unittest.defaultTestLoader.getTestCaseNames(inside.test_marinpaint)


@pytest.mark.parametrize("name", CASES)
def test_inside(load_module: Any, name: str) -> None:
    load_module("MARInpaint", enter=False)
    result = unittest.TestResult()
    inside.test_marinpaint(name).run(result)
    assert result.wasSuccessful(), "\n".join(text for _, text in result.failures + result.errors)


def test_the_modules_own_test(load_module: Any) -> None:
    import slicer

    load_module("MARInpaint")
    slicer.selfTests["MARInpaint"]()
