"""Slicer's MRML widgets that our modules use: bound to the scene, as small as they can be."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .ctkwidgets import ctkSliderWidget, row
from .cxx import carried, emit, prop, signal


class Observer:
    """VTK observers that call a widget's method without keeping the widget alive."""

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def watch(self, caller: Any, events: list[Any], method: Any) -> None:
        reference = weakref.WeakMethod(method)

        def notify(*_: Any) -> None:
            alive = reference()
            if alive is not None and shiboken6.isValid(alive.__self__):
                alive()

        self._tags += [(caller, caller.AddObserver(event, notify)) for event in events]

    def clear(self) -> None:
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags = []


def _scene(self: Any) -> Any:
    return self.__dict__.get("_scene")


def _keep_scene(self: Any, scene: Any) -> None:
    self._scene = scene


def _set_scene(self: Any, scene: Any) -> None:
    if scene is not _scene(self):
        self._scene = scene
        emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)


@carried
class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = signal("mrmlSceneChanged(vtkMRMLScene*)")

    mrmlScene, setMRMLScene = _scene, _set_scene


@carried
class qSlicerWidget(QtWidgets.QWidget):
    mrmlSceneChanged = signal("mrmlSceneChanged(vtkMRMLScene*)")
    setMRMLScene = _set_scene


@carried
class qMRMLSliderWidget(ctkSliderWidget):
    quantity = prop("quantity", "QString", "")

    mrmlScene, setMRMLScene = _scene, _keep_scene


def _reread(self: Any) -> None:
    self._refresh()


@carried
class qMRMLNodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = signal("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)")
    currentNodeIDChanged = signal("currentNodeIDChanged(QString)")
    nodeActivated = signal("nodeActivated(vtkMRMLNode*)")
    nodeAdded = signal("nodeAdded(vtkMRMLNode*)")
    nodeAddedByUser = signal("nodeAddedByUser(vtkMRMLNode*)")
    nodeTypes = prop("nodeTypes", "QStringList", [], _reread)
    noneEnabled = prop("noneEnabled", "bool", False, _reread)
    noneDisplay = prop("noneDisplay", "QString", "None", _reread)
    showHidden = prop("showHidden", "bool", False, _reread)
    showChildNodeTypes = prop("showChildNodeTypes", "bool", True, _reread)
    addEnabled = prop("addEnabled", "bool", True)
    removeEnabled = prop("removeEnabled", "bool", True)
    editEnabled = prop("editEnabled", "bool", False)
    renameEnabled = prop("renameEnabled", "bool", False)
    baseName = prop("baseName", "QString", "")
    selectNodeUponCreation = prop("selectNodeUponCreation", "bool", True)
    currentNodeID = QtCore.Property(
        str, lambda self: self._current or "", lambda self, value: self.setCurrentNodeID(value)
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._current: str | None = None
        self._ids: list[str | None] = []
        self._attributes: list[tuple[str, str, str]] = []
        self._observer = Observer()
        self._box = QtWidgets.QComboBox()
        row(self, self._box)
        self._box.connect("currentIndexChanged(int)", self._picked)
        self._box.connect("activated(int)", self._activated)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._observer.clear()
        self._scene = scene
        if scene is not None:
            events = [scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent]
            self._observer.watch(scene, events, self._refresh)
        self._refresh()

    def addAttribute(self, node_type: str, name: str, value: Any = "") -> None:
        self._attributes.append((node_type, name, str(value)))
        self._refresh()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else "" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str) -> None:
        wanted = node_id or None
        index = self._ids.index(wanted) if wanted in self._ids else self._ids.index(None) if None in self._ids else -1
        self._box.setCurrentIndex(index)

    def setCurrentNodeIndex(self, index: int) -> None:
        nodes = [item for item in self._ids if item]
        self.setCurrentNodeID(nodes[index] if 0 <= index < len(nodes) else "")  # type: ignore[arg-type]

    def nodeCount(self) -> int:
        return len([item for item in self._ids if item])

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID([item for item in self._ids if item][index])

    def addNode(self, node_type: str = "") -> Any:
        node = self._scene.CreateNodeByClass(node_type or self.nodeTypes[0])
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or node.GetNodeTagName()))
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        emit(self, "nodeAddedByUser(vtkMRMLNode*)", node)
        emit(self, "nodeAdded(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def _shows(self, node: Any) -> bool:
        matching = [kind for kind in self.nodeTypes if node.IsA(kind)]
        if not self.showChildNodeTypes:
            matching = [kind for kind in matching if kind == node.GetClassName()]
        wanted = [(name, value) for kind, name, value in self._attributes if node.IsA(kind)]
        fits = all(
            node.GetAttribute(name) is not None and value in ("", node.GetAttribute(name)) for name, value in wanted
        )
        return bool(matching) and fits and (self.showHidden or not node.GetHideFromEditors())

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        every = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in every if self._shows(node)]

    def _refresh(self) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        nodes = self._nodes()
        old = self._box.currentIndex
        ids = ([None] if self.noneEnabled else []) + [node.GetID() for node in nodes]
        names = ([self.noneDisplay] if self.noneEnabled else []) + [node.GetName() or "" for node in nodes]
        blocked = self._box.blockSignals(True)
        self._ids = ids
        self._box.clear()
        self._box.addItems(names)
        # A node that goes hands over to its neighbor, as in Slicer.
        index = ids.index(self._current) if self._current in ids else min(max(old, 0), len(ids) - 1)
        self._box.setCurrentIndex(index)
        self._box.blockSignals(blocked)
        self._picked(index)

    def _picked(self, index: int) -> None:
        picked = self._ids[index] if 0 <= index < len(self._ids) else None
        if picked == self._current:
            return
        self._current = picked
        node = self.currentNode()
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)
        emit(self, "currentNodeIDChanged(QString)", picked or "")

    def _activated(self, _index: int) -> None:
        emit(self, "nodeActivated(vtkMRMLNode*)", self.currentNode())


@carried
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    checkedNodesChanged = signal("checkedNodesChanged()")

    def checkedNodes(self) -> list[Any]:
        checked = self.__dict__.setdefault("_checked", set())
        return [node for node in self._nodes() if node.GetID() in checked]

    def uncheckedNodes(self) -> list[Any]:
        checked = [node.GetID() for node in self.checkedNodes()]
        return [node for node in self._nodes() if node.GetID() not in checked]

    def checkState(self, node: Any) -> int:
        kept = self.__dict__.setdefault("_checked", set())
        return QtCore.Qt.CheckState.Checked if node.GetID() in kept else QtCore.Qt.CheckState.Unchecked

    def setCheckState(self, node: Any, state: int) -> None:
        kept = self.__dict__.setdefault("_checked", set())
        (kept.add if state == QtCore.Qt.CheckState.Checked else kept.discard)(node.GetID())
        emit(self, "checkedNodesChanged()")


@carried
class qMRMLSegmentSelectorWidget(qMRMLWidget):
    currentNodeChanged = signal("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)")
    currentSegmentChanged = signal("currentSegmentChanged(QString)")
    noneEnabled = prop("noneEnabled", "bool", False, _reread)
    segmentationNodeSelectorVisible = prop(
        "segmentationNodeSelectorVisible",
        "bool",
        True,
        lambda self: self._nodes.setVisible(self.segmentationNodeSelectorVisible),
    )
    editEnabled = prop("editEnabled", "bool", False)
    selectNodeUponCreation = prop("selectNodeUponCreation", "bool", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._observer = Observer()
        self._ids: list[str] = []
        self._segment = ""
        self._nodes = qMRMLNodeComboBox()
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.noneEnabled = True
        self._box = QtWidgets.QComboBox()
        row(self, self._nodes, self._box)
        self.connect("mrmlSceneChanged(vtkMRMLScene*)", self._nodes.setMRMLScene)
        self._nodes.connect("currentNodeChanged(vtkMRMLNode*)", self._node_changed)
        self._box.connect("currentIndexChanged(int)", self._picked)

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self._nodes.setCurrentNodeID(node_id)

    def currentSegmentID(self) -> str:
        return self._segment

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._box.setCurrentIndex(self._ids.index(segment_id) if segment_id in self._ids else -1)

    def segmentIDs(self) -> tuple[str, ...]:
        return tuple(item for item in self._ids if item)

    def _node_changed(self, node: Any) -> None:
        self._observer.clear()
        if node is not None:
            kind = slicer.vtkSegmentation
            self._observer.watch(node, [kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified], self._refresh)
        self._refresh()
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)

    def _refresh(self) -> None:
        node = self.currentNode()
        segments = node.GetSegmentation() if node is not None else None
        found = [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())] if segments else []
        blocked = self._box.blockSignals(True)
        self._ids = ([""] if self.noneEnabled else []) + found
        self._box.clear()
        self._box.addItems([segments.GetSegment(item).GetName() if item else "None" for item in self._ids])
        index = self._ids.index(self._segment) if self._segment in self._ids else 0 if self._ids else -1
        self._box.setCurrentIndex(index)
        self._box.blockSignals(blocked)
        self._picked(index)

    def _picked(self, index: int) -> None:
        picked = self._ids[index] if 0 <= index < len(self._ids) else ""
        if picked != self._segment:
            self._segment = picked
            emit(self, "currentSegmentChanged(QString)", picked)


@carried
class qMRMLTableView(QtWidgets.QTableView):
    mrmlSceneChanged = signal("mrmlSceneChanged(vtkMRMLScene*)")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._observer = Observer()
        self._table: Any = None
        self._items = QtGui.QStandardItemModel()
        self.setModel(self._items)

    mrmlScene, setMRMLScene = _scene, _set_scene

    def mrmlTableNode(self) -> Any:
        return self._table

    def setMRMLTableNode(self, node: Any) -> None:
        self._observer.clear()
        self._table = node
        if node is not None:
            self._observer.watch(node, ["ModifiedEvent"], self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        self._items.clear()
        if self._table is None:
            return
        columns = [self._table.GetColumnName(index) for index in range(self._table.GetNumberOfColumns())]
        self._items.setHorizontalHeaderLabels(columns)
        for line in range(self._table.GetNumberOfRows()):
            cells = [self._table.GetCellText(line, column) for column in range(len(columns))]
            self._items.appendRow([QtGui.QStandardItem(cell) for cell in cells])
