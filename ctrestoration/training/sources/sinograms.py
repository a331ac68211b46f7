"""Sinograms of three adjacent slices, simulated while training, for networks that complete metal traces."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from ctrestoration.correct.completion import SliceData, completed_change
from ctrestoration.correct.inpainting import Neighborhoods, refuse_partial_turn
from ctrestoration.training.data.cases import implanted, slab_of, slices_with_metal
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, simulated


class Config(simulated.PatientsConfig):
    """Sinograms of three adjacent slices with metal, simulated while training; nothing is stored."""

    name: Literal["sinograms"]
    preset: str = Field(default="adn-256", description="Scanner preset of the simulation; a full turn.")

    def create(self) -> Sinograms:
        """The source that these settings describe."""
        return Sinograms(self)


class Sinograms(simulated.Patients):
    """Each sample scans three adjacent slices of a patient with freshly drawn implants.

    "filled", "trace", "path" [3, view, bin] as in `correct.inpainting.Neighborhood`; of the middle slice "sinogram" and
    "target_sinogram" [1, view, bin], measured with and without the metal, by the same photons; "input", "target",
    "nmar" in HU and "metal" [1, row, column].
    """

    settings: Config

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        from ctrestoration.simulate.metal import simulate_metal

        draw = key.generator("case")
        volume, metals, _ = implanted(self.drawn(draw), draw)
        z = int(draw.choice(slices_with_metal(volume, metals)))
        seed = int(draw.integers(2**31))
        first, last = max(z - 1, 0), min(z + 2, volume.grid.shape[0])
        preset, middle = self.settings.preset, z - first
        scan = simulate_metal(*slab_of(volume, metals, first, last), preset=preset, seed=seed)
        without, _ = slab_of(volume, {}, z, z + 1)
        clean = simulate_metal(without, {}, preset=preset, seed=seed, first_slice=middle)
        acquisition = scan.acquisition
        refuse_partial_turn(acquisition.geometry.arc)
        around = Neighborhoods(acquisition)
        hood = around.slice(middle)
        data = SliceData(acquisition, middle, around.projector)
        image = acquisition.image.array[middle]
        arrays = {
            "sinogram": data.sinogram,
            "target_sinogram": clean.acquisition.sinogram[0],
            "input": image,
            "target": scan.reference.array[middle],
            "nmar": image + completed_change(data, hood.filled[1]),
            "metal": data.metal,
        }
        sample = {name: np.asarray(array, dtype=np.float32)[None] for name, array in arrays.items()}
        return {**sample, "filled": hood.filled, "trace": hood.trace, "path": hood.path}
