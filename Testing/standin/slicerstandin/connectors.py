"""Which widget class may show which field type: the exact class counts, as in Slicer."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange

BOOLS = {"QCheckBox": "stateChanged(int)", "ctkCheckBox": "stateChanged(int)"}
BUTTONS = {"QPushButton": "toggled(bool)", "ctkCheckablePushButton": "toggled(bool)"}
WHOLE = {"QSpinBox": "valueChanged(int)", "QSlider": "valueChanged(int)"}
REAL = dict.fromkeys(
    ("QDoubleSpinBox", "ctkSliderWidget", "ctkDoubleSlider", "ctkDoubleSpinBox", "qMRMLSliderWidget", "qMRMLSpinBox"),
    "valueChanged(double)",
)
SLIDERS = ("QSlider", "ctkSliderWidget", "ctkDoubleSlider", "qMRMLSliderWidget")
COMBOS = {"QComboBox": "currentIndexChanged(int)", "ctkComboBox": "currentIndexChanged(int)"}
TEXTS = {"QLineEdit": "textChanged(QString)", "QLabel": "", "QTextEdit": "textChanged()"}
PATHS = {"ctkPathLineEdit": "currentPathChanged(QString)", "ctkDirectoryButton": "directoryChanged(QString)"}
NODES = {"qMRMLNodeComboBox": "currentNodeChanged(vtkMRMLNode*)"}


class Connector:
    """Reads and writes one widget; `connect` calls back when the person changes it."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.widget, self.signal, self.read, self._write = widget, signal, read, write
        self._callback: Callable[[], None] | None = None

    def write(self, value: Any) -> None:
        if self.read() != value:
            self._write(value)

    def connect(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        if self.signal:
            self.widget.connect(self.signal, callback)

    def disconnect(self) -> None:
        if self.signal and self._callback is not None:
            self.widget.disconnect(self.signal, self._callback)
        self._callback = None  # as in Slicer: the wrapper behind it must go when its last reference does


def make(widget: Any, field: Any) -> Connector:
    """The connector of a widget and a field. Raises RuntimeError where Slicer has none."""
    name = type(widget).__name__
    choice = field.find(Choice)
    if field.is_node and name in NODES:
        widget.nodeTypes = [field.kind.__name__]
        return Connector(widget, NODES[name], widget.currentNode, widget.setCurrentNode)
    if name in COMBOS and (issubclass(field.kind, enum.Enum) or choice is not None):
        return _combo(widget, COMBOS[name], field, choice)
    if field.kind is bool and name in BOOLS | BUTTONS:
        if name in BUTTONS:
            widget.checkable = True
        return _plain(widget, (BOOLS | BUTTONS)[name], "checked", bool)
    if (field.kind is int and name in WHOLE | REAL) or (field.kind is float and name in REAL):
        _bound(widget, name, field)
        return _plain(widget, (WHOLE | REAL)[name], "value", field.kind)
    if field.kind is str and name in TEXTS:
        return _plain(widget, TEXTS[name], "plainText" if name == "QTextEdit" else "text", str)
    if field.kind is Path and name in PATHS:
        attribute = "currentPath" if name == "ctkPathLineEdit" else "directory"
        return Connector(
            widget,
            PATHS[name],
            lambda: Path(getattr(widget, attribute)),
            lambda value: setattr(widget, attribute, str(value)),
        )
    raise RuntimeError(f"Unable to create GUI connector from datatype '{field.kind}' to widget type '{name}'.")


def _plain(widget: Any, signal: str, attribute: str, kind: type) -> Connector:
    return Connector(
        widget,
        signal,
        lambda: kind(getattr(widget, attribute)),
        lambda value: setattr(widget, attribute, value),
    )


def _bound(widget: Any, name: str, field: Any) -> None:
    within, low, high = field.find(WithinRange), field.find(Minimum), field.find(Maximum)
    lowest = within.minimum if within else low.minimum if low else None
    highest = within.maximum if within else high.maximum if high else None
    if name in SLIDERS and (lowest is None or highest is None):
        raise RuntimeError(f"Cannot have a connection to {name} where the type is unbounded.")
    decimals, step = field.find(Decimals), field.find(SingleStep)
    if field.kind is int and name in REAL and name != "ctkDoubleSlider":
        widget.decimals = 0
    elif decimals is not None:
        widget.decimals = decimals.value
    unbounded = (-(2**31), 2**31 - 1) if name in WHOLE else (-1.0e300, 1.0e300)
    widget.minimum = unbounded[0] if lowest is None else lowest
    widget.maximum = unbounded[1] if highest is None else highest
    if step is not None:
        widget.singleStep = step.value


def _combo(widget: Any, signal: str, field: Any, choice: Any) -> Connector:
    values = list(choice.choices) if choice is not None else list(field.kind)
    label = getattr(field.kind, "label", lambda item: item.name) if choice is None else str
    blocked = widget.blockSignals(True)
    widget.clear()
    widget.addItems([label(value) for value in values])
    widget.blockSignals(blocked)
    return Connector(
        widget,
        signal,
        lambda: values[widget.currentIndex] if widget.currentIndex >= 0 else None,
        lambda value: widget.setCurrentIndex(values.index(value)),
    )
