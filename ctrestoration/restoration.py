"""Restoration: what a method gives back, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.volume import Volume


@dataclass(frozen=True)
class Restoration:
    """The result of a correction or a reconstruction.

    Attributes:
        image: HU, on the grid of the input volume.
        uncertainty: in HU on the same grid, or None where the method gives none. 0 where nothing was restored.
        synthesized: bool [z, y, x], True where voxel values were invented rather than measured (None: nowhere known).
        provenance: method, its settings and version, JSON-serializable.
        coverage: None: the uncertainty is a standard deviation that nobody has calibrated. Else it is the half-width of
            an interval around the image that is to hold the right value in this share of the body's pixels.
    """

    image: Volume
    uncertainty: Volume | None = None
    synthesized: NDArray[np.bool_] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    coverage: float | None = None

    def uncertainty_meaning(self) -> str:
        """What the numbers of the uncertainty are, for people."""
        if self.coverage is None:
            ensemble = self.provenance.get("uncertainty")
            return f"standard deviation in HU ({ensemble}); not calibrated, it is no error bar"
        patients = (self.provenance.get("interval") or {}).get("patients")
        return f"half-width in HU of the {self.coverage:.0%} interval, calibrated on {patients} patients"
