"""`slicer.app`: the part of qSlicerApplication that scripted modules use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .cxx import carried, emit, signal


@carried
class qSlicerModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = signal("moduleAboutToBeUnloaded(QString)")
    moduleLoaded = signal("moduleLoaded(QString)")

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(module.name for module in vars(slicer.modules).values() if hasattr(module, "logic"))

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


@carried
class qSlicerApplication(QtCore.QObject):
    """Not the QApplication itself, which the process may already have: what is asked of `slicer.app`."""

    startupCompleted = signal("startupCompleted()")
    renderPaused = signal("renderPaused(bool)")
    temporaryPath = QtCore.Property(
        str, lambda self: self.__dict__["_folder"], lambda self, value: self.__dict__.update(_folder=value)
    )
    slicerHome = QtCore.Property(str, lambda self: "")
    applicationName = QtCore.Property(str, lambda self: "Slicer")
    applicationVersion = QtCore.Property(str, lambda self: "5.13.0-standin")
    majorVersion = QtCore.Property(int, lambda self: 5)
    minorVersion = QtCore.Property(int, lambda self: 13)
    revision = QtCore.Property(str, lambda self: "standin")
    os = QtCore.Property(str, lambda self: "linux")

    def __init__(self, folder: Path, logic: Any) -> None:
        super().__init__()
        self.__dict__.update(_folder=str(folder), _logic=logic, _manager=qSlicerModuleManager(), _layout=None)
        self.__dict__["_testing"] = True

    def testingEnabled(self) -> bool:
        return self._testing

    def applicationLogic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def layoutManager(self) -> Any:
        return self._layout

    def setLayoutManager(self, manager: Any) -> None:
        """A test may pass an object of its own; None, as without a main window, is the default."""
        self._layout = manager

    def moduleManager(self) -> Any:
        return self._manager

    def moduleLogic(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower()).logic()

    def processEvents(self, *_: Any) -> None:
        QtWidgets.QApplication.processEvents()

    def settings(self) -> Any:
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings

    def clipboard(self) -> Any:
        return QtWidgets.QApplication.clipboard()

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def translate(self, _context: str, text: str) -> str:
        return text

    def pauseRender(self) -> None:
        emit(self, "renderPaused(bool)", True)

    def resumeRender(self) -> None:
        emit(self, "renderPaused(bool)", False)

    def setOverrideCursor(self, shape: Any) -> None:
        QtWidgets.QApplication.setOverrideCursor(QtGui.QCursor(shape))

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def extensionsManagerModel(self) -> None:
        return None

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def quit(self) -> None:
        raise RuntimeError("the module quits the application")

    def restart(self) -> None:
        raise RuntimeError("the module restarts the application")
