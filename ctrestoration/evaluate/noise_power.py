"""The noise power spectrum: how much noise there is at which spatial frequency, that is, how coarse it looks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


class NoisePower(NamedTuple):
    """A radially averaged noise power spectrum.

    Attributes:
        frequencies: 1/mm [ring], middles of rings of equal width up to the Nyquist frequency.
        power: HU^2 mm^2 [ring].
        mean_frequency: 1/mm, mean of the two-dimensional spectrum; lower means coarser noise. NaN without any noise.
    """

    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    mean_frequency: float


def noise_power(noise: NDArray[np.floating], pixel_mm: float) -> NoisePower:
    """Noise power spectrum of square regions.

    ICRU Report 87 (2012), section 5: NPS = pixel area / number of pixels * <|FFT(region - its mean)|^2>.

    Args:
        noise: HU [region, n, n] or [n, n], n >= 8: differences to what is noise-free, or between two scans / sqrt(2).
        pixel_mm: pixel width.

    Raises:
        InputError: regions that are not square or too small, values that are not finite, or a pixel width of 0 or less.
    """
    regions = np.asarray(noise, dtype=np.float64)
    regions = regions[None] if regions.ndim == 2 else regions
    if regions.ndim != 3 or regions.shape[1] != regions.shape[2] or regions.shape[1] < 8 or not len(regions):
        raise InputError(f"Noise power needs square regions of at least 8 x 8 pixels, not an array {noise.shape}.")
    if not np.isfinite(regions).all() or not pixel_mm > 0:
        raise InputError("Noise power needs finite values and a pixel width above 0 mm.")
    size = regions.shape[1]
    centered = regions - regions.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centered)) ** 2).mean(axis=0) * pixel_mm**2 / size**2
    axis = np.fft.fftfreq(size, pixel_mm)
    radius = np.hypot(axis[:, None], axis[None])
    nyquist, rings = 0.5 / pixel_mm, size // 2
    ring = np.minimum((radius / nyquist * rings).astype(int), rings)
    counts = np.bincount(ring.ravel(), minlength=rings + 1)[:rings]
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=rings + 1)[:rings]
    total = float(power.sum())
    mean = float((radius * power).sum() / total) if total > 0 else float("nan")
    return NoisePower((np.arange(rings) + 0.5) * nyquist / rings, sums / np.maximum(counts, 1), mean)


def region_around(mask: NDArray[np.bool_], size: int) -> tuple[slice, slice] | None:
    """A square of `size` pixels around the center of a mask [row, column], moved inside the image; None if empty."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    starts = [
        int(np.clip(round(float(middle.mean())) - size // 2, 0, length - size))
        for middle, length in zip((rows, columns), mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)
