"""The kernels of `_numba_kernels` in numpy: the same numbers, slower, where numba is not installed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RAYS = 4096


def forward(
    padded: NDArray[np.float32],
    turned: NDArray[np.float32],
    steps: NDArray[np.float64],
    over_columns: NDArray[np.bool_],
    out: NDArray[np.float32],
) -> None:
    """See `_numba_kernels.forward`."""
    for images, rays in ((padded, np.flatnonzero(over_columns)), (turned, np.flatnonzero(~over_columns))):
        for start in range(0, len(rays), _RAYS):
            chunk = rays[start : start + _RAYS]
            low, share, k, length = _positions(images.shape[1:], steps[chunk])
            for z, image in enumerate(images):
                values = image[low, k] + share * (image[low + 1, k] - image[low, k])
                out[z, chunk] = values.sum(axis=1) * length


def adjoint(
    rays: NDArray[np.float32],
    steps: NDArray[np.float64],
    over_columns: NDArray[np.bool_],
    padded: NDArray[np.float32],
    turned: NDArray[np.float32],
) -> None:
    """See `_numba_kernels.adjoint`."""
    for images, members in ((padded, np.flatnonzero(over_columns)), (turned, np.flatnonzero(~over_columns))):
        for start in range(0, len(members), _RAYS):
            chunk = members[start : start + _RAYS]
            low, share, k, length = _positions(images.shape[1:], steps[chunk])
            flat = low * images.shape[2] + k
            for z, image in enumerate(images):
                values = (rays[z, chunk] * length)[:, None]
                for index, weight in ((flat, 1.0 - share), (flat + images.shape[2], share)):
                    inside = np.bincount(index.ravel(), (values * weight).ravel(), minlength=image.size)
                    image += inside.reshape(image.shape).astype(np.float32)


def _positions(
    shape: tuple[int, ...], steps: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """Index, share of the next pixel, position along the step axis, and step length of every sample of some rays."""
    last = shape[0] - 1
    k = np.arange(shape[1])
    position = steps[:, :1] + 1.0 + k * steps[:, 1:2]
    inside = (position >= 0.0) & (position < last)
    low = np.where(inside, position, 0.0).astype(np.intp)  # outside: row 0, which is padding and holds zero
    share = np.where(inside, position - low, 0.0).astype(np.float32)
    return low, share, np.broadcast_to(k, low.shape), steps[:, 2]


def backproject(
    filtered: NDArray[np.float32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    kind: int,
    distance: float,
    first: float,
    per_pitch: float,
    power: int,
    out: NDArray[np.float32],
) -> None:
    """See `_numba_kernels.backproject`."""
    n_bins = filtered.shape[1]
    total = np.zeros(out.shape)
    for values, c, s in zip(filtered, cosines, sines, strict=True):
        across = x[None, :] * c + y[:, None] * s
        weight: float | NDArray[np.float64] = 1.0
        place = across
        if kind != 0:
            along = distance - x[None, :] * s + y[:, None] * c
            if kind == 1:
                u = along / distance
                place, weight = across / u, 1.0 / u**power
            else:
                place, weight = np.arctan2(across, along), 1.0 / (across**2 + along**2)
        position = first + place * per_pitch
        low = np.floor(position).astype(np.intp)
        inside = (low >= 0) & (low < n_bins - 1)
        low[~inside] = 0
        share = position - low
        total += np.where(inside, weight * (values[low] * (1.0 - share) + values[low + 1] * share), 0.0)
    out[...] = total


def polychromatic(
    paths: NDArray[np.float32], ratios: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """See `_numba_kernels.polychromatic`."""
    for start in range(0, out.size, 1 << 15):
        part = slice(start, start + (1 << 15))
        total = np.exp(-(paths[:, part].T @ ratios)) @ weights
        out[part] = -np.log(np.maximum(total, np.float32(1e-38)))
