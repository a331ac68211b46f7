"""Inside Slicer: simulate, correct and compare by their buttons, on a few slices; sinograms follow the scene's file."""

import importlib.util
import sys
import tempfile
import time
import unittest
from pathlib import Path

import slicer

ROOT = Path(__file__).resolve().parents[2]


class test_marinpaint_results(unittest.TestCase):  # Slicer looks for the class by the file's name
    def setUp(self):
        if importlib.util.find_spec("CTRestorationLib") is None:
            sys.path.append(str(ROOT))
        self.errors = []
        self.addCleanup(setattr, sys, "excepthook", sys.excepthook)
        sys.excepthook = lambda kind, value, trace: self.errors.append(value)
        slicer.mrmlScene.Clear(False)
        slicer.mrmlScene.SetURL("")
        panel = slicer.modules.marinpaint.widgetRepresentation()
        self.widget = panel.self()
        panel.enter()
        self.addCleanup(panel.exit)
        self.addVolume()

    def tearDown(self):
        self.widget.shell.ui.steps.currentIndex = 0
        slicer.mrmlScene.SetURL("")
        self.assertEqual(self.errors, [])

    def page(self, number):
        self.widget.shell.ui.steps.currentIndex = number
        return list(self.widget.shell.panels.values())[number]

    def wait(self, condition, seconds=120):
        """Let the application live until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.widget.shell.ui.log.plainText)
            slicer.app.processEvents()
            time.sleep(0.002)

    def waitForJobs(self):
        self.wait(lambda: self.widget.shell.session.idle)
        slicer.app.processEvents()

    def press(self, button):
        self.assertTrue(button.enabled, button.toolTip)
        button.click()
        self.waitForJobs()
        self.assertEqual(self.widget.shell.ui.progressBar.value, 1000, self.widget.shell.ui.log.plainText)

    def addVolume(self):
        """A body of eight slices, and a bolt of two of them as a segment."""
        import numpy as np

        from ctrestoration.volume import Grid, Volume
        from CTRestorationLib.nodes import segmentations
        from CTRestorationLib.nodes.mar import MarNodes

        array = np.full((8, 64, 64), -1000, np.float32)
        array[:, 8:56, 8:56] = 40
        array[:, 26:38, 30:44] = 500
        grid = Grid.from_parts(array.shape, (3.0, 3.0, 3.0))
        self.volume = MarNodes(slicer.mrmlScene).newVolume(Volume(array, grid), "CT", (1200.0, 300.0))
        bolt = np.zeros(array.shape, bool)
        bolt[3:5, 30:33, 20:40] = True
        self.widget.shell.ui.inputSelector.setCurrentNode(self.volume)
        state = self.parameters()
        state.metalSegmentation, state.metalSegment = segmentations.writeMask(bolt, "bolt", self.volume)
        state.simulatePreset = "adn-256"
        slicer.app.processEvents()

    def parameters(self):
        return self.widget.logic.getParameterNode()

    def simulate(self):
        ui = self.page(2).ui
        ui.metalSource.currentIndex = 1
        self.press(ui.simulateButton)
        return self.parameters().simulatedVolume

    def test_from_the_metal_to_the_numbers(self):
        simulated = self.simulate()
        logic = slicer.modules.volumes.logic()
        for node in (simulated, self.parameters().simulatedReference):
            self.assertEqual(logic.CompareVolumeGeometry(self.volume, node), "")
        self.press(self.page(3).ui.correctButton)
        result = slicer.mrmlScene.GetFirstNodeByName("CT metal simulated NMAR")
        self.assertEqual(logic.CompareVolumeGeometry(self.volume, result), "")
        panel = self.page(4)
        ui, layout = panel.ui, panel.session.nodes.comparison.layout
        self.press(ui.measureButton)
        self.assertEqual([ui.scoreTable.item(row, 0).text() for row in range(ui.scoreTable.rowCount)],
                         ["Simulated", "NMAR"])  # fmt: skip
        before, after = (float(ui.scoreTable.item(row, 3).text()) for row in (0, 1))
        self.assertLess(after, before)
        ui.overlayBox.currentIndex = 1
        ui.showButton.click()
        self.waitForJobs()
        self.assertEqual([view.GetLayoutLabel() for view in layout.sliceNodes()], ["Reference", "Simulated", "NMAR"])
        self.assertIn(
            "NMAR - CT without metal",
            layout.compositeNode(2).GetForegroundVolumeID()
            and slicer.mrmlScene.GetNodeByID(layout.compositeNode(2).GetForegroundVolumeID()).GetName(),
        )
        ui.flickerButton.click()
        self.wait(lambda: ui.noteLabel.text.startswith("Now:"))
        ui.flickerButton.click()
        self.waitForJobs()
        ui.lineButton.click()
        line = slicer.mrmlScene.GetFirstNodeByName("Profile")
        line.AddControlPoint(-90.0, -90.0, 10.0)
        line.AddControlPoint(-30.0, -90.0, 10.0)
        self.waitForJobs()
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")[0].GetNumberOfPlotSeriesNodes(), 3)
        slicer.mrmlScene.RemoveNode(result)
        self.waitForJobs()
        self.assertEqual(len(layout.sliceNodes()), 2)
        ui.showButton.click()
        self.assertFalse(panel.session.nodes.comparison.shown())

    def test_sinograms_follow_the_scene(self):
        from CTRestorationLib.nodes.acquisitions import ATTRIBUTE

        simulated = self.simulate()
        first = Path(simulated.GetAttribute(ATTRIBUTE))
        self.assertTrue(first.is_file())
        with tempfile.TemporaryDirectory() as folder:
            scene = Path(folder) / "case.mrml"
            if hasattr(slicer.util, "saveScene") and "slicerstandin" not in sys.modules:
                self.assertTrue(slicer.util.saveScene(str(scene)))
            else:
                slicer.mrmlScene.SetURL(str(scene))
                self.assertTrue(slicer.mrmlScene.Commit())
            self.page(3)
            self.page(2)
            self.waitForJobs()
            kept = Path(folder) / "case-ctrestoration" / first.name
            self.assertTrue(kept.is_file(), self.widget.shell.ui.log.plainText)
            self.assertFalse(first.exists())
            slicer.mrmlScene.Clear(False)
            self.assertTrue(kept.is_file())

    def test_a_scene_closed_while_images_are_side_by_side(self):
        self.simulate()
        panel = self.page(4)
        panel.ui.overlayBox.currentIndex = 1
        panel.ui.showButton.click()
        slicer.mrmlScene.Clear(False)
        self.waitForJobs()
        self.assertFalse(panel.ui.showButton.checked)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [])


if __name__ == "__main__":
    unittest.main()
