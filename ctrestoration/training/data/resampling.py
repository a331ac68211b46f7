"""A CT and its labels as square slices of one size and pixel width, which networks train on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.volume import AIR_HU, Grid, LabelMap, Volume

BODY_HU = -200.0


def square_slices(volume: Volume, size: int, pixel_mm: float) -> Volume:
    """Square slices around the body of a CT; slices themselves are kept.

    Args:
        volume: CT in HU, any orientation.
        size: rows and columns.
        pixel_mm: pixel width.

    Raises:
        InputError: it holds no body.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    axial = volume.axial()
    body = (axial.array > BODY_HU).any(axis=0)
    if not body.any():
        raise InputError(f"{volume.name} holds no patient: nothing in it is above {BODY_HU:g} HU.")
    middle = np.array([0.5 * (found.min() + found.max()) for found in np.nonzero(body)])
    scale = np.array([pixel_mm / axial.grid.spacing[1], pixel_mm / axial.grid.spacing[0]])
    start = middle - scale * (size - 1) / 2
    # Smooth before sampling coarsely; linear between pixels, as partial volumes would be.
    spread = np.maximum(scale - 1, 0) / 2
    slices = [
        affine_transform(gaussian_filter(plane, spread), scale, start, (size, size), order=1, cval=AIR_HU)
        for plane in axial.array
    ]
    origin = axial.grid.to_world(np.array([start[1], start[0], 0.0]))
    spacing = (pixel_mm, pixel_mm, axial.grid.spacing[2])
    shape = (len(slices), size, size)
    grid = Grid.from_parts(shape, spacing, (origin[0], origin[1], origin[2]), axial.grid.direction)
    return Volume(np.stack(slices).astype(np.float32), grid, volume.name)


def labels_on(labels: LabelMap, grid: Grid) -> NDArray[np.integer]:
    """The nearest label of every voxel of a grid; 0 outside the label map.

    Args:
        labels: any grid of the same world.
        grid: where they are wanted.

    Returns:
        [z, y, x], type of the labels.
    """
    from scipy.ndimage import affine_transform

    turn = np.linalg.inv(labels.grid.affine) @ grid.affine
    # Affines act on (x, y, z); arrays are [z, y, x].
    matrix, offset = turn[:3, :3][::-1, ::-1], turn[:3, 3][::-1]
    # Not "constant", which takes a coordinate of -1e-15 for outside and would empty the first slice.
    found: NDArray[np.integer] = affine_transform(
        labels.array, matrix, offset, grid.shape, order=0, mode="grid-constant", cval=0
    )
    return found
