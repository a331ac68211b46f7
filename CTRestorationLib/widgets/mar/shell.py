"""The frame of MARInpaint: input, five pages, progress, cancel, log, and what is installed."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CTRestorationLib.jobs.runner import JobRunner
from CTRestorationLib.nodes.mar import MarNodes
from CTRestorationLib.nodes.observers import Observers
from CTRestorationLib.presenters.mar.session import Session
from CTRestorationLib.widgets.mar.compare import ComparePanel
from CTRestorationLib.widgets.mar.correct import CorrectPanel
from CTRestorationLib.widgets.mar.instrument import InstrumentPanel
from CTRestorationLib.widgets.mar.segment import SegmentPanel
from CTRestorationLib.widgets.mar.simulate import SimulatePanel
from CTRestorationLib.widgets.process import QtProcess, QtTimer

PANELS = (
    ("segmentPage", SegmentPanel),
    ("instrumentPage", InstrumentPanel),
    ("simulatePage", SimulatePanel),
    ("correctPage", CorrectPanel),
    ("comparePage", ComparePanel),
)
_LOG_LINES = 2000


class Shell:
    """The module's panel; one for each module widget.

    Args:
        resourcePath: name -> path of a file in Resources.
        parameterNode: () -> a wrapper of the scene's parameter node.

    Attributes:
        widget: what goes into the module's layout.
        session: what the pages share.
        panels: page name -> panel.
    """

    def __init__(self, resourcePath: Callable[[str], str], parameterNode: Callable[[], Any]) -> None:
        self.resourcePath = resourcePath
        self._parameterNode = parameterNode
        self._parameters: Any = None
        self._tags: list[tuple[Any, Any]] = []
        self._observer: Any = None
        self._folder: Path | None = None
        self._environment: Any = None
        self.widget = slicer.util.loadUI(resourcePath("UI/MARInpaint.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.timer = QtTimer()
        self.session = Session(
            MarNodes(slicer.mrmlScene),
            lambda: JobRunner(QtProcess(), self.timer),
            self.timer,
            self.folder,
            lambda: self._parameters or self._parameterNode(),
            installed=lambda name: importlib.util.find_spec(name) is not None,
        )
        self.panels = {}
        for page, Panel in PANELS:
            panel = self.panels[page] = Panel(self, self.session)
            getattr(self.ui, page).layout().addWidget(panel.widget)
        # Not the module's own observers: what is loaded while the module is shown matters to this panel only.
        self._observers = Observers()
        self._observers.add(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self._nodeAdded, node=True)
        self._connect()
        self._fitPages()

    def _connect(self) -> None:
        session, ui = self.session, self.ui
        session.changed.connect(self.refresh)
        session.progressed.connect(self._showProgress)
        session.logged.connect(lambda line: ui.log.appendPlainText(line))
        session.failed.connect(self._showFailure)
        session.ended.connect(self._showEnd)
        ui.log.maximumBlockCount = _LOG_LINES
        ui.cancelButton.connect("clicked(bool)", lambda _on=False: session.cancel())
        ui.steps.connect("currentChanged(int)", self._pageChanged)
        ui.environmentSection.connect("contentsCollapsed(bool)", self._environmentOpened)

    # Files

    def folder(self) -> Path:
        """Where job files lie; made at the first job, removed with the module's widget."""
        if self._folder is None:
            root = Path(slicer.app.temporaryPath)
            root.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="ctrestoration-", dir=root))
        return self._folder

    # Parameter node

    def setParameterNode(self, parameters: Any) -> None:
        """Bind the pages to a parameter node, or to none while the module is not shown or the scene is in motion."""
        if self._parameters is not None:
            for panel, tag in self._tags:
                self._parameters.disconnectGui(tag)
                if parameters is None and panel is not None:
                    panel.presenter.hidden()
            self._parameters.RemoveObserver(self._observer)
        self._tags = []
        self._parameters = parameters
        if parameters is not None:
            for panel in (None, *self.panels.values()):
                gui = self.ui if panel is None else panel.ui
                self._tags.append((panel, parameters.connectGui(gui)))
            self._observer = parameters.AddObserver("ModifiedEvent", lambda _caller, _event: self.refresh())
            self.refresh()
            for panel in self.panels.values():
                panel.presenter.refresh()

    def initialize(self) -> None:
        """Bind to the scene's parameter node; the first volume is the input where none is chosen."""
        parameters = self._parameterNode()
        if parameters.inputVolume is None:
            offered = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _isImage(node)]
            if offered:
                parameters.inputVolume = offered[0]
        self.setParameterNode(parameters)

    def _nodeAdded(self, node: Any) -> None:
        """The first CT that is loaded while the module is shown is the input; later, when it has its voxels."""
        if self._parameters is None or not _isImage(node) or self._parameters.inputVolume is not None:
            return
        identifier = node.GetID()

        def choose() -> None:
            loaded = slicer.mrmlScene.GetNodeByID(identifier)
            if self._parameters is None or self._parameters.inputVolume is not None or loaded is None:
                return
            if _isImage(loaded) and loaded.GetImageData() is not None:
                self._parameters.inputVolume = loaded

        self.session.later(choose)

    def sceneClosing(self) -> None:
        """The scene is about to be emptied: end the job, forget all nodes."""
        self.setParameterNode(None)
        self.session.abandon()
        for panel in self.panels.values():
            panel.presenter.sceneClosed()

    # What is shown

    @property
    def current(self) -> Any:
        """The panel of the page that is shown."""
        return list(self.panels.values())[self.ui.steps.currentIndex]

    def refresh(self) -> None:
        """Bring the frame and the page that is shown up to date."""
        if self._parameters is None:
            return
        self.ui.inputState.text = self.session.nodes.summaryOf(self._parameters.inputVolume)
        self.ui.cancelButton.enabled = bool(self.session.running)
        self.current.presenter.refresh()

    def _pageChanged(self, _index: int) -> None:
        for panel in self.panels.values():
            if panel is not self.current:
                panel.presenter.hidden()
        self._fitPages()
        self.refresh()

    def _fitPages(self) -> None:
        """The tab is as high as its own page, not as the highest: progress and Cancel stay right below."""
        steps, policy = self.ui.steps, qt.QSizePolicy
        for index in range(steps.count):
            vertical = policy.Preferred if index == steps.currentIndex else policy.Ignored
            steps.widget(index).setSizePolicy(policy.Preferred, vertical)

    def _showProgress(self, fraction: float, message: str, left: float | None) -> None:
        self.ui.progressBar.value = round(1000 * min(max(fraction, 0.0), 1.0))
        if left is None:
            self.ui.statusLabel.text = message
        else:
            self.ui.statusLabel.text = _("{message}: about {time} left").format(message=message, time=duration(left))

    def _showEnd(self, title: str, how: str) -> None:
        self.ui.progressBar.value = 1000 if how == "finished" else 0
        self.ui.statusLabel.text = f"{title}: {how}"
        self.ui.cancelButton.enabled = bool(self.session.running)

    def _showFailure(self, title: str, sentence: str, detail: str) -> None:
        slicer.util.errorDisplay(f"{title}: {sentence}", windowTitle="MARInpaint", detailedText=detail)

    def _environmentOpened(self, collapsed: bool) -> None:
        """The page on what is installed is made when it is first looked at."""
        if collapsed or self._environment is not None:
            return
        from CTRestorationLib.widgets.dependencies import DependencyPage

        self._environment = DependencyPage()
        self.ui.environmentSection.layout().addWidget(self._environment.widget)

    def cleanup(self) -> None:
        """The module's widget goes: end the job, disconnect, remove files."""
        self._observers.removeAll()
        self.setParameterNode(None)
        self.session.abandon()
        for panel in self.panels.values():
            panel.presenter.sceneClosed()
        if self._environment is not None:
            self._environment.cleanup()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _isImage(node: Any) -> bool:
    """A volume that can be an input: no label map, none of our hidden helpers."""
    return bool(node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors())


def duration(seconds: float) -> str:
    """Seconds for people: "40 s", "3 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
