"""Filling tables without firing their signals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import qt


def fill(table: Any, rows: Sequence[Iterable[str]]) -> None:
    """Put texts into a QTableWidget; unchanged tables are left alone, so that selection and scrolling survive."""
    rows = [tuple(str(text) for text in row) for row in rows]
    if rows == texts(table):
        return
    blocked = table.blockSignals(True)
    try:
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                table.setItem(number, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
    finally:
        table.blockSignals(blocked)


def texts(table: Any) -> list[tuple[str, ...]]:
    """The texts of a QTableWidget, row by row."""
    return [
        tuple("" if (item := table.item(row, column)) is None else item.text() for column in range(table.columnCount))
        for row in range(table.rowCount)
    ]
