"""What a threshold would take, shown live over the CT without touching a segment."""

from __future__ import annotations

from typing import Any

import numpy as np

from CTRestorationLib.nodes.geometry import gridOfNode
from CTRestorationLib.nodes.observers import Observers

ROLE = "CTRestoration.role"
_OPACITY = 0.6
_SORTED_FROM_HU = 1000.0


def isPreview(node) -> bool:
    """Whether a node is a preview, which no selector should offer."""
    return node is not None and node.GetAttribute(ROLE) == "preview"


class ThresholdPreview:
    """Shows the voxels of a volume from some HU on in yellow, in every slice view.

    The hidden node shares the volume's voxels, so that moving the threshold costs one repaint. It is never saved, and
    goes when its volume or the scene goes.
    """

    def __init__(self, scene) -> None:
        self._scene = scene
        self._node: Any = None
        self._source: Any = None
        self._before: dict[str, tuple[str | None, float]] = {}
        self._observers = Observers()
        self._sorted: tuple[object, float, np.ndarray] | None = None

    @property
    def node(self):
        """The hidden volume node, None while nothing is shown."""
        return self._node

    def show(self, volume, lowHU: float) -> None:
        """Show the voxels of `volume` at or above `lowHU`; called again, it moves the threshold."""
        if self._node is None or self._source is not volume:
            self.hide()
            self._create(volume)
        self._node.SetAndObserveImageData(volume.GetImageData())
        display = self._node.GetDisplayNode()
        modifying = display.StartModify()
        display.SetThreshold(float(lowHU), 1e9)
        # One color for all: the window ends where the threshold begins.
        display.SetWindowLevelMinMax(float(lowHU) - 1.0, float(lowHU))
        display.EndModify(modifying)
        self._enter()

    def hide(self) -> None:
        """Take the preview away; the views get back what they showed before."""
        self._observers.removeAll()
        node, self._node, self._source, self._sorted = self._node, None, None, None
        if node is not None:
            self._leave(node)
            display = node.GetDisplayNode()
            for one in (node, display):
                if one is not None and self._scene.IsNodePresent(one):
                    self._scene.RemoveNode(one)

    def milliliters(self, volume, lowHU: float) -> float:
        """Volume of the voxels at or above `lowHU`, ml; repeated calls for one volume cost next to nothing."""
        from CTRestorationLib.nodes.volumes import arrayOfNode

        key = (volume.GetID(), volume.GetImageData().GetMTime())
        if self._sorted is None or self._sorted[0] != key or lowHU < self._sorted[1]:
            array = arrayOfNode(volume)
            base = min(_SORTED_FROM_HU, float(lowHU))
            self._sorted = (key, base, np.sort(array[array >= base]))
        values = self._sorted[2]
        count = len(values) - int(np.searchsorted(values, lowHU, side="left"))
        return count * gridOfNode(volume).voxel_mm3 / 1000.0

    def _create(self, volume) -> None:
        node = self._scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.UnRegister(None)
        node.SetName("Metal preview")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetAttribute(ROLE, "preview")
        node.SetSelectable(False)
        self._scene.AddNode(node)
        node.CopyOrientation(volume)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        display = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.SetSaveWithScene(False)
        display.SetAutoWindowLevel(False)
        display.SetInterpolate(False)
        display.SetAutoThreshold(False)
        display.SetApplyThreshold(True)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeYellow")
        node.SetAndObserveDisplayNodeID(display.GetID())
        self._node, self._source = node, volume
        scene = self._scene
        self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, self._onRemoved, node=True)
        self._observers.add(scene, scene.StartCloseEvent, lambda: self.hide())
        # A saved view must not name a volume that the file does not hold.
        self._observers.add(scene, scene.StartSaveEvent, lambda: self._leave(self._node))
        self._observers.add(scene, scene.EndSaveEvent, self._enter)

    def _onRemoved(self, removed) -> None:
        if removed is self._source:
            self.hide()
        elif removed is self._node:
            self._observers.removeAll()
            self._leave(removed)
            self._node = self._source = None

    def _composites(self):
        nodes = self._scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
        nodes.UnRegister(None)
        return [nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems())]

    def _enter(self) -> None:
        if self._node is None:
            return
        for composite in self._composites():
            if composite.GetForegroundVolumeID() != self._node.GetID():
                self._before[composite.GetID()] = (
                    composite.GetForegroundVolumeID(),
                    composite.GetForegroundOpacity(),
                )
                composite.SetForegroundVolumeID(self._node.GetID())
                composite.SetForegroundOpacity(_OPACITY)

    def _leave(self, node) -> None:
        before, self._before = self._before, {}
        for composite in self._composites():
            if node is not None and composite.GetForegroundVolumeID() == node.GetID():
                identifier, opacity = before.get(composite.GetID(), (None, 0.0))
                known = identifier and self._scene.GetNodeByID(identifier) is not None
                composite.SetForegroundVolumeID(identifier if known else None)
                composite.SetForegroundOpacity(opacity)
