"""Segmentations: masks and labels bit for bit on every geometry, and the live threshold preview."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import slicer
import vtk
from geometries import add_volume, as_loaded, to_vtk

from ctrestoration.errors import InputError
from ctrestoration.volume import LabelMap
from CTRestorationLib.nodes import segmentations, volumes


def random_mask(rng, shape=(6, 9, 11)):
    mask = rng.random(shape) > 0.7
    mask[0] = False
    return mask


def test_mask_goes_in_and_comes_back(awkward, rng):
    mask = random_mask(rng)
    node, segment = segmentations.writeMask(mask, "metal", awkward)
    assert node.GetTransformNodeID() == awkward.GetTransformNodeID()
    assert node.GetSegmentation().GetSegment(segment).GetName() == "metal"
    np.testing.assert_array_equal(segmentations.maskFromSegment(node, segment, awkward), mask)


def test_slicer_reads_the_same_mask(awkward, rng):
    mask = random_mask(rng)
    node, segment = segmentations.writeMask(mask, "metal", awkward)
    theirs = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, awkward)
    np.testing.assert_array_equal(theirs.astype(bool), mask)


def test_labels_go_in_and_come_back(awkward, rng):
    array = rng.integers(0, 4, (6, 9, 11)).astype(np.uint16) * 9
    labels = LabelMap(array, volumes.gridOfNode(awkward), {9: "nine", 18: "vertebrae_T11", 27: "vertebrae_L5"})
    node = segmentations.segmentationFromLabelMap(labels, "spine", awkward)
    back = segmentations.labelMapFromSegmentation(node, awkward)
    np.testing.assert_array_equal(back.array, array)
    assert back.names == labels.names
    assert back.grid == labels.grid


def test_each_label_is_a_segment_of_its_own(ct, rng):
    array = rng.integers(0, 3, (30, 36, 40)).astype(np.uint16) * 200
    node = segmentations.segmentationFromLabelMap(LabelMap(array, volumes.gridOfNode(ct)), "spine", ct)
    for value in (200, 400):
        np.testing.assert_array_equal(segmentations.maskFromSegment(node, f"label_{value}", ct), array == value)
        theirs = slicer.util.arrayFromSegmentBinaryLabelmap(node, f"label_{value}", ct)
        np.testing.assert_array_equal(theirs.astype(bool), array == value)
    again = segmentations.segmentationFromLabelMap(
        LabelMap((array == 400).astype(np.uint16), volumes.gridOfNode(ct), {1: "one"}), "x", ct, node
    )
    assert again is node
    assert node.GetSegmentation().GetSegmentIDs() == ("label_1",)


def test_overlapping_segments_are_numbered_by_name_and_the_later_wins(ct):
    first = np.zeros((30, 36, 40), bool)
    first[5:20] = True
    second = np.zeros_like(first)
    second[15:25] = True
    node, _ = segmentations.writeMask(first, "L3 vertebra", ct)
    segmentations.writeMask(second, "something else", ct, node)
    labels = segmentations.labelMapFromSegmentation(node, ct)
    assert labels.names == {29: "L3 vertebra", 300: "something else"}
    np.testing.assert_array_equal(labels.array == 300, second)
    np.testing.assert_array_equal(labels.array == 29, first & ~second)


def test_segment_of_another_grid_is_brought_onto_the_ct(scene, rng):
    fine = add_volume(scene, "axial", shape=(12, 18, 22))
    matrix = np.diag([-0.4, -0.4, 0.75, 1.0])
    matrix[:3, 3] = (12.25 + 0.2, -40.5 + 0.2, 101.125 - 0.375)
    fine.SetIJKToRASMatrix(to_vtk(matrix))
    coarse = add_volume(scene, "axial", shape=(6, 9, 11))
    block = rng.random((6, 9, 11)) > 0.5
    node, segment = segmentations.writeMask(np.kron(block, np.ones((2, 2, 2), bool)), "metal", fine)
    np.testing.assert_array_equal(segmentations.maskFromSegment(node, segment, coarse), block)
    theirs = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, coarse)
    np.testing.assert_array_equal(theirs.astype(bool), block)


def test_part_of_the_ct_and_beyond_it(scene):
    whole = add_volume(scene, "oblique", shape=(8, 9, 10))
    grid = volumes.gridOfNode(whole)
    mask = np.zeros(grid.shape, bool)
    mask[2:7, 3:8, 1:9] = True
    node, segment = segmentations.writeMask(mask, "metal", whole)
    part = add_volume(scene, "oblique", shape=(4, 5, 6))
    cropped = volumes.gridOfNode(whole).crop((3, 4, 2), (7, 9, 8))
    part.SetIJKToRASMatrix(to_vtk(np.diag([-1.0, -1, 1, 1]) @ cropped.affine))
    np.testing.assert_array_equal(segmentations.maskFromSegment(node, segment, part), mask[3:7, 4:9, 2:8])
    away = add_volume(scene, "oblique", shape=(4, 5, 6))
    away.SetOrigin(900, 900, 900)
    assert not segmentations.maskFromSegment(node, segment, away).any()


def test_segmentation_under_another_transform(scene, ct, rng):
    mask = random_mask(rng, (30, 36, 40))
    mask[:, :, -3:] = False
    node, segment = segmentations.writeMask(mask, "metal", ct)
    shift = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    matrix = np.eye(4)
    matrix[0, 3] = -1.6  # two voxels of 0.8 mm; i runs to -R
    shift.SetMatrixTransformToParent(to_vtk(matrix))
    node.SetAndObserveTransformNodeID(shift.GetID())
    found = segmentations.maskFromSegment(node, segment, ct)
    np.testing.assert_array_equal(found[:, :, 2:], mask[:, :, :-2])
    assert not found[:, :, :2].any()
    _, other = segmentations.writeMask(mask, "again", ct, node)
    np.testing.assert_array_equal(segmentations.maskFromSegment(node, other, ct), mask)


def test_surface_is_turned_into_a_mask_without_touching_it(scene, ct):
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(-3.0, -54.0, 122.0)
    sphere.SetRadius(8.0)
    sphere.SetThetaResolution(32)
    sphere.SetPhiResolution(32)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "model")
    node.SetSourceRepresentationToClosedSurface()
    segment = node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball")
    mask = segmentations.maskFromSegment(node, segment, ct)
    volume = mask.sum() * volumes.gridOfNode(ct).voxel_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.03)
    assert node.GetSegmentation().GetSourceRepresentationName() == "Closed surface"
    assert node.GetSegmentation().GetSegment(segment).GetRepresentation("Binary labelmap") is None
    labels = segmentations.labelMapFromSegmentation(node, ct)
    np.testing.assert_array_equal(labels.array > 0, mask)


def test_chosen_segment_is_rewritten_in_place(ct, rng):
    first, second = random_mask(rng, (30, 36, 40)), random_mask(rng, (30, 36, 40))
    node, segment = segmentations.writeMask(first, "metal", ct, color=(1, 0, 0))
    same, identifier = segmentations.writeMask(second, "x", ct, node, segmentId=segment)
    assert same is node
    assert identifier == segment
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert node.GetSegmentation().GetSegment(segment).GetColor() == (1, 0, 0)
    np.testing.assert_array_equal(segmentations.maskFromSegment(node, segment, ct), second)


def test_empty_mask(ct):
    empty = np.zeros((30, 36, 40), bool)
    node, segment = segmentations.writeMask(empty, "metal", ct)
    assert not segmentations.maskFromSegment(node, segment, ct).any()
    assert not segmentations.labelMapFromSegmentation(node, ct).array.any()
    full = ~empty
    segmentations.writeMask(full, "metal", ct, node, segmentId=segment)
    assert segmentations.maskFromSegment(node, segment, ct).all()
    segmentations.writeMask(empty, "metal", ct, node, segmentId=segment)
    assert not segmentations.maskFromSegment(node, segment, ct).any()


def test_bad_inputs_are_named(scene, ct):
    with pytest.raises(InputError, match="No segmentation is selected"):
        segmentations.maskFromSegment(None, "x", ct)
    with pytest.raises(InputError, match="No segmentation is selected"):
        segmentations.labelMapFromSegmentation(None, ct)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "spine")
    with pytest.raises(InputError, match="spine holds no segments"):
        segmentations.labelMapFromSegmentation(node, ct)
    with pytest.raises(InputError, match="spine has no segment 'x'"):
        segmentations.maskFromSegment(node, "x", ct)
    with pytest.raises(InputError, match="the mask has shape"):
        segmentations.writeMask(np.zeros((2, 2, 2)), "metal", ct)
    other = LabelMap(np.ones((2, 2, 2), np.uint16), volumes.gridOfNode(ct).crop((0, 0, 0), (2, 2, 2)))
    with pytest.raises(InputError, match="does not cover"):
        segmentations.segmentationFromLabelMap(other, "x", ct)


@pytest.fixture
def views(scene, ct):
    nodes = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]
    for node in nodes:
        node.SetBackgroundVolumeID(ct.GetID())
    return nodes


def test_preview_shares_the_voxels_and_gives_the_views_back(scene, ct, views):
    other = add_volume(scene, "axial")
    views[0].SetForegroundVolumeID(other.GetID())
    views[0].SetForegroundOpacity(0.25)
    count = scene.GetNumberOfNodes()
    preview = segmentations.ThresholdPreview(scene)
    preview.show(ct, 1500)
    assert segmentations.isPreview(preview.node)
    assert not segmentations.isPreview(ct)
    assert preview.node.GetImageData() is ct.GetImageData()
    assert preview.node.GetHideFromEditors()
    assert {view.GetForegroundVolumeID() for view in views} == {preview.node.GetID()}
    preview.show(ct, 1800)
    assert preview.node.GetDisplayNode().GetLowerThreshold() == 1800
    preview.hide()
    assert preview.node is None
    assert scene.GetNumberOfNodes() == count
    assert views[0].GetForegroundVolumeID() == other.GetID()
    assert views[0].GetForegroundOpacity() == 0.25
    assert not views[1].GetForegroundVolumeID()
    preview.hide()


def test_preview_counts_milliliters(scene, ct):
    preview = segmentations.ThresholdPreview(scene)
    array, voxel = slicer.util.arrayFromVolume(ct), volumes.gridOfNode(ct).voxel_mm3
    for low in (1500, 1200.5, 300, 1999, 5000):
        assert preview.milliliters(ct, low) == pytest.approx((array >= low).sum() * voxel / 1000)
    array[:] = 1999
    slicer.util.arrayFromVolumeModified(ct)
    assert preview.milliliters(ct, 1500) == pytest.approx(array.size * voxel / 1000)


@pytest.mark.parametrize("what", ["volume", "preview", "scene"])
def test_preview_survives_deletions(scene, ct, views, what):
    preview = segmentations.ThresholdPreview(scene)
    preview.show(ct, 1500)
    if what == "volume":
        scene.RemoveNode(ct)
    elif what == "preview":
        scene.RemoveNode(preview.node)
    else:
        scene.Clear(False)
    assert preview.node is None
    assert not [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if segmentations.isPreview(n)]
    new = add_volume(scene, "axial")
    preview.show(new, 1000)
    assert preview.node is not None
    preview.hide()


def test_preview_is_never_saved(scene, ct, views, tmp_path):
    preview = segmentations.ThresholdPreview(scene)
    preview.show(ct, 1500)
    shown = preview.node.GetID()
    path = tmp_path / "scene.mrb"
    assert scene.WriteToMRB(str(path))
    assert views[0].GetForegroundVolumeID() == shown
    scene.Clear(True)
    scene.ReadFromMRB(str(path), True)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert names == ["CT"]
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert not view.GetForegroundVolumeID()


def test_preview_leaves_no_observers(scene, ct, views):
    reference = vtk.vtkWeakReference()
    preview = segmentations.ThresholdPreview(scene)
    preview.show(ct, 1500)
    reference.Set(preview.node)
    preview.hide()
    gc.collect()
    assert reference.Get() is None
    assert len(preview._observers) == 0


def test_segmentations_survive_saving(awkward, rng, scene, tmp_path):
    mask = random_mask(rng)
    array = rng.integers(0, 3, (6, 9, 11)).astype(np.uint16) * 27
    name, grid = awkward.GetName(), volumes.gridOfNode(awkward)
    segmentations.writeMask(mask, "metal", awkward)
    labels = LabelMap(array, volumes.gridOfNode(awkward), {27: "vertebrae_L5", 54: "own"})
    segmentations.segmentationFromLabelMap(labels, "spine", awkward)
    path = tmp_path / "scene.mrb"
    assert scene.WriteToMRB(str(path))
    scene.Clear(True)
    scene.ReadFromMRB(str(path), True)
    like = slicer.util.getNode(name)
    metal = slicer.util.getNode("metal")
    found = segmentations.maskFromSegment(metal, metal.GetSegmentation().GetNthSegmentID(0), like)
    loaded = as_loaded(grid, volumes.gridOfNode(like))
    np.testing.assert_array_equal(found, loaded(mask))
    back = segmentations.labelMapFromSegmentation(slicer.util.getNode("spine"), like)
    np.testing.assert_array_equal(back.array, loaded(array))
    assert back.names == labels.names
