"""How the stand-in declares its own CTK and Slicer classes: only names that facts.json knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from . import facts
from .convert import to_cxx
from .pythonqt import CxxSignal, emit, find, patch

KINDS: dict[str, Any] = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": "QStringList"}
signal = CxxSignal
__all__ = ["carried", "classes", "emit", "forwarded", "prop", "signal"]
classes: dict[str, type] = {}
# Virtual functions of Qt, which a class overrides without offering them.
OVERRIDES = {"paintEvent", "staticMetaObject"}


def prop(name: str, kind: str, default: Any, changed: Callable[[Any], None] | None = None) -> Any:
    """A property of C++ type `kind`, kept in `_name`; `changed(widget)` is called after it took a new value."""

    def get(self: Any) -> Any:
        return self.__dict__.get("_" + name, default)

    def put(self: Any, value: Any) -> None:
        value = to_cxx(kind, value, f"property {type(self).__name__}.{name}")
        if value != get(self):
            self.__dict__["_" + name] = value
            if changed is not None:
                changed(self)

    return QtCore.Property(KINDS[kind], get, put)


def forwarded(name: str, kind: str, child: str, target: str = "") -> Any:
    """A property that is its inner widget's: `self._child.target`."""

    def get(self: Any) -> Any:
        return getattr(getattr(self, child), target or name)

    def put(self: Any, value: Any) -> None:
        setattr(getattr(self, child), target or name, to_cxx(kind, value, f"property {type(self).__name__}.{name}"))

    return QtCore.Property(KINDS[kind], get, put)


def carried(cls: Any) -> Any:
    """Class decorator: add the setter slots that the facts know, register for `.ui` files, patch as a C++ class."""
    slots = {short(entry) for kind in ("slots", "invokables") for entry in facts.names(cls.__name__, kind)}
    for name, declared in list(cls.__dict__.items()):
        setter = f"set{name[0].upper()}{name[1:]}"
        if isinstance(declared, QtCore.Property) and setter in slots and setter not in cls.__dict__:
            setattr(cls, setter, lambda self, value, _put=declared.fset: _put(self, value))
    classes[cls.__name__] = cls
    return patch(cls)


def strangers(cls: type) -> list[str]:
    """Names and signal signatures that a class of the stand-in offers and the class of Slicer or CTK does not have."""
    offered: set[str] = set()
    known = facts.members(cls.__name__) | facts.names(cls.__name__, "signals") | _qt_names(cls.__name__)
    for base in cls.__mro__:
        if base.__name__ in classes:
            offered.update(name for name in vars(base) if not name.startswith("_"))
            offered.update(entry for item in vars(base).values() if type(item) is signal for entry in item.signatures)
    return sorted(offered - known - OVERRIDES)


def _qt_names(class_name: str) -> set[str]:
    """What Python gets from the Qt class that a class derives from: static functions are not in the facts."""
    while class_name and facts.source(class_name) != "Qt":
        class_name = facts.classes().get(class_name, {}).get("base") or ""
    return set(dir(find(class_name))) if class_name else set()


def short(signature: str) -> str:
    """The bare name of a signature."""
    return signature.partition("(")[0]
