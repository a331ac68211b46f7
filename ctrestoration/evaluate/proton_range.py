"""Stopping power of protons relative to water from HU, and the water-equivalent thickness of a slice.

The table follows the stoichiometric way (Schneider, Pedroni, Lomax, Phys. Med. Biol. 41 (1996) 111): for tissues of
known composition the HU at 70 keV and the stopping power by the Bethe formula, straight lines in between.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ctrestoration.physics.materials import Material, material
from ctrestoration.physics.polychromatic import REFERENCE_KEV

TISSUES = ("adipose", "water", "muscle", "trabecular bone", "cortical bone")
PROTON_BETA2 = 0.1834
"""v^2/c^2 of a 100 MeV proton."""

_ELECTRON_EV = 0.511e6
_AIR = (-1000.0, 0.001)

# Z, atomic weight, mean excitation energy in eV in compounds (ICRU Report 37, 1984, Table 5.1).
_ELEMENTS = {
    "H": (1, 1.008, 19.2), "C": (6, 12.011, 81.0), "N": (7, 14.007, 82.0), "O": (8, 15.999, 106.0),
    "Na": (11, 22.990, 168.4), "Mg": (12, 24.305, 176.3), "P": (15, 30.974, 195.5), "S": (16, 32.06, 203.4),
    "Cl": (17, 35.45, 180.0), "K": (19, 39.098, 214.7), "Ca": (20, 40.078, 215.8), "Fe": (26, 55.845, 323.2),
}  # fmt: skip


def stopping_power_ratio(hu: NDArray[np.floating]) -> NDArray[np.float64]:
    """Proton stopping power relative to water of HU, any shape; values above cortical bone go on along its line."""
    levels, ratios = stopping_power_table()
    slope = (ratios[-1] - ratios[-2]) / (levels[-1] - levels[-2])
    inside = np.interp(hu, levels, ratios)
    return np.asarray(np.where(hu > levels[-1], ratios[-1] + slope * (hu - levels[-1]), inside), dtype=np.float64)


@cache
def stopping_power_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """HU and stopping power relative to water of air and of `TISSUES`, in rising order of HU."""
    water = material("water")
    mu_water = float(water.attenuation(REFERENCE_KEV)[0])
    points = [_AIR]
    for name in TISSUES:
        tissue = material(name)
        hu = 1000.0 * (float(tissue.attenuation(REFERENCE_KEV)[0]) / mu_water - 1.0)
        points.append((hu, _stopping(tissue) / _stopping(water)))
    levels, ratios = zip(*sorted(points), strict=True)
    return np.array(levels), np.array(ratios)


def water_equivalent_thickness(hu: NDArray[np.floating], pixel_mm: float, angles: int = 36) -> NDArray[np.float64]:
    """Water-equivalent thickness in mm of one slice along parallel beams of many directions.

    Args:
        hu: [row, column].
        pixel_mm: side of a pixel.
        angles: number of directions over half a turn.

    Returns:
        [angle, ray], rays one pixel apart.
    """
    from ctrestoration.physics.geometry import ImageGrid, ParallelBeam
    from ctrestoration.physics.projector import Projector

    rays = int(np.ceil(np.hypot(*hu.shape))) | 1
    grid = ImageGrid((hu.shape[0], hu.shape[1]), (pixel_mm, pixel_mm))
    projector = Projector(ParallelBeam(angles, rays, pixel_mm), grid)
    return np.asarray(projector.forward(stopping_power_ratio(hu).astype(np.float32)), dtype=np.float64)


def _stopping(tissue: Material) -> float:
    """Bethe's formula without what cancels in the ratio to water."""
    total = sum(share for _, share in tissue.mass_fractions)
    electrons = {
        symbol: share / total * _ELEMENTS[symbol][0] / _ELEMENTS[symbol][1] for symbol, share in tissue.mass_fractions
    }
    density = sum(electrons.values())
    log_energy = sum(share * np.log(_ELEMENTS[symbol][2]) for symbol, share in electrons.items()) / density
    bethe = np.log(2.0 * _ELECTRON_EV * PROTON_BETA2 / (1.0 - PROTON_BETA2)) - log_energy - PROTON_BETA2
    return float(tissue.density * density * bethe)
