"""The task transfer function: how sharp a disk of a given contrast is drawn; the MTF of a method that is not linear."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

_FINE = 8
"""Bins of the edge's profile in a pixel."""

_LEAST_RADIUS = 6.0


class TaskTransfer(NamedTuple):
    """A task transfer function.

    Attributes:
        frequencies: 1/mm, from 0 to the Nyquist frequency.
        transfer: the share of contrast that is left there; 1 at frequency 0. Above 1 the edge is enhanced.
        f50: 1/mm, the lowest frequency at which half is left; NaN where it is more up to the Nyquist frequency.
        f10: the same for a tenth.
        contrast_hu: disk minus surroundings, for which it holds: methods that are not linear draw others otherwise.
        noise_hu: standard deviation of the averaged slices in even parts: of the contrast, it should be a small share.
    """

    frequencies: NDArray[np.float64]
    transfer: NDArray[np.float64]
    f50: float
    f10: float
    contrast_hu: float
    noise_hu: float


def task_transfer(image: NDArray[np.floating], disk: NDArray[np.bool_], pixel_mm: float) -> TaskTransfer:
    """Task transfer function from the edge of a disk, such as a rod of a phantom across its slices.

    Richard et al., Med. Phys. 39 (2012) 4115; AAPM report 233 (2019): pixels around the disk are sorted by
    their distance from its center into a finely sampled edge; its slope is the line spread, whose Fourier transform is
    the transfer function. Noise is averaged around the edge and over the slices, so low contrast needs many of them:
    white noise of a tenth of the contrast, in the averaged slices, leaves f50 of a disk 36 pixels wide right to 4 %.

    Args:
        image: HU [row, column] or [slice, row, column], the same disk in every slice.
        disk: where it truly is [row, column], round, at least 12 pixels wide, in even surroundings as far as 0.8 of its
            radius.
        pixel_mm: pixel width.

    Raises:
        InputError: no disk, one that is not round, too small or too near the image's edge, one without contrast, or
            values that are not finite.
    """
    slices = np.asarray(image, dtype=np.float64)
    slices = slices[None] if slices.ndim == 2 else slices
    if slices.ndim != 3 or not len(slices) or slices.shape[1:] != np.shape(disk):
        raise InputError(f"A transfer function needs slices and a disk of one shape, not {image.shape}, {disk.shape}.")
    if not np.isfinite(slices).all() or not pixel_mm > 0:
        raise InputError("A transfer function needs finite values and a pixel width above 0 mm.")
    distance, radius = _from_edge(disk)
    reach = 0.8 * radius
    average = slices.mean(axis=0)
    inner, outer = average[distance < -0.6 * reach], average[(distance > 0.6 * reach) & (distance < reach)]
    contrast, noise = float(inner.mean() - outer.mean()), float(np.sqrt((inner.var() + outer.var()) / 2))
    spread = -np.diff(_edge(average, distance, reach))
    offsets = (np.arange(len(spread)) - (len(spread) - 1) / 2) / _FINE
    # Flat over the middle half, so that the slope itself is not narrowed; noise further out is faded away.
    fade = np.clip((np.abs(offsets) / offsets[-1] - 0.5) / 0.5, 0, 1)
    spread *= 0.5 * (1 + np.cos(np.pi * fade))
    if abs(contrast) < 1e-6 or abs(spread.sum()) < 0.1 * abs(contrast):
        raise InputError("A transfer function needs a disk that differs from its surroundings: this one does not.")
    frequencies = np.linspace(0.0, 0.5, 65)  # in 1/pixel
    waves = np.exp(-2j * np.pi * frequencies[:, None] * offsets)
    transfer = np.abs(waves @ spread) / abs(spread.sum())
    # Bins, and differences between them, are boxes of 1 / _FINE pixel each.
    transfer /= np.sinc(frequencies / _FINE) ** 2
    axis = frequencies / pixel_mm
    return TaskTransfer(axis, transfer, _falls_to(0.5, axis, transfer), _falls_to(0.1, axis, transfer), contrast, noise)


def _from_edge(disk: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Distance [row, column] of pixels from the edge, in pixels, positive outside; and the radius."""
    rows, columns = np.nonzero(disk)
    radius = float(np.sqrt(len(rows) / np.pi))
    if radius < _LEAST_RADIUS:
        raise InputError(f"The disk is {2 * radius:.1f} pixels wide: a transfer function needs at least 12.")
    y, x = np.indices(disk.shape, dtype=np.float64)
    from_center = np.hypot(y - rows.mean(), x - columns.mean())
    if from_center[rows, columns].max() > radius + 1.5:
        raise InputError("The mask is not round: a transfer function needs a disk.")
    room = min(rows.mean(), columns.mean(), disk.shape[0] - 1 - rows.mean(), disk.shape[1] - 1 - columns.mean())
    if room < 1.8 * radius:
        raise InputError("The disk is too near the image's edge: 0.8 of its radius has to be free around it.")
    return from_center - radius, radius


def _edge(image: NDArray[np.float64], distance: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Mean value of the image by distance from the edge, from -reach to reach, in bins of 1 / _FINE pixel."""
    half = int(reach * _FINE)
    index = np.floor(distance * _FINE).astype(int) + half
    inside = (index >= 0) & (index < 2 * half)
    counts = np.bincount(index[inside], minlength=2 * half)
    sums = np.bincount(index[inside], image[inside], minlength=2 * half)
    filled = np.flatnonzero(counts)
    return np.interp(np.arange(2 * half), filled, sums[filled] / counts[filled])


def _falls_to(level: float, frequencies: NDArray[np.float64], transfer: NDArray[np.float64]) -> float:
    below = np.flatnonzero(transfer < level)
    if not len(below):
        return float("nan")
    n = int(below[0])
    return float(np.interp(level, [transfer[n], transfer[n - 1]], [frequencies[n], frequencies[n - 1]]))
