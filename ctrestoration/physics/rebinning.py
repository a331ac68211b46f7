"""Resorting rays: fan beam to parallel beam and back, and a helical scan to a circular one.

Kak and Slaney, "Principles of Computerized Tomographic Imaging" (1988), section 3.4.3, for fan and parallel; Crawford
and King, "Computed tomography scanning with simultaneous patient translation", Med. Phys. 17 (1990) 967, for 360LI and
180LI. In this package's convention the ray of view t and fan angle gamma runs along phi = t - gamma, s = D sin(gamma);
a wrong sign costs a factor of 30 in accuracy, and a test watches it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics.geometry import FanArc, FanFlat, ParallelBeam


def fan_to_parallel(
    sinogram: NDArray[np.float32], geometry: FanFlat | FanArc, *, order: int = 3
) -> tuple[NDArray[np.float32], ParallelBeam]:
    """Resort a full fan-beam scan into parallel views over a full turn.

    Args:
        sinogram: [view, bin].
        geometry: a fan beam over 2 pi.
        order: of the spline interpolation, 1 or 3.

    Returns:
        The parallel sinogram [view, bin], with as many views and bins, and its geometry.

    Raises:
        InputError: a short scan, or a sinogram of another shape.
    """
    _check(sinogram, geometry)
    _full_turn(geometry)
    reach = geometry.source_distance * math.sin(float(np.abs(geometry.fan_angles).max()))
    parallel = ParallelBeam(
        geometry.n_views, geometry.n_bins, 2.0 * reach / (geometry.n_bins - 1), geometry.first_angle, 2.0 * math.pi
    )
    gamma = np.arcsin(np.clip(parallel.bins / geometry.source_distance, -1.0, 1.0))[None, :]
    view = parallel.angles[:, None] + gamma
    return _sample(sinogram, geometry, view, _bin_of_fan_angle(geometry, gamma), order), parallel


def parallel_to_fan(
    sinogram: NDArray[np.float32], parallel: ParallelBeam, geometry: FanFlat | FanArc, *, order: int = 3
) -> NDArray[np.float32]:
    """Resort parallel views over a full turn into a fan beam.

    Args:
        sinogram: [view, bin].
        parallel: its geometry, over 2 pi.
        geometry: the wanted fan beam.
        order: of the spline interpolation, 1 or 3.

    Returns:
        float32 [view, bin] of `geometry`; rays outside the parallel detector are 0.

    Raises:
        InputError: parallel views over half a turn only, or a sinogram of another shape.
    """
    _check(sinogram, parallel)
    _full_turn(parallel)
    gamma = geometry.fan_angles[None, :]
    place = geometry.source_distance * np.sin(gamma) / parallel.pitch + 0.5 * (parallel.n_bins - 1) - parallel.offset
    return _sample(sinogram, parallel, geometry.angles[:, None] - gamma, place, order)


def helical_to_circular(
    sinogram: NDArray[np.float32],
    geometry: FanFlat | FanArc,
    *,
    feed: float,
    start: float,
    position: float,
    method: Literal["360li", "180li"] = "180li",
) -> NDArray[np.float32]:
    """The circular scan of one slice, interpolated from a helical single-slice scan.

    360LI interpolates between the two nearest measurements of the same ray, one turn apart; 180LI also uses the
    opposite ray, half a turn away, and so blurs half as much along the patient.

    Args:
        sinogram: all views of the helix in order [view, bin]; view v stands at angle first_angle + v * 2 pi / n_views.
        geometry: one full turn of it.
        feed: table feed a turn in mm, above 0.
        start: table position of the first view in mm.
        position: where the slice lies, in mm.
        method: "360li" or "180li".

    Returns:
        float32 [view, bin] of `geometry`.

    Raises:
        InputError: unknown method, no feed, or a slice whose rays the helix does not enclose.
    """
    if method not in ("360li", "180li"):
        raise InputError(f"Unknown helical interpolation {method!r}: choose 360li or 180li.")
    if not feed > 0:
        raise InputError(f"The table feed must be above 0 mm a turn, not {feed}.")
    _full_turn(geometry)
    n, total = geometry.n_views, len(sinogram)
    wanted = (position - start) / feed * n  # the view index at which the table reaches the slice
    i = np.arange(n, dtype=np.float64)[:, None]
    j = np.broadcast_to(np.arange(geometry.n_bins, dtype=np.float64)[None, :], (n, geometry.n_bins))
    first, period = np.broadcast_to(i, j.shape), float(n)
    below, above = _neighbors(first, wanted, period)
    low_view, low_bin, high_view, high_bin = below, j, above, j
    if method == "180li":
        # The opposite ray: t' = t - 2 gamma + pi, gamma' = -gamma.
        opposite = first + n * (0.5 - geometry.fan_angles[None, :] / math.pi)
        mirrored = _bin_of_fan_angle(geometry, -geometry.fan_angles[None, :]) + 0.0 * i
        other_below, other_above = _neighbors(opposite, wanted, period)
        nearer_low, nearer_high = other_below > below, other_above < above
        low_view, low_bin = np.where(nearer_low, other_below, below), np.where(nearer_low, mirrored, j)
        high_view, high_bin = np.where(nearer_high, other_above, above), np.where(nearer_high, mirrored, j)
    if low_view.min() < -1e-6 or high_view.max() > total - 1 + 1e-6:
        raise InputError(
            f"The slice at {position:g} mm lies too near an end of the helix: {method} needs measurements from "
            f"{start + low_view.min() * feed / n:.1f} to {start + high_view.max() * feed / n:.1f} mm, the scan reaches "
            f"from {start:.1f} to {start + (total - 1) * feed / n:.1f} mm."
        )
    from scipy.ndimage import map_coordinates

    low, high = (
        map_coordinates(sinogram, np.stack([view, bins]), order=1, mode="nearest")
        for view, bins in ((low_view, low_bin), (high_view, high_bin))
    )
    gap = high_view - low_view
    share = np.where(gap > 0, (wanted - low_view) / np.where(gap > 0, gap, 1.0), 0.0)
    return (low + share * (high - low)).astype(np.float32)


def _neighbors(
    view: NDArray[np.float64], wanted: float, period: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The last measurement of each ray at or before the wanted view index, and the first one after it."""
    turns = np.floor((wanted - view) / period)
    below = view + turns * period
    return below, below + period


def _bin_of_fan_angle(geometry: FanFlat | FanArc, gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = geometry.source_distance + geometry.detector_distance
    place = gamma if isinstance(geometry, FanArc) else distance * np.tan(gamma)
    return np.asarray(place / geometry.pitch + 0.5 * (geometry.n_bins - 1) - geometry.offset)


def _sample(
    sinogram: NDArray[np.float32],
    geometry: FanFlat | FanArc | ParallelBeam,
    view: NDArray[np.float64],
    bins: NDArray[np.float64],
    order: int,
) -> NDArray[np.float32]:
    """Interpolate at view angles in radians (going around the circle) and fractional bins (0 outside)."""
    from scipy.ndimage import map_coordinates

    if order not in (1, 3):
        raise InputError(f"The interpolation order must be 1 or 3, not {order}.")
    margin = 8  # views repeated at either end, so that the spline does not see one
    index = (view - geometry.first_angle) / (2.0 * math.pi) * geometry.n_views
    wrapped = np.concatenate([sinogram[-margin:], sinogram, sinogram[:margin]])
    places = np.stack(np.broadcast_arrays(index % geometry.n_views + margin, bins))
    return np.asarray(map_coordinates(wrapped, places, order=order, mode="constant"), dtype=np.float32)


def _full_turn(geometry: FanFlat | FanArc | ParallelBeam) -> None:
    if abs(geometry.arc - 2.0 * math.pi) > 1e-9:
        raise InputError(f"Rebinning needs views over a full turn, not over {math.degrees(geometry.arc):.1f} degrees.")


def _check(sinogram: NDArray[np.float32], geometry: FanFlat | FanArc | ParallelBeam) -> None:
    expected = (geometry.n_views, geometry.n_bins)
    if sinogram.shape != expected:
        raise InputError(f"The sinogram has shape {sinogram.shape}, the geometry expects {expected} (view, bin).")
