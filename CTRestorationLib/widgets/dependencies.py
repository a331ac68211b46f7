"""The page on what is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CTRestorationLib.jobs.runner import JobRunner
from CTRestorationLib.presenters.dependencies import INTRODUCTION, DependencyPresenter, Row
from CTRestorationLib.widgets.installer import SlicerInstaller
from CTRestorationLib.widgets.process import QtProcess, QtTimer


class DependencyPage:
    """A widget for any of the modules; see `DependencyPresenter` for what it does.

    Attributes:
        widget: the page.
        presenter: what decides.
    """

    def __init__(self, installer: Any = None) -> None:
        self.widget = qt.QWidget()
        self.widget.objectName = "DependencyPage"
        layout = qt.QVBoxLayout(self.widget)
        intro = self._label("introLabel")
        intro.text = INTRODUCTION
        layout.addWidget(intro)
        self.table = self._table()
        layout.addWidget(self.table)
        self.buttons = {
            "install": self._button("installButton", _("Install missing packages")),
            "pytorch": self._button("pytorchButton", _("Install PyTorch")),
            "folder": self._button("folderButton", _("Install from a folder of wheels...")),
            "probe": self._button("probeButton", _("Check GPU")),
        }
        for button in self.buttons.values():
            layout.addWidget(button)
        self.verdictLabel = self._label("verdictLabel")
        layout.addWidget(self.verdictLabel)
        copyButton = self.copyButton = self._button("copyButton", _("Copy report for support"))
        copyButton.toolTip = _("Versions, devices and errors, without names of files or patients")
        layout.addWidget(copyButton)
        self.statusLabel = self._label("statusLabel")
        layout.addWidget(self.statusLabel)
        timer = QtTimer()
        self.presenter = DependencyPresenter(
            self,
            installer or SlicerInstaller(),
            lambda: JobRunner(QtProcess(), timer),
            lambda: Path(slicer.app.temporaryPath) / "CTRestoration",
        )
        self.buttons["install"].connect("clicked(bool)", lambda _on=False: self.presenter.install())
        self.buttons["pytorch"].connect("clicked(bool)", lambda _on=False: self.presenter.installPyTorch())
        self.buttons["folder"].connect("clicked(bool)", lambda _on=False: self._chooseFolder())
        self.buttons["probe"].connect("clicked(bool)", lambda _on=False: self.presenter.probe())
        copyButton.connect("clicked(bool)", lambda _on=False: self.presenter.copyReport())

    # What the presenter shows

    def showRows(self, rows: Sequence[Row]) -> None:
        """The table."""
        self.table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            mark = "" if row.serves else " (" + (_("needed") if row.required else _("optional")) + ")"
            for column, text in enumerate((row.name, row.installed + mark, row.purpose)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(number, column, item)
        self.table.resizeColumnsToContents()

    def showVerdict(self, text: str) -> None:
        """Whether PyTorch computes here."""
        self.verdictLabel.text = text

    def showStatus(self, text: str) -> None:
        """What is going on; drawn at once, because installing keeps the window busy."""
        self.statusLabel.text = text
        self.statusLabel.repaint()

    def setButton(self, name: str, enabled: bool, toolTip: str) -> None:
        """Enabled, or gray with the reason."""
        self.buttons[name].enabled = enabled
        self.buttons[name].toolTip = toolTip

    def showError(self, sentence: str, detail: str) -> None:
        """What went wrong."""
        slicer.util.errorDisplay(sentence, windowTitle="CTRestoration", detailedText=detail)

    def copy(self, text: str) -> None:
        """To the clipboard."""
        slicer.app.clipboard().setText(text)

    def cleanup(self) -> None:
        """The module's widget goes: end the child that may be running."""
        self.presenter.close()

    def _chooseFolder(self) -> None:
        title = _("Folder of wheels (*.whl)")
        self.presenter.installFromFolder(qt.QFileDialog.getExistingDirectory(self.widget, title))

    def _table(self) -> Any:
        table = qt.QTableWidget()
        table.objectName = "packageTable"
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Package"), _("Installed"), _("What for")])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setStretchLastSection(True)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setSelectionMode(qt.QAbstractItemView.NoSelection)
        table.setMinimumHeight(220)
        return table

    @staticmethod
    def _button(name: str, text: str) -> Any:
        button = qt.QPushButton(text)
        button.objectName = name
        return button

    @staticmethod
    def _label(name: str) -> Any:
        label = qt.QLabel()
        label.objectName = name
        label.wordWrap = True
        return label
