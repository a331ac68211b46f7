"""The table of screws: one row a line, diameter and material to be chosen in the row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

_LEVEL, _SIDE, _DIAMETER, _LENGTH, _MATERIAL, _GRADE, _BREACH = range(7)


class ScrewTable:
    """Rows of screws in a QTableWidget.

    Args:
        table: with the columns level, side, diameter, length, material, grade, breach.
        onSelected: (line's ID or "").
        onEdited: (line's ID, diameter_mm=... or material=...).
    """

    def __init__(self, table: Any, onSelected: Callable[[str], None], onEdited: Callable[..., None]) -> None:
        self._table = table
        self._onSelected = onSelected
        self._onEdited = onEdited
        self._ids: list[str] = []
        self._combos: list[tuple[Any, Any]] = []
        self._filling = False
        table.connect("itemSelectionChanged()", self._selectionChanged)

    def selected(self) -> str:
        """The line of the selected row, "" where none is."""
        row = self._table.currentRow()
        return self._ids[row] if 0 <= row < len(self._ids) and self._table.selectedItems() else ""

    def show(self, rows: list[tuple[str, Any, bool]], selected: str) -> None:
        """Show all screws."""
        identifiers = [identifier for identifier, _screw, _pending in rows]
        self._filling = True
        try:
            if identifiers != self._ids or [self._table.item(n, _LEVEL).text() for n in range(len(rows))] != [
                screw.level for _identifier, screw, _pending in rows
            ]:
                self._rebuild(rows)
            for identifier, screw, pending in rows:
                self._write(self._ids.index(identifier), screw, pending)
            self._table.resizeColumnsToContents()
            row = self._ids.index(selected) if selected in self._ids else -1
            if row != self._table.currentRow():
                self._table.setCurrentCell(row, 0)
        finally:
            self._filling = False

    def update(self, identifier: str, screw: Any, pending: bool) -> None:
        """Show one screw anew."""
        if identifier in self._ids:
            self._filling = True
            try:
                self._write(self._ids.index(identifier), screw, pending)
            finally:
                self._filling = False

    def _rebuild(self, rows: list[tuple[str, Any, bool]]) -> None:
        from ctrestoration.physics.materials import material_names

        self._ids = [identifier for identifier, _screw, _pending in rows]
        self._table.rowCount = 0
        self._table.rowCount = len(rows)
        self._combos = []
        for row, (identifier, screw, _pending) in enumerate(rows):
            for column in range(self._table.columnCount):
                self._table.setItem(row, column, qt.QTableWidgetItem(""))
            diameter = self._combo(row, _DIAMETER, [f"{value:g} mm" for value in diameters(screw)])
            material = self._combo(row, _MATERIAL, list(material_names("metal")))
            self._combos.append((diameter, material))
            diameter.connect(
                "currentIndexChanged(int)",
                lambda _index, identifier=identifier, combo=diameter: self._edited(
                    identifier, diameter_mm=float(combo.currentText.split()[0])
                ),
            )
            material.connect(
                "currentIndexChanged(int)",
                lambda _index, identifier=identifier, combo=material: self._edited(
                    identifier, material=str(combo.currentText)
                ),
            )

    def _combo(self, row: int, column: int, texts: list[str]) -> Any:
        combo = qt.QComboBox()
        for text in texts:
            combo.addItem(text)
        self._table.setCellWidget(row, column, combo)
        return combo

    def _write(self, row: int, screw: Any, pending: bool) -> None:
        breach = "" if screw.breach_mm is None else f"{screw.breach_mm:.1f} mm"
        if screw.breach_mm and screw.breach_side:
            breach += f" {screw.breach_side}"
        texts = {
            _LEVEL: screw.level,
            _SIDE: screw.side,
            _LENGTH: f"{screw.length_mm:.1f} mm",
            _GRADE: "..." if pending else (screw.grade or "-"),
            _BREACH: "..." if pending else (breach or "-"),
        }
        for column, text in texts.items():
            self._table.item(row, column).setText(text)
        diameter, material = self._combos[row]
        _choose(diameter, f"{screw.diameter_mm:g} mm")
        _choose(material, screw.material)

    def _edited(self, identifier: str, **changes: Any) -> None:
        if not self._filling:
            self._onEdited(identifier, **changes)

    def _selectionChanged(self) -> None:
        if not self._filling:
            self._onSelected(self.selected())


def diameters(screw: Any) -> list[float]:
    """What is on offer at the screw's level, and what it has."""
    from ctrestoration.implants.catalogue import diameters_for

    return sorted({*diameters_for(screw.level), screw.diameter_mm})


def _choose(combo: Any, text: str) -> None:
    index = combo.findText(text)
    if index < 0:
        combo.addItem(text)
        index = combo.findText(text)
    if combo.currentIndex != index:
        combo.currentIndex = index
