"""Finds where one vertebra ends and the next begins, from two profiles along the canal.

In front of the canal discs are darker than bodies; beside it foramina (fat) are darker than pedicles. Both repeat
once a vertebra. Dynamic programming picks the positions with the best sum of both signals under the condition that
neighboring vertebrae have similar heights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.frame import CanalFrame

Array = NDArray[np.floating[Any]]
_PITCH_MM = (17, 46)  # shortest and longest vertebra with its disc
_OFFSET = 0.35  # signal that a position must exceed to be worth counting
_UNEVEN = 6.0  # penalty for the squared logarithm of the ratio of neighboring heights
_FORAMEN_RISE_MM = 3.0  # the foramen's middle lies this much above the disc


@dataclass(frozen=True)
class Discs:
    """Discs along the canal.

    Attributes:
        position: arc lengths in mm, caudal to cranial.
        signal: evidence at each, about 0.3 (weak) to 2.5 (clear).
        sacrum_top: arc length below which the spine has wings of bone on both sides, None where there is none.
    """

    position: Array
    signal: Array
    sacrum_top: float | None


def find_discs(array: NDArray[np.float32], spacing: tuple[float, float, float], frame: CanalFrame) -> Discs:
    """The discs along a canal; none where the canal is shorter than one vertebra."""
    from scipy.ndimage import gaussian_filter1d

    def sample(back: Array, left: Array) -> Array:
        return sample_at(array, spacing, frame.positions(back, left))

    body = np.median(sample(np.arange(-32.0, -10, 2), np.linspace(-10, 10, 7)).reshape(len(frame.point), -1), axis=1)
    beside = np.clip(sample(np.arange(-8.0, 3, 2), np.r_[-18:-8:2.0, 10:19:2.0]), -150, 400).mean(axis=(1, 2))
    # Slow change (contrast agent, age, region) is taken out; what is left is scaled by typical contrasts in HU.
    dark_disc = -(gaussian_filter1d(body, 1.0) - gaussian_filter1d(body, 12, mode="nearest")) / 60
    dark_foramen = -(gaussian_filter1d(beside, 3.0) - gaussian_filter1d(beside, 16, mode="nearest")) / 120
    s = np.arange(len(body), dtype=float)
    dark_foramen = np.interp(s + _FORAMEN_RISE_MM, s, dark_foramen)
    evidence = np.clip(dark_disc, -2, 2) + np.clip(dark_foramen, -1.5, 1.5)
    found = _best_positions(evidence - _OFFSET)
    top = _sacrum_top(sample, len(body))
    if top is not None:
        # The lumbosacral disc itself lies at the wings' upper end; what is below are remnants inside the sacrum.
        found = found[found > top - 14]
    return Discs(found.astype(float), evidence[found], top)


def sample_at(array: NDArray[np.float32], spacing: tuple[float, float, float], points: Array) -> Array:
    """HU at points (..., 3) in mm of the turned volume, the edge's value outside."""
    from scipy.ndimage import map_coordinates

    index = np.moveaxis(points, -1, 0)[::-1] / np.array(spacing[::-1]).reshape(3, *([1] * (points.ndim - 1)))
    return np.asarray(map_coordinates(array, index, order=1, mode="nearest"), dtype=np.float64)


def _best_positions(gain: Array) -> NDArray[np.intp]:
    pitch = np.arange(_PITCH_MM[0], _PITCH_MM[1] + 1)
    n = len(gain)
    if n <= _PITCH_MM[0]:
        top = int(gain.argmax()) if n else 0
        return np.array([top] if n and gain[top] > 0.5 else [], dtype=np.intp)
    value = np.full((n, len(pitch)), -np.inf)
    back = np.full((n, len(pitch)), -1)
    uneven = _UNEVEN * np.log(pitch[:, None] / pitch[None, :]) ** 2  # [now, before]
    for s in range(n):
        for k, distance in enumerate(pitch):
            before = s - distance
            if before < 0:
                break
            options = value[before] - uneven[k]
            j = int(options.argmax())
            if options[j] > gain[before]:
                value[s, k], back[s, k] = gain[s] + options[j], j
            else:
                value[s, k] = gain[s] + gain[before]
    s, k = (int(index) for index in np.unravel_index(int(value.argmax()), value.shape))
    if value[s, k] < gain.max():
        return np.array([int(gain.argmax())] if gain.max() > 0.5 else [], dtype=np.intp)
    chain = [s]
    while True:
        s, k = s - int(pitch[k]), int(back[s, k])
        chain.append(s)
        if k < 0:
            return np.array(chain[::-1], dtype=np.intp)


def _sacrum_top(sample: Callable[[Array, Array], Array], length: int) -> float | None:
    """Where bone on both sides of the body begins (sacral wings), going down; None where it never does."""
    from scipy.ndimage import gaussian_filter1d

    wings = []
    for side in (-1, 1):
        hu = sample(np.arange(-22.0, -5, 3), side * np.arange(30.0, 45, 3))
        wings.append(gaussian_filter1d((hu > 110).mean(axis=(1, 2)), 5.0, mode="nearest"))
    both = np.minimum(*wings) > 0.5
    # Ribs and transverse processes are short along the spine; wings go on for centimeters from the lower end.
    run = np.flatnonzero(both)
    if run.size < 15 or run[0] > 0.5 * length:
        return None
    gaps = np.flatnonzero(np.diff(run) > 12)
    first = run[: gaps[0] + 1] if gaps.size else run
    return float(first[-1]) if first.size >= 15 else None
