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
        self.assertFalse(steps.usesScrollButtons)  # all five steps are in sight at any width
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

    def addSpine(self):
        """A phantom with its own labels: L2 and L3 are whole."""
        from ctrestoration.anatomy.phantom import spine_phantom
        from CTRestorationLib.nodes import segmentations
        from CTRestorationLib.nodes.mar import MarNodes

        phantom = spine_phantom(size=(56, 96, 96), spacing=(2.4, 2.4, 2.5), seed=7)
        volume = MarNodes(slicer.mrmlScene).newVolume(phantom.volume, "CT", (1200.0, 300.0))
        self.widget.shell.ui.inputSelector.setCurrentNode(volume)
        state = self.parameters()
        state.spineSegmentation = segmentations.segmentationFromLabelMap(phantom.labels, "labels", volume)
        state.levels = "L2,L3"
        self.widget.shell.ui.steps.currentIndex = 1
        self.addCleanup(setattr, self.widget.shell.ui.steps, "currentIndex", 0)

    def test_instrument_by_its_buttons(self):
        self.addSpine()
        ui, presenter = self.instrument, self.widget.shell.panels["instrumentPage"].presenter
        ui.planButton.click()
        self.waitForJobs()
        planned = presenter.screws()
        self.assertEqual(
            [(s.level, s.side) for s in planned], [(n, s) for n in ("L2", "L3") for s in ("left", "right")]
        )
        self.assertEqual(ui.screwTable.rowCount, 4)

        kind, line = slicer.vtkMRMLMarkupsNode, presenter.lines()[0]
        line.InvokeEvent(kind.PointStartInteractionEvent)
        x, y, z = planned[0].target
        line.SetNthControlPointPositionWorld(1, -(x - 16), -y, z)
        self.assertEqual(ui.screwTable.item(0, 5).text(), "...")
        line.InvokeEvent(kind.PointEndInteractionEvent)
        self.waitForJobs()
        self.assertIn(ui.screwTable.item(0, 5).text(), list("BCDE"))

        combo = ui.screwTable.cellWidget(1, 2)
        combo.currentIndex = combo.count - 1
        self.waitForJobs()
        self.assertEqual(f"{presenter.screws()[1].diameter_mm:g} mm", combo.currentText)
        ui.undoButton.click()
        self.waitForJobs()
        self.assertEqual(presenter.screws()[1].diameter_mm, planned[1].diameter_mm)

        ui.scatterButton.click()
        self.waitForJobs()
        self.assertNotEqual(presenter.screws()[2].target, planned[2].target)
        ui.undoButton.click()
        self.waitForJobs()

        ui.screwTable.setCurrentCell(3, 0)
        self.assertTrue(ui.removeScrewButton.enabled)
        ui.removeScrewButton.click()
        self.waitForJobs()
        self.assertEqual(ui.screwTable.rowCount, 3)
        ui.addScrewButton.click()
        placed = presenter._placing.line
        for point in (planned[3].entry, planned[3].target):
            placed.AddControlPointWorld(-point[0], -point[1], point[2])
        self.wait(lambda: ui.screwTable.rowCount == 4)
        self.waitForJobs()
        self.assertFalse(ui.addScrewButton.checked)
        added = presenter.screws()[-1]
        self.assertEqual((added.level, added.side), ("L3", "right"))

        with tempfile.TemporaryDirectory() as folder:
            presenter.save(f"{folder}/plan.json")
            presenter.load(f"{folder}/plan.json")
            self.waitForJobs()
        self.assertEqual(len(presenter.screws()), 4)
        ui.addDeviceButton.click()
        self.assertEqual(ui.deviceList.count, 1)
        ui.deviceList.currentRow = 0
        ui.removeDeviceButton.click()
        self.assertEqual(ui.deviceList.count, 0)
        slicer.mrmlScene.Clear(False)
        self.assertEqual(ui.screwTable.rowCount, 0)

    def test_reload(self):
        if "slicerstandin" in sys.modules:
            self.skipTest("reloading is the application's")
        volume = self.addVolume()
        self.widget.onReload()
        widget = slicer.modules.marinpaint.widgetRepresentation().self()
        self.assertIsNot(widget, self.widget)
        # Nobody enters a panel that is reloaded while it is shown.
        self.assertIs(widget.shell.ui.inputSelector.currentNode(), volume)
        self.assertEqual(widget.shell.session.missing(), "")


if __name__ == "__main__":
    unittest.main()
