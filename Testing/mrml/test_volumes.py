"""Volume nodes: geometry exact both ways, inputs untouched, maps with colors and legend."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from geometries import add_volume, geometry_difference, world_matrix

from ctrestoration.errors import InputError
from ctrestoration.volume import Volume
from CTRestorationLib.nodes import volumes

LPS = np.diag([-1, -1, 1, 1.0])


def test_grid_is_the_nodes_world_in_lps(awkward):
    grid = volumes.gridOfNode(awkward)
    assert grid.shape == (6, 9, 11)
    np.testing.assert_allclose(grid.affine, LPS @ world_matrix(awkward), atol=1e-9)


def test_result_has_the_inputs_geometry_and_voxels(awkward, rng):
    values = rng.normal(size=(6, 9, 11)).astype(np.float32)
    node = volumes.arrayToVolumeNode(values, "CT corrected", awkward)
    assert geometry_difference(awkward, node) == ""
    assert node.GetTransformNodeID() == awkward.GetTransformNodeID()
    np.testing.assert_array_equal(volumes.gridOfNode(node).affine, volumes.gridOfNode(awkward).affine)
    np.testing.assert_array_equal(volumes.arrayOfNode(node), values)


def test_volume_goes_out_and_comes_back(awkward):
    volume = volumes.volumeFromNode(awkward)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, volumes.arrayOfNode(awkward))
    node = volumes.volumeToNode(volume, "back", awkward)
    assert geometry_difference(awkward, node) == ""
    again = volumes.volumeFromNode(node)
    assert again.grid == volume.grid
    np.testing.assert_array_equal(again.array, volume.array)


def test_voxel_lands_where_slicer_draws_it(awkward):
    grid = volumes.gridOfNode(awkward)
    picked = (7, 5, 2)
    point = vtk.vtkGeneralTransform()
    if awkward.GetParentTransformNode():
        awkward.GetParentTransformNode().GetTransformToWorld(point)
    matrix = vtk.vtkMatrix4x4()
    awkward.GetIJKToRASMatrix(matrix)
    ras = point.TransformPoint(matrix.MultiplyPoint((*picked, 1))[:3])
    np.testing.assert_allclose(grid.to_world(picked), (-ras[0], -ras[1], ras[2]), atol=1e-9)


def test_input_is_not_touched(ct):
    before = volumes.arrayOfNode(ct).copy()
    modified, display = ct.GetImageData().GetMTime(), ct.GetDisplayNode().GetMTime()
    volume = volumes.volumeFromNode(ct)
    node = volumes.volumeToNode(volume, "copy", ct)
    volumes.hideVolume(node)
    assert ct.GetImageData().GetMTime() == modified
    assert ct.GetDisplayNode().GetMTime() == display
    np.testing.assert_array_equal(volumes.arrayOfNode(ct), before)
    assert node.GetDisplayNode().GetWindow() == 350
    assert node.GetDisplayNode().GetLevel() == 45
    assert not node.GetDisplayNode().GetAutoWindowLevel()


def test_copies_are_copies(ct):
    values = np.zeros((30, 36, 40), dtype=np.float32)
    node = volumes.arrayToVolumeNode(values, "a", ct)
    values[:] = 7
    assert volumes.arrayOfNode(node).max() == 0
    volume = volumes.volumeFromNode(node)
    slicer.util.arrayFromVolume(node)[:] = 9
    assert volume.array.max() == 0


def test_result_is_written_into_a_chosen_node(ct):
    node = volumes.arrayToVolumeNode(np.zeros((30, 36, 40), np.float32), "out", ct)
    node.GetDisplayNode().SetWindowLevel(1000, 200)
    again = volumes.arrayToVolumeNode(np.ones((30, 36, 40), np.float32), "other", ct, node)
    assert again is node
    assert node.GetName() == "out"
    assert node.GetDisplayNode().GetWindow() == 1000
    assert volumes.arrayOfNode(node).min() == 1


def test_input_is_never_the_output(ct):
    with pytest.raises(InputError, match="overwrite"):
        volumes.arrayToVolumeNode(np.zeros((30, 36, 40), np.float32), "x", ct, ct)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64, np.float16, np.int64])
def test_every_type_of_array_is_stored(ct, dtype):
    values = (np.arange(30 * 36 * 40).reshape(30, 36, 40) % 2).astype(dtype)
    node = volumes.arrayToVolumeNode(values, "x", ct)
    np.testing.assert_array_equal(volumes.arrayOfNode(node), values)


def test_padding_is_raised_and_one_slice_is_a_volume(scene):
    node = add_volume(scene, "axial", shape=(1, 5, 4))
    slicer.util.arrayFromVolume(node)[0, 0, 0] = -3024
    volume = volumes.volumeFromNode(node)
    assert volume.array.shape == (1, 5, 4)
    assert volume.array[0, 0, 0] == -1024


def test_bad_inputs_are_named(scene, ct):
    with pytest.raises(InputError, match="No volume is selected"):
        volumes.gridOfNode(None)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError, match="nothing holds no voxels"):
        volumes.volumeFromNode(empty)
    with pytest.raises(InputError, match="has shape"):
        volumes.arrayToVolumeNode(np.zeros((2, 2, 2)), "x", ct)
    other = Volume(np.zeros((30, 36, 40), np.float32), volumes.gridOfNode(ct).crop((1, 0, 0), (31, 36, 40)))
    with pytest.raises(InputError, match="does not cover the voxels of CT"):
        volumes.volumeToNode(other, "x", ct)
    nan = volumes.arrayToVolumeNode(np.full((30, 36, 40), np.nan, np.float32), "broken", ct)
    with pytest.raises(InputError, match="broken holds NaN"):
        volumes.volumeFromNode(nan)
    color = vtk.vtkImageData()
    color.SetDimensions(3, 3, 3)
    color.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vector = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    vector.SetAndObserveImageData(color)
    with pytest.raises(InputError, match="photo has 3 values"):
        volumes.volumeFromNode(vector)
    bent = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bent")
    bent.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    ct.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="nonlinear transform bent"):
        volumes.gridOfNode(ct)


def test_float_map_has_range_colors_and_legend(scene, ct, rng):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    node = volumes.arrayToVolumeNode(rng.random((30, 36, 40)).astype(np.float32), "uncertainty", ct)
    legend = volumes.showFloatMap(node, "Uncertainty (HU)", 0.0, 60.0, [view])
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 60.0)
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(6.0)
    assert display.GetColorNode().GetName() in ("Inferno", "Iron")
    assert legend.GetTitleText() == "Uncertainty (HU)"
    assert legend.GetViewNodeIDs() == (view.GetID(),)
    assert volumes.showFloatMap(node, "again", -100.0, 100.0) is legend
    assert not display.GetApplyThreshold()
    assert legend.GetViewNodeIDs() == ()
    with pytest.raises(InputError, match="must rise"):
        volumes.showFloatMap(node, "flat", 1.0, 1.0)
    volumes.hideVolume(node)
    assert not legend.GetVisibility()


def test_hidden_volume_leaves_every_view(scene, ct):
    node = volumes.arrayToVolumeNode(np.zeros((30, 36, 40)), "x", ct)
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(ct.GetID())
    composite.SetForegroundVolumeID(node.GetID())
    volumes.hideVolume(node)
    assert composite.GetBackgroundVolumeID() == ct.GetID()
    assert not composite.GetForegroundVolumeID()
