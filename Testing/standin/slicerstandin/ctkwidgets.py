"""The CTK widgets that our modules use, on Qt's own."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .cxx import carried, emit, forwarded, prop, signal


def _fold(self: Any) -> None:
    for child in self.children():
        if child.isWidgetType():
            child.setVisible(not self.collapsed)
    self.setMaximumHeight(25 if self.collapsed else 16777215)
    self.setChecked(not self.collapsed)
    emit(self, "contentsCollapsed(bool)", self.collapsed)


@carried
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    contentsCollapsed = signal("contentsCollapsed(bool)")
    collapsed = prop("collapsed", "bool", False, _fold)
    collapsedHeight = prop("collapsedHeight", "int", 10)
    flat = prop("flat", "bool", False)

    def __init__(self, *arguments: Any) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(*[item for item in arguments if not isinstance(item, str)])
        if text:
            self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, 24, 0, 0)
        self.toggled.connect(self._toggled)

    def _toggled(self, opened: bool) -> None:
        self.collapsed = not opened

    def paintEvent(self, event: Any) -> None:
        style = QtWidgets.QStyleOptionButton()
        style.initFrom(self)
        style.text = ("▸ " if self.collapsed else "▾ ") + self.text
        style.rect = QtCore.QRect(0, 0, self.width, 24)
        painter = QtWidgets.QStylePainter(self)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, style)


@carried
class ctkCheckBox(QtWidgets.QCheckBox):
    pass


@carried
class ctkComboBox(QtWidgets.QComboBox):
    defaultText = prop("defaultText", "QString", "")
    forceDefault = prop("forceDefault", "bool", False)


def row(self: Any, *widgets: Any) -> None:
    layout = QtWidgets.QHBoxLayout(self)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)


@carried
class ctkDoubleSpinBox(QtWidgets.QWidget):
    valueChanged = signal("valueChanged(double)", "valueChanged(QString)")
    editingFinished = signal("editingFinished()")
    value = forwarded("value", "double", "_spin")
    minimum = forwarded("minimum", "double", "_spin")
    maximum = forwarded("maximum", "double", "_spin")
    singleStep = forwarded("singleStep", "double", "_spin")
    decimals = forwarded("decimals", "int", "_spin")
    prefix = forwarded("prefix", "QString", "_spin")
    suffix = forwarded("suffix", "QString", "_spin")
    readOnly = forwarded("readOnly", "bool", "_spin")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._spin = QtWidgets.QDoubleSpinBox()
        row(self, self._spin)
        self._spin.connect("valueChanged(double)", self._changed)
        self._spin.connect("editingFinished()", self._finished)

    def _changed(self, value: float) -> None:
        emit(self, "valueChanged(double)", value)
        emit(self, "valueChanged(QString)", self._spin.text)

    def _finished(self) -> None:
        emit(self, "editingFinished()")


def _pair(self: Any) -> Any:
    """A slider of 1000 steps and a spin box that follow each other."""
    self._spin = QtWidgets.QDoubleSpinBox()
    self._spin.setRange(0.0, 99.0)
    self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
    self._slider.setRange(0, 1000)
    row(self, self._slider, self._spin)
    self._slider.connect("valueChanged(int)", self._slid)
    self._spin.connect("valueChanged(double)", self._changed)


def _span(self: Any) -> float:
    return self._spin.maximum - self._spin.minimum


@carried
class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = signal("valueChanged(double)")
    valueIsChanging = signal("valueIsChanging(double)")
    value = forwarded("value", "double", "_spin")
    minimum = forwarded("minimum", "double", "_spin")
    maximum = forwarded("maximum", "double", "_spin")
    singleStep = forwarded("singleStep", "double", "_spin")
    decimals = forwarded("decimals", "int", "_spin")
    prefix = forwarded("prefix", "QString", "_spin")
    suffix = forwarded("suffix", "QString", "_spin")
    pageStep = prop("pageStep", "double", 10.0)
    tracking = prop("tracking", "bool", True)
    tickInterval = prop("tickInterval", "double", 0.0)
    spinBoxVisible = forwarded("spinBoxVisible", "bool", "_spin", "visible")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        _pair(self)

    def _slid(self, position: int) -> None:
        if abs(position - self._position()) > 0.5:
            self._spin.setValue(self._spin.minimum + position / 1000 * _span(self))

    def _position(self) -> float:
        return 1000 * (self._spin.value - self._spin.minimum) / _span(self) if _span(self) > 0 else 0.0

    def _changed(self, value: float) -> None:
        self._slider.setValue(round(self._position()))
        emit(self, "valueIsChanging(double)", value)
        emit(self, "valueChanged(double)", value)


@carried
class ctkRangeWidget(QtWidgets.QWidget):
    valuesChanged = signal("valuesChanged(double,double)")
    minimumValueChanged = signal("minimumValueChanged(double)")
    maximumValueChanged = signal("maximumValueChanged(double)")
    minimumValue = forwarded("minimumValue", "double", "_low", "value")
    maximumValue = forwarded("maximumValue", "double", "_high", "value")
    minimum = prop("minimum", "double", 0.0, lambda self: self._bound())
    maximum = prop("maximum", "double", 99.0, lambda self: self._bound())
    singleStep = prop("singleStep", "double", 1.0, lambda self: self._bound())
    decimals = prop("decimals", "int", 2, lambda self: self._bound())
    suffix = forwarded("suffix", "QString", "_high")
    tracking = prop("tracking", "bool", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low, self._high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        row(self, self._low, self._high)
        self._bound()
        self._high.setValue(99.0)
        self._low.connect("valueChanged(double)", self._low_changed)
        self._high.connect("valueChanged(double)", self._high_changed)

    def _bound(self) -> None:
        for box in (self._low, self._high):
            box.setDecimals(self.decimals)
            box.setRange(self.minimum, self.maximum)
            box.setSingleStep(self.singleStep)

    def setValues(self, low: float, high: float) -> None:
        blocked = self.blockSignals(True)
        self.maximumValue, self.minimumValue = max(low, high), min(low, high)
        self.blockSignals(blocked)
        emit(self, "valuesChanged(double,double)", self.minimumValue, self.maximumValue)

    def setRange(self, low: float, high: float) -> None:
        self.minimum, self.maximum = low, high

    def _low_changed(self, value: float) -> None:
        if value > self._high.value:
            self._high.setValue(value)
        emit(self, "minimumValueChanged(double)", value)
        emit(self, "valuesChanged(double,double)", value, self._high.value)

    def _high_changed(self, value: float) -> None:
        if value < self._low.value:
            self._low.setValue(value)
        emit(self, "maximumValueChanged(double)", value)
        emit(self, "valuesChanged(double,double)", self._low.value, value)


@carried
class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = signal("currentPathChanged(QString)")
    currentPath = forwarded("currentPath", "QString", "_edit", "text")
    nameFilters = prop("nameFilters", "QStringList", [])
    settingKey = prop("settingKey", "QString", "")
    label = prop("label", "QString", "")
    showBrowseButton = prop("showBrowseButton", "bool", True)
    showHistoryButton = prop("showHistoryButton", "bool", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit = QtWidgets.QLineEdit()
        row(self, self._edit)
        self._edit.connect("textChanged(QString)", self._changed)

    def _changed(self, text: str) -> None:
        emit(self, "currentPathChanged(QString)", text)

    def addCurrentPathToHistory(self) -> None:
        """No history is kept."""


@carried
class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = signal("directoryChanged(QString)")
    directory = prop("directory", "QString", "", lambda self: emit(self, "directoryChanged(QString)", self.directory))
    text = prop("text", "QString", "")
    caption = prop("caption", "QString", "")
