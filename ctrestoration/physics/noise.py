"""Photon noise on counts; never noise added to a sinogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


def detected(integrals: NDArray[np.float32], photons: float, scatter: float, key: Sequence[int]) -> NDArray[np.float32]:
    """Line integrals as a photon-counting detector with scatter reports them.

    n ~ Poisson(round(N0 exp(-p)) + scatter), no photon counts as one, p = -ln(n / N0); the public benchmark's chain.

    Args:
        integrals: ideal line integrals, any shape.
        photons: N0, photons per bin without patient, above 0.
        scatter: photons added to every bin, at least 0.
        key: what the random numbers depend on, e.g. (seed, slice): the same bits whatever is computed beside it.

    Returns:
        float32, same shape.

    Raises:
        InputError: no photons, or negative scatter.
    """
    if photons <= 0 or scatter < 0:
        raise InputError(f"Noise needs more than 0 photons and at least 0 scatter, not {photons:g} and {scatter:g}.")
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(key))))
    expected = np.round(photons * np.exp(-integrals.astype(np.float64))) + scatter
    counts = np.maximum(random.poisson(expected), 1)
    return (-np.log(counts / photons)).astype(np.float32)
