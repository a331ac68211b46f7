"""The numba kernels of the projector and of the backprojection. Imported only where numba is installed.

Joseph's method (IEEE TMI 1 (1982) 192): a ray steps along the axis it is closest to, one pixel a step, and
interpolates linearly across the other. A `step table` holds, per ray, the first fractional index, its increment, the
step length in mm, and whether it steps over columns; float64 keeps positions exact to 1e-10 pixel over any image.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


def set_threads(count: int) -> None:
    """How many CPU threads the kernels use from now on, at most what the machine has. Results do not depend on it."""
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(max(1, min(count, available)))


@numba.njit(cache=True, parallel=True)
def forward(padded: NDArray, turned: NDArray, steps: NDArray, over_columns: NDArray, out: NDArray) -> None:
    """Line integrals of a batch: padded [slice, row + 2, column], turned [slice, column + 2, row]; out [slice, ray]."""
    n_slices = padded.shape[0]
    for ray in numba.prange(steps.shape[0]):
        first, increment, length = steps[ray]
        for z in range(n_slices):
            image = padded[z] if over_columns[ray] else turned[z]
            last = image.shape[0] - 1
            total = np.float32(0.0)
            position = first + 1.0
            for k in range(image.shape[1]):
                if 0.0 <= position < last:
                    low = int(position)
                    share = np.float32(position - low)
                    total += image[low, k] + share * (image[low + 1, k] - image[low, k])
                position += increment
            out[z, ray] = total * length


@numba.njit(cache=True, parallel=True)
def adjoint(rays: NDArray, steps: NDArray, over_columns: NDArray, padded: NDArray, turned: NDArray) -> None:
    """The transpose of `forward`: spreads every ray over the pixels it was read from. One thread a slice."""
    for z in numba.prange(rays.shape[0]):
        for ray in range(steps.shape[0]):
            first, increment, length = steps[ray]
            image = padded[z] if over_columns[ray] else turned[z]
            last = image.shape[0] - 1
            value = np.float32(rays[z, ray] * length)
            position = first + 1.0
            for k in range(image.shape[1]):
                if 0.0 <= position < last:
                    low = int(position)
                    share = np.float32(position - low)
                    image[low, k] += value * (np.float32(1.0) - share)
                    image[low + 1, k] += value * share
                position += increment


@numba.njit(cache=True, parallel=True)
def backproject(
    filtered: NDArray,
    cosines: NDArray,
    sines: NDArray,
    x: NDArray,
    y: NDArray,
    kind: int,
    distance: float,
    first: float,
    per_pitch: float,
    power: int,
    out: NDArray,
) -> None:
    """Pixel-driven backprojection of one slice; kind 0 parallel, 1 flat fan, 2 curved fan. One thread a row."""
    n_views, n_bins = filtered.shape
    for row in numba.prange(out.shape[0]):
        for column in range(out.shape[1]):
            total = 0.0
            for view in range(n_views):
                c, s = cosines[view], sines[view]
                across = x[column] * c + y[row] * s
                weight = 1.0
                place = across
                if kind != 0:
                    along = distance - x[column] * s + y[row] * c
                    if kind == 1:
                        u = along / distance
                        place = across / u
                        weight = 1.0 / (u * u) if power == 2 else 1.0 / u
                    else:
                        place = np.arctan2(across, along)
                        weight = 1.0 / (across * across + along * along)
                position = first + place * per_pitch
                low = int(np.floor(position))
                if 0 <= low < n_bins - 1:
                    share = position - low
                    total += weight * (filtered[view, low] * (1.0 - share) + filtered[view, low + 1] * share)
            out[row, column] = total


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
def polychromatic(paths: NDArray, ratios: NDArray, weights: NDArray, out: NDArray) -> None:
    """-ln sum_E w(E) exp(-sum_m paths[m, ray] ratios[m, E]); one thread a ray."""
    n_materials, n_energies = ratios.shape
    for ray in numba.prange(out.shape[0]):
        total = np.float32(0.0)
        for energy in range(n_energies):
            exponent = np.float32(0.0)
            for m in range(n_materials):
                exponent -= paths[m, ray] * ratios[m, energy]
            total += weights[energy] * np.exp(exponent)
        out[ray] = -np.log(max(total, np.float32(1e-38)))
