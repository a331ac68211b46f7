"""The numba kernels of the projector and of the backprojection. Imported only where numba is installed.

Joseph's method (IEEE TMI 1 (1982) 192): a ray steps along the axis it is closest to, one pixel a step, and
interpolates linearly across the other. Images lie in memory with the axis across last, so that the two pixels of an
interpolation are neighbors. The table of steps is made in `steps.step_table`.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

HAS_LANES = True
"""Symmetric scans are projected by `lanes`."""


def set_threads(count: int) -> None:
    """How many CPU threads the kernels use from now on, at most what the machine has. Results do not depend on it."""
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(max(1, min(count, available)))


_REORDER = {"reassoc", "contract", "nsz", "arcp"}
"""Lets the compiler sum in vector lanes. A ray's sum is the same whatever is computed beside it."""

_BLOCK = 64
"""Steps between two float64 positions. Within a block positions are float32 and right to 1e-5 pixel, and the compiler
vectorizes the loop: 2 times faster than float64 positions throughout."""


@numba.njit(cache=True, parallel=True, fastmath=_REORDER, error_model="numpy")
def forward(rows: NDArray, columns: NDArray, steps: NDArray, ranges: NDArray, out: NDArray) -> None:
    """Line integrals of a batch.

    Args:
        rows: images for rays that step over columns [slice, column, row + 4], two zeros at either end.
        columns: images for rays that step over rows [slice, row, column + 4].
        steps: [ray, 3], see `steps.step_table`.
        ranges: [ray, 3]: whether the ray steps over columns, first step inside, one past the last.
        out: [slice, ray].
    """
    for z in range(out.shape[0]):  # one slice after the other: two copies of one image fill the second-level cache
        by_rows = rows[z].reshape(-1)
        by_columns = columns[z].reshape(-1)
        for ray in numba.prange(steps.shape[0]):
            first, increment, length = steps[ray]
            over_columns, start, stop = ranges[ray]
            slope = np.float32(increment)
            flat = by_rows if over_columns else by_columns
            width = np.int32(rows.shape[2] if over_columns else columns.shape[2])
            total = np.float32(0.0)
            k = start
            while k < stop:
                position = first + k * increment
                base = np.floor(position) if increment >= 0 else np.floor(position) - _BLOCK
                begin = np.float32(position - base)
                origin = np.int32(k) * width + np.int32(base)
                part = np.float32(0.0)
                for n in range(np.int32(min(_BLOCK, stop - k))):
                    place = begin + np.float32(n) * slope
                    low = np.int32(place)
                    share = place - np.float32(low)
                    at = origin + np.int32(n) * width + low
                    value = flat[at]
                    part += value + share * (flat[at + np.int32(1)] - value)
                total += part
                k += _BLOCK
            out[z, ray] = total * np.float32(length)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def adjoint(rays: NDArray, steps: NDArray, ranges: NDArray, rows: NDArray, columns: NDArray) -> None:
    """The transpose of `forward`: spreads every ray over the pixels it was read from. One thread a slice."""
    for z in numba.prange(rays.shape[0]):
        for ray in range(steps.shape[0]):
            first, increment, length = steps[ray]
            over_columns, start, stop = ranges[ray]
            slope = np.float32(increment)
            image = rows[z] if over_columns else columns[z]
            flat = image.reshape(-1)
            width = np.int32(image.shape[1])
            value = rays[z, ray] * np.float32(length)
            k = start
            while k < stop:
                position = first + k * increment
                base = np.floor(position) if increment >= 0 else np.floor(position) - _BLOCK
                begin = np.float32(position - base)
                origin = np.int32(k) * width + np.int32(base)
                for n in range(np.int32(min(_BLOCK, stop - k))):
                    place = begin + np.float32(n) * slope
                    low = np.int32(place)
                    upper = value * (place - np.float32(low))
                    at = origin + np.int32(n) * width + low
                    flat[at] += value - upper
                    flat[at + np.int32(1)] += upper
                k += _BLOCK


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

    `filtered` [view, bin + 4] has two zeros at either end and `first` counts them in. Views are the middle loop and
    columns the inner one: a row of pixels reads neighboring bins of one view, which stay in the first-level cache.
    """
    for row in numba.prange(out.shape[0]):
        totals = np.zeros(out.shape[1], dtype=np.float32)
        for view in range(filtered.shape[0]):
            c, s, bins = cosines[view], sines[view], filtered[view]
            if kind == 0:
                _add_parallel(totals, bins, first + y[row] * s * per_pitch, x, c * per_pitch)
            elif kind == 1:
                _add_flat(totals, bins, first, x, y[row], c, s, distance, per_pitch, power)
            else:
                _add_arc(totals, bins, first, x, y[row], c, s, distance, per_pitch)
        out[row] = totals


@numba.njit(cache=True, fastmath=_REORDER, error_model="numpy")
def _add_parallel(totals: NDArray, bins: NDArray, start: float, x: NDArray, slope: float) -> None:
    top = bins.shape[0] - 2.0
    for column in range(totals.shape[0]):
        place = min(max(start + x[column] * slope, 0.0), top)  # beyond either end lies a zero
        low = np.int32(place)
        share = np.float32(place - low)
        totals[column] += bins[low] + share * (bins[low + 1] - bins[low])


@numba.njit(cache=True, fastmath=_REORDER, error_model="numpy")
def _add_flat(
    totals: NDArray, bins: NDArray, first: float, x: NDArray, y: float,
    c: float, s: float, distance: float, per_pitch: float, power: int,
) -> None:  # fmt: skip
    top = bins.shape[0] - 2.0
    across, along = y * s, distance + y * c
    scale = distance * per_pitch
    for column in range(totals.shape[0]):
        inverse = 1.0 / (along - x[column] * s)
        place = min(max(first + (x[column] * c + across) * (scale * inverse), 0.0), top)
        low = np.int32(place)
        share = np.float32(place - low)
        weight = np.float32(distance * inverse)
        if power == 2:
            weight *= weight
        totals[column] += weight * (bins[low] + share * (bins[low + 1] - bins[low]))


@numba.njit(cache=True, fastmath=_REORDER, error_model="numpy")
def _add_arc(
    totals: NDArray, bins: NDArray, first: float, x: NDArray, y: float,
    c: float, s: float, distance: float, per_pitch: float,
) -> None:  # fmt: skip
    top = bins.shape[0] - 2.0
    for column in range(totals.shape[0]):
        across, along = x[column] * c + y * s, distance - x[column] * s + y * c
        place = min(max(first + np.arctan2(across, along) * per_pitch, 0.0), top)
        low = np.int32(place)
        share = np.float32(place - low)
        weight = np.float32(1.0 / (across * across + along * along))
        totals[column] += weight * (bins[low] + share * (bins[low + 1] - bins[low]))


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
