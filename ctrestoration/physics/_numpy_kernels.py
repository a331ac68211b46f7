"""The kernels of `_numba_kernels` in numpy: the same numbers, slower, where numba is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

HAS_LANES = False

_RAYS = 4096


def forward(
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    steps: NDArray[np.float64],
    ranges: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """See `_numba_kernels.forward`."""
    for images, chunk in _chunks(rows, columns, ranges):
        at, share, length = _positions(images.shape[1:], steps[chunk], ranges[chunk])
        for z, image in enumerate(images):
            flat = image.ravel()
            values = flat[at] + share * (flat[at + 1] - flat[at])
            out[z, chunk] = values.sum(axis=1) * length


def adjoint(
    rays: NDArray[np.float32],
    steps: NDArray[np.float64],
    ranges: NDArray[np.int32],
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
) -> None:
    """See `_numba_kernels.adjoint`."""
    for images, chunk in _chunks(rows, columns, ranges):
        at, share, length = _positions(images.shape[1:], steps[chunk], ranges[chunk])
        for z, image in enumerate(images):
            values = (rays[z, chunk] * length)[:, None]
            for index, weight in ((at, 1.0 - share), (at + 1, share)):
                spread = np.bincount(index.ravel(), (values * weight).ravel(), minlength=image.size)
                image += spread.reshape(image.shape).astype(np.float32)


def _chunks(
    rows: NDArray[np.float32], columns: NDArray[np.float32], ranges: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    for images, over_columns in ((rows, 1), (columns, 0)):
        members = np.flatnonzero(ranges[:, 0] == over_columns)
        for start in range(0, len(members), _RAYS):
            yield images, members[start : start + _RAYS]


def _positions(
    shape: tuple[int, ...], steps: NDArray[np.float64], ranges: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float64]]:
    """Flat index, share of the next pixel, and step length of every sample of some rays."""
    along, across = shape
    k = np.arange(along)
    position = steps[:, :1] + k * steps[:, 1:2]
    inside = (k >= ranges[:, 1:2]) & (k < ranges[:, 2:3])
    position = np.where(inside, position, 0.0)  # outside: the padding, which holds zero
    low = position.astype(np.intp)
    return k * across + low, (position - low).astype(np.float32), steps[:, 2]


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
    top = filtered.shape[1] - 2.0
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
        position = np.clip(first + place * per_pitch, 0.0, top)
        low = position.astype(np.intp)
        total += weight * (values[low] + (position - low) * (values[low + 1] - values[low]))
    out[...] = total


def polychromatic(
    paths: NDArray[np.float32], ratios: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """See `_numba_kernels.polychromatic`."""
    for start in range(0, out.size, 1 << 15):
        part = slice(start, start + (1 << 15))
        total = np.exp(-(paths[:, part].T @ ratios)) @ weights
        out[part] = -np.log(np.maximum(total, np.float32(1e-38)))
