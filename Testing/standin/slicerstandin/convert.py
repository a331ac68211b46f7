"""Python values to C++ arguments as PythonQt converts them: fewer things pass than with PySide6."""

from __future__ import annotations

import math
import operator
from typing import Any

INTEGERS = {"int", "uint", "qlonglong", "qulonglong", "short", "ushort", "long", "ulong"}
FLOATS = {"double", "float", "qreal"}


class Refused(ValueError):
    """PythonQt would not convert this value; it reports a ValueError naming the property or slot."""


def to_cxx(kind: str, value: Any, where: str) -> Any:
    """Convert a value for a parameter of C++ type `kind`; raise `Refused` where PythonQt would.

    Python floats are floored on their way to an int; numpy's floats and booleans are refused, its integers pass.
    """
    if kind in INTEGERS:
        return _integer(kind, value, where)
    if kind in FLOATS:
        return float(_number(kind, value, where))
    if kind == "bool":
        return bool(_integer(kind, value, where))
    if kind == "QString" and not isinstance(value, str):
        raise Refused(f"{where} takes a str, not {_name(value)}: {value!r}")
    if kind == "QStringList":
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise Refused(f"{where} takes a list of str, not {_name(value)}: {value!r}")
        return list(value)
    return value


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _number(kind: str, value: Any, where: str) -> float:
    if type(value) is float:
        return value
    # numpy.float64 is a float to Python but not to PythonQt, which looks at the exact type.
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise Refused(f"{where} takes {kind}, not {_name(value)}: {value!r}")
    return operator.index(value)


def _integer(kind: str, value: Any, where: str) -> int:
    number = _number(kind, value, where)
    return math.floor(number) if isinstance(number, float) else number
