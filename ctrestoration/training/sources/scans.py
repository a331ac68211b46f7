"""Whole scans simulated while training: images and sinograms, for networks that work in both domains."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ctrestoration.training.cases import Scan
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, simulated


class Config(simulated.Config):
    """Simulated scans with their sinograms, for networks that work in both domains; nothing is stored."""

    name: Literal["scans"]  # type: ignore[assignment]
    preset: str = Field(default="adn-256", description="Scanner preset of the simulation.")
    nmar: bool = Field(default=False, description="Add the NMAR prior image, which InDuDoNet+ looks at.")

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        return {"li", *self.corrected}

    def as_scans(self) -> Config:
        """These settings: how the scans are simulated."""
        return self

    def create(self) -> Scans:
        """The source that these settings describe."""
        return Scans(self)


class Scans(simulated.Simulated):
    """As `Simulated`; a sample holds more.

    Beside "input", "target" (HU) and "metal": "li" and, where asked for, "nmar" and "prior" [1, row, column] in HU;
    "sinogram", "sinogram_li", "target_sinogram" (line integrals of the target) and "kept" (1 where a ray met no metal)
    [1, view, bin].
    """

    settings: Config

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        arrays = self._arrays(self.scan(key))
        return {name: np.asarray(array, dtype=np.float32)[None] for name, array in arrays.items()}

    def _arrays(self, scan: Scan) -> dict[str, NDArray[np.floating]]:
        from ctrestoration.correct.completion import projector_of
        from ctrestoration.correct.unrolled import unrolled_inputs

        pair, acquisition = scan.pair(self.settings.corrected), scan.simulation.acquisition
        projector = projector_of(acquisition)
        mu = (pair["target"] + 1000.0) * np.float32(acquisition.mu_water / 1000.0)
        inputs = unrolled_inputs(acquisition, 0, projector, self.settings.nmar)
        return {**pair, **inputs, "target_sinogram": projector.forward(mu)}
