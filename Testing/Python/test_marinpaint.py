"""Inside Slicer: MARInpaint's pages by their buttons, a scene that is saved, closed and opened again, and Cancel."""

import importlib.util
import sys
import tempfile
import time
import unittest
from pathlib import Path

import slicer

ROOT = Path(__file__).resolve().parents[2]


class test_marinpaint(unittest.TestCase):  # Slicer looks for the class by the file's name
    def setUp(self):
        if importlib.util.find_spec("CTRestorationLib") is None:
            sys.path.append(str(ROOT))
        self.errors = []
        self.addCleanup(setattr, sys, "excepthook", sys.excepthook)
        sys.excepthook = lambda kind, value, trace: self.errors.append(value)
        slicer.mrmlScene.Clear(False)
        panel = slicer.modules.marinpaint.widgetRepresentation()
        self.widget = panel.self()
        panel.enter()
        self.addCleanup(panel.exit)
        self.segment = self.widget.shell.panels["segmentPage"].ui
        self.instrument = self.widget.shell.panels["instrumentPage"].ui

    def tearDown(self):
        self.assertEqual(self.errors, [])

    def wait(self, condition, seconds=120):
        """Let the application live until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.widget.shell.ui.log.plainText)
            slicer.app.processEvents()
            time.sleep(0.002)

    def waitForJobs(self):
        self.wait(lambda: self.widget.shell.session.idle)

    def addVolume(self):
        """A small body with two vertebra-like boxes and a rod of metal."""
        import numpy as np

        from ctrestoration.volume import Grid, Volume
        from CTRestorationLib.nodes.mar import MarNodes

        array = np.full((24, 64, 64), -1000, np.float32)
        array[:, 8:56, 8:56] = 40
        array[8:16, 30:34, 40:44] = 6000
        grid = Grid.from_parts(array.shape, (3.0, 3.0, 3.0))
        volume = MarNodes(slicer.mrmlScene).newVolume(Volume(array, grid), "CT", (1200.0, 300.0))
        self.widget.shell.ui.inputSelector.setCurrentNode(volume)
        slicer.app.processEvents()
        return volume

    def parameters(self):
        return self.widget.logic.getParameterNode()

    def test_an_empty_scene_says_what_is_missing(self):
        for button in (self.segment.metalButton, self.segment.spineButton, self.instrument.planButton):
            self.assertFalse(button.enabled)
        self.assertIn("Choose a CT volume", self.segment.metalButton.toolTip)

    def test_metal_by_the_button(self):
        from CTRestorationLib.nodes import segmentations

        volume = self.addVolume()
        self.segment.metalButton.click()
        self.assertIn("Cancel", self.segment.metalButton.text)
        self.waitForJobs()
        state = self.parameters()
        mask = segmentations.maskFromSegment(state.metalSegmentation, state.metalSegment, volume)
        self.assertEqual(int(mask.sum()), 8 * 4 * 4)
        self.assertIn("1 piece", self.segment.metalText.text)

    def test_preview_and_pages(self):
        self.addVolume()
        self.waitForJobs()
        self.segment.metalAutomatic.checked = False
        self.segment.previewBox.checked = True
        self.segment.metalThreshold.value = 3000.0
        self.assertEqual(self.segment.metalVolume.text, f"{8 * 4 * 4 * 0.027:.2f} ml above the threshold")
        self.assertIsNotNone(slicer.mrmlScene.GetFirstNodeByName("Metal preview"))
        steps = self.widget.shell.ui.steps
        for index in range(steps.count):
            steps.currentIndex = index
            slicer.app.processEvents()
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName("Metal preview"))
        steps.currentIndex = 0

    def test_cancel(self):
        self.addVolume()
        self.segment.metalButton.click()
        self.segment.metalButton.click()
        self.waitForJobs()
        self.assertIsNone(self.parameters().metalSegmentation)

    def test_a_scene_closed_in_mid_job(self):
        self.addVolume()
        self.segment.metalButton.click()
        session = self.widget.shell.session
        self.wait(lambda: session._run is not None and session._run.runner is not None)
        runner = session._run.runner
        slicer.mrmlScene.Clear(False)
        self.wait(lambda: not runner.running)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), [])
        self.assertEqual(session.running, "")

    def test_a_saved_scene_brings_choices_and_screws_back(self):
        from ctrestoration.implants.plan import Plan, Screw
        from ctrestoration.implants.rods import rods_for

        volume = self.addVolume()
        state = self.parameters()
        state.metalAutomatic, state.metalThreshold, state.scatterSeed = False, 3300.0, 42
        screws = tuple(
            Screw(level, "left", (90.0, 130.0, z), (80.0, 95.0, z), 6.5, grade="A", breach_mm=0.0)
            for level, z in (("L2", 50.0), ("L3", 20.0))
        )
        presenter = self.widget.shell.panels["instrumentPage"].presenter
        presenter._write(Plan(screws, rods_for(screws, [])), remember=False, regrade=False)
        self.waitForJobs()
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.mrmlScene.WriteToMRB(path))
            slicer.mrmlScene.Clear(False)
            self.assertEqual(self.parameters().scatterSeed, 1)
            slicer.mrmlScene.ReadFromMRB(path)
        slicer.app.processEvents()
        state = self.parameters()
        self.assertEqual((state.metalAutomatic, state.metalThreshold, state.scatterSeed), (False, 3300.0, 42))
        self.assertEqual(state.inputVolume.GetName(), volume.GetName() if volume.GetScene() else "CT")
        self.widget.shell.ui.steps.currentIndex = 1
        table = self.instrument.screwTable
        self.assertEqual([table.item(row, 0).text() for row in range(table.rowCount)], ["L2", "L3"])
        self.assertEqual(len(presenter.plan().rods), 1)
        self.widget.shell.ui.steps.currentIndex = 0


if __name__ == "__main__":
    unittest.main()
