"""Images side by side: linked slice views of their own, one window, an overlay, and flicker.

The views have their own names, so that the red, yellow and green ones keep what they show, and their own view group, so
that scrolling them moves no others.
"""

from __future__ import annotations

import slicer

from ctrestoration.errors import InputError
from CTRestorationLib.nodes.volumes import gridOfNode, refreshLegends

MOST = 6
_FIRST_LAYOUT = 5600
_WITH_PLOT = 10
_PLOT_VIEW = "CTRestorationPlot"
_VIEW_GROUP = 56
_COLORS = ("#6e8fb5", "#b5806e", "#7da871", "#a88fb5", "#b5a56e", "#6eb0b5")
_ROWS = {1: (1,), 2: (2,), 3: (3,), 4: (2, 2), 5: (3, 2), 6: (3, 3)}
_LABEL_LENGTH = 32


def viewName(number: int) -> str:
    """Name of the comparison view 0..5; its slice node is "vtkMRMLSliceNode" and this name."""
    return f"CTRestoration{number + 1}"


def layoutDescription(count: int, plot: bool = False) -> str:
    """Layout XML for 1 to 6 views, row by row, and a plot below them on request."""
    number, rows = 0, []
    for columns in _ROWS[count]:
        views = []
        for _ in range(columns):
            views.append(
                f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(number)}">'
                '<property name="orientation" action="default">Axial</property>'
                f'<property name="viewlabel" action="default">{number + 1}</property>'
                f'<property name="viewcolor" action="default">{_COLORS[number]}</property>'
                f'<property name="viewgroup" action="default">{_VIEW_GROUP}</property>'
                "</view></item>"
            )
            number += 1
        rows.append(f'<item><layout type="horizontal">{"".join(views)}</layout></item>')
    if plot:
        rows.append(
            f'<item><view class="vtkMRMLPlotViewNode" singletontag="{_PLOT_VIEW}">'
            '<property name="viewlabel" action="default">P</property></view></item>'
        )
    return f'<layout type="vertical">{"".join(rows)}</layout>'


def registerLayouts(scene=None) -> None:
    """Make the comparison layouts known; without it a scene that was saved in one opens with an empty view area."""
    node = (scene or slicer.mrmlScene).GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        return
    for count in _ROWS:
        for number, plot in ((_FIRST_LAYOUT + count, False), (_FIRST_LAYOUT + _WITH_PLOT + count, True)):
            if not node.IsLayoutDescription(number):
                node.AddLayoutDescription(number, layoutDescription(count, plot))


class ComparisonLayout:
    """Shows two to six volumes side by side, until `restore`.

    Args:
        scene: vtkMRMLScene.
        layoutManager: the application's, or None where there is no main window: the views' nodes are made all the same.
    """

    def __init__(self, scene, layoutManager=None) -> None:
        self._scene = scene
        self._layoutManager = layoutManager
        self._previous: int | None = None
        self._windows: dict[str, tuple[float, float, bool]] = {}
        self._shown: list[str] = []
        self._flickering: list[str] = []
        self._plotting = False

    def show(
        self, volumes: list, window: tuple[float, float], overlay=None, opacity: float = 0.5, labels: list | None = None
    ) -> None:
        """Show volumes side by side, linked, all in one window.

        Args:
            volumes: 2 to 6 volume nodes.
            window: (low, high) HU.
            overlay: a volume node laid over every image, or a list with one (or None) for each; give it colors with
                `volumes.showFloatMap` and `sliceNodes()`.
            opacity: of the overlay, 0..1.
            labels: of the views; None writes the volumes' names.

        Raises:
            InputError: too few or too many volumes, or one without voxels.
        """
        if not 2 <= len(volumes) <= MOST:
            raise InputError(f"Choose 2 to {MOST} volumes to compare, not {len(volumes)}.")
        for volume in volumes:
            gridOfNode(volume)
        overlays = list(overlay) if isinstance(overlay, (list, tuple)) else [overlay] * len(volumes)
        if len(overlays) != len(volumes):
            raise InputError(f"{len(volumes)} volumes need as many overlays, not {len(overlays)}.")
        self._flickering = []
        self._arrange(volumes)
        for number, (volume, over) in enumerate(zip(volumes, overlays, strict=True)):
            self._fill(number, volume, over, opacity, labels[number] if labels else "")
        refreshLegends()
        self.setWindow(*window)

    def setWindow(self, low: float, high: float) -> None:
        """Give all shown volumes one window, HU; `restore` brings back the one that each had.

        Raises:
            InputError: an empty window.
        """
        if not high > low:
            raise InputError(f"The window must rise, not {low:g} to {high:g} HU.")
        for identifier in dict.fromkeys(self._shown):
            volume = self._scene.GetNodeByID(identifier)
            if volume is None:
                continue
            volume.CreateDefaultDisplayNodes()
            display = volume.GetDisplayNode()
            given = (display.GetWindow(), display.GetLevel(), bool(display.GetAutoWindowLevel()))
            self._windows.setdefault(identifier, given)
            modifying = display.StartModify()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(low, high)
            display.EndModify(modifying)

    def setOpacity(self, opacity: float) -> None:
        """Opacity of the overlays, 0..1."""
        for number in range(len(self._shown)):
            self.compositeNode(number).SetForegroundOpacity(opacity)

    def showChart(self, chart) -> bool:
        """Show a chart below the views; returns whether they are up, so that it could be shown there."""
        layout = self._layoutNode()
        if layout is None or not self._shown or not self.isShown():
            return False
        self._plotting = True
        layout.SetViewArrangement(_FIRST_LAYOUT + _WITH_PLOT + (1 if self._flickering else len(self._shown)))
        view = self._find("vtkMRMLPlotViewNode", _PLOT_VIEW)
        if view is None:
            node = self._scene.CreateNodeByClass("vtkMRMLPlotViewNode")
            node.UnRegister(None)
            node.SetSingletonTag(_PLOT_VIEW)
            node.SetLayoutName(_PLOT_VIEW)
            view = self._scene.AddNode(node)
        view.SetPlotChartNodeID(chart.GetID())
        return True

    def flicker(self, a, b):
        """Show two volumes in turn in one large view: each call shows the other one.

        Returns:
            The volume that is shown now.
        """
        pair = [a.GetID(), b.GetID()]
        if sorted(self._flickering) != sorted(pair):
            window = self._windowOf(a)
            self._arrange([a])
            self._shown, self._flickering = pair, [pair[1], pair[0]]
            self.setWindow(*window)
        now = self._flickering.pop()
        self._flickering.insert(0, now)
        volume = self._scene.GetNodeByID(now)
        self._fill(0, volume, None, 0.0)
        refreshLegends()
        return volume

    def restore(self) -> None:
        """Bring back the layout and the windows from before; safe to call at any time."""
        for identifier, (width, level, automatic) in self._windows.items():
            volume = self._scene.GetNodeByID(identifier)
            display = volume.GetDisplayNode() if volume is not None else None
            if display is not None:
                modifying = display.StartModify()
                display.SetWindowLevel(width, level)
                display.SetAutoWindowLevel(automatic)
                display.EndModify(modifying)
        for number in range(MOST):
            composite = self._find("vtkMRMLSliceCompositeNode", viewName(number))
            if composite is not None:
                composite.SetLinkedControl(False)
                composite.SetHotLinkedControl(False)
        layout = self._layoutNode()
        if layout is not None and self._previous is not None and self.isShown():
            layout.SetViewArrangement(self._previous)
        self._previous, self._windows, self._shown, self._flickering = None, {}, [], []
        self._plotting = False

    def isShown(self) -> bool:
        """Whether the views are in a comparison layout now."""
        layout = self._layoutNode()
        if layout is None:
            return bool(self._shown)
        return _isOurs(layout.GetViewArrangement())

    def sliceNodes(self) -> list:
        """The slice nodes of the views that are shown, in their order."""
        count = 1 if self._flickering else len(self._shown)
        return [self._view("vtkMRMLSliceNode", number) for number in range(count)]

    def compositeNode(self, number: int):
        """What view `number` (from 0) shows: its vtkMRMLSliceCompositeNode."""
        return self._view("vtkMRMLSliceCompositeNode", number)

    def _arrange(self, volumes: list) -> None:
        registerLayouts(self._scene)
        layout, count = self._layoutNode(), len(volumes)
        starting = not self._shown
        if layout is not None:
            if not _isOurs(layout.GetViewArrangement()):
                self._previous = layout.GetViewArrangement()
            layout.SetViewArrangement(_FIRST_LAYOUT + count + (_WITH_PLOT if self._plotting else 0))
        self._shown = [volume.GetID() for volume in volumes]
        offset = self._offset(volumes[0])
        for number in range(count):
            view, composite = self._view("vtkMRMLSliceNode", number), self.compositeNode(number)
            # Unlinked first: else every view would take over what is set in one.
            composite.SetLinkedControl(False)
            view.SetViewGroup(_VIEW_GROUP)
            if starting:
                view.SetOrientation("Axial")
        for number in range(count):
            self.compositeNode(number).SetBackgroundVolumeID(self._shown[number])
            self._fit(number)
            self._view("vtkMRMLSliceNode", number).SetSliceOffset(offset)
        for number in range(count):
            self.compositeNode(number).SetHotLinkedControl(True)
            self.compositeNode(number).SetLinkedControl(True)

    def _fill(self, number: int, volume, overlay, opacity: float, label: str = "") -> None:
        composite = self.compositeNode(number)
        linked = composite.GetLinkedControl()
        composite.SetLinkedControl(False)
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(overlay.GetID() if overlay is not None else None)
        composite.SetForegroundOpacity(opacity if overlay is not None else 0.0)
        composite.SetLabelVolumeID(None)
        composite.SetLinkedControl(linked)
        name = label or volume.GetName()
        label = name if len(name) <= _LABEL_LENGTH else f"{name[: _LABEL_LENGTH - 3]}..."
        self._view("vtkMRMLSliceNode", number).SetLayoutLabel(label)

    def _offset(self, volume) -> float:
        """Where to begin: the slice the user looks at, or the middle of the volume."""
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        for name in (viewName(0), "Red"):
            view = self._find("vtkMRMLSliceNode", name)
            if view is not None and view.GetOrientation() == "Axial" and bounds[4] < view.GetSliceOffset() < bounds[5]:
                return view.GetSliceOffset()
        return (bounds[4] + bounds[5]) / 2

    def _windowOf(self, volume) -> tuple[float, float]:
        volume.CreateDefaultDisplayNodes()
        display = volume.GetDisplayNode()
        return display.GetWindowLevelMin(), display.GetWindowLevelMax()

    def _fit(self, number: int) -> None:
        widget = self._layoutManager.sliceWidget(viewName(number)) if self._layoutManager is not None else None
        if widget is not None:
            widget.sliceLogic().FitSliceToBackground()

    def _layoutNode(self):
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _find(self, kind: str, name: str):
        for node in slicer.util.getNodesByClass(kind, self._scene):
            if node.GetLayoutName() == name:
                return node
        return None

    def _view(self, kind: str, number: int):
        """A view's node. Layouts make slice nodes and the views composite nodes: where neither is, we do."""
        found = self._find(kind, viewName(number))
        if found is None:
            node = self._scene.CreateNodeByClass(kind)
            node.UnRegister(None)
            node.SetSingletonTag(viewName(number))
            node.SetLayoutName(viewName(number))
            found = self._scene.AddNode(node)
            if found.IsA("vtkMRMLSliceNode"):
                found.SetOrientation("Axial")
        return found


def _isOurs(arrangement: int) -> bool:
    return any(arrangement - first in _ROWS for first in (_FIRST_LAYOUT, _FIRST_LAYOUT + _WITH_PLOT))
