"""Filtered backprojection for every geometry, exact or as the public MAR benchmark did it.

Kak and Slaney, "Principles of Computerized Tomographic Imaging" (1988), chapter 3: parallel beam Eq. 3.29-3.38, fan
with equiangular bins Eq. 3.91-3.97, with equally spaced bins Eq. 3.111-3.118. The ramp is built in the spatial domain
and padded, so that it has no error at zero frequency.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid
from ctrestoration.physics.kernels import kernels
from ctrestoration.physics.lanes import LANES
from ctrestoration.physics.views import ViewGroups, symmetric_views

Mode = Literal["exact", "odl-compat"]
_PAD = 2
"""Zero bins at either end of a view, which every place outside the detector reads."""

WINDOWS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")


def fbp(
    sinogram: NDArray[Any],
    geometry: Geometry,
    grid: ImageGrid,
    *,
    window: str = "ram-lak",
    mode: str = "exact",
    frequency_scaling: float = 1.0,
) -> NDArray[np.float32]:
    """Reconstruct attenuation from line integrals.

    Args:
        sinogram: line integrals without unit [..., view, bin].
        geometry: the scanner; full fan beam or half-turn parallel scans.
        grid: the pixels to reconstruct.
        window: one of `WINDOWS`, applied to the ramp.
        mode: "exact" (default), or "odl-compat" which reproduces the images stored in the SynDeepLesion benchmark:
            no cosine weight, a ramp without zero frequency, weight 1/U instead of 1/U^2. Its images read 6-16 HU high.
        frequency_scaling: the window's cut-off as a share of the Nyquist frequency, above 0 and up to 1.

    Returns:
        float32 [..., row, column] in 1/mm.

    Raises:
        InputError: a sinogram of another shape, an unknown window or mode, a cut-off out of range.
    """
    sinogram = np.asarray(sinogram, dtype=np.float32)
    if sinogram.shape[-2:] != (geometry.n_views, geometry.n_bins):
        expected = (geometry.n_views, geometry.n_bins)
        raise InputError(f"The sinogram has shape {sinogram.shape[-2:]}, the geometry expects {expected} (view, bin).")
    if mode not in ("exact", "odl-compat"):
        raise InputError(f"Unknown FBP mode {mode!r}: choose exact or odl-compat.")
    if mode == "odl-compat" and not isinstance(geometry, FanFlat):
        raise InputError("FBP mode odl-compat exists for the flat fan beam only: use exact.")
    lead = sinogram.shape[:-2]
    stack = sinogram.reshape(-1, *sinogram.shape[-2:])
    out = np.empty((len(stack), *grid.shape), dtype=np.float32)
    filters = _filter(geometry, window, mode, frequency_scaling)
    groups = symmetric_views(geometry, grid) if kernels().HAS_LANES else None
    at_once = groups.slices_at_once if groups else 1
    for start in range(0, len(stack), at_once):
        some = slice(start, start + at_once)
        filtered = np.stack([_filtered(views, geometry, mode, filters) for views in stack[some]])
        out[some] = _backproject(filtered, geometry, grid, mode, groups)
    return out.reshape(*lead, *grid.shape)


def _pitch(geometry: Geometry) -> float:
    """Bin width where the ramp acts: mm at the isocenter, or radians on a curved detector."""
    return geometry.pitch / geometry.magnification if isinstance(geometry, FanFlat) else geometry.pitch


def detector_facts(geometry: Geometry) -> tuple[int, float, float, float]:
    """What a backprojection asks of a scanner.

    Returns:
        Kind (0 parallel, 1 flat fan, 2 curved fan), distance of the source in mm (1 without), place of the central ray
        in bins from the first one, bins in a pitch.
    """
    kind = 0 if not isinstance(geometry, FanFlat | FanArc) else 1 if isinstance(geometry, FanFlat) else 2
    middle = 0.5 * (geometry.n_bins - 1) - geometry.offset
    return kind, float(getattr(geometry, "source_distance", 1.0)), float(middle), 1.0 / float(_pitch(geometry))


def _filter(geometry: Geometry, window: str, mode: str, frequency_scaling: float) -> NDArray[np.complex128]:
    """Frequency response of windowed ramp, for an FFT of the padded length."""
    if window not in WINDOWS:
        raise InputError(f"Unknown FBP window {window!r}: choose {', '.join(WINDOWS)}.")
    if not 0 < frequency_scaling <= 1:
        raise InputError(f"The window's frequency scaling must lie above 0 and up to 1, not {frequency_scaling}.")
    pitch = _pitch(geometry)
    if mode == "odl-compat":
        length = 2 * geometry.n_bins - 1
        frequency = np.fft.fftfreq(length) + 0.5 / length
        return (np.abs(frequency) / pitch * _window(window, frequency, frequency_scaling)).astype(np.complex128)
    length = 1 << (2 * geometry.n_bins - 1).bit_length()
    n = np.arange(-length // 2, length // 2)
    ramp = np.zeros(length)
    odd = n % 2 == 1
    position = n * pitch
    if isinstance(geometry, FanArc):
        position = np.sin(np.clip(position, -math.pi / 2, math.pi / 2))
    ramp[odd] = -1.0 / (math.pi * position[odd]) ** 2
    ramp[n == 0] = 1.0 / (4.0 * pitch**2)
    response: NDArray[Any] = np.fft.fft(np.fft.ifftshift(ramp)).real * pitch
    return (response * _window(window, np.fft.fftfreq(length), frequency_scaling)).astype(np.complex128)


def _window(name: str, frequency: NDArray[Any], scaling: float) -> NDArray[np.float64]:
    """The window over frequencies in cycles per bin; zero above the cut-off."""
    f = np.abs(frequency) / (0.5 * scaling)
    shapes = {
        "ram-lak": np.ones_like(f),
        "shepp-logan": np.sinc(0.5 * f),
        "cosine": np.cos(0.5 * math.pi * f),
        "hamming": 0.54 + 0.46 * np.cos(math.pi * f),
        "hann": 0.5 + 0.5 * np.cos(math.pi * f),
    }
    return np.where(f <= 1.0 + 1e-12, shapes[name], 0.0)


def _filtered(
    views: NDArray[np.float32], geometry: Geometry, mode: str, response: NDArray[np.complex128]
) -> NDArray[np.float32]:
    """Weighted and filtered views [view, bin], times the angular step."""
    length, bins = len(response), geometry.n_bins
    weighted = views.astype(np.float64)
    step = geometry.arc / geometry.n_views
    turns = geometry.arc / math.pi
    if isinstance(geometry, FanFlat | FanArc) and geometry.arc < 2.0 * math.pi - 1e-9:
        weighted *= parker_weights(geometry)
        turns = 1.0  # the weights of a ray and its opposite sum to 1
    if mode == "odl-compat":
        shift = np.exp(-1j * math.pi * np.arange(length) / length)
        spectrum = np.fft.fft(np.pad(weighted, ((0, 0), (0, length - bins))) * shift) * response
        return ((np.fft.ifft(spectrum) * shift.conj())[:, :bins].real * (step / turns)).astype(np.float32)
    if isinstance(geometry, FanFlat):
        weighted *= np.cos(geometry.fan_angles)
    elif isinstance(geometry, FanArc):
        weighted *= np.cos(geometry.fan_angles) * geometry.source_distance
    half = np.fft.rfft(weighted, length) * response[: length // 2 + 1]
    return (np.fft.irfft(half, length)[:, :bins] * (step / turns)).astype(np.float32)


def parker_weights(geometry: FanFlat | FanArc) -> NDArray[np.float64]:
    """Weights [view, bin] of a short fan-beam scan, 1 in sum over every ray and its opposite.

    Parker, "Optimal short scan convolution reconstruction for fan beam CT", Med. Phys. 9 (1982) 254, Eq. 8, for any
    scan between half a turn plus the fan and a full turn.

    Raises:
        InputError: the scan covers less than half a turn plus the fan.
    """
    over = 0.5 * (geometry.arc - math.pi)
    gamma = -geometry.fan_angles[None, :]  # Parker's fan angle runs with the rotation, ours against it
    if over < float(np.abs(gamma).max()) - 1e-6:
        need = math.degrees(math.pi + 2.0 * float(np.abs(gamma).max()))
        raise InputError(
            f"A short scan must cover half a turn plus the fan, {need:.1f} degrees here, not "
            f"{math.degrees(geometry.arc):.1f}."
        )
    beta = (np.arange(geometry.n_views) + 0.5)[:, None] * (geometry.arc / geometry.n_views)
    rise = np.sin(0.25 * math.pi * beta / np.maximum(over - gamma, 1e-9)) ** 2
    fall = np.sin(0.25 * math.pi * (geometry.arc - beta) / np.maximum(over + gamma, 1e-9)) ** 2
    return np.where(beta < 2.0 * (over - gamma), rise, np.where(beta > math.pi - 2.0 * gamma, fall, 1.0))


def _backproject(
    filtered: NDArray[np.float32], geometry: Geometry, grid: ImageGrid, mode: str, groups: ViewGroups | None
) -> NDArray[np.float32]:
    """Slices [slice, row, column] of filtered views [slice, view, bin], as many as go at once."""
    x, y = grid.coordinates()
    kind, distance, middle, per_pitch = detector_facts(geometry)
    facts = (x, y, kind, distance, middle + _PAD, per_pitch, 1 if mode == "odl-compat" else 2)
    padded = np.pad(filtered, ((0, 0), (0, 0), (_PAD, _PAD)))
    if groups is not None:
        from ctrestoration.physics import _numba_lanes

        lanes = np.empty((*grid.shape, LANES), dtype=np.float32)
        _numba_lanes.backproject(groups.side_by_side(padded), groups.angles, *facts, lanes)
        return groups.turned_back(lanes, len(filtered))
    out = np.empty((1, *grid.shape), dtype=np.float32)
    angles = geometry.angles
    kernels().backproject(padded[0], np.cos(angles), np.sin(angles), *facts, out[0])
    return out
