"""Tables of results: into the scene, and out as CSV."""

from __future__ import annotations

import csv
import io
import math
from numbers import Integral, Real

import slicer
import vtk

from ctrestoration.errors import InputError


def writeTable(columns: dict[str, list], name: str, node=None):
    """Show columns as a table node. Slicer saves numbers in tables with six significant digits.

    Args:
        columns: title -> values, all of one length. A column is whole numbers, numbers (None = unknown, kept as NaN)
            or texts; anything mixed becomes texts.
        name: of a new node.
        node: an existing table whose content is replaced.

    Returns:
        The vtkMRMLTableNode.

    Raises:
        InputError: columns of unequal length.
    """
    lengths = {title: len(values) for title, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{name}: its columns have different lengths: {lengths}.")
    arrays = [_column(title, list(values)) for title, values in columns.items()]
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table = vtk.vtkTable()
    for array in arrays:
        table.AddColumn(array)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetAndObserveTable(table)
    return node


def tableToCsv(node) -> str:
    """A table node as CSV with a header: comma, dot, quotes where needed, empty for unknown numbers."""
    table, out = node.GetTable(), io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
    writer.writerow([column.GetName() for column in columns])
    for row in range(table.GetNumberOfRows()):
        writer.writerow([_text(column.GetValue(row)) for column in columns])
    return out.getvalue()


def _column(title: str, values: list):
    if values and all(isinstance(v, Integral) and not isinstance(v, bool) for v in values):
        array = vtk.vtkLongLongArray()
        values = [int(v) for v in values]
    elif values and all(v is None or (isinstance(v, Real) and not isinstance(v, bool)) for v in values):
        array = vtk.vtkDoubleArray()
        values = [math.nan if v is None else float(v) for v in values]
    else:
        array = vtk.vtkStringArray()
        values = ["" if v is None else str(v) for v in values]
    array.SetName(title)
    array.SetNumberOfValues(len(values))
    for number, value in enumerate(values):
        array.SetValue(number, value)
    return array


def _text(value) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return str(value)
