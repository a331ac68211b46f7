"""Photon noise on counts; never noise added to a sinogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


def detected(
    integrals: NDArray[np.float32],
    photons: float,
    scatter: float,
    key: Sequence[int],
    *,
    scatter_ratio: float = 0.0,
    scatter_bins: float = 40.0,
    electronic: float = 0.0,
) -> NDArray[np.float32]:
    """Line integrals as a photon-counting detector with scatter reports them.

    n ~ Poisson(round(N0 exp(-p)) + scatter) + electronic noise, at least one photon, p = -ln(n / N0). Without the
    keyword arguments this is the public benchmark's chain. Tube current modulation is left out.

    Args:
        integrals: ideal line integrals, bins along the last axis.
        photons: N0, photons per bin without patient, above 0.
        scatter: photons added to every bin, at least 0.
        key: what the random numbers depend on, e.g. (seed, slice): the same bits whatever is computed beside it.
        scatter_ratio: patient scatter as a share of the primary photons, spread by a Gaussian along the detector
            (a forced-detection kernel in its simplest form); 0 leaves it out.
        scatter_bins: standard deviation of that Gaussian in bins.
        electronic: standard deviation of the electronic noise in photons a bin; 0 leaves it out.

    Returns:
        float32, same shape.

    Raises:
        InputError: no photons, or negative scatter.
    """
    if photons <= 0 or min(scatter, scatter_ratio, electronic) < 0:
        raise InputError(
            f"Noise needs more than 0 photons and at least 0 scatter and electronic noise, not {photons:g} photons, "
            f"scatter {scatter:g} and {scatter_ratio:g}, electronic noise {electronic:g}."
        )
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(key))))
    primary = photons * np.exp(-integrals.astype(np.float64))
    expected = np.round(primary) + scatter
    if scatter_ratio > 0:
        from scipy.ndimage import gaussian_filter1d

        expected += scatter_ratio * gaussian_filter1d(primary, scatter_bins, axis=-1, mode="nearest")
    counts = random.poisson(expected).astype(np.float64)
    if electronic > 0:
        counts += random.normal(0.0, electronic, counts.shape)
    return (-np.log(np.maximum(counts, 1.0) / photons)).astype(np.float32)
