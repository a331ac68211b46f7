"""MARInpaint: segment, instrument, simulate, correct, compare. The pages are in `CTRestorationLib.widgets.mar`."""

import importlib.util
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

PACKAGES = ("ctrestoration", "CTRestorationLib")


def findPackages() -> None:
    """Make our packages importable where only the module's own folder is on the path (additional module paths)."""
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            sys.path.append(str(Path(__file__).resolve().parents[1]))
            return


class MARInpaint(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        findPackages()
        self.parent.title = _("MARInpaint")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Tomographic Reconstruction")]
        self.parent.dependencies = []
        self.parent.contributors = ["CTRestoration contributors"]
        self.parent.helpText = _(
            "Metal artifact reduction in CT, from the implant to the number: segment metal and spine, place pedicle "
            "screws and rods, simulate the scan, correct the artifacts, and compare the results. Start with a CT in HU "
            "or with the spine phantom in Sample Data. For research use only; not a medical device."
        )
        self.parent.acknowledgementText = _(
            "CTRestoration stands on 3D Slicer, VTK, ITK, NumPy and SciPy. Every method names its source in its "
            "documentation."
        )
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)

    def onStartupCompleted(self):
        """Offer sample data, and make the comparison layout known, so that scenes saved in it open."""
        from CTRestorationLib.nodes.comparison import registerLayouts
        from CTRestorationLib.widgets.mar.samples import registerSamples

        registerSamples(self.resourcePath)
        registerLayouts()


class MARInpaintWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects the panel to the life of the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.shell = None

    def setup(self):
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        from CTRestorationLib.widgets.mar.shell import Shell

        self.logic = MARInpaintLogic()
        self.shell = Shell(self.resourcePath, self.logic.getParameterNode)
        self.layout.addWidget(self.shell.widget)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReady)
        # While a scene loads, node selectors would overwrite the selections that it brings.
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneReady)
        # After a reload the new panel is shown, but nobody enters it.
        if self.parent.isEntered:
            self.shell.initialize()

    def cleanup(self):
        """The application closes, or the module is reloaded."""
        self.removeObservers()
        if self.shell is not None:
            self.shell.cleanup()

    def enter(self):
        """The module is shown."""
        self.shell.initialize()

    def exit(self):
        """Another module is shown; a running job goes on."""
        self.shell.setParameterNode(None)

    def onSceneStartClose(self, _caller, _event):
        """End the job and forget all nodes."""
        self.shell.sceneClosing()

    def onSceneStartImport(self, _caller, _event):
        """Unbind the panel until the scene has been read."""
        self.shell.setParameterNode(None)

    def onSceneReady(self, _caller, _event):
        """Bind the panel to the new scene, if it is shown."""
        if self.parent.isEntered:
            self.shell.initialize()

    def onReload(self):
        """Reload our packages, too."""
        for name in list(sys.modules):
            if name.split(".")[0] in PACKAGES:
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class MARInpaintLogic(ScriptedLoadableModuleLogic):
    """The parameter node of the scene."""

    def getParameterNode(self):
        """A new wrapper: a cached one would show nodes of a scene that was not yet loaded."""
        from CTRestorationLib.nodes.parameters import parametersOf

        return parametersOf(ScriptedLoadableModuleLogic.getParameterNode(self))


class MARInpaintTest(ScriptedLoadableModuleTest):
    """Self-test on the phantom: no network, no torch."""

    def test_MARInpaint(self):
        """The panel opens, and survives an empty and a closed scene."""
        slicer.mrmlScene.Clear()
        widget = slicer.modules.marinpaint.widgetRepresentation().self()
        widget.enter()
        self.assertIn("Choose a CT volume", widget.shell.session.missing())
        slicer.mrmlScene.Clear()
        self.assertEqual(widget.shell.session.running, "")
