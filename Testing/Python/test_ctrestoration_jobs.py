"""Inside Slicer: a job in a child process gives its result, is cancelled, and explains bad input; the GUI lives on.

Run by ctest, or by run_in_slicer.py with all the others.
"""

import importlib.util
import sys
import tempfile
import time
import unittest
from pathlib import Path

import slicer

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--size", "4", "48", "48", "--spacing", "6", "6", "6", "--json"]
LONG = ["--size", "120", "400", "400", "--spacing", "1", "1", "1"]


class test_ctrestoration_jobs(unittest.TestCase):  # Slicer looks for the class by the file's name
    def setUp(self):
        if importlib.util.find_spec("CTRestorationLib") is None:
            sys.path.append(str(ROOT))
        from CTRestorationLib.jobs.runner import JobRunner
        from CTRestorationLib.widgets.process import QtProcess, QtTimer

        self.errors = []
        self.addCleanup(setattr, sys, "excepthook", sys.excepthook)
        sys.excepthook = lambda kind, value, trace: self.errors.append(value)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.runner = JobRunner(QtProcess(), QtTimer())
        self.heard = []
        for name in ("started", "progress", "finished", "failed", "cancelled"):
            getattr(self.runner, name).connect(lambda *told, name=name: self.heard.append((name, *told)))

    def tearDown(self):
        self.assertEqual(self.errors, [])

    def wait(self, condition, seconds=60):
        """Let the application live until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"nothing happened; log: {self.runner.log}")
            slicer.app.processEvents()
            time.sleep(0.002)

    def test_result(self):
        self.runner.start(["phantom", "spine", str(self.folder / "ä p.nrrd"), *SMALL], self.folder / "job")
        self.wait(lambda: not self.runner.running)
        self.assertEqual(self.heard[-1][0], "finished", self.runner.log)
        self.assertEqual(self.heard[-1][1]["files"], [str(self.folder / "ä p.nrrd")])

    def test_cancel(self):
        self.runner.start(["phantom", "spine", str(self.folder / "p.nrrd"), *LONG], self.folder / "job")
        self.wait(lambda: any(told[0] == "progress" for told in self.heard))
        self.runner.cancel()
        self.wait(lambda: not self.runner.running)
        self.assertEqual(self.heard[-1], ("cancelled",))
        self.assertFalse((self.folder / "p.nrrd").exists())

    def test_bad_input(self):
        self.runner.start(["segment", "metal", "nowhere.nrrd", str(self.folder / "o.nrrd")], self.folder / "job")
        self.wait(lambda: not self.runner.running)
        self.assertEqual(self.heard[-1][0], "failed")
        self.assertIn("nowhere.nrrd does not exist", self.heard[-1][1])

    def test_page_on_what_is_installed(self):
        from CTRestorationLib.widgets.dependencies import DependencyPage

        page = DependencyPage()
        page.buttons["probe"].click()
        self.wait(lambda: not page.presenter.probing)
        self.assertIn("PyTorch", page.verdictLabel.text)
        self.assertNotIn("could not be tried", page.verdictLabel.text)
        page.copyButton.click()
        self.assertIn('"packages"', slicer.app.clipboard().text())
        page.cleanup()
