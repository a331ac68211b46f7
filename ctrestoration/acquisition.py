"""Acquisition: what the scanner measured, or what a simulation says it would have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.volume import Volume, axial_part

if TYPE_CHECKING:
    from ctrestoration.physics.geometry import Geometry, ImageGrid

PROJECTED = "projected from the image"
"""The provenance's "source" of sinograms that nobody measured."""


@dataclass(frozen=True)
class Acquisition:
    """Sinograms of a stack of axial slices, and everything needed to reconstruct them.

    Attributes:
        image: the uncorrected CT in HU that these data reconstruct to (simulated), or that they were forward
            projected from (clinical CT without raw data), in axial order (`Volume.axial()`): slices lie along the
            first array axis. Its grid is the grid of every result; `Volume.in_order_of` turns results back.
        sinogram: line integrals without unit, float32 [slice, view, bin], after water pre-correction.
        trace: bool [slice, view, bin], True where a ray met metal.
        metal: bool [slice, row, column], True where a voxel is metal.
        geometry: the scanner geometry in mm.
        image_grid: pixel matrix and pixel size in mm as the scanner geometry sees the slices. A preset that scales
            bodies to a nominal field of view makes this differ from `image.grid`, and says so in the provenance.
        mu_water: attenuation of water in 1/mm that defines 0 HU.
        fbp_mode: how these data are reconstructed, "exact" or "odl-compat" (see `physics.fbp`).
        fbp_window: the filter window of that reconstruction.
        provenance: JSON-serializable; "source" is "simulated" or `PROJECTED`.
    """

    image: Volume
    sinogram: NDArray[np.float32]
    trace: NDArray[np.bool_]
    metal: NDArray[np.bool_]
    geometry: Geometry
    image_grid: ImageGrid
    mu_water: float
    fbp_mode: str = "exact"
    fbp_window: str = "ram-lak"
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_image(
        cls, volume: Volume, metal: NDArray[np.bool_], *, preset: str = "clinical", control: Control = SILENT
    ) -> Acquisition:
        """Forward project a CT whose raw data are not at hand; see `simulate.from_image.acquisition_from_image`."""
        from ctrestoration.simulate.from_image import acquisition_from_image

        return acquisition_from_image(volume, metal, preset=preset, control=control)

    @property
    def projected(self) -> bool:
        """Whether the sinograms are those of the image: its artifacts are in them, also outside the trace."""
        return self.provenance.get("source") == PROJECTED

    def part(self, first: int, last: int) -> Acquisition:
        """The slices from `first` to `last`, both included, counted from 0.

        Raises:
            InputError: no range within the acquisition.
        """
        where = axial_part(self.image.grid, first, last)
        cut = where[0]
        return replace(
            self, image=self.image.part(where), sinogram=self.sinogram[cut], trace=self.trace[cut],
            metal=self.metal[cut],
        )  # fmt: skip

    def every_nth_view(self, n: int) -> Acquisition:
        """The scan as if only every n-th view had been measured; its image is reconstructed from those.

        Raises:
            InputError: n does not divide the number of views.
        """
        if n < 1 or self.geometry.n_views % n:
            raise InputError(f"Of {self.geometry.n_views} views every n-th can be kept where n divides them, not {n}.")
        if n == 1:
            return self
        from ctrestoration.physics.fbp import fbp

        sinogram = np.ascontiguousarray(self.sinogram[:, ::n])
        geometry = replace(self.geometry, n_views=self.geometry.n_views // n)
        mu = [fbp(one, geometry, self.image_grid, window=self.fbp_window, mode=self.fbp_mode) for one in sinogram]
        image = (np.stack(mu) / np.float32(self.mu_water) - np.float32(1.0)) * np.float32(1000.0)
        return replace(
            self, image=self.image.replaced(image), sinogram=sinogram, geometry=geometry,
            trace=np.ascontiguousarray(self.trace[:, ::n]), provenance={**self.provenance, "every_nth_view": n},
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write to a .npz file; see `io.acquisitions.save_acquisition`."""
        from ctrestoration.io.acquisitions import save_acquisition

        save_acquisition(self, path)

    @staticmethod
    def load(path: str | Path) -> Acquisition:
        """Read a file written by `save`; see `io.acquisitions.load_acquisition`."""
        from ctrestoration.io.acquisitions import load_acquisition

        return load_acquisition(path)
