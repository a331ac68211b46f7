"""A plan in the scene: one markups line a screw, which is the truth; models, rods and devices follow it."""

from __future__ import annotations

import slicer

from CTRestorationLib.nodes import hierarchy, implantmodels
from CTRestorationLib.nodes.geometry import turned
from CTRestorationLib.nodes.implantmodels import lineEnds
from CTRestorationLib.nodes.observers import Observers
from CTRestorationLib.nodes.planstore import MODEL, ROLE, PlanStore
from CTRestorationLib.nodes.views import resliceAlong

_FOLLOWED = ("screw", "device")


class PlanNodes(PlanStore):
    """The plan of a scene, which follows what the user drags and deletes once it is told to `observe`.

    Args:
        scene: vtkMRMLScene.
    """

    def __init__(self, scene) -> None:
        super().__init__(scene)
        self._observers = Observers()
        self._callbacks = (None, None, None, None)
        self._following = False
        self._dragged: set[str] = set()
        self._doomed: dict[str, object] = {}

    def observe(self, onMoved=None, onReleased=None, onRemoved=None, onGrabbed=None) -> None:
        """Follow the lines from now on: first the models, then the callbacks; replaces earlier callbacks.

        Args:
            onMoved: called with the line of a screw while an end is dragged, or was set from elsewhere.
            onReleased: called with the line when the mouse lets it go; the threaded model is back by then.
            onRemoved: called with the line when somebody else deleted it; its model is gone by then.
            onGrabbed: called with the line when the mouse takes hold of an end, before anything moves.
        """
        self.release()
        self._callbacks = (onMoved, onReleased, onRemoved, onGrabbed)
        self._following = True
        scene = self._scene
        self._observers.add(scene, scene.NodeAddedEvent, self._created, node=True)
        self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, self._onAboutToBeRemoved, node=True)
        self._observers.add(scene, scene.NodeRemovedEvent, self._onRemoved, node=True)
        self._observers.add(scene, scene.EndImportEvent, self._observeAll)
        self._observeAll()

    def release(self) -> None:
        """Stop following; nothing is called any more."""
        self._following = False
        self._observers.removeAll()
        self._callbacks = (None, None, None, None)
        self._dragged.clear()
        self._doomed.clear()

    def resliceAlong(self, line, sliceNode, orientation: str = "axial") -> None:
        """See `views.resliceAlong`."""
        resliceAlong(line, sliceNode, orientation)

    def _observeAll(self) -> None:
        for node in self._nodes(*_FOLLOWED):
            self._created(node)

    def _created(self, node) -> None:
        if not self._following or node.GetAttribute(ROLE) not in _FOLLOWED or not node.IsA("vtkMRMLMarkupsLineNode"):
            return
        kind = slicer.vtkMRMLMarkupsNode
        self._observers.remove(node)
        # Bound to the ID, not to the node: an observer that holds its own node keeps it alive for ever.
        identifier = node.GetID()
        self._observers.add(node, kind.PointModifiedEvent, lambda: self._onMoved(identifier))
        self._observers.add(node, kind.TransformModifiedEvent, lambda: self._onMoved(identifier))
        self._observers.add(node, kind.PointStartInteractionEvent, lambda: self._onGrabbed(identifier))
        self._observers.add(node, kind.PointEndInteractionEvent, lambda: self._onReleased(identifier))

    def _lineOf(self, identifier: str):
        """The line while it counts: there, with both ends, and not moved by ourselves."""
        line = self._scene.GetNodeByID(identifier)
        if self._quiet or line is None or line.GetNumberOfDefinedControlPoints() != 2:
            return None
        # Somebody may have spoiled what a handle carries: then there is nothing to follow.
        return line if line.GetAttribute(ROLE) == "screw" or line in self.devices() else None

    def _onGrabbed(self, identifier: str) -> None:
        self._dragged.add(identifier)
        line = self._lineOf(identifier)
        if line is not None:
            self._tell(3, line)

    def _onMoved(self, identifier: str) -> None:
        line = self._lineOf(identifier)
        if line is None:
            return
        model = line.GetNodeReference(MODEL)
        if line.GetAttribute(ROLE) == "device" or identifier not in self._dragged or model is None:
            self.updateModel(line)
        else:
            entry, target = lineEnds(line)
            screw = self.screwOf(line)
            model.SetAndObservePolyData(implantmodels.tube(turned(entry), turned(target), screw.diameter_mm / 2))
            self._color(line, implantmodels.gradeColor(screw.grade))
        self._tell(0, line)

    def _onReleased(self, identifier: str) -> None:
        self._dragged.discard(identifier)
        line = self._lineOf(identifier)
        if line is not None:
            self.updateModel(line)
            self._tell(1, line)

    def _onAboutToBeRemoved(self, node) -> None:
        if not self._quiet and node.GetAttribute(ROLE) in (*_FOLLOWED, "rod") and not self._scene.IsClosing():
            self._doomed[node.GetID()] = node.GetNodeReference(MODEL)

    def _onRemoved(self, node) -> None:
        self._observers.remove(node)
        identifier = node.GetID()
        if identifier not in self._doomed:
            return
        model = self._doomed.pop(identifier)
        self._dragged.discard(identifier)
        with self._silence():
            hierarchy.removeNode(model)
        self._tell(2, node)

    def _tell(self, which: int, line) -> None:
        callback = self._callbacks[which]
        if callback is not None and line.GetAttribute(ROLE) == "screw":
            callback(line)
