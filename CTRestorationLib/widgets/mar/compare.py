"""The page of step 5, Compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CTRestorationLib.presenters.mar.choices import WINDOWS
from CTRestorationLib.presenters.mar.compare import ComparePresenter
from CTRestorationLib.widgets.mar.panel import StepPanel
from CTRestorationLib.widgets.mar.tables import fill

_OTHER = "Other"
_NAME_WIDTH = 150


class ComparePanel(StepPanel):
    """Images, numbers and profiles."""

    uiName = "MARInpaintCompare"
    Presenter = ComparePresenter
    buttons = {"measure": "measureButton"}  # noqa: RUF012

    def setup(self) -> None:
        """Connect what is not bound to the parameter node."""
        ui, presenter = self.ui, self.presenter
        self._identifiers: list[str] = []
        self._tips = {
            name: getattr(ui, name).toolTip
            for name in ("showButton", "flickerButton", "profileButton", "copyButton", "saveButton")
        }
        ui.windowBox.addItems([f"{title}: {low:g} to {high:g} HU" for title, low, high in WINDOWS] + [_OTHER])
        ui.windowBox.connect("currentIndexChanged(int)", self._windowChosen)
        ui.imageTable.connect("itemChanged(QTableWidgetItem*)", lambda _item: presenter.check(self._checked()))
        ui.showButton.connect("clicked(bool)", lambda _on=False: presenter.toggleShown())
        ui.flickerButton.connect("clicked(bool)", lambda _on=False: presenter.toggleFlicker())
        ui.lineButton.connect("clicked(bool)", lambda _on=False: presenter.placeProfile())
        ui.profileButton.connect("clicked(bool)", lambda _on=False: presenter.drawProfile())
        ui.copyButton.connect("clicked(bool)", lambda _on=False: presenter.copy())
        ui.saveButton.connect("clicked(bool)", lambda _on=False: self._save())

    # Images

    def showImages(self, rows: list[tuple[str, str, str, bool]]) -> None:
        """The volumes of the scene but the reference: (ID, name, what made it, whether it is compared)."""
        table = self.ui.imageTable
        fill(table, [(name, origin) for _id, name, origin, _checked in rows])
        self._stretch(table)
        self._identifiers = [identifier for identifier, *_rest in rows]
        blocked = table.blockSignals(True)
        for number, (_id, _name, _origin, checked) in enumerate(rows):
            item = table.item(number, 0)
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        table.blockSignals(blocked)

    @staticmethod
    def _stretch(table: Any) -> None:
        """Fitting columns to their texts takes the last one's stretch away."""
        header = table.horizontalHeader()
        header.setStretchLastSection(False)
        header.setStretchLastSection(True)

    def _checked(self) -> list[str]:
        table = self.ui.imageTable
        return [
            identifier
            for row, identifier in enumerate(self._identifiers)
            if table.item(row, 0) is not None and table.item(row, 0).checkState() == qt.Qt.Checked
        ]

    def selected(self) -> str:
        """ID of the volume in the selected row, "" where none is selected."""
        row = self.ui.imageTable.currentRow()
        return self._identifiers[row] if 0 <= row < len(self._identifiers) else ""

    def setShown(self, on: bool, missing: str) -> None:
        """The button for side by side: pressed in, ready, or gray with the reason."""
        self._setToggle("showButton", on, missing)
        parameters = self.presenter.parameters
        window = (parameters.compareLow, parameters.compareHigh)
        index = next((n for n, (_t, low, high) in enumerate(WINDOWS) if (low, high) == window), len(WINDOWS))
        if self.ui.windowBox.currentIndex != index:
            blocked = self.ui.windowBox.blockSignals(True)
            self.ui.windowBox.setCurrentIndex(index)
            self.ui.windowBox.blockSignals(blocked)

    def setFlicker(self, on: bool, missing: str) -> None:
        """The button for flicker."""
        self._setToggle("flickerButton", on, missing)

    def _setToggle(self, name: str, on: bool, missing: str) -> None:
        button = getattr(self.ui, name)
        button.checked = on
        button.enabled = on or not missing
        button.toolTip = self._tips[name] if on or not missing else missing

    def _windowChosen(self, index: int) -> None:
        if 0 <= index < len(WINDOWS):
            self.presenter.chooseWindow(index)

    def showNote(self, text: str) -> None:
        """What the views cannot say."""
        self.ui.noteLabel.text = text

    def later(self, milliseconds: int, callback: Callable[[], Any]) -> None:
        """Call back once."""
        self.shell.timer.singleShot(milliseconds, callback)

    # Numbers

    def showTable(self, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """The numbers; empty without."""
        table = self.ui.scoreTable
        if header:
            table.setHorizontalHeaderLabels(list(header))
        fill(table, rows)
        if rows and table.columnWidth(0) > _NAME_WIDTH:
            table.setColumnWidth(0, _NAME_WIDTH)
        for name in ("copyButton", "saveButton"):
            button = getattr(self.ui, name)
            button.enabled = bool(rows)
            button.toolTip = self._tips[name] if rows else _("Measure first: there are no numbers yet")

    def copy(self, text: str) -> None:
        """To the clipboard."""
        slicer.app.clipboard().setText(text)

    def _save(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save the numbers"), "numbers.csv", _("Tables (*.csv)")
        )
        if path:
            self.guarded(self.presenter.save, path if path.lower().endswith(".csv") else f"{path}.csv")

    # Profile

    def setProfile(self, placing: bool, missing: str) -> None:
        """The buttons of the profile."""
        self.ui.lineButton.checked = placing
        self.ui.profileButton.enabled = not missing
        self.ui.profileButton.toolTip = missing or self._tips["profileButton"]
