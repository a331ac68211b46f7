"""How rays walk through an image, one pixel a step: what every projector kernel reads.

Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE TMI 1 (1982) 192: a ray steps along
the axis that it is closest to and interpolates linearly across the other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctrestoration.physics.geometry import Geometry, ImageGrid

PAD = 2
"""Zeros around an image, across the direction of stepping."""


@lru_cache(maxsize=4)
def step_table(geometry: Geometry, grid: ImageGrid) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """How every ray walks through the image. The last few tables are kept: do not write to them.

    Returns:
        steps [ray, 3]: index across at step 0 (shifted by `PAD`), its increment a step, step length in mm; float64.
        ranges [ray, 3]: whether the ray steps over columns, its first step inside the image, one past its last; int32.
    """
    cosine, sine, s = (part.ravel() for part in np.moveaxis(geometry.rays(), -1, 0))
    (rows, columns), (dy, dx) = grid.shape, grid.spacing
    x, y = grid.coordinates()
    # In pixels, not in mm: the index across then moves by at most one a step, for oblong pixels too.
    over_columns = np.abs(sine) * dy >= np.abs(cosine) * dx
    with np.errstate(divide="ignore", invalid="ignore"):
        # y = (s - x cos) / sin, row = (rows - 1) / 2 - y / dy; likewise for the column of a row.
        down = (0.5 * (rows - 1) - (s - x[0] * cosine) / sine / dy, dx * cosine / sine / dy, dx / np.abs(sine))
        right = (0.5 * (columns - 1) + (s - y[0] * sine) / cosine / dx, dy * sine / cosine / dx, dy / np.abs(cosine))
        steps = np.stack([np.where(over_columns, a, b) for a, b in zip(down, right, strict=True)], axis=-1)
        steps[:, 0] += PAD
        # Inside: PAD - 1 <= first + k * increment < across + PAD. A rounding error reads padding, which holds zero.
        across = np.where(over_columns, rows, columns)
        ends = np.stack([PAD - 1 - steps[:, 0], across + PAD - steps[:, 0]]) / steps[:, 1]
    flat = np.abs(steps[:, 1]) < 1e-9
    held = (steps[:, 0] >= PAD - 1) & (steps[:, 0] < across + PAD)
    start = np.where(flat, np.where(held, 0, np.inf), np.ceil(ends.min(axis=0)))
    stop = np.where(flat, np.where(held, np.inf, 0), np.ceil(ends.max(axis=0)))
    along = np.where(over_columns, columns, rows)
    limits = [np.clip(limit, 0, along) for limit in (start, stop)]
    return np.ascontiguousarray(steps), np.stack([over_columns, *limits], axis=-1).astype(np.int32)
