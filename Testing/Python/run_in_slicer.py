"""Runs every test that runs inside Slicer, and ends the application with 0 where all passed, else 1.

    Slicer --no-splash --testing --no-main-window --python-script Testing/Python/run_in_slicer.py

Modules that are not loaded yet (no additional module paths, extension not installed) are loaded from this checkout.
With a main window, leave --no-main-window out: tests that need views then run, too. Words after the script choose
tests whose name contains one of them.
"""

from __future__ import annotations

import importlib
import sys
import sys as kept
import traceback
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import slicer

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"MARInpaint": "MARInpaint", "TaskAdaptiveRecon": "TaskAdaptiveRecon", "Training": "CTRestorationTraining"}


def load_missing_modules() -> list[str]:
    """Names of our modules; those that Slicer does not know yet are loaded from the checkout."""
    import qt

    factory = slicer.app.moduleManager().factoryManager()
    names = []
    for folder, name in MODULES.items():
        path = ROOT / folder / f"{name}.py"
        if not path.is_file():
            continue
        if not hasattr(slicer.modules, name.lower()):
            factory.registerModule(qt.QFileInfo(str(path)))
            factory.loadModules([name])
            # Registering runs "import sys; ...; del sys" in __main__: our sys, which Slicer itself needs after us, too.
            kept.modules["__main__"].sys = kept
        if not hasattr(slicer.modules, name.lower()):
            raise RuntimeError(f"Slicer does not load {path}: see its log.")
        names.append(name)
    return names


def tests(words: list[str]) -> unittest.TestSuite:
    """The self-tests of the modules and the files beside this one."""
    loader = unittest.TestLoader()
    found = unittest.TestSuite()
    for name in load_missing_modules():
        found.addTests(loader.loadTestsFromTestCase(getattr(importlib.import_module(name), f"{name}Test")))
    found.addTests(loader.discover(str(Path(__file__).parent), pattern="test_*.py"))
    chosen = (test for test in _flat(found) if not words or any(word in test.id() for word in words))
    return unittest.TestSuite(chosen)


def main(words: list[str]) -> int:
    """Run them; also what was raised in slots and observers, which nothing else reports, is a failure."""
    raised: list[str] = []
    previous = sys.excepthook
    sys.excepthook = lambda kind, value, trace: raised.append("".join(traceback.format_exception(kind, value, trace)))
    try:
        suite = tests(words)
        count = suite.countTestCases()
        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
        slicer.app.processEvents()
    finally:
        sys.excepthook = previous
    for text in raised:
        print(f"raised in a slot or observer:\n{text}")
    skipped = len(result.skipped)
    print(f"{count} tests in Slicer {slicer.app.applicationVersion}: {skipped} skipped, {len(raised)} slot errors")
    return 0 if count and result.wasSuccessful() and not raised else 1


def _flat(suite: Any) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)
