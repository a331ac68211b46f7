"""Photon noise on counts; never noise added to a sinogram."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

_FEW = 50.0
"""Below this expectation quantiles are counted out, above they are expanded around the normal distribution."""


def poisson(expected: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Poisson counts, each from one normal number of its own.

    Rejection sampling, numpy's own, takes more or fewer random numbers depending on the expectation, so that a last
    digit that differs between two machines changes all noise that follows. Here every value has its number: nearly
    equal expectations get nearly equal noise.

    Giles, "Algorithm 955: approximation of the inverse Poisson cumulative distribution function", ACM Trans. Math.
    Softw. 42 (2016) 7, expansion of the quantile around the normal one to order 1 / expectation.

    Args:
        expected: at least 0, any shape.
        random: source of the normal numbers.

    Returns:
        Whole numbers as float64, same shape.
    """
    from scipy.special import ndtr

    w = random.standard_normal(expected.shape)
    root = np.sqrt(np.maximum(expected, _FEW))
    square = w * w
    quantile = expected + root * w + (1.0 / 3.0 + square / 6.0) - w * (2.0 + square) / (72.0 * root)
    quantile += (-8.0 / 405.0 + square * (7.0 / 810.0 + square / 270.0)) / root**2
    counts = np.floor(np.maximum(quantile, 0.0))
    few = expected < _FEW
    if few.any():
        mean, chance = expected[few], ndtr(w[few])
        term = np.exp(-mean)
        below, counted = term.copy(), np.zeros(mean.shape)
        for k in range(1, int(_FEW + 12.0 * math.sqrt(_FEW))):
            above = chance > below
            if not above.any():
                break
            counted += above
            term *= mean / k
            below += term
        counts[few] = counted
    return counts


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
    counts = poisson(expected, random)
    if electronic > 0:
        counts += random.normal(0.0, electronic, counts.shape)
    return (-np.log(np.maximum(counts, 1.0) / photons)).astype(np.float32)
