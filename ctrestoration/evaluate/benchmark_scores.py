"""PSNR and SSIM exactly as the public MAR benchmark counts them, in a linear and in its legacy form.

Published numbers are computed on gray pictures that were stretched by their own minimum and maximum each, so that the
brightest pixel decides: a perfect metal-free reconstruction scores 31 dB so, 41 dB in a fixed range. Use `linear`;
`legacy` exists to stand beside published rows, and says what it is.

Both multiply image and truth by the outside of the metal and count over the whole frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

HIGHEST = 0.5
"""Attenuation in 1/cm that counts as white."""

LEGACY_LABEL = "auto-scaled 8-bit pictures, as published; do not rank methods by it"


def benchmark_scores(
    image: NDArray[Any], truth: NDArray[Any], metal: NDArray[np.bool_], *, legacy: bool = False
) -> dict[str, Any]:
    """PSNR and SSIM of one slice.

    Args:
        image: attenuation in 1/cm [row, column].
        truth: same shape.
        metal: bool, same shape.
        legacy: stretch each image by its own range to 8 bits first.

    Returns:
        psnr_db (None where infinite), ssim, window in 1/cm, mask.

    Raises:
        InputError: shapes differ, or values are not finite.
    """
    if not image.shape == truth.shape == metal.shape or image.ndim != 2:
        raise InputError(
            f"Image, truth and metal must be slices of one shape, not {image.shape}, {truth.shape} and {metal.shape}."
        )
    if not (np.isfinite(image).all() and np.isfinite(truth).all()):
        raise InputError("Image or truth holds NaN or infinite values.")
    scale = _stretched if legacy else _fixed
    first, second = (np.where(metal, 0.0, scale(np.asarray(part, dtype=np.float64))) for part in (image, truth))
    error = float(np.mean((first - second) ** 2))
    return {
        "psnr_db": None if error == 0 else -10.0 * float(np.log10(error)),
        "ssim": benchmark_ssim(first, second),
        "window": LEGACY_LABEL if legacy else [0.0, HIGHEST],
        "mask": "whole frame, metal set to 0",
    }


def benchmark_ssim(image: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """SSIM as the benchmark's scorer computes it.

    Wang et al., IEEE TIP 13 (2004) 600: Gaussian 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, range 1, valid pixels only;
    images of 384 pixels and more are first averaged over 2x2 and every second pixel is kept, as the authors advise for
    viewing from a distance (factor = round(smaller side / 256)).

    Args:
        image: 0..1, [row, column].
        truth: same shape.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    factor = max(1, round(min(image.shape) / 256))
    if factor > 1:
        # The average starts at the pixel that is kept, so that 2x2 blocks are averaged whole.
        image, truth = (
            uniform_filter(part, factor, mode="reflect", origin=-(factor // 2))[::factor, ::factor]
            for part in (image, truth)
        )

    def smooth(part: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(part, 1.5, radius=5)[5:-5, 5:-5])

    mean_a, mean_b = smooth(image), smooth(truth)
    variance_a, variance_b = smooth(image**2) - mean_a**2, smooth(truth**2) - mean_b**2
    covariance = smooth(image * truth) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))))


def size_group(metal_pixels: int) -> str:
    """Which of the benchmark's five groups a metal of so many pixels belongs to, by its 416-pixel masks.

    The groups hold the masks of 890 and 2061, 451 and 881, 124 and 254, 112 and 118, 35 and 53 pixels.
    """
    for name, least in (("large", 886), ("medium-large", 352), ("medium", 121), ("small", 83)):
        if metal_pixels >= least:
            return name
    return "tiny"


def _fixed(mu: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(mu, 0.0, HIGHEST) / HIGHEST)


def _stretched(mu: NDArray[np.float64]) -> NDArray[np.float64]:
    value = _fixed(mu)
    width = float(value.max() - value.min())
    if width == 0:
        return np.zeros_like(value)
    return np.asarray(np.floor(255.999 * (value - value.min()) / width) / 255.0)
