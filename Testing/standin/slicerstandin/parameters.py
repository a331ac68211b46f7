"""`slicer.parameterNodeWrapper`, the part that our modules use: flat fields of plain types, enumerations and nodes."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

from . import connectors
from .annotations import Choice, Decimals, Default, Maximum, Minimum, SingleStep, WithinRange

__all__ = [
    "Choice", "Decimals", "Default", "Maximum", "Minimum", "SingleStep", "SlicerParameterNamePropertyName",
    "WithinRange", "isParameterNodeWrapper", "parameterNodeWrapper",
]  # fmt: skip
SlicerParameterNamePropertyName = "SlicerParameterName"
PLAIN = (str, int, float, bool)
STANDARDS: dict[type, Any] = {str: "", int: 0, float: 0.0, bool: False, Path: Path()}


@dataclasses.dataclass
class Field:
    """One field: its type, whether None is allowed, its annotations and default."""

    name: str
    kind: type
    optional: bool
    annotations: tuple[Any, ...]
    default: Any

    @property
    def is_node(self) -> bool:
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def find(self, kind: type) -> Any:
        return next((item for item in self.annotations if type(item) is kind), None)

    def check(self, value: Any) -> None:
        """Raise TypeError or ValueError where Slicer's validators would."""
        if value is None and self.is_node:
            return
        exact = self.kind in PLAIN
        if (exact and type(value) is not self.kind and not _widens(self.kind, value)) or (
            not exact and not isinstance(value, self.kind)
        ):
            raise TypeError(f"Value of {self.name} must be of type {self.kind}, is {type(value)} value {value!r}")
        for item in self.annotations:
            if hasattr(item, "check"):
                item.check(value)

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any) -> Any:
        if not self.stored(node):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if issubclass(self.kind, enum.Enum):
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)

    def stored(self, node: Any) -> bool:
        return self.name in node.GetParameterNames()


def _widens(kind: type, value: Any) -> bool:
    return kind is float and type(value) is int


def _field(owner: type, name: str, annotated: Any) -> Field:
    annotations = tuple(getattr(annotated, "__metadata__", ()))
    kind = typing.get_args(annotated)[0] if annotations else annotated
    optional = isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
    if optional:
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        if len(parts) != 1:
            raise TypeError(f"{owner.__name__}.{name}: one node class or None")
        kind = parts[0]
    allowed = isinstance(kind, type) and (kind in STANDARDS or issubclass(kind, (enum.Enum, slicer.vtkMRMLNode)))
    if not allowed:
        raise TypeError(f"{owner.__name__}.{name}: fields are str, int, float, bool, Path, Enum or a node, not {kind}")
    field = Field(name, kind, optional, annotations, None)
    annotated_default = field.find(Default)
    if hasattr(owner, name):
        field.default = getattr(owner, name)
    elif annotated_default is not None:
        field.default = annotated_default.value
    elif not field.is_node:
        field.default = next(iter(kind)) if issubclass(kind, enum.Enum) else STANDARDS[kind]
    return field


class Wrapper:
    """What the decorator adds to a class of fields."""

    allParameters: dict[str, Field]
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if parameterNode is None:
            raise AssertionError("a parameter node wrapper needs a parameter node")
        state = self.__dict__
        state.update(parameterNode=parameterNode, _guis={}, _next=0, _updating=False, _cache={})
        for field in self.allParameters.values():
            self._refresh(field.name)
            self._observe(field.name)

    def _observe(self, name: str) -> None:
        # One observer a field, as in Slicer: their order among other observers shows, see the test.
        reference = weakref.ref(self)

        def modified(*_: Any) -> None:
            wrapper = reference()
            if wrapper is not None:
                wrapper._refresh(name)

        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)
        weakref.finalize(self, self.parameterNode.RemoveObserver, tag)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters:
            # Slicer would let a misspelled field pass in silence.
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        self.setValue(name, value)

    def _refresh(self, name: str) -> None:
        # Slicer caches what it read last: a node that comes into the scene later stays None until Modified.
        self._cache[name] = self.allParameters[name].read(self.parameterNode)

    def getValue(self, name: str) -> Any:
        return self._cache[self._known(name)]

    def setValue(self, name: str, value: Any) -> None:
        field = self.allParameters[self._known(name)]
        was = self.parameterNode.StartModify()
        try:
            field.write(self.parameterNode, value)
            self._cache[name] = field.read(self.parameterNode)
        finally:
            self.parameterNode.EndModify(was)

    def _known(self, name: str) -> str:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return name

    def default(self, name: str) -> Any:
        return Default(self.allParameters[self._known(name)].default)

    @classmethod
    def dataType(cls, name: str) -> Any:
        return cls.allParameters[name].kind

    def connectGui(self, gui: Any) -> int:
        """Bind widgets whose dynamic property names a field; RuntimeError where type and widget do not go together."""
        widgets = (
            gui.findChildren(slicer.qMRMLWidget.__mro__[1]) if hasattr(gui, "findChildren") else vars(gui).values()
        )
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        bound = {
            name: connectors.make(widget, self.allParameters[self._known(name)]) for name, widget in mapping.items()
        }
        tag = self._next
        self.__dict__["_next"] += 1
        for name, connector in bound.items():
            connector.write(self.getValue(name))
            connector.connect(self._changed(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        self._guis[tag] = (bound, observer)
        return tag

    def _changed(self, name: str, connector: Any) -> Callable[[], None]:
        def changed() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return changed

    def _update_gui(self) -> None:
        if self._updating:
            return
        self.__dict__["_updating"] = True
        try:
            for bound, _observer in list(self._guis.values()):
                for name, connector in bound.items():
                    connector.write(self.getValue(name))
        finally:
            self.__dict__["_updating"] = False

    def disconnectGui(self, tag: int) -> None:
        bound, observer = self._guis.pop(tag, ({}, None))
        for connector in bound.values():
            connector.disconnect()
        if observer is not None:
            self.RemoveObserver(observer)

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, was: Any) -> Any:
        return self.parameterNode.EndModify(was)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Class decorator: typed access to a vtkMRMLScriptedModuleNode's parameters."""
    if cls is None:
        return parameterNodeWrapper
    fields = {name: _field(cls, name, kind) for name, kind in typing.get_type_hints(cls, include_extras=True).items()}
    body = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__", *fields)}
    for name in fields:
        body[name] = property(lambda self, name=name: self.getValue(name))
    body["allParameters"] = fields
    return type(cls.__name__, (Wrapper,), body)


def isParameterNodeWrapper(thing: Any) -> bool:
    return getattr(thing, "_is_parameter_node_wrapper", False)
