"""No wrong name in our modules; and the lint finds the mistakes that Slicer would pass over in silence."""

from __future__ import annotations

from pathlib import Path

import lint
import pytest

UI = """<ui version="4.0"><class>Page</class><widget class="qMRMLWidget" name="Page">
 <layout class="QVBoxLayout" name="column"><property name="spacing"><number>4</number></property>
  <item><widget class="qMRMLNodeComboBox" name="volume">
   <property name="noneEnabled"><bool>true</bool></property><property name="toolTip"><string>CT</string></property>
   <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
  <item><widget class="ctkSliderWidget" name="dose"/></item>
  <item><widget class="QPushButton" name="apply"/></item>
  <item><widget class="QCheckBox" name="noise"/></item></layout></widget>
 <connections><connection><sender>Page</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""

PANEL = """
import ctk
import qt
import slicer

class Panel(qt.QWidget):
    def __init__(self):
        self.widget = slicer.util.loadUI("UI/Page.ui")
        self.ui = slicer.util.childWidgetVariables(self.widget)
        ui = self.ui
        ui.apply.connect("clicked(bool)", self.run)
        self.ui.noise.toggled.connect(self.run)
        self.ui.dose.valueChanged.connect(self.run)
        self.timer = qt.QTimer()
        self.timer.connect("timeout()", self.run)
        slicer.app.connect("startupCompleted()", self.run)
        section = ctk.ctkCollapsibleButton()
        section.connect("contentsCollapsed(bool)", self.run)

    def run(self):
        self.ui.apply.enabled, self.ui.apply.toolTip = bool(self.ui.volume.currentNode()), self.ui.apply.text
        self.ui.dose.setValue(self.ui.dose.maximum)
        self.ui.noise.setChecked(self.ui.noise.isEnabled())
        box = qt.QComboBox()
        box.addItems(["a"])
        if box.inherits("QWidget") and isinstance(self.run, str):
            self.timer.start(20)
"""


def lint_text(tmp_path: Path, ui: str = UI, panel: str = PANEL) -> list[str]:
    folder = tmp_path / "MARInpaint"
    folder.mkdir()
    (folder / "Page.ui").write_text(ui)
    (folder / "panel.py").write_text(panel)
    return lint.lint(tmp_path)


def test_our_modules_have_no_findings() -> None:
    assert len(list(lint.ROOT.glob("*/Resources/UI/*.ui"))) >= 6
    assert lint.lint() == []


def test_the_sample_has_no_findings(tmp_path: Path) -> None:
    assert lint_text(tmp_path) == []


@pytest.mark.parametrize(
    ("good", "bad", "finding"),
    [
        ('class="ctkSliderWidget"', 'class="ctkSlidderWidget"', "no class ctkSlidderWidget"),
        ('name="noneEnabled"', 'name="noneEnable"', "qMRMLNodeComboBox has no property noneEnable"),
        (' stdset="0"', "", "has no property SlicerParameterName"),
        ('name="noise"', 'name="apply"', "name apply is used twice"),
        ("<signal>mrmlSceneChanged(", "<signal>mrmlSceneChange(", "has no signal mrmlSceneChange("),
        ("<slot>setMRMLScene(vtkMRMLScene*)", "<slot>setMRMLScene()", "has no slot setMRMLScene()"),
        ("<receiver>volume", "<receiver>volumes", "no widget volumes"),
    ],
)
def test_faults_planted_in_a_page_are_found(tmp_path: Path, good: str, bad: str, finding: str) -> None:
    found = lint_text(tmp_path, ui=UI.replace(good, bad, 1), panel="")
    assert any(finding in line for line in found), found


@pytest.mark.parametrize(
    ("good", "bad", "finding"),
    [
        ('apply.connect("clicked(bool)"', 'apply.connect("klicked(bool)"', "QPushButton has no signal klicked(bool)"),
        ('apply.connect("clicked(bool)"', 'apply.connect("clicked"', "QPushButton has no signal clicked"),
        ('apply.connect("clicked(bool)"', 'aply.connect("clicked(bool)"', "no widget aply"),
        ("noise.toggled.connect", "noise.toggle.connect", "QCheckBox has no signal toggle"),
        ("noise.toggled.connect", "noise.checkStateChanged.connect", "QCheckBox has no"),
        ("dose.valueChanged.connect", "dose.valueChange.connect", "ctkSliderWidget has no"),
        ('self.timer.connect("timeout()"', 'self.timer.connect("timedout()"', "QTimer has no signal timedout()"),
        ('"startupCompleted()"', '"startupComplete()"', "qSlicerApplication has no signal startupComplete()"),
        (
            'section.connect("contentsCollapsed(bool)"',
            'section.connect("collapsed(bool)"',
            "ctkCollapsibleButton has no",
        ),
        ("self.ui.apply.enabled,", "self.ui.apply.enable,", "QPushButton has no property enable to set"),
        ("self.ui.apply.text", "self.ui.apply.text()", "QPushButton.text is a value"),
        ("volume.currentNode()", "volume.currentVolume()", "qMRMLNodeComboBox has no currentVolume"),
        ("dose.setValue(", "dose.setMaximum(", "ctkSliderWidget has no setMaximum"),
        ("noise.isEnabled()", "noise.isActive()", "QCheckBox has no isActive"),
        ("qt.QComboBox()", "qt.QRegExp('a')", "qt.QRegExp"),
        ("ctk.ctkCollapsibleButton()", "ctk.ctkCollapsableButton()", "ctk.ctkCollapsableButton is unknown"),
        ("isinstance(self.run, str)", "isinstance(box, qt.QWidget)", "use inherits()"),
        ("box.addItems", "box.addEntries", "QComboBox has no addEntries"),
    ],
)
def test_faults_planted_in_a_panel_are_found(tmp_path: Path, good: str, bad: str, finding: str) -> None:
    assert good in PANEL
    found = lint_text(tmp_path, panel=PANEL.replace(good, bad, 1))
    assert any(finding in line for line in found), found
