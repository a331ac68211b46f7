"""Slicer itself reads the files that jobs exchange: geometry to the bit, segments with their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk

from ctrestoration.volume import Grid, LabelMap, Volume
from CTRestorationLib.jobs.exchange import exhaust, writeLabels, writeVolumeSteps

AXES = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])  # Slicer turns left-handed files on reading
GRID = Grid.from_parts((4, 5, 6), (0.7, 0.9, 2.5), (-10.5, 20.25, 300.0), AXES)


def test_a_volume_lies_where_it_was(tmp_path: Path) -> None:
    values = np.arange(120, dtype=np.float32).reshape(GRID.shape)
    exhaust(writeVolumeSteps(Volume(values, GRID), tmp_path / "v.nrrd"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(tmp_path / "v.nrrd"))
    assert storage.ReadData(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    found = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    np.testing.assert_allclose(found, np.diag([-1, -1, 1, 1]) @ GRID.affine, atol=1e-6)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values)


def test_segments_have_their_names_and_voxels(tmp_path: Path) -> None:
    array = np.zeros(GRID.shape, dtype=np.uint16)
    array[1:3, 1:4, 2:5] = 29
    array[3, 4, 5] = 30
    exhaust(writeLabels(LabelMap(array, GRID, {29: "vertebrae_L3", 30: "vertebrae_L2"}), tmp_path / "s.seg.nrrd"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "s.seg.nrrd"))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(number).GetName() for number in range(segmentation.GetNumberOfSegments())]
    assert names == ["vertebrae_L3", "vertebrae_L2"]
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(0), image)
    assert image.GetScalarRange()[1] > 0
    assert [image.GetExtent()[axis * 2 + 1] - image.GetExtent()[axis * 2] + 1 for axis in range(3)] == [4, 4, 3]
