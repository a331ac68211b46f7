"""What step 5 shows: images in linked views with maps over them, profiles along a line, and the table of numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from CTRestorationLib.nodes import hierarchy, volumes
from CTRestorationLib.nodes.comparison import ComparisonLayout
from CTRestorationLib.nodes.geometry import turned
from CTRestorationLib.nodes.observers import Observers
from CTRestorationLib.nodes.plots import lineProfile
from CTRestorationLib.nodes.tables import tableToCsv, writeTable

_COMPARED, _DIFFERENCE_OF, _TABLE = "CTRestoration.compared", "CTRestoration.differenceOf", "CTRestoration.metrics"
_DRAWN = ("vtkMRMLSegmentationDisplayNode", "vtkMRMLModelDisplayNode", "vtkMRMLMarkupsDisplayNode")
_SLAB = 8


class ComparisonNodes:
    """The scene as Compare sees it; points are LPS mm.

    Args:
        scene: vtkMRMLScene.
    """

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self._layout: ComparisonLayout | None = None
        self._hidden: list[Any] = []

    @property
    def layout(self) -> ComparisonLayout:
        """The views."""
        if self._layout is None:
            application = getattr(slicer, "app", None)
            self._layout = ComparisonLayout(self.scene, application.layoutManager() if application else None)
        return self._layout

    def shown(self) -> bool:
        """Whether the views are up; made without making them."""
        return self._layout is not None and self._layout.isShown()

    def showImagesOnly(self, on: bool) -> None:
        """Take segmentations, models and the plan's lines out of the slice views, or bring back those that were."""
        for reference in self._hidden if not on else ():
            display = reference.Get()
            if display is not None:
                display.SetVisibility2D(True)
        if not on:
            self._hidden = []
            return
        for kind in _DRAWN:
            for display in slicer.util.getNodesByClass(kind, self.scene):
                node = display.GetDisplayableNode()
                ours = node is not None and (kind != _DRAWN[-1] or node.GetAttribute("CTRestoration.role"))
                if ours and display.GetVisibility() and display.GetVisibility2D():
                    reference = vtk.vtkWeakReference()
                    reference.Set(display)
                    self._hidden.append(reference)
                    display.SetVisibility2D(False)

    def restore(self) -> None:
        """Bring the previous views back."""
        self.showImagesOnly(False)
        if self._layout is not None:
            self._layout.restore()

    # Which images; kept as references of the parameter node, which survive saving and importing

    def checked(self, parameters: Any) -> list[Any]:
        """The volumes that are compared with the reference, in the order they were chosen."""
        node = parameters.parameterNode
        found = [node.GetNthNodeReference(_COMPARED, n) for n in range(node.GetNumberOfNodeReferences(_COMPARED))]
        return [volume for volume in found if volume is not None]

    def check(self, parameters: Any, chosen: Sequence[Any]) -> None:
        """Choose them."""
        node = parameters.parameterNode
        modifying = node.StartModify()
        node.RemoveNodeReferenceIDs(_COMPARED)
        for volume in chosen:
            node.AddNodeReferenceID(_COMPARED, volume.GetID())
        node.Modified()
        node.EndModify(modifying)

    # Maps

    def differenceSteps(self, image: Any, reference: Any, high: float) -> Generator[None, None, Any]:
        """Image minus reference in HU as a map with colors, made in short steps; not saved, and not listed."""
        old = self.differenceOf(image)
        first, second = volumes.arrayOfNode(image), volumes.arrayOfNode(reference)
        out = np.empty(first.shape, dtype=np.float32)
        for start in range(0, len(out), _SLAB):
            cut = slice(start, start + _SLAB)
            np.subtract(first[cut], second[cut], out=out[cut], dtype=np.float32, casting="unsafe")
            yield
        picture = yield from volumes.imageSteps(out)
        if not self.scene.IsNodePresent(image):
            return None
        name = f"{image.GetName()} - {reference.GetName()}"
        node = volumes.arrayToVolumeNode(out, name, image, old, picture)
        if old is None:
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            node.SetAttribute(_DIFFERENCE_OF, image.GetID())
        yield
        self.scaleDifference(node, high)
        return node

    def scaleDifference(self, node: Any, high: float) -> None:
        """Blue below, red above: from -high to high HU."""
        volumes.showFloatMap(node, "Difference (HU)", -high, high)
        volumes.legendOf(node).SetVisibility(False)

    def differenceOf(self, image: Any) -> Any:
        """The difference map of an image, None where there is none."""
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self.scene):
            if node.GetAttribute(_DIFFERENCE_OF) == image.GetID():
                return node
        return None

    def removeDifferences(self, kept: Sequence[Any] = ()) -> None:
        """Take the maps of differences away, but for some."""
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self.scene):
            if node.GetAttribute(_DIFFERENCE_OF) and node not in kept:
                legend = volumes.legendOf(node)
                hierarchy.removeNode(node)
                hierarchy.removeNode(legend)

    def showLegends(self, maps: Sequence[Any]) -> None:
        """Show the legend of each map in the view where it lies, and no others; None where a view has no map."""
        views = self.layout.sliceNodes()
        for node in {*maps} - {None}:
            legend = volumes.legendOf(node)
            if legend is None:
                continue
            legend.RemoveAllViewNodeIDs()
            for view, over in zip(views, maps, strict=False):
                if over is node:
                    legend.AddViewNodeID(view.GetID())
            legend.SetVisibility(True)
        volumes.refreshLegends()

    def hideLegends(self, maps: Sequence[Any]) -> None:
        """Take them away."""
        for node in {*maps} - {None}:
            legend = volumes.legendOf(node) if self.scene.IsNodePresent(node) else None
            if legend is not None:
                legend.SetVisibility(False)

    # Profiles

    def newLine(self, name: str, first: Sequence[float], last: Sequence[float]) -> Any:
        """A line between two points."""
        line = self.scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
        line.CreateDefaultDisplayNodes()
        for point in (first, last):
            line.AddControlPoint(*turned(point))
        return line

    def isLine(self, line: Any) -> bool:
        """Whether a line is there with both its ends."""
        present = line is not None and self.scene.IsNodePresent(line)
        return bool(present and line.GetNumberOfDefinedControlPoints() >= 2)

    def follow(self, line: Any, moved: Callable[[], None]) -> Observers:
        """Call `moved()` when an end of the line moves; `removeAll()` of what is given back ends it."""
        observers = Observers()
        observers.add(line, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, moved)
        return observers

    def profile(self, line: Any, images: Sequence[Any], chart: Any = None) -> Any:
        """HU along the line as a chart; an existing one is redrawn."""
        there = chart if chart is not None and self.scene.IsNodePresent(chart) else None
        return lineProfile(line, list(images), "Profile", there)

    def showChart(self, chart: Any) -> None:
        """Show a chart below the images, or in a layout with a plot where no images are side by side."""
        if not self.layout.showChart(chart):
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    # Numbers

    def writeTable(self, columns: dict[str, list[Any]], name: str, like: Any, facts: dict[str, Any]) -> Any:
        """The numbers as a table node beside the reference."""
        from CTRestorationLib.nodes import provenance

        node = writeTable(columns, name)
        provenance.setProvenance(node, facts)
        hierarchy.putInFolder(node, hierarchy.runFolder(like, name))
        return node

    def table(self, parameters: Any) -> Any:
        """The latest numbers, None where there are none."""
        return parameters.parameterNode.GetNodeReference(_TABLE)

    def setTable(self, parameters: Any, table: Any) -> None:
        """Remember them with the scene."""
        parameters.parameterNode.SetNodeReferenceID(_TABLE, table.GetID())

    def columns(self, table: Any) -> dict[str, list[Any]]:
        """Title -> values of a table node; numbers as float, NaN where unknown."""
        found = {}
        for number in range(table.GetNumberOfColumns()):
            column = table.GetTable().GetColumn(number)
            found[column.GetName()] = [column.GetValue(row) for row in range(column.GetNumberOfValues())]
        return found

    def csv(self, table: Any) -> str:
        """A table as text."""
        return tableToCsv(table)
