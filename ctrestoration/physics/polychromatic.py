"""What a detector measures behind several materials when the beam has many energies, and the water correction.

The chain of the public metal artifact benchmark (Zhang and Yu, IEEE TMI 37 (2018) 1370; Yu et al., IEEE TMI 40 (2021)
228): p = -ln sum_E S(E) exp(-sum_m p_m mu_m(E) / mu_m(70 keV)), with p_m the line integral of material m at 70 keV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics.kernels import kernels
from ctrestoration.physics.materials import material
from ctrestoration.physics.spectra import Spectrum

REFERENCE_KEV = 70.0


def polychromatic(
    integrals: Mapping[str, NDArray[Any]], spectrum: Spectrum, *, reference_kev: float = REFERENCE_KEV
) -> NDArray[np.float32]:
    """Line integrals as a polychromatic scan without noise sees them.

    Args:
        integrals: material name -> line integrals of that material at `reference_kev`, without unit; one shape.
        spectrum: the beam.
        reference_kev: the energy the integrals are given at.

    Returns:
        float32, same shape.

    Raises:
        InputError: unknown material, shapes that differ, or no material at all.
    """
    if not integrals:
        raise InputError("A polychromatic projection needs the line integrals of at least one material.")
    shapes = {np.shape(values) for values in integrals.values()}
    if len(shapes) > 1:
        raise InputError(f"Line integrals of the materials must have one shape, not {sorted(shapes)}.")
    shape = shapes.pop()
    paths = np.stack([np.asarray(values, dtype=np.float32).ravel() for values in integrals.values()])
    present = np.asarray(paths.any(axis=1))
    if not present.any():
        return np.zeros(shape, dtype=np.float32)
    names = [name for name, there in zip(integrals, present, strict=True) if there]
    ratios = np.stack([material(name).mass_attenuation(spectrum.energies) for name in names])
    ratios /= np.concatenate([material(name).mass_attenuation(reference_kev) for name in names])[:, None]
    out = np.empty(paths.shape[1], dtype=np.float32)
    paths = np.ascontiguousarray(paths[present])
    weights = spectrum.weights.astype(np.float32)
    kernels().polychromatic(paths, ratios.astype(np.float32), weights, out)
    return out.reshape(shape)


@dataclass(frozen=True)
class WaterCorrection:
    """Makes line integrals behind water proportional to its thickness again: p70 = c1 p + c2 p^2 + c3 p^3."""

    coefficients: tuple[float, float, float]

    def __call__(self, integrals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply to polychromatic line integrals, any shape."""
        c1, c2, c3 = (np.float32(c) for c in self.coefficients)
        return np.asarray(integrals * (c1 + integrals * (c2 + integrals * c3)), dtype=np.float32)


def water_correction(spectrum: Spectrum, *, reference_kev: float = REFERENCE_KEV) -> WaterCorrection:
    """Fitted without constant to 0 to 50 cm of water in steps of 0.05 cm, as the public benchmark does."""
    thickness = np.arange(0, 1001) * 0.05
    mass = material("water").mass_attenuation
    straight = thickness * mass(reference_kev)
    bent = -np.log(np.exp(-np.outer(thickness, mass(spectrum.energies))) @ spectrum.weights)
    powers = np.stack([bent, bent**2, bent**3], axis=1)
    c1, c2, c3 = np.linalg.lstsq(powers, straight, rcond=None)[0]
    return WaterCorrection((float(c1), float(c2), float(c3)))
