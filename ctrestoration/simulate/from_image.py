"""An acquisition for a CT whose raw data are not at hand: its slices, forward projected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import PROJECTED, Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.hounsfield import MU_WATER as MU_WATER
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.physics.projector import Projector
from ctrestoration.volume import AIR_HU, Volume


def acquisition_from_image(
    volume: Volume, metal: NDArray[np.bool_], *, preset: str = "clinical", control: Control = SILENT
) -> Acquisition:
    """Forward project the slices of a CT that hold metal.

    What was clipped or lost in the image stays lost: these are not the scanner's data. Slices without metal are never
    corrected, so their sinograms are left zero.

    Args:
        volume: the CT in HU, any orientation; the acquisition holds it in axial order.
        metal: bool [z, y, x] on the volume's grid.
        preset: scanner geometry, see `physics.presets`.
        control: reported to between slices.

    Returns:
        The acquisition, its provenance marked `acquisition.PROJECTED`.

    Raises:
        InputError: mask of another shape, or an unknown preset.
    """
    if metal.shape != volume.grid.shape:
        raise InputError(
            f"The metal mask has shape {metal.shape}, {volume.name} {volume.grid.shape}: one grid is needed."
        )
    scanner = scanner_preset(preset)
    axial = volume.axial()
    mask = volume.replaced(metal.astype(np.float32)).axial().array > 0.5
    column, row, _ = axial.grid.spacing
    grid = scanner.image_grid(axial.grid.shape[1:], (row, column))
    geometry = scanner.geometry(grid)
    projector = Projector(geometry, grid)
    shape = (axial.grid.shape[0], geometry.n_views, geometry.n_bins)
    sinogram, trace = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    for z in control.track([int(z) for z in np.flatnonzero(mask.any(axis=(1, 2)))], "Projecting the image"):
        mu = MU_WATER * (1.0 + np.maximum(axial.array[z], AIR_HU + 24.0) / 1000.0)
        sinogram[z] = projector.forward(mu)
        trace[z] = projector.forward(mask[z].astype(np.float32)) > 0
    provenance: dict[str, Any] = {"source": PROJECTED, "preset": preset, "scanner": scanner.source}
    return Acquisition(axial, sinogram, trace, mask, geometry, grid, MU_WATER, scanner.fbp_mode, provenance=provenance)
