"""Tissue texture: band-limited noise that belongs to the patient, not to the voxel grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.phantom.shapes import Array

_SIZE = 64


class SolidNoise:
    """Smooth noise with zero mean and unit variance, defined at every point of design space.

    A periodic lattice of random values is read with linear interpolation along slanted axes, so that its period
    does not line up with the slices.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        from scipy import ndimage

        lattice = generator.standard_normal((_SIZE, _SIZE, _SIZE), dtype=np.float32)
        lattice = ndimage.gaussian_filter(lattice, 0.7, mode="wrap")
        self._lattice = (lattice - lattice.mean()) / lattice.std()

    def __call__(self, x: Array, y: Array, z: Array, scale: float | tuple[float, float, float]) -> Array:
        """Noise at points; `scale` is the size of its grains in mm, one for all axes or one each for x, y, z."""
        from scipy import ndimage

        sx, sy, sz = (scale,) * 3 if isinstance(scale, float | int) else scale
        u, v, w = x / np.float32(sx), y / np.float32(sy), z / np.float32(sz)
        index = np.stack([0.96 * u + 0.28 * v, -0.26 * u + 0.90 * v + 0.35 * w, 0.10 * u - 0.34 * v + 0.93 * w])
        out = np.empty(u.shape, dtype=np.float32)
        ndimage.map_coordinates(self._lattice, index, output=out, order=1, mode="grid-wrap", prefilter=False)
        return out


def scan_noise(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], sd: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Noise with the spectrum of filtered back projection, f exp(-(f / f0)^2) in plane, independent slices.

    Args:
        shape: (z, y, x).
        spacing: (x, y, z) in mm.
        sd: standard deviation in HU.
        generator: its own stream.

    Returns:
        float32 [z, y, x].
    """
    from scipy import fft

    _, rows, columns = shape
    fy = fft.fftfreq(rows, spacing[1])[:, None]
    fx = fft.rfftfreq(columns, spacing[0])[None, :]
    frequency = np.hypot(fx, fy)
    power = (frequency + 0.02) * np.exp(-((frequency / 0.30) ** 2))
    weight = np.sqrt(power).astype(np.float32)
    full = np.concatenate([weight, weight[:, 1 : columns - weight.shape[1] + 1]], axis=1)
    weight *= np.float32(sd / np.sqrt(np.mean(full**2)))
    out = np.empty(shape, dtype=np.float32)
    for index in range(shape[0]):
        white = generator.standard_normal((rows, columns), dtype=np.float32)
        out[index] = fft.irfft2(fft.rfft2(white) * weight, s=(rows, columns))
    return out


def blur(hu: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """The image as a scanner with a soft-tissue kernel shows it: a Gaussian of 1.3 mm full width in plane."""
    from scipy import ndimage

    sigma = [0.55 / value for value in (spacing[1], spacing[0])]
    for axis, width in zip((1, 2), sigma, strict=True):
        if hu.shape[axis] > 1:
            hu = ndimage.gaussian_filter1d(hu, width, axis=axis, mode="nearest", truncate=3.0)
    return hu
