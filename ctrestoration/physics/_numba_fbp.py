"""The transpose of the pixel-driven backprojection. Imported only where numba is installed."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, parallel=True, error_model="numpy")
def spread(
    image: NDArray, cosines: NDArray, sines: NDArray, x: NDArray, y: NDArray,
    kind: int, distance: float, first: float, per_pitch: float, out: NDArray,
) -> None:  # fmt: skip
    """Add every pixel [row, column] to the two bins that it reads in `_numba_kernels.backproject`, view by view.

    Arguments as there, with the weights of the exact mode; `out` [view, bin + 4]. One thread a view, so no two threads
    write to one place.
    """
    top = out.shape[1] - 2.0
    for view in numba.prange(out.shape[0]):
        bins = np.zeros(out.shape[1], dtype=np.float64)
        c, s = cosines[view], sines[view]
        for row in range(image.shape[0]):
            for column in range(image.shape[1]):
                across, weight = x[column] * c + y[row] * s, 1.0
                if kind > 0:
                    along = distance - x[column] * s + y[row] * c
                    if kind == 1:
                        across *= distance / along
                        weight = (distance / along) ** 2
                    else:
                        weight = 1.0 / (across * across + along * along)
                        across = math.atan2(across, along)
                place = min(max(first + across * per_pitch, 0.0), top)
                low = int(place)
                share = place - low
                value = weight * image[row, column]
                bins[low] += value * (1.0 - share)
                bins[low + 1] += value * share
        out[view] = bins
