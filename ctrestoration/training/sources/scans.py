"""Whole scans simulated while training: images and sinograms, for networks that work in both domains."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ctrestoration.training.data.cases import Scan
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, simulated
from ctrestoration.volume import AIR_HU


class Config(simulated.Config):
    """Simulated scans with their sinograms, for networks that work in both domains; nothing is stored."""

    name: Literal["scans"]  # type: ignore[assignment]
    preset: str = Field(default="adn-256", description="Scanner preset of the simulation.")
    nmar: bool = Field(default=False, description="Add the NMAR prior image, which InDuDoNet+ looks at.")

    every_nth_view: int = Field(
        default=1,
        ge=1,
        le=32,
        description="Sparse views, MEPNet's setting: only every n-th view is measured, images are reconstructed from "
        "those, and the network fills the others in.",
    )

    truth: bool = Field(
        default=False,
        description="Add the noise-free patient at 70 keV without metal, the target that published networks are "
        "taught: `target` of stored scans.",
    )

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

    Beside "input", "target" (HU) and "metal": "li" and, where asked for, "nmar", "prior" and "truth" in HU [1, row,
    column]; "sinogram", "sinogram_li", "target_sinogram" (line integrals of the target) and "kept" (1 where a ray was
    measured and met no metal) [1, view, bin].
    """

    settings: Config

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        arrays = self._arrays(self.scan(key))
        return {name: np.asarray(array, dtype=np.float32)[None] for name, array in arrays.items()}

    def _arrays(self, scan: Scan) -> dict[str, NDArray[np.floating]]:
        from ctrestoration.correct.completion import projector_of
        from ctrestoration.correct.unrolled import unrolled_inputs

        full, every = scan.simulation.acquisition, self.settings.every_nth_view
        measured = full.every_nth_view(every)
        scan = replace(scan, simulation=replace(scan.simulation, acquisition=measured))
        pair = scan.pair(self.settings.corrected)
        inputs = unrolled_inputs(measured, 0, projector_of(measured), self.settings.nmar, every)
        mu = (pair["target"] + 1000.0) * np.float32(full.mu_water / 1000.0)
        made = {**pair, **inputs, "target_sinogram": projector_of(full).forward(mu)}
        if self.settings.truth:
            # A scan without artifact has to stay as it is: it is its own truth.
            clean = np.array_equal(pair["input"], pair["target"])
            made["truth"] = pair["target"] if clean else np.maximum(scan.simulation.truth.array[0], np.float32(AIR_HU))
        return made
