"""`slicer.ScriptedLoadableModule`: base classes of scripted modules, and `load_module`."""

from __future__ import annotations

import importlib.util
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .cxx import carried, emit
from .mrmlwidgets import qMRMLWidget, qSlicerWidget


@carried
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel that a scripted widget fills: `parent.isEntered`, `self()`."""

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module.name)

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._module, self._entered = module, False
        self._python: Any = None
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def self(self) -> Any:
        return self._python

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._python, "exit"):
            self._python.exit()

    def reload(self) -> None:
        self._python = self._module._widget_class()(self)
        setattr(slicer.modules, f"{self._module.name}Widget", self._python)
        self._python.setup()
        if self._entered and hasattr(self._python, "enter"):
            self._python.enter()


class ScriptedModule:
    """qSlicerScriptedLoadableModule: what `self.parent` of a module class is, and `slicer.modules.name`."""

    title = helpText = acknowledgementText = ""
    hidden = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.associatedNodeTypes: list[str] = []
        self.icon = QtGui.QIcon()
        self._panel: Any = None

    def logic(self) -> Any:
        return None

    def widgetRepresentation(self) -> Any:
        if self._panel is None:
            self._panel = qSlicerScriptedLoadableModuleWidget(self)
            self._panel.reload()
        return self._panel

    def _widget_class(self) -> Any:
        return getattr(sys.modules[self.name], f"{self.name}Widget")


class ScriptedLoadableModule:
    """Base of `X`."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        folder = Path(parent.path).parent / "Resources" / "Icons"
        for ending in (".svg", ".png"):
            if (folder / f"{self.moduleName}{ending}").is_file():
                parent.icon = QtGui.QIcon(str(folder / f"{self.moduleName}{ending}"))
                break
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return f'<p><a href="{docPage or slicer.app.moduleDocumentationUrl(self.moduleName)}">documentation</a></p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        case = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Base of `XWidget`."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        if parent is None:
            self.parent = qMRMLWidget()
            self.parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)
        if parent is None:
            self.setup()
            self.parent.show()

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """The developer section is not simulated."""

    def cleanup(self) -> None:
        """For modules to override."""

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base of `XLogic`: the parameter node of the scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                node.SetAttribute("ModuleName", self.moduleName)  # lost when the scene was closed
                return node
        elif self.getAllParameterNodes():
            return self.getAllParameterNodes()[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of `XTest`; `runTest` runs every callable whose name contains "test", as in Slicer."""

    messageDelay = 50

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        own = set(dir(type(self))) - set(dir(unittest.TestCase)) - {"runTest", "moduleTestNames"}
        self.moduleTestNames = sorted(name for name in own if "test" in name and callable(getattr(self, name)))

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def delayDisplay(self, message: str, *_: Any, **__: Any) -> None:
        slicer.util.delayDisplay(message)

    def runTest(self, **_: Any) -> None:
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
            self.doCleanups()


def load_module(path: Path) -> Any:
    """Import a module file, instantiate its class, and register `slicer.modules.name`. Gives the ScriptedModule."""
    module = ScriptedModule(path)
    spec = importlib.util.spec_from_file_location(module.name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module file")
    code = importlib.util.module_from_spec(spec)
    sys.modules[module.name] = code
    spec.loader.exec_module(code)
    setattr(slicer.modules, module.name.lower(), module)
    instance = getattr(code, module.name)(module)
    setattr(slicer.modules, f"{module.name}Instance", instance)
    emit(slicer.app.moduleManager(), "moduleLoaded(QString)", module.name)
    return module


def unload_module(module: ScriptedModule) -> None:
    """As at the end of the application: `cleanup()`, then the panel dies."""
    emit(slicer.app.moduleManager(), "moduleAboutToBeUnloaded(QString)", module.name)
    if module._panel is not None:
        module._panel.deleteLater()
    for name in (module.name.lower(), f"{module.name}Widget", f"{module.name}Instance"):
        slicer.modules.__dict__.pop(name, None)
    sys.modules.pop(module.name, None)
    slicer.selfTests.pop(module.name, None)
    QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
