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
    """Pixel-driven backprojection of one slice; kind 0 parallel, 1 flat fan, 2 curved fan. One thread a row.

    Views are the middle loop and columns the inner one: a row of pixels reads neighboring bins of one view, which
    stay in the first-level cache. Positions are float64 where they are made and float32 from then on.
    """
    n_views, n_bins = filtered.shape
    for row in numba.prange(out.shape[0]):
        totals = np.zeros(out.shape[1], dtype=np.float32)
        for view in range(n_views):
            c, s = cosines[view], sines[view]
            bins = filtered[view]
            if kind == 0:
                _add_parallel(totals, bins, n_bins, first + 1.0 + y[row] * s * per_pitch, x, c * per_pitch)
            elif kind == 1:
                _add_flat(totals, bins, n_bins, first + 1.0, x, y[row], c, s, distance, per_pitch, power)
            else:
                _add_arc(totals, bins, n_bins, first + 1.0, x, y[row], c, s, distance, per_pitch)
        out[row] = totals


@numba.njit(cache=True, inline="always")
def _read(bins: NDArray, n_bins: int, position: float) -> float:
    """Linear interpolation at a position shifted by one bin, so that truncation is rounding down; 0 outside."""
    place = int(position)
    low = place - 1
    if position < 1.0 or low >= n_bins - 1:
        return np.float32(0.0)
    share = np.float32(position - place)
    return bins[low] + share * (bins[low + 1] - bins[low])


@numba.njit(cache=True)
def _add_parallel(totals: NDArray, bins: NDArray, n_bins: int, start: float, x: NDArray, slope: float) -> None:
    for column in range(totals.shape[0]):
        totals[column] += _read(bins, n_bins, start + x[column] * slope)


@numba.njit(cache=True)
def _add_flat(
    totals: NDArray, bins: NDArray, n_bins: int, first: float, x: NDArray, y: float,
    c: float, s: float, distance: float, per_pitch: float, power: int,
) -> None:  # fmt: skip
    for column in range(totals.shape[0]):
        inverse = distance / (distance - x[column] * s + y * c)
        value = _read(bins, n_bins, first + (x[column] * c + y * s) * inverse * per_pitch)
        weight = np.float32(inverse * inverse if power == 2 else inverse)
        totals[column] += weight * value


@numba.njit(cache=True)
def _add_arc(
    totals: NDArray, bins: NDArray, n_bins: int, first: float, x: NDArray, y: float,
    c: float, s: float, distance: float, per_pitch: float,
) -> None:  # fmt: skip
    for column in range(totals.shape[0]):
        across, along = x[column] * c + y * s, distance - x[column] * s + y * c
        value = _read(bins, n_bins, first + np.arctan2(across, along) * per_pitch)
        totals[column] += np.float32(1.0 / (across * across + along * along)) * value


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
