"""Raw data of a helical scan, as DICOM-CT-PD stores them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Projections:
    """Line integrals of a scan on a cylindrical detector.

    Attributes:
        sinogram: line integrals without unit, float32 [view, row, column].
        angles: of the focal spot in radians, [view], float64.
        positions: of the focal spot along the table in mm, [view].
        radii: distance of the focal spot from the isocenter in mm, [view].
        source_detector: mm.
        central_element: (row, column) of `sinogram` that the central ray meets, counted from 0.
        pitch: size of a detector element at the detector (row, column) in mm.
        mu_water: attenuation of water in 1/mm that the vendor calibrates to.
        flying_focal_spot: deflections of the focal spot by view (angle in radians, z in mm, radius in mm), [view, 3];
            zeros where the scanner had none.
    """

    sinogram: NDArray[np.float32]
    angles: NDArray[np.float64]
    positions: NDArray[np.float64]
    radii: NDArray[np.float64]
    source_detector: float
    central_element: tuple[float, float]
    pitch: tuple[float, float]
    mu_water: float
    flying_focal_spot: NDArray[np.float64]

    @property
    def pitch_per_turn(self) -> float:
        """Movement of the table per turn in mm; negative where it moves the other way."""
        turns = (self.angles[-1] - self.angles[0]) / (2.0 * np.pi)
        return float((self.positions[-1] - self.positions[0]) / abs(turns)) if turns else 0.0
