"""Whole scans simulated while training: images and sinograms, for networks that work in both domains."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ctrestoration.training.cases import Scan, scan_case
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, simulated


class Config(simulated.Config):
    """Simulated scans with their sinograms, for networks that work in both domains; nothing is stored."""

    name: Literal["scans"]  # type: ignore[assignment]
    preset: str = Field(default="adn-256", description="Scanner preset of the simulation.")
    nmar: bool = Field(default=False, description="Add the NMAR prior image, which InDuDoNet+ looks at.")

    def create(self) -> Scans:
        """The source that these settings describe."""
        return Scans(self)


class Scans(simulated.Simulated):
    """As `Simulated`; a sample holds more.

    Beside "input", "target" (HU) and "metal": "input_li" and, where asked for, "prior" [1, row, column] in HU;
    "sinogram", "sinogram_li", "target_sinogram" (line integrals of the target) and "kept" (1 where a ray met no metal)
    [1, view, bin].
    """

    settings: Config

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        draw = key.generator("case")
        patient = self.patient(int(draw.integers(self.settings.phantoms + len(self.settings.volumes))))
        (scan,), _ = scan_case(patient, draw, self.settings.preset, 1)
        return {name: np.asarray(array, dtype=np.float32)[None] for name, array in self._arrays(scan).items()}

    def _arrays(self, scan: Scan) -> dict[str, NDArray[np.floating]]:
        from ctrestoration.correct.interpolation import interpolate_trace
        from ctrestoration.correct.prior import tissue_prior
        from ctrestoration.physics.fbp import fbp
        from ctrestoration.physics.projector import Projector

        pair, acquisition = scan.pair(), scan.simulation.acquisition
        sinogram, trace = acquisition.sinogram[0], acquisition.trace[0]
        interpolated = interpolate_trace(sinogram, trace)
        mu = fbp(interpolated, acquisition.geometry, acquisition.image_grid, mode=acquisition.fbp_mode)
        to_hu = np.float32(1000.0 / acquisition.mu_water)
        projector = Projector(acquisition.geometry, acquisition.image_grid)
        arrays: dict[str, NDArray[np.floating]] = {
            **pair,
            "input_li": mu * to_hu - 1000.0,
            "sinogram": sinogram,
            "sinogram_li": interpolated,
            "target_sinogram": projector.forward((pair["target"] + 1000.0) / to_hu),
            "kept": (~trace).astype(np.float32),
        }
        if self.settings.nmar:
            prior = tissue_prior(mu, acquisition.metal[0], acquisition.mu_water)
            arrays["prior"] = prior * to_hu - 1000.0
        return arrays
