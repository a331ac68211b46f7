"""Linear interpolation across the metal trace, view by view.

Kalender, Hebel, Ebersberger, "Reduction of CT artifacts caused by metallic implants", Radiology 164 (1987) 576.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


def interpolate_trace(sinogram: NDArray[Any], trace: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace the values inside the trace by a straight line between the bins on both sides of it.

    A trace that touches an end of the detector holds the nearest measured value. A view that is all trace has nothing
    to hold on to: it becomes the average of the nearest measured views before and after it, bin by bin.

    Args:
        sinogram: [..., view, bin].
        trace: bool, same shape, True where values are to be replaced.

    Returns:
        float32, same shape; outside the trace the input's values, bit for bit where they were float32.

    Raises:
        InputError: shapes differ, or every value is trace.
    """
    if sinogram.shape != trace.shape:
        raise InputError(f"Sinogram {sinogram.shape} and metal trace {trace.shape} must have one shape.")
    values = np.asarray(sinogram, dtype=np.float32)
    if not trace.any():
        return values.copy()
    if trace.all():
        raise InputError("The metal trace covers the whole sinogram: no ray is left to interpolate from.")
    bins = values.shape[-1]
    rows, covered = values.reshape(-1, bins), trace.reshape(-1, bins)
    index = np.arange(bins)
    left = np.maximum.accumulate(np.where(covered, -1, index), axis=1)
    right = np.minimum.accumulate(np.where(covered, bins, index)[:, ::-1], axis=1)[:, ::-1]
    lost = np.asarray(covered.all(axis=1))
    # At a detector end only one side is measured; a fully covered view is mended below and any valid index serves.
    low = np.clip(np.where(left < 0, right, left), 0, bins - 1)
    high = np.clip(np.where(right >= bins, left, right), 0, bins - 1)
    view = np.arange(len(rows))[:, None]
    width = np.maximum(high - low, 1)
    share = ((index - low) / width).astype(np.float64)
    share = np.where(high > low, share, 0.0)
    line = rows[view, low] + share * (rows[view, high].astype(np.float64) - rows[view, low])
    filled = np.where(covered, line, rows).astype(np.float32)
    for row in np.flatnonzero(lost):
        filled[row] = _from_neighbors(filled, lost, int(row), values.shape[-2])
    return filled.reshape(values.shape)


def _from_neighbors(rows: NDArray[np.float32], lost: NDArray[np.bool_], row: int, n_views: int) -> NDArray[np.float32]:
    """Mean of the nearest views of the same slice that were measured, going around the circle."""
    first = row - row % n_views
    measured = np.flatnonzero(~lost[first : first + n_views])
    if not measured.size:
        raise InputError("The metal trace covers every view of a slice: no ray is left to interpolate from.")
    here = row - first
    before = measured[((here - measured) % n_views).argmin()]
    after = measured[((measured - here) % n_views).argmin()]
    return 0.5 * (rows[first + before] + rows[first + after])
