"""PythonQt's manners taught to PySide6 classes.

Properties are values, `obj.connect("clicked(bool)", f)` connects, unknown attributes cannot be set, children are
attributes, exceptions of slots go to sys.excepthook. PySide6 classes are patched in place, for the whole process.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from . import facts
from .convert import Refused, to_cxx

QT_CONNECT = QtCore.QObject.connect
QT_DISCONNECT = QtCore.QObject.disconnect
QT_SET_PROPERTY = QtCore.QObject.setProperty
VARIABLE_ARGUMENTS = 0x04

patched: set[type] = set()
loading_ui = False
links: dict[int, list[tuple[str, Any, Any]]] = {}
# Connections of destroyed objects: freed by reset(), not in the midst of a C++ destructor, where a slot's last
# reference may hold further objects that are being destroyed.
buried: list[tuple[str, Any, Any]] = []


def text_of(data: Any) -> str:
    """str of what PySide6 gives as QByteArray, bytes or str."""
    return data if isinstance(data, str) else bytes(data).decode()


def find(name: str) -> Any:
    """A class of QtCore, QtGui or QtWidgets."""
    return next(getattr(module, name) for module in (QtCore, QtGui, QtWidgets) if hasattr(module, name))


def normalized(signature: str) -> str:
    """A signature as moc writes it."""
    return text_of(QtCore.QMetaObject.normalizedSignature(signature))


def is_a(obj: Any, cls: type) -> bool:
    """isinstance() for our own code: the patched one tells no base classes, as in PythonQt."""
    return cls in type(obj).__mro__


def cxx_class(obj_or_type: Any) -> type | None:
    """The class that C++ would name: the object's type, or the first class of a Python subclass that is C++."""
    kind = obj_or_type if isinstance(obj_or_type, type) else type(obj_or_type)
    return next((base for base in kind.__mro__ if base in patched), None)


# --- signals --------------------------------------------------------------------------------------------------


def truncated(function: Callable) -> Callable:
    """A slot that takes what it has parameters for and hands its exceptions to sys.excepthook.

    Functions and methods get no more arguments than they declare; other callables (functools.partial) get all.
    """
    plain = function.__func__ if inspect.ismethod(function) else function
    count = None
    if inspect.isfunction(plain) and not plain.__code__.co_flags & VARIABLE_ARGUMENTS:
        count = plain.__code__.co_argcount - (1 if inspect.ismethod(function) else 0)

    def slot(*arguments: Any) -> None:
        try:
            function(*(arguments if count is None else arguments[:count]))
        except Exception:
            sys.excepthook(*sys.exc_info())

    return slot


class CxxSignal:
    """A signal of a class that the stand-in writes itself; emitted by `emit(obj, signature, *arguments)`."""

    def __init__(self, *signatures: str) -> None:
        self.signatures = tuple(normalized(signature) for signature in signatures)
        self.name = signatures[0].split("(")[0]

    def __get__(self, obj: Any, owner: type) -> Any:
        return self if obj is None else BoundSignal(obj, self.signatures)


class QtSignal:
    """Stands before PySide6's own signal on a patched class."""

    def __init__(self, original: Any, signatures: tuple[str, ...]) -> None:
        self.original = original
        self.signatures = signatures

    def __get__(self, obj: Any, owner: type) -> Any:
        return self.original if obj is None else BoundSignal(obj, self.signatures, self.original)


class BoundSignal:
    """`obj.clicked`: connect, disconnect, emit; the first overload is the one connected."""

    def __init__(self, obj: Any, signatures: tuple[str, ...], original: Any = None) -> None:
        self._obj, self._signatures, self._original = obj, signatures, original

    def connect(self, *target: Any) -> bool:
        return connect(self._obj, self._signatures[0], *target)

    def disconnect(self, *target: Any) -> bool:
        return disconnect(self._obj, self._signatures[0], *target)

    def emit(self, *arguments: Any) -> None:
        if self._original is None:
            emit(self._obj, self._signatures[0], *arguments)
        else:
            self._original.__get__(self._obj, type(self._obj)).emit(*arguments)

    __call__ = emit


def emit(obj: Any, signature: str, *arguments: Any) -> None:
    """Emit one overload of a stand-in signal, unless the object's signals are blocked."""
    if obj.signalsBlocked():
        return
    for linked, _function, slot in list(links.get(_key(obj), ())):
        if linked == signature:
            slot(*arguments)


def _key(obj: Any) -> int:
    return shiboken6.getCppPointer(obj)[0]


def _own_signal(obj: Any, signature: str) -> bool:
    found = inspect.getattr_static(type(obj), signature.split("(")[0], None)
    return isinstance(found, CxxSignal) and signature in found.signatures


def _check(obj: Any, signature: str) -> None:
    class_name = (cxx_class(obj) or type(obj)).__name__
    known = facts.names(class_name, "signals")
    if class_name in facts.classes() and signature not in known and signature != "destroyed()":
        near = [name for name in known if name.split("(")[0] == signature.split("(")[0]]
        raise ValueError(f"{class_name} has no signal {signature}; it has {sorted(near or known)}")
    if not _own_signal(obj, signature) and obj.metaObject().indexOfSignal(signature) < 0:
        raise ValueError(f"{class_name} has no signal {signature}, or the stand-in does not carry it")


def connect(obj: Any, signature: str, *target: Any) -> bool:
    """Connect a signal to a callable, or to (receiver, "slot(...)"). Raises ValueError for unknown signals.

    PythonQt prints and returns False there: a mistake that the stand-in shall not let pass.
    """
    if not isinstance(signature, (str, bytes)):  # PySide6's own singleShot connects its timer in this way
        return bool(QT_CONNECT(signature, *target))
    signature = normalized(signature)
    _check(obj, signature)
    function = _callable(*target)
    slot = truncated(function)
    key = _key(obj)
    if key not in links:
        links[key] = []
        QT_CONNECT(obj, QtCore.SIGNAL("destroyed(QObject*)"), lambda *_: buried.extend(links.pop(key, ())))
    if not _own_signal(obj, signature):
        QT_CONNECT(obj, QtCore.SIGNAL(signature), slot)
    links[key].append((signature, function, slot))
    return True


def disconnect(obj: Any, signature: str, *target: Any) -> bool:
    """Undo connections made by `connect`: all of a signal, or those to one callable."""
    signature = normalized(signature)
    _check(obj, signature)
    function = _callable(*target) if target else None
    kept, gone = [], []
    for link in links.get(_key(obj), []):
        (gone if link[0] == signature and (function is None or link[1] == function) else kept).append(link)
    for _signature, _function, slot in gone:
        if not _own_signal(obj, signature):
            QT_DISCONNECT(obj, QtCore.SIGNAL(signature), slot)
    if gone:
        links[_key(obj)] = kept
    return bool(gone)


def _callable(target: Any, slot: str | None = None) -> Callable:
    if slot is not None:
        target = getattr(target, slot.split("(")[0])
    if isinstance(target, BoundSignal):
        target = target.emit
    if not callable(target):
        raise TypeError(f"a slot must be callable, {target!r} is not")
    return target


# --- properties -----------------------------------------------------------------------------------------------


class QtProperty:
    """One QMetaProperty: a value on instances, PySide6's own function on the class."""

    def __init__(self, name: str, kind: str, writable: bool, getter: Any, setter: Any) -> None:
        self.name, self.kind, self.writable, self.getter, self.setter = name, kind, writable, getter, setter

    def __get__(self, obj: Any, owner: type) -> Any:
        if obj is None:
            if self.getter is None:
                raise AttributeError(f"{owner.__name__} has no attribute {self.name}")
            return self.getter
        return obj.property(self.name) if self.getter is None else self.getter(obj)

    def __set__(self, obj: Any, value: Any) -> None:
        where = f"property {type(obj).__name__}.{self.name}"
        if not self.writable:
            raise AttributeError(f"{where} is read only")
        value = to_cxx(self.kind, value, where)
        if self.setter is not None:
            self.setter(obj, value)
        elif not QT_SET_PROPERTY(obj, self.name, value):
            raise Refused(f"{where} refuses {value!r}")


class ObjectName:
    """`name`, PythonQt's other word for objectName."""

    def __get__(self, obj: Any, owner: type) -> Any:
        return self if obj is None else obj.property("objectName")

    def __set__(self, obj: Any, value: Any) -> None:
        QT_SET_PROPERTY(obj, "objectName", to_cxx("QString", value, "property name"))


def _checked_setter(cls: type, name: str, kind: str) -> Any:
    """Replace cls.setX(value) by one that converts as PythonQt does; give the original."""
    original = cls.__dict__.get(f"set{name[0].upper()}{name[1:]}")
    if original is None or kind not in {"int", "double", "bool", "QString"}:
        return original
    where = f"{cls.__name__}.set{name[0].upper()}{name[1:]}()"

    def setter(self: Any, *arguments: Any) -> Any:
        if len(arguments) == 1:
            arguments = (to_cxx(kind, arguments[0], where),)
        return original(self, *arguments)

    setattr(cls, f"set{name[0].upper()}{name[1:]}", setter)
    return original


def _patch_members(cls: Any) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        entry = meta.property(index)
        name, kind = entry.name(), text_of(entry.typeName())
        original = cls.__dict__.get(name)
        if isinstance(original, QtCore.Property):
            continue  # a class of the stand-in, whose properties are values already
        setter = _checked_setter(cls, name, kind)
        setattr(cls, name, QtProperty(name, kind, entry.isWritable(), original, setter))
    signals: dict[str, list[str]] = {}
    for index in range(meta.methodOffset(), meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            signature = text_of(method.methodSignature())
            signals.setdefault(signature.split("(")[0], []).append(signature)
    for name, signatures in signals.items():
        if isinstance(cls.__dict__.get(name), QtCore.Signal):
            setattr(cls, name, QtSignal(cls.__dict__[name], tuple(signatures)))


# --- attributes -----------------------------------------------------------------------------------------------


def _set_attribute(self: Any, name: str, value: Any) -> None:
    kind = type(self)
    found = inspect.getattr_static(kind, name, None)
    own = kind.__module__.startswith(__package__)
    if isinstance(found, QtCore.Property):
        if found.fset is None:
            raise AttributeError(f"property {kind.__name__}.{name} is read only")
        found.fset(self, value)
    elif hasattr(type(found), "__set__"):
        found.__set__(self, value)
    elif kind not in patched or (own and name.startswith("_")):
        self.__dict__[name] = value  # Python subclasses take any attribute
    elif loading_ui:
        pass  # PySide6's QUiLoader makes every child an attribute of the root; PythonQt's does not
    elif is_a(self, QtCore.QObject) and name in map(text_of, self.dynamicPropertyNames()):
        QT_SET_PROPERTY(self, name, value)
    else:
        raise AttributeError(
            f"Attribute '{name}' does not exist and creating new attributes on C++ objects is not allowed: "
            f"{kind.__name__}"
        )


def _get_attribute(self: Any, name: str) -> Any:
    """PySide6 answers `obj.connect` itself, whatever the class says: answer before it."""
    if name == "connect":
        return functools.partial(connect, self)
    if name == "disconnect":
        return functools.partial(disconnect, self)
    value = object.__getattribute__(self, name)
    # QtCore.Property is no descriptor for Python: PySide6 resolves it in the function that this one replaces.
    return value.fget(self) if type(value) is QtCore.Property else value


def _missing_attribute(self: Any, name: str) -> Any:
    """Dynamic properties and named children are attributes."""
    if not name.startswith("__") and shiboken6.isValid(self):
        if name in map(text_of, self.dynamicPropertyNames()):
            return self.property(name)
        for child in self.children():
            if child.property("objectName") == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _class_name(self: Any) -> str:
    return text_of(self.metaObject().className())


def _instance_check(cls: type, obj: Any) -> bool:
    """PythonQt's classes are no subclasses of each other: only the class itself, or the base of a Python subclass."""
    if cls in patched:
        return cxx_class(obj) is cls
    return cls in type(obj).__mro__


def patch(cls: Any) -> Any:
    """Give one Shiboken class, and its bases, PythonQt's manners."""
    for base in reversed(cls.__mro__):
        if base in patched or type(base) is not type(QtCore.QObject):
            continue
        if base.__module__ == "Shiboken":
            continue
        patched.add(base)
        if issubclass(base, QtCore.QObject):
            _patch_members(base)
            if base is not QtCore.QObject and "__getattribute__" in base.__dict__:
                base.__getattribute__ = _get_attribute  # a class of several bases brings its own
        base.__setattr__ = _set_attribute
    return cls


def patch_root() -> None:
    """The patches that all QObjects share."""
    root: Any = QtCore.QObject
    patch(root)
    root.name = ObjectName()
    root.__getattribute__ = _get_attribute
    root.className = _class_name
    root.__getattr__ = _missing_attribute
    type(root).__instancecheck__ = _instance_check
