"""A line profile: HU along a line, one curve a volume."""

from __future__ import annotations

import numpy as np
import slicer

from ctrestoration.errors import InputError
from CTRestorationLib.nodes.geometry import gridOfNode
from CTRestorationLib.nodes.hierarchy import removeNode
from CTRestorationLib.nodes.implantmodels import lineEnds
from CTRestorationLib.nodes.tables import writeTable
from CTRestorationLib.nodes.volumes import arrayOfNode

DISTANCE = "Distance (mm)"
_STEP_MM = 0.2
_LONGEST = 5000
_TABLE, _COLORS = "CTRestoration.table", ((0.12, 0.47, 0.71), (0.84, 0.15, 0.16), (0.17, 0.63, 0.17), (0.9, 0.55, 0.1))
_MORE_COLORS = ((0.58, 0.40, 0.74), (0.09, 0.75, 0.81))


def sampleAlong(node, first, last, count: int) -> np.ndarray:
    """Values of a volume node at even steps from one point to another, LPS mm: trilinear, NaN outside the volume.

    Only the block of voxels around the line is read.
    """
    from scipy.ndimage import map_coordinates

    grid, array = gridOfNode(node), arrayOfNode(node)
    points = np.linspace(first, last, count)
    index = grid.to_index(points)[:, ::-1]
    inside = ((index > -0.5) & (index < np.array(grid.shape) - 0.5)).all(axis=1)
    values = np.full(count, np.nan)
    if not inside.any():
        return values
    within = np.clip(index[inside], 0, np.array(grid.shape) - 1)
    low = np.floor(within.min(axis=0)).astype(int)
    high = np.ceil(within.max(axis=0)).astype(int) + 1
    block = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float64)
    values[inside] = map_coordinates(block, (within - low).T, order=1, mode="nearest")
    return values


def lineProfile(line, volumes: list, name: str, chart=None):
    """Plot HU along a markups line.

    Args:
        line: vtkMRMLMarkupsLineNode with both ends.
        volumes: volume nodes, one curve each, named after them.
        name: of a new chart.
        chart: a chart made here before, whose curves are replaced.

    Returns:
        The vtkMRMLPlotChartNode; show it with the plots module's `ShowChartInLayout`.

    Raises:
        InputError: no volume, a line without both ends or without length, or one that misses every volume.
    """
    if not volumes:
        raise InputError("No volume is selected for the profile: choose one or more.")
    first, last = lineEnds(line)
    length = float(np.linalg.norm(np.subtract(last, first)))
    if length < _STEP_MM:
        raise InputError(f"{line.GetName()} has no length: drag its ends apart.")
    count = min(_LONGEST, int(np.ceil(length / _STEP_MM)) + 1)
    curves = [sampleAlong(volume, first, last, count) for volume in volumes]
    if all(np.isnan(curve).all() for curve in curves):
        raise InputError(f"{line.GetName()} does not cross any of the volumes: draw it across the metal.")
    titles = _unique([volume.GetName() for volume in volumes])
    columns = {DISTANCE: np.linspace(0, length, count).tolist(), **dict(zip(titles, map(list, curves), strict=True))}
    scene = line.GetScene()
    if chart is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    old = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    table = writeTable(columns, f"{chart.GetName()} values", chart.GetNodeReference(_TABLE))
    chart.SetNodeReferenceID(_TABLE, table.GetID())
    modifying = chart.StartModify()
    chart.RemoveAllPlotSeriesNodeIDs()
    for title, color in zip(titles, _colors(len(titles)), strict=True):
        chart.AddAndObservePlotSeriesNodeID(_series(scene, title, table, color).GetID())
    chart.SetTitle(f"{chart.GetName()}: {line.GetName()}")
    chart.SetXAxisTitle(DISTANCE)
    chart.SetYAxisTitle("CT number (HU)")
    chart.SetLegendVisibility(True)
    chart.EndModify(modifying)
    for series in old:
        removeNode(series)
    return chart


def _series(scene, title: str, table, color):
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(DISTANCE)
    series.SetYColumnName(title)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetLineWidth(2)
    series.SetColor(*color)
    return series


def _colors(count: int):
    every = (*_COLORS, *_MORE_COLORS)
    return [every[n % len(every)] for n in range(count)]


def _unique(names: list[str]) -> list[str]:
    """Table columns need names of their own."""
    out: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in out or candidate == DISTANCE:
            candidate, number = f"{name} ({number})", number + 1
        out.append(candidate)
    return out
