"""What the importers of NIfTI data sets share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ctrestoration.errors import InputError
from ctrestoration.io.images import read_labels, read_volume
from ctrestoration.io.importers import Imported
from ctrestoration.volume import Grid, LabelMap, Volume

LIVER_NAMES = {1: "liver", 2: "liver_tumor"}


def load_pair(
    image: Path,
    labels: Path | None,
    names: Mapping[int, str],
    spacing: tuple[float, float, float] | None = None,
) -> Imported:
    """Read a CT and its segmentation.

    Args:
        image: CT in HU.
        labels: its segmentation, or None.
        names: label -> name.
        spacing: (x, y, z) in mm in place of what the file says, for files that lost theirs.

    Raises:
        InputError: a file is unreadable, or the two lie on different grids.
    """
    volume = read_volume(image)
    found = None
    if labels is not None:
        read = read_labels(labels, volume.grid)
        found = LabelMap(read.array, read.grid, dict(names), read.name)
    if spacing is not None:
        grid = _respaced(volume.grid, spacing)
        volume = Volume(volume.array, grid, volume.name, {**volume.provenance, "spacing": "given by the user"})
        found = LabelMap(found.array, grid, found.names, found.name) if found is not None else None
    return Imported(volume, found)


def lost_its_geometry(image: Path) -> bool:
    """Whether a NIfTI file says nothing about its geometry: identity axes and voxels of 1 mm."""
    from ctrestoration.io._itk import simpleitk

    reader = simpleitk().ImageFileReader()
    reader.SetFileName(str(image))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{image} is no readable NIfTI file.") from error
    # ITK turns NIfTI's RAS into LPS: identity there is (-1, -1, 1) here; both are seen in the wild.
    axes = np.abs(np.array(reader.GetDirection()).reshape(3, 3))
    return bool(np.allclose(reader.GetSpacing(), 1.0) and np.allclose(axes, np.eye(3)))


def _respaced(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    if not all(np.isfinite(step) and step > 0 for step in spacing):
        raise InputError(f"Spacing must be three positive numbers of mm (x, y, z), not {spacing}.")
    return Grid.from_parts(grid.shape, spacing, grid.origin, grid.direction)
