"""Masks are drawn where the CT's voxels are drawn, whatever the geometry."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from geometries import GEOMETRIES, add_volume
from offscreen import SliceView, saturated

from CTRestorationLib.nodes import segmentations, volumes


@pytest.mark.parametrize("geometry", sorted(GEOMETRIES))
def test_mask_covers_its_block(scene, pictures, geometry):
    ct = add_volume(scene, geometry, shape=(24, 30, 34))
    block = np.zeros((24, 30, 34), dtype=bool)
    block[8:18, 6:20, 15:30] = True
    slicer.util.arrayFromVolume(ct)[:] = np.where(block, 1000, -1000)
    slicer.util.arrayFromVolumeModified(ct)
    result = volumes.arrayToVolumeNode(np.where(block, np.float32(1000), np.float32(-1000)), "result", ct)
    node, _ = segmentations.writeMask(block, "block", ct, color=(1.0, 0.0, 0.0))
    node.GetDisplayNode().SetVisibility(False)
    view = SliceView(scene, "Red", (240, 240))
    view.composite.SetBackgroundVolumeID(ct.GetID())
    view.fit()
    grid = volumes.gridOfNode(ct)
    view.node.SetSliceOffset(float(grid.to_world((22, 13, 12.5))[2]))
    bright = view.picture(pictures / f"geometry-{geometry}.png")[..., 0] > 127
    view.composite.SetBackgroundVolumeID(result.GetID())
    again = view.picture()[..., 0] > 127
    assert bright.sum() > 500
    assert (again == bright).all()
    node.GetDisplayNode().SetVisibility(True)
    red = saturated(view.picture(pictures / f"geometry-{geometry}-mask.png"))
    # The CT is interpolated and the mask is not: its edge may differ by half a voxel.
    agreement = 2 * (red & bright).sum() / (red.sum() + bright.sum())
    assert agreement > 0.93
    view.close()
