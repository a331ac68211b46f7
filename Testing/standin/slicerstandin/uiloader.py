"""Loads `.ui` files with the stand-in's classes, and makes their connections in Python."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools

from . import facts, pythonqt
from .cxx import classes, short
from .pythonqt import connect


class _Builder(QtUiTools.QUiLoader):
    """Makes our classes where a .ui file names them."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name in classes:
            widget: Any = classes[class_name](parent)
            widget.setObjectName(name)
            _kept.append(widget)
            return widget
        return super().createWidget(class_name, parent, name)


# QUiLoader forgets the Python halves of what createWidget made; the root widget keeps them.
_kept: list[Any] = []


def _check(tree: ElementTree.Element, root: Any) -> None:
    for entry in tree.iter("widget"):
        class_name, name = entry.get("class", ""), entry.get("name", "")
        widget = root if root.property("objectName") == name else root.findChild(QtCore.QObject, name)
        if widget is None:
            raise ValueError(f"{class_name} {name} was not made")
        meta = widget.metaObject()
        declared = {item.get("name", "") for item in entry.findall("property") if item.get("stdset") != "0"}
        lost = sorted(item for item in declared if meta.indexOfProperty(item) < 0)
        if lost:
            known = set(lost) <= facts.names(class_name, "properties")
            raise ValueError(
                f"{class_name} {name}: {lost} " + ("not carried by the stand-in" if known else "no such property")
            )


def _connect(tree: ElementTree.Element, root: Any) -> None:
    def find(name: str) -> Any:
        return root if root.property("objectName") == name else root.findChild(QtCore.QObject, name)

    for entry in tree.iter("connection"):
        sender, receiver = find(entry.findtext("sender", "")), find(entry.findtext("receiver", ""))
        slot = entry.findtext("slot", "")
        kind = receiver.className()
        if kind in facts.classes() and slot not in facts.names(kind, "slots") | facts.names(kind, "signals"):
            raise ValueError(f"{kind} has no slot {slot}")
        connect(sender, entry.findtext("signal", ""), getattr(receiver, short(slot)))


def load(path: str | Path) -> Any:
    """The root widget of a .ui file. Raises ValueError for classes, properties and connections that do not exist."""
    text = Path(path).read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text)  # noqa: S314  (our own files)
    connections = [(entry, tree.remove(entry))[0] for entry in tree.findall("connections")]
    _kept.clear()
    buffer = QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(tree))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    builder = _Builder()
    builder.setWorkingDirectory(QtCore.QDir(str(Path(path).parent)))
    pythonqt.loading_ui = True
    try:
        root: Any = builder.load(buffer)
    finally:
        pythonqt.loading_ui = False
    if root is None:
        raise ValueError(f"{path}: {builder.errorString()}")
    root.__dict__["_standin_children"] = list(_kept)
    _check(tree, root)
    for entry in connections:
        _connect(entry, root)
    return root


class UiLoader:
    """qt.QUiLoader: `load(QFile)`."""

    def load(self, file: Any, _parent: Any = None) -> Any:
        file.close()
        return load(file.fileName())
