"""The stand-in behaves as PythonQt in Slicer 5.13 does where that differs from PySide6, and offers no other names."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from slicerstandin import cxx, facts, pythonqt


def test_offers_nothing_that_slicer_has_not() -> None:
    strange = {name: cxx.strangers(cls) for name, cls in cxx.classes.items()}
    assert {name: found for name, found in strange.items() if found} == {}
    assert set(cxx.classes) <= set(facts.classes())


def test_an_invented_name_is_found() -> None:
    from PySide6 import QtWidgets

    class ctkComboBox(QtWidgets.QComboBox):
        sparkle = cxx.prop("sparkle", "bool", True)
        returnRelease = cxx.signal("returnRelease()", "returnRelease(int)")

        def defaultTextOf(self) -> str:
            return ""

    original = cxx.classes["ctkComboBox"]
    try:
        cxx.carried(ctkComboBox)
        assert cxx.strangers(ctkComboBox) == ["defaultTextOf", "returnRelease(int)", "sparkle"]
    finally:
        cxx.classes["ctkComboBox"] = original


def test_every_class_of_the_facts_has_its_bases() -> None:
    known = facts.classes()
    assert len(known) > 100
    lost = {name: entry["base"] for name, entry in known.items() if entry.get("base") and entry["base"] not in known}
    assert lost == {}


def test_qt_names_are_those_of_qt_5_and_6() -> None:
    assert "checkStateChanged(Qt::CheckState)" not in facts.names("QCheckBox", "signals")  # Qt 6 only
    assert "valueChanged(QString)" not in facts.names("QSpinBox", "signals")  # Qt 5 only
    box = qt.QCheckBox()
    with pytest.raises(ValueError, match="no signal checkStateChanged"):
        box.connect("checkStateChanged(Qt::CheckState)", print)


# 1: properties, names, children


def test_properties_are_values() -> None:
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    assert button.enabled is True
    assert button.isEnabled()
    with pytest.raises(TypeError):
        button.text()
    button.text, button.toolTip, button.checkable = "Cancel", "why", True
    button.setText("Stop")
    assert (button.text, button.toolTip, button.isCheckable()) == ("Stop", "why", True)
    with pytest.raises(AttributeError, match="read only"):
        button.width = 3
    button.name = "applyButton"
    assert button.objectName == "applyButton"
    assert button.className() == "QPushButton"
    assert button.inherits("QWidget")


def test_children_and_dynamic_properties_are_attributes() -> None:
    box = qt.QWidget()
    layout = qt.QVBoxLayout(box)
    label = qt.QLabel("x")
    label.name = "title"
    layout.addWidget(label)
    assert box.title is label
    box.setProperty("SlicerParameterName", "dose")
    assert box.SlicerParameterName == "dose"
    box.SlicerParameterName = "other"
    assert box.property("SlicerParameterName") == "other"
    with pytest.raises(AttributeError, match="nothing"):
        _ = box.nothing


# 2: signals


def test_signals_connect_by_signature_and_by_attribute() -> None:
    button, heard = qt.QPushButton(), []
    button.checkable = True
    assert button.connect("clicked(bool)", heard.append)
    assert button.clicked.connect(lambda: heard.append("none"))
    button.connect("clicked()", functools.partial(heard.append, "partial"))
    button.click()
    assert heard == [True, "none", "partial"]
    button.disconnect("clicked(bool)", heard.append)
    button.click()
    assert heard[3:] == ["none", "partial"]


@pytest.mark.parametrize("signal", ["klicked()", "clicked(int)", "clicked"])
def test_unknown_signals_raise(signal: str) -> None:
    with pytest.raises(ValueError, match="QPushButton has no signal"):
        qt.QPushButton().connect(signal, print)


def test_a_slot_that_wants_more_than_the_signal_gives_is_reported(raised: list[BaseException]) -> None:
    button = qt.QPushButton()
    button.connect("clicked()", lambda checked: None)
    button.click()
    assert [type(error) for error in raised] == [TypeError]
    raised.clear()


def test_signals_connect_to_slots_by_name() -> None:
    spin, slider = qt.QSpinBox(), qt.QSlider()
    spin.connect("valueChanged(int)", slider, "setValue(int)")
    spin.value = 7
    assert slider.value == 7


# 3: exceptions


def test_exceptions_reach_the_hook_only(raised: list[BaseException]) -> None:
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    qt.QTimer.singleShot(0, lambda: {}["timer"])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda *_: [][0])
    node.Modified()
    slicer.app.processEvents()
    assert [type(error) for error in raised] == [ZeroDivisionError, IndexError, KeyError]
    raised.clear()


# 4: attributes


def test_new_attributes_are_refused_on_cxx_objects_only() -> None:
    class Panel(qt.QWidget):
        pass

    for thing in (qt.QPushButton(), qt.QTimer(), qt.QSize(1, 2), slicer.qMRMLNodeComboBox()):
        with pytest.raises(AttributeError, match="not allowed"):
            thing.caption = "x"
    panel = Panel()
    panel.caption, panel.toolTip = "x", "y"
    assert panel.caption == "x"
    assert qt.QWidget.toolTip(panel) == "y"


# 5: conversions


def test_numbers_convert_as_in_pythonqt() -> None:
    spin = qt.QSpinBox()
    spin.minimum = -10
    spin.value = -2.7
    assert spin.value == -3
    spin.setValue(np.int64(4))
    assert spin.value == 4
    real = qt.QDoubleSpinBox()
    real.value = 3
    assert real.value == 3.0
    for widget, value in ((spin, "4"), (spin, None), (spin, np.float64(2)), (real, np.float64(2)), (real, "2")):
        with pytest.raises(ValueError, match="takes"):
            widget.value = value
        with pytest.raises(ValueError, match="takes"):
            widget.setValue(value)
    with pytest.raises(ValueError, match="takes a str"):
        qt.QLabel().text = 3


def test_enumerations_are_integers() -> None:
    box = qt.QCheckBox()
    box.setCheckState(qt.Qt.Checked)
    assert box.checkState() == qt.Qt.Checked == 2
    assert {qt.Qt.Checked: "on"}[2] == "on"
    assert int(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable) == 33


# 6: files, settings, bytes


def test_questions_are_answered_by_the_test(dialogs: Any, tmp_path: Path) -> None:
    assert qt.QFileDialog.getOpenFileName(None, "Plan") == ""
    assert qt.QFileDialog.getOpenFileNames(None, "Plans") == ()
    dialogs.answers.append(str(tmp_path))
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == str(tmp_path)
    assert slicer.util.confirmOkCancelDisplay("Really?") is False
    dialogs.answers.append(True)
    assert slicer.util.confirmYesNoDisplay("Really?") is True
    slicer.util.errorDisplay("No metal", detailedText="trace")
    assert dialogs.told[-1] == ("errorDisplay", "No metal\ntrace")
    with pytest.raises(RuntimeError, match="would wait for a person"):
        qt.QMessageBox.question(None, "title", "text")
    with pytest.raises(RuntimeError, match="would wait for a person"):
        qt.QDialog().exec_()


def test_settings_give_tuples() -> None:
    settings = slicer.app.settings()
    settings.setValue("CTRestoration/recent", ["a", "b"])
    settings.sync()
    assert qt.QSettings().value("CTRestoration/recent") == ("a", "b")
    assert qt.QSettings().value("CTRestoration/missing", "x") == "x"


def test_process_output_is_a_byte_array() -> None:
    process, ended = qt.QProcess(), []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, int(status))))
    process.start(sys.executable, ["-c", "print(input()[::-1])"])
    process.write("abc\n")
    process.closeWriteChannel()
    assert process.waitForFinished(20000)
    output = process.readAllStandardOutput()
    assert output.data() == b"cba\n"
    assert ended == [(0, 0)]
    for wrong in (bytes, list, len):
        with pytest.raises(TypeError):
            wrong(output)


def test_a_missing_program_is_an_error_only() -> None:
    process, heard = qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", lambda error: heard.append(error))
    process.connect("finished(int,QProcess::ExitStatus)", lambda *_: heard.append("finished"))
    process.start("/no/such/program", [])
    process.waitForFinished(1000)
    slicer.app.processEvents()
    assert heard == [qt.QProcess.FailedToStart]


# 9, 10: objects and classes


def test_no_class_is_a_subclass() -> None:
    class Panel(qt.QWidget):
        pass

    button, panel = qt.QPushButton(), Panel()
    assert not isinstance(button, qt.QWidget)
    assert isinstance(button, qt.QPushButton)
    assert isinstance(panel, Panel)
    assert isinstance(panel, qt.QWidget)
    assert not isinstance(panel, qt.QObject)
    assert pythonqt.is_a(button, qt.QWidget)


def test_missing_names_say_what_to_do() -> None:
    with pytest.raises(AttributeError, match=r"add it to qtmodule\.NAMES"):
        _ = qt.QRegExp


def test_python_overrides_still_work() -> None:
    class Panel(qt.QWidget):
        def sizeHint(self) -> Any:
            return qt.QSize(70, 80)

    panel = Panel()
    panel.adjustSize()
    assert (panel.width, panel.height) == (70, 80)


def test_timers_run_and_stop() -> None:
    ticks: list[int] = []
    timer = qt.QTimer()
    timer.interval = 1
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start()
    loop = qt.QEventLoop()
    qt.QTimer.singleShot(60, loop.quit)
    loop.exec_()
    timer.stop()
    assert len(ticks) > 3
    assert not timer.active
