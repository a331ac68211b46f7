"""How long a job will take and what it will need, before it starts: the work of its slices at a rate learned here.

A slice's work is counted in interpolations: a forward projection makes views x bins x pixels along a side of them, a
backprojection views x pixels. The time of one differs between computers and with numba, so the rate is what earlier
jobs on this computer took; before the first one it is that of benchmarks/gui_estimates.py.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

START_SECONDS = 2.0
"""Python, numpy and numba's compiled kernels, before the first slice."""

NANOSECONDS = {"numba": 1.0, "numpy": 10.0}
"""For one interpolation, of CPU time; see docs/results/slicer.md."""

_IMAGES = 6
"""Volumes of float32 that a job holds at once: input, metal, its turned copy, results."""

_WEIGHT, _TOUCHING = 0.5, 0.02


def axialCount(grid: Any) -> int:
    """Number of axial slices of a grid, whatever its order of axes."""
    from ctrestoration.volume import axial_orientation

    return int(axial_orientation(grid)[1].shape[0])


def axialRange(grid: Any, points: Sequence[Sequence[float]], margin: float = 0.0) -> tuple[int, int] | None:
    """First and last axial slice that points reach, LPS mm, with a margin in mm; None where they miss the volume."""
    from ctrestoration.volume import axial_orientation

    if not len(points):
        return None
    axial = axial_orientation(grid)[1]
    index = axial.to_index(np.asarray(points, dtype=float))[:, 2]
    reach = margin / axial.spacing[2]
    # Half a slice around its center belongs to it; what only touches its face does not.
    half = 0.5 - _TOUCHING
    first, last = int(np.ceil(index.min() - reach - half)), int(np.floor(index.max() + reach + half))
    if last < 0 or first >= axial.shape[0]:
        return None
    return max(first, 0), min(last, axial.shape[0] - 1)


def overlap(first: tuple[int, int], second: tuple[int, int]) -> int:
    """How many slices two ranges share; both ends belong to a range."""
    return max(0, min(first[1], second[1]) - max(first[0], second[0]) + 1)


class Estimates:
    """What a scanner makes of a grid.

    Args:
        grid: of the CT.
        preset: a name of `ctrestoration.physics.presets`.
    """

    def __init__(self, grid: Any, preset: str) -> None:
        from ctrestoration.physics.presets import scanner_preset
        from ctrestoration.volume import axial_orientation

        axial = axial_orientation(grid)[1]
        scanner = scanner_preset(preset)
        column, row, _ = axial.spacing
        image = scanner.image_grid(axial.shape[1:], (row, column))
        geometry = scanner.geometry(image)
        self.rays = geometry.n_views * geometry.n_bins
        self.pixels = axial.shape[1] * axial.shape[2]
        self.forward = self.rays * max(axial.shape[1:])
        self.back = geometry.n_views * self.pixels

    def simulation(self, slices: int, withMetal: int) -> float:
        """Interpolations of a simulated scan: two tissues each slice; with metal, two more images and a second FBP."""
        return slices * (2 * self.forward + self.back) + withMetal * (2 * self.forward + self.back)

    def correction(self, withMetal: int, projected: bool) -> float:
        """Interpolations of a correction; where the image must be projected first, that, too."""
        return withMetal * ((5 if projected else 3) * self.forward + 2 * self.back)

    def memory(self, slices: int) -> float:
        """Bytes that the child holds at once."""
        return 3.5e8 + slices * (4 * _IMAGES * self.pixels + 5 * self.rays)

    def file(self, slices: int) -> float:
        """Bytes of the sinograms in a file."""
        return float(slices * 5 * self.rays)


class Rates:
    """Seconds from interpolations, learned.

    Args:
        recall: key -> what was remembered, or None.
        remember: (key, value); kept from session to session.
    """

    def __init__(self, recall: Callable[[str], float | None], remember: Callable[[str, float], None]) -> None:
        self._recall, self._remember = recall, remember

    def seconds(self, key: str, work: float) -> float:
        """How long a job of that kind takes."""
        return START_SECONDS + work * (self._known(key) or _default()) * 1e-9

    def learned(self, key: str) -> bool:
        """Whether a job of that kind has run on this computer."""
        return self._known(key) is not None

    def learn(self, key: str, work: float, seconds: float) -> None:
        """A job took that long."""
        rate = max(seconds - START_SECONDS, 0.02 * seconds) * 1e9 / max(work, 1.0)
        old = self._known(key)
        self._remember(key, rate if old is None else _WEIGHT * rate + (1 - _WEIGHT) * old)

    def _known(self, key: str) -> float | None:
        value = self._recall(key)
        return value if value is not None and np.isfinite(value) and value > 0 else None


def _default() -> float:
    return NANOSECONDS["numba" if importlib.util.find_spec("numba") is not None else "numpy"]


def inWords(seconds: float) -> str:
    """Seconds for people, not more exact than an estimate is."""
    if seconds < 10:
        return f"{max(round(seconds), 1)} s"
    if seconds < 90:
        return f"{round(seconds, -1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def bytesInWords(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
