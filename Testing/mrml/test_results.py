"""Tables, profiles, sequences, provenance and folders."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import slicer
import vtk
from geometries import add_volume

from ctrestoration.errors import InputError
from CTRestorationLib.nodes import hierarchy, plots, provenance, sequences, tables, volumes


def test_table_holds_numbers_and_texts(scene):
    columns = {
        "Method": ["input", 'NMAR, "fast"'],
        "PSNR (dB)": [31.25, None],
        "Voxels": [12, np.int64(7)],
        "RMSE (HU)": [np.float32(0.5), 1e-9],
        "Note": [None, "3"],
    }
    node = tables.writeTable(columns, "metrics")
    table = node.GetTable()
    assert table.GetNumberOfRows() == 2
    assert isinstance(table.GetColumnByName("PSNR (dB)"), vtk.vtkDoubleArray)
    assert isinstance(table.GetColumnByName("Voxels"), vtk.vtkLongLongArray)
    rows = list(csv.reader(io.StringIO(tables.tableToCsv(node))))
    assert rows == [
        ["Method", "PSNR (dB)", "Voxels", "RMSE (HU)", "Note"],
        ["input", "31.25", "12", "0.5", ""],
        ['NMAR, "fast"', "", "7", "1e-09", "3"],
    ]
    again = tables.writeTable({"Method": []}, "other", node)
    assert again is node
    assert tables.tableToCsv(node) == "Method\n"
    assert node.GetName() == "metrics"
    with pytest.raises(InputError, match="different lengths"):
        tables.writeTable({"a": [1], "b": [1, 2]}, "bad")


def test_tables_and_provenance_survive_saving(scene, ct, tmp_path):
    values = [0.1 + 0.2, 1 / 3, 12345.678901234567]
    tables.writeTable({"PSNR (dB)": values, "Method": ["a", "b c", "d,e"], "n": [1, 2, 3]}, "metrics")
    facts = {"command": "simulate metal", "parameters": {"dose": 0.5, "text": 'a;b:"c"\nµ'}, "seed": 3}
    provenance.setProvenance(ct, facts)
    provenance.writeRunText("run", facts)
    path = tmp_path / "results.mrb"
    assert scene.WriteToMRB(str(path))
    scene.Clear(True)
    scene.ReadFromMRB(str(path), True)
    table = slicer.util.getNode("metrics").GetTable()
    found = [table.GetColumnByName("PSNR (dB)").GetValue(n) for n in range(3)]
    np.testing.assert_allclose(found, values, rtol=1e-5)  # Slicer saves six digits
    assert table.GetColumnByName("Method").GetValue(2) == "d,e"
    assert provenance.provenanceOf(slicer.util.getNode("CT")) == facts
    assert provenance.provenanceOf(slicer.util.getNode("run")) == facts
    assert '"dose": 0.5' in slicer.util.getNode("run").GetText()


def test_provenance_of_others(ct):
    assert provenance.provenanceOf(None) is None
    assert provenance.provenanceOf(ct) is None
    ct.SetAttribute("CTRestoration.provenance", "{spoiled")
    assert provenance.provenanceOf(ct) is None


def test_run_folder_lies_beside_the_input(scene, ct):
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "CT of 2026")
    tree.SetItemParent(tree.GetItemByDataNode(ct) or tree.CreateItem(study, ct), study)
    first, second = hierarchy.runFolder(ct, "simulate"), hierarchy.runFolder(ct, "simulate")
    assert tree.GetItemParent(first) == tree.GetItemParent(second) == study
    assert tree.GetItemName(first) != tree.GetItemName(second)
    result = volumes.arrayToVolumeNode(np.zeros((30, 36, 40)), "result", ct)
    item = hierarchy.putInFolder(result, first)
    assert hierarchy.folderOf(result) == first
    assert hierarchy.putInFolder(result, second) == item
    assert hierarchy.folderOf(result) == second
    top = hierarchy.runFolder(None, "elsewhere")
    assert tree.GetItemParent(top) == tree.GetSceneItemID()


def test_removed_node_leaves_nothing(scene, ct):
    count = scene.GetNumberOfNodes()
    result = volumes.arrayToVolumeNode(np.zeros((30, 36, 40)), "result", ct)
    hierarchy.putInFolder(result, hierarchy.runFolder(ct, "x"))
    result.AddDefaultStorageNode()
    hierarchy.removeNode(result)
    hierarchy.removeNode(result)
    hierarchy.removeNode(None)
    assert scene.GetNumberOfNodes() - count <= 1  # the hierarchy's own node


def line_through(scene, first, last):
    """A line from LPS points."""
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "profile")
    for x, y, z in (first, last):
        line.AddControlPointWorld(vtk.vtkVector3d(-x, -y, z))
    return line


def column(chart, name):
    table = chart.GetNodeReference("CTRestoration.table").GetTable()
    found = table.GetColumnByName(name)
    return np.array([found.GetValue(n) for n in range(found.GetNumberOfValues())])


def test_profile_reads_the_voxels_on_the_line(awkward, scene):
    grid, array = volumes.gridOfNode(awkward), volumes.arrayOfNode(awkward)
    line = line_through(scene, grid.to_world((0, 0, 0)), grid.to_world((10, 8, 5)))
    chart = plots.lineProfile(line, [awkward], "profile")
    distance, values = column(chart, plots.DISTANCE), column(chart, awkward.GetName())
    length = np.linalg.norm(grid.to_world((10, 8, 5)) - grid.to_world((0, 0, 0)))
    assert distance[-1] == pytest.approx(length)
    assert np.diff(distance).max() <= 0.2 + 1e-9
    assert values[0] == pytest.approx(array[0, 0, 0])
    assert values[-1] == pytest.approx(array[-1, -1, -1])
    along = line_through(scene, grid.to_world((0, 3, 2)), grid.to_world((10, 3, 2)))
    values = column(plots.lineProfile(along, [awkward], "x"), awkward.GetName())
    wanted = np.interp(np.linspace(0, 10, len(values)), np.arange(11), array[2, 3].astype(float))
    np.testing.assert_allclose(values, wanted, atol=1e-6 * 3000)


def test_profile_of_several_volumes(scene, ct):
    grid = volumes.gridOfNode(ct)
    twin = volumes.arrayToVolumeNode(volumes.arrayOfNode(ct) + np.int16(100), "CT", ct)
    small = add_volume(scene, "axial", shape=(30, 36, 20))
    line = line_through(scene, grid.to_world((0, 18, 15)), grid.to_world((39, 18, 15)))
    chart = plots.lineProfile(line, [ct, twin, small], "HU along the screw")
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    assert chart.GetNthPlotSeriesNode(1).GetYColumnName() == "CT (2)"
    np.testing.assert_allclose(column(chart, "CT (2)") - column(chart, "CT"), 100)
    outside = np.isnan(column(chart, small.GetName()))
    assert 0.4 < outside.mean() < 0.6
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # is made on first use
    count = scene.GetNumberOfNodes()
    again = plots.lineProfile(line, [ct], "x", chart)
    assert again is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    assert scene.GetNumberOfNodes() == count - 2


def test_profile_refuses_what_it_cannot_draw(scene, ct):
    grid = volumes.gridOfNode(ct)
    line = line_through(scene, grid.to_world((0, 0, 0)), grid.to_world((9, 0, 0)))
    with pytest.raises(InputError, match="No volume is selected"):
        plots.lineProfile(line, [], "x")
    far = line_through(scene, (900, 900, 900), (950, 900, 900))
    with pytest.raises(InputError, match="does not cross any"):
        plots.lineProfile(far, [ct], "x")
    dot = line_through(scene, (0, 0, 0), (0, 0, 0))
    with pytest.raises(InputError, match="has no length"):
        plots.lineProfile(dot, [ct], "x")
    half = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "half")
    with pytest.raises(InputError, match="half has not both its ends"):
        plots.lineProfile(half, [ct], "x")
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode") == []


def test_sequence_of_doses(scene, ct):
    shape = (30, 36, 40)
    made = [volumes.arrayToVolumeNode(np.full(shape, n, np.float32), f"dose {n}", ct) for n in range(3)]
    sequence, browser = sequences.sequenceFromVolumes(made, [0.25, 0.5, 1.0], "mGy", "Dose")
    assert sequence.GetNumberOfDataNodes() == 3
    assert [sequence.GetNthIndexValue(n) for n in range(3)] == ["0.25", "0.5", "1"]
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("Dose", "mGy")
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    assert volumes.arrayOfNode(proxy).min() == 2
    np.testing.assert_allclose(volumes.gridOfNode(proxy).affine, volumes.gridOfNode(ct).affine)
    scene.RemoveNode(made[2])
    assert volumes.arrayOfNode(sequence.GetNthDataNode(2)).min() == 2
    with pytest.raises(InputError, match="no volume"):
        sequences.sequenceFromVolumes([], [], "", "x")
    with pytest.raises(InputError, match="as many different values"):
        sequences.sequenceFromVolumes(made[:2], [1, 1], "", "x")
