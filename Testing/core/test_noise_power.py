"""The noise power spectrum against noise of known power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ctrestoration.errors import InputError
from ctrestoration.evaluate.noise_power import noise_power, region_around


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    noise = np.random.default_rng(1).normal(0, 20, (400, 32, 32))
    found = noise_power(noise, 0.5)
    np.testing.assert_allclose(found.power[1:], 20**2 * 0.5**2, rtol=0.06)
    assert found.frequencies[-1] < 1.0
    # The mean radius over a square of frequencies is 0.3826 of its side.
    assert found.mean_frequency == pytest.approx(0.3826 / 0.5, rel=0.02)


def test_the_integral_is_the_variance() -> None:
    noise = gaussian_filter(np.random.default_rng(2).normal(0, 20, (50, 48, 48)), (0, 1.5, 1.5))
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    found = noise_power(noise, 2.0)
    ring = np.pi * (np.diff(np.arange(len(found.frequencies) + 1) ** 2)) * (0.25 / len(found.frequencies)) ** 2
    assert (found.power * ring).sum() == pytest.approx(noise.var(), rel=0.05)


def test_smooth_noise_is_coarser() -> None:
    white = np.random.default_rng(3).normal(0, 20, (20, 32, 32))
    smooth = gaussian_filter(white, (0, 1, 1))
    assert noise_power(smooth, 1.0).mean_frequency < 0.6 * noise_power(white, 1.0).mean_frequency
    assert np.isnan(noise_power(np.zeros((16, 16)), 1.0).mean_frequency)


@pytest.mark.parametrize(
    "noise", [np.zeros((4, 4)), np.zeros((2, 16, 12)), np.full((16, 16), np.nan), np.zeros((0, 16, 16))]
)
def test_what_cannot_be_measured_is_refused(noise: np.ndarray) -> None:
    with pytest.raises(InputError, match="Noise power needs"):
        noise_power(noise, 1.0)


def test_the_region_lies_around_the_mask_and_inside_the_image() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    assert region_around(mask, 16) is None
    mask[2:6, 30:38] = True
    assert region_around(mask, 16) == (slice(0, 16), slice(24, 40))
