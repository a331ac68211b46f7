"""The page of step 2, Instrument."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from CTRestorationLib.presenters.mar.instrument import InstrumentPresenter
from CTRestorationLib.widgets.mar.panel import StepPanel
from CTRestorationLib.widgets.mar.screws import ScrewTable
from CTRestorationLib.widgets.mar.tables import fill

_PLAN_FILES = "Plans (*.json)"


class InstrumentPanel(StepPanel):
    """Levels, screws, rods and other implants."""

    uiName = "MARInpaintInstrument"
    Presenter = InstrumentPresenter
    buttons = {"plan": "planButton", "scatter": "scatterButton"}  # noqa: RUF012

    def setup(self) -> None:
        """Connect what is not bound to the parameter node."""
        ui, presenter = self.ui, self.presenter
        self.screws = ScrewTable(ui.screwTable, presenter.select, self._edited)
        ui.levelTable.connect("itemChanged(QTableWidgetItem*)", lambda _item: self._levelsChanged())
        ui.allLevelsButton.connect("clicked(bool)", lambda _on=False: self._checkAll(True))
        ui.noLevelsButton.connect("clicked(bool)", lambda _on=False: self._checkAll(False))
        ui.addScrewButton.connect("clicked(bool)", lambda _on=False: presenter.addByHand())
        ui.removeScrewButton.connect("clicked(bool)", lambda _on=False: presenter.remove(self.screws.selected()))
        ui.undoButton.connect("clicked(bool)", lambda _on=False: presenter.undo())
        ui.planRods.connect("clicked(bool)", lambda on: presenter.rodsToggled(on))
        ui.loadPlanButton.connect("clicked(bool)", lambda _on=False: self._load())
        ui.savePlanButton.connect("clicked(bool)", lambda _on=False: self._save())
        ui.addDeviceButton.connect("clicked(bool)", lambda _on=False: self._addDevice())
        ui.removeDeviceButton.connect(
            "clicked(bool)", lambda _on=False: presenter.removeDevice(int(ui.deviceList.currentRow))
        )
        ui.deviceList.connect("currentRowChanged(int)", lambda row: self._deviceSelected(row))
        ui.deviceKind.connect("currentIndexChanged(int)", lambda _index: self._showSizes())
        self._tips = {
            name: getattr(ui, name).toolTip
            for name in ("addScrewButton", "loadPlanButton", "savePlanButton", "addDeviceButton")
        }
        self._fillKinds()

    # Levels

    def showLevels(self, rows: list[tuple[str, bool, str, bool]]) -> None:
        """Vertebrae: (name, checked, state, whether it can be planned)."""
        table = self.ui.levelTable
        fill(table, [(name, note) for name, _checked, note, _known in rows])
        blocked = table.blockSignals(True)
        for number, (_name, checked, _note, known) in enumerate(rows):
            item = table.item(number, 0)
            flags = qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled if known else qt.Qt.ItemIsSelectable
            item.setFlags(flags)
            item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        table.blockSignals(blocked)
        # Again, now that it has its check boxes.
        table.resizeColumnToContents(0)

    def _levelsChanged(self) -> None:
        self.presenter.checkLevels(self._checked())

    def _checked(self) -> list[str]:
        table = self.ui.levelTable
        items = [table.item(row, 0) for row in range(table.rowCount)]
        return [item.text() for item in items if item.checkState() == qt.Qt.Checked]

    def _checkAll(self, on: bool) -> None:
        self.presenter.checkLevels(
            [level.name for level in self.presenter.levels() if level.complete is not False] if on else []
        )

    # Screws

    def showScrews(self, rows: list[tuple[str, Any, bool]], selected: str) -> None:
        """One row a screw: (line's ID, screw, whether its grade is being found anew)."""
        self.screws.show(rows, selected)

    def updateScrew(self, identifier: str, screw: Any, pending: bool) -> None:
        """One row changed."""
        self.screws.update(identifier, screw, pending)

    def _edited(self, identifier: str, **changes: Any) -> None:
        self.guarded(lambda: self.presenter.edit(identifier, **changes))

    def showCanRemove(self, on: bool) -> None:
        """A screw is selected."""
        self.ui.removeScrewButton.enabled = on

    def showCanUndo(self, on: bool) -> None:
        """There is something to bring back."""
        self.ui.undoButton.enabled = on

    def showPlacing(self, on: bool) -> None:
        """The user is clicking a screw's ends."""
        self.ui.addScrewButton.checked = on

    def setEditable(self, missing: str) -> None:
        """Buttons that change the plan by hand."""
        for name, tip in self._tips.items():
            button = getattr(self.ui, name)
            button.enabled = not missing
            button.toolTip = missing or tip
        self.ui.screwTable.enabled = not missing

    def showWarnings(self, sentences: list[str]) -> None:
        """What a surgeon should know of the construct."""
        self.ui.warningText.text = "\n".join(sentences)

    # Files

    def _load(self) -> None:
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), "Load plan", "", _PLAN_FILES)
        if path:
            self.guarded(self.presenter.load, path)

    def _save(self) -> None:
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), "Save plan", "plan.json", _PLAN_FILES)
        if path:
            self.guarded(self.presenter.save, path if path.lower().endswith(".json") else f"{path}.json")

    # Other implants

    def _fillKinds(self) -> None:
        from ctrestoration.implants.catalogue import catalogue

        self._kinds = list(catalogue()["implants"].items())
        for _name, entry in self._kinds:
            self.ui.deviceKind.addItem(entry["title"])
        self._showSizes()

    def _showSizes(self) -> None:
        if not self._kinds or self.ui.deviceKind.currentIndex < 0:
            return
        _name, entry = self._kinds[self.ui.deviceKind.currentIndex]
        rows = [
            (_readable(key), f"{usual:g}", f"{low:g} to {high:g}") for key, (low, high, usual) in entry["sizes"].items()
        ]
        fill(self.ui.sizeTable, rows)

    def _addDevice(self) -> None:
        name, entry = self._kinds[self.ui.deviceKind.currentIndex]
        sizes = {}
        for row, key in enumerate(entry["sizes"]):
            text = self.ui.sizeTable.item(row, 1).text()
            try:
                sizes[key] = float(text.replace(",", "."))
            except ValueError:
                self.showError(
                    f"{_readable(key)} is {text!r}: expected a number in {self.ui.sizeTable.item(row, 2).text()}."
                )
                return
        self.guarded(self.presenter.addDevice, name, sizes)

    def showDevices(self, rows: list[str]) -> None:
        """The other implants in the scene."""
        listed = self.ui.deviceList
        if [listed.item(row).text() for row in range(listed.count)] == rows:
            return
        listed.clear()
        for text in rows:
            listed.addItem(text)
        self.ui.removeDeviceButton.enabled = False

    def _deviceSelected(self, row: int) -> None:
        self.ui.removeDeviceButton.enabled = row >= 0


def _readable(key: str) -> str:
    """What people read for a size: Length (mm) for length_mm."""
    name, _, unit = key.rpartition("_")
    units = {"mm": "mm", "deg": "degrees", "ml": "ml"}
    if unit not in units:
        return key.replace("_", " ").capitalize()
    return f"{name.replace('_', ' ').capitalize()} ({units[unit]})"
