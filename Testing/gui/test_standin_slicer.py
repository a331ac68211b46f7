"""The stand-in's Slicer half: MRML widgets, `.ui` files, parameter nodes, modules."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Page</class>
 <widget class="qMRMLWidget" name="Page"><layout class="QFormLayout" name="formLayout">
  <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volume">
   <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
   <property name="noneEnabled"><bool>true</bool></property>
   <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
  <item row="1" column="1"><widget class="ctkSliderWidget" name="dose">
   <property name="maximum"><double>50</double></property><property name="suffix"><string> %</string></property>
   <property name="SlicerParameterName" stdset="0"><string>dose</string></property></widget></item>
  <item row="2" column="1"><widget class="ctkCollapsibleButton" name="advanced">
   <property name="text"><string>Advanced</string></property><property name="collapsed"><bool>true</bool></property>
   <layout class="QVBoxLayout" name="inner"><item><widget class="QCheckBox" name="noise">
    <property name="SlicerParameterName" stdset="0"><string>noise</string></property></widget></item></layout>
  </widget></item></layout></widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
  <customwidget><class>ctkSliderWidget</class><extends>QWidget</extends></customwidget>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container></customwidget>
 </customwidgets>
 <connections><connection><sender>Page</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>
</ui>"""


class Method(enum.Enum):
    LINEAR = "li"
    NORMALIZED = "nmar"

    def label(self) -> str:
        return self.value.upper()


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode | None
    dose: Annotated[float, WithinRange(1.0, 100.0), Default(25.0)]
    noise: bool = True
    count: Annotated[int, Minimum(1)] = 3
    method: Method = Method.NORMALIZED
    kernel: Annotated[str, Choice(["hann", "ram-lak"])] = "hann"
    note: str = ""
    folder: Path


@pytest.fixture
def page(tmp_path: Path) -> Any:
    (tmp_path / "Page.ui").write_text(UI)
    return slicer.util.loadUI(str(tmp_path / "Page.ui"))


@pytest.fixture
def parameters() -> Any:
    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def volume(name: str = "CT", kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    return slicer.mrmlScene.AddNewNodeByClass(kind, name)


def combo(**properties: Any) -> Any:
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    for name, value in properties.items():
        setattr(box, name, value)
    box.setMRMLScene(slicer.mrmlScene)
    return box


# Node selectors


def test_a_selector_without_none_takes_the_first_node() -> None:
    box, heard = combo(), []
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: heard.append(node and node.GetName()))
    box.connect("currentNodeChanged(bool)", heard.append)
    volume()
    assert box.currentNode().GetName() == "CT"
    assert heard == ["CT", True]


def test_a_selector_with_none_waits() -> None:
    box = combo(noneEnabled=True)
    first, second = volume("a"), volume("b")
    assert box.currentNode() is None
    assert box.nodeCount() == 2
    box.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)
    assert box.currentNode() is first  # the neighbor takes over, as in Slicer
    box.setCurrentNode(None)
    assert box.currentNodeID == ""


def test_a_selector_filters_by_class_attribute_and_visibility() -> None:
    box = combo(noneEnabled=True)
    volume("labels", "vtkMRMLLabelMapVolumeNode")
    hidden = volume("hidden")
    hidden.SetHideFromEditors(True)
    volume("text", "vtkMRMLTextNode")
    volume()
    assert box.nodeCount() == 2
    box.showChildNodeTypes = False
    assert [box.nodeFromIndex(index).GetName() for index in range(box.nodeCount())] == ["CT"]
    box.addAttribute("vtkMRMLScalarVolumeNode", "CTRestoration.role", "result")
    assert box.nodeCount() == 0


def test_a_selector_survives_its_scene() -> None:
    box = combo()
    volume()
    slicer.mrmlScene.Clear()
    assert box.currentNode() is None
    box.deleteLater()
    slicer.app.processEvents()
    volume()


def test_segments_follow_the_segmentation() -> None:
    selector = slicer.qMRMLSegmentSelectorWidget()
    selector.setMRMLScene(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "spine")
    node.GetSegmentation().AddEmptySegment("L3", "L3")
    selector.setCurrentNode(node)
    assert selector.currentSegmentID() == "L3"
    node.GetSegmentation().AddEmptySegment("L4", "L4")
    assert selector.segmentIDs() == ("L3", "L4")
    node.GetSegmentation().RemoveSegment("L3")
    assert selector.currentSegmentID() == "L4"


# CTK


def test_sliders_and_ranges() -> None:
    slider, heard = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", heard.append)
    slider.maximum = 200.0
    slider.value = 150.0
    slider.setValue(170)
    assert heard == [150.0, 170.0]
    span = ctk.ctkRangeWidget()
    span.setValues(10.0, 20.0)
    span.minimumValue = 30.0
    assert (span.minimumValue, span.maximumValue) == (30.0, 30.0)


def test_a_section_folds() -> None:
    section, heard = ctk.ctkCollapsibleButton("Advanced"), []
    section.connect("contentsCollapsed(bool)", heard.append)
    layout = qt.QVBoxLayout(section)
    label = qt.QLabel("x")
    layout.addWidget(label)
    section.collapsed = True
    assert label.isHidden()
    assert heard == [True]
    section.click()
    assert not section.collapsed
    assert not label.isHidden()


# .ui files


def test_a_page_is_loaded_and_connected(page: Any) -> None:
    ui = slicer.util.childWidgetVariables(page)
    assert type(page) is slicer.qMRMLWidget
    assert type(ui.noise) is qt.QCheckBox
    assert ui.dose.maximum == 50.0
    assert ui.dose.suffix == " %"
    assert ui.advanced.collapsed
    page.setMRMLScene(slicer.mrmlScene)
    node = volume()
    ui.volume.setCurrentNode(node)
    assert ui.volume.currentNode() is node


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("QCheckBox", "QCheckbox", "QCheckbox noise was not made"),
        ('"maximum"', '"maximun"', "no such property"),
        ("<signal>mrmlSceneChanged(", "<signal>mrmlSceneCanged(", "no signal"),
        ("<slot>setMRMLScene(", "<slot>setMrmlScene(", "no slot"),
    ],
)
def test_mistakes_in_a_page_raise(tmp_path: Path, good: str, bad: str, message: str) -> None:
    (tmp_path / "Page.ui").write_text(UI.replace(good, bad))
    with pytest.raises(ValueError, match=message):
        slicer.util.loadUI(str(tmp_path / "Page.ui"))


# Parameter nodes


def test_fields_are_typed_and_stored_by_name(parameters: Any) -> None:
    assert (parameters.dose, parameters.count, parameters.method) == (25.0, 3, Method.NORMALIZED)
    parameters.method, parameters.volume = Method.LINEAR, volume()
    node = parameters.parameterNode
    assert node.GetParameter("method") == "LINEAR"
    assert node.GetParameter("noise") == "True"
    assert node.GetNodeReferenceID("volume") == parameters.volume.GetID()
    again = Parameters(node)
    assert again.method is Method.LINEAR
    assert again.volume is parameters.volume
    again.count = 5
    assert parameters.count == 5


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("dose", 500.0, ValueError),
        ("dose", np.float64(5), TypeError),
        ("count", 2.0, TypeError),
        ("count", 0, ValueError),
        ("noise", np.bool_(True), TypeError),
        ("kernel", "cubic", ValueError),
        ("note", None, TypeError),
        ("method", "LINEAR", TypeError),
        ("does", 5.0, AttributeError),
    ],
)
def test_wrong_values_are_refused(parameters: Any, field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        setattr(parameters, field, value)


def test_fields_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="fields are str"):

        @parameterNodeWrapper
        class _Listed:
            levels: list[str]


def test_equal_values_fire_nothing_and_changes_once(parameters: Any) -> None:
    heard: list[int] = []
    tag = parameters.AddObserver("ModifiedEvent", lambda *_: heard.append(1))
    parameters.dose = 25.0
    assert heard == []
    with slicer.util.NodeModify(parameters):
        parameters.dose, parameters.count = 30.0, 4
    assert heard == [1]
    parameters.RemoveObserver(tag)


def test_widgets_and_fields_follow_each_other(page: Any, parameters: Any) -> None:
    ui = slicer.util.childWidgetVariables(page)
    page.setMRMLScene(slicer.mrmlScene)
    tag = parameters.connectGui(ui)
    assert ui.dose.value == 25.0
    assert ui.dose.maximum == 100.0
    assert ui.noise.checked
    ui.dose.value, ui.noise.checked = 40.0, False
    assert (parameters.dose, parameters.noise) == (40.0, False)
    node = volume()
    parameters.volume, parameters.dose = node, 50.0
    assert ui.volume.currentNode() is node
    assert ui.dose.value == 50.0
    parameters.disconnectGui(tag)
    ui.dose.value = 60.0
    assert parameters.dose == 50.0


def test_combo_boxes_show_labels(parameters: Any) -> None:
    method, kernel = qt.QComboBox(), ctk.ctkComboBox()
    parameters.connectParametersToGui({"method": method, "kernel": kernel})
    assert [method.itemText(index) for index in range(method.count)] == ["LI", "NMAR"]
    assert method.currentIndex == 1
    method.currentIndex, kernel.currentIndex = 0, 1
    assert parameters.method is Method.LINEAR
    assert parameters.kernel == "ram-lak"


@pytest.mark.parametrize(
    ("field", "widget"),
    [
        ("noise", "QGroupBox"),
        ("note", "QPlainTextEdit"),
        ("folder", "QLineEdit"),
        ("note", "QComboBox"),
        ("count", "QSlider"),
        ("dose", "QSpinBox"),
    ],
)
def test_only_exact_pairs_of_field_and_widget_connect(parameters: Any, field: str, widget: str) -> None:
    with pytest.raises(RuntimeError, match="connect"):
        parameters.connectParametersToGui({field: getattr(qt, widget)()})


def test_a_subclass_does_not_connect(parameters: Any) -> None:
    class Box(qt.QCheckBox):
        pass

    with pytest.raises(RuntimeError, match="GUI connector"):
        parameters.connectParametersToGui({"noise": Box()})


# Modules


MODULE = """
from slicer.ScriptedLoadableModule import *
import slicer

class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Sample"
        slicer.app.connect("startupCompleted()", self.ready)

    def ready(self):
        import SampleData
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category="CT", sampleName="Phantom", uris="",
            fileNames="", nodeNames="Phantom", customDownloader=lambda source: None)

class SampleWidget(ScriptedLoadableModuleWidget):
    calls = []
    def setup(self):
        super().setup()
        self.calls.append("setup")
    def enter(self):
        self.calls.append(f"enter {self.parent.isEntered}")
    def cleanup(self):
        self.calls.append("cleanup")

class SampleLogic(ScriptedLoadableModuleLogic):
    pass

class SampleTest(ScriptedLoadableModuleTest):
    def test_one(self):
        SampleWidget.calls.append("test")
"""


def test_a_module_lives_as_in_slicer(load_module: Any, tmp_path: Path) -> None:
    (tmp_path / "Sample.py").write_text(MODULE)
    widget = load_module("Sample", tmp_path)
    assert slicer.modules.sample.title == "Sample"
    assert slicer.modules.SampleWidget is widget
    assert widget.calls == ["setup", "enter True"]
    assert slicer.modules.sample.widgetRepresentation().self() is widget
    slicer.app.startupCompleted.emit()
    assert slicer.modules.sampleDataSources["CT"][0].sampleName == "Phantom"
    slicer.selfTests["Sample"]()
    widget.onReload()
    assert widget.calls[2:] == ["test", "cleanup"]
    renewed = slicer.modules.SampleWidget
    assert renewed is not widget
    assert renewed.calls == ["setup", "enter True"]


def test_the_singleton_parameter_node_survives_a_closed_scene(load_module: Any, tmp_path: Path) -> None:
    import sys

    (tmp_path / "Sample.py").write_text(MODULE)
    load_module("Sample", tmp_path)
    logic = sys.modules["Sample"].SampleLogic()
    node = logic.getParameterNode()
    slicer.mrmlScene.Clear(False)
    assert logic.getParameterNode() is node
    assert logic.getAllParameterNodes() == [node]
