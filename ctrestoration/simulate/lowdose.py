"""A lower dose, and fewer views: the simulation of the LoDoPaB-CT data set, at its own scale or at a CT's true one.

Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography reconstruction", Scientific Data 8
(2021) 109; constants from its public reference code (MIT license).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.geometry import ImageGrid, ParallelBeam
from ctrestoration.physics.noise import poisson
from ctrestoration.physics.projector import Projector
from ctrestoration.volume import Volume

MU_WATER, MU_AIR = 0.02, 0.00002
MU_MAX = 3071.0 * (MU_WATER - MU_AIR) / 1000.0 + MU_WATER
"""Attenuation in 1/mm of water, of air, and of 3071 HU, which is 1 in LoDoPaB's images."""

FULL_VIEWS, BINS = 1000, 513
ZERO_COUNT = 0.1
"""Photons that stand for none, so that the logarithm is finite."""

PRESETS: dict[str, dict[str, Any]] = {
    "lodopab": {"extent_mm": 260.0, "fine_pixels": 1000},
    "lodopab-strict": {"extent_mm": 260.0, "fine_pixels": 1000, "strict": True},
    "true-scale": {"extent_mm": None, "fine_pixels": 1000},
}
"""Scanner presets. LoDoPaB treats every image as 26 cm wide: the whole of it, or strictly, as published, the central
362 x 362 pixels of 512 x 512; true-scale takes the CT's own spacing."""

SIZE_KEEPING = tuple(name for name, fields in PRESETS.items() if not fields.get("strict"))
"""Presets for data sets, whose labels have the image's size."""

CROP = 75
"""Pixels that LoDoPaB cuts off each side of 512 x 512."""
STRICT_SIZE = 512 - 2 * CROP


@dataclass(frozen=True)
class LowDoseSettings:
    """Everything about a simulated low-dose scan that is not the patient.

    Attributes:
        preset: a key of `PRESETS`.
        photons: per detector bin without patient; LoDoPaB has 4096.
        views: of the 1000 views over half a turn, how many are kept; divides 1000. The others are left out, so the
            noise of those kept is the same.
        bins: of the detector, which is as wide as the image's diagonal. LoDoPaB's 513 suit 362 to 512 pixels; on much
            coarser images they fold noise that such an image cannot hold into it, and what is left of the anatomy's
            coarse structures drowns: take as many bins as pixels there.
        window: FBP filter window.
        frequency_scaling: its cut-off as a share of the Nyquist frequency.
        fine_pixels: the image is projected from a grid at least this fine, against the inverse crime.
        extent_mm: nominal width of the image in mm, or None for its own.
        strict: every step of the published chain: images of 512 x 512 are cropped to 362 x 362, noise in 0..1 HU is
            added against the steps of whole HU, and the fine grid has exactly `fine_pixels` a row.
    """

    preset: str = "true-scale"
    photons: float = 4096.0
    views: int = FULL_VIEWS
    bins: int = BINS
    window: str = "ram-lak"
    frequency_scaling: float = 1.0
    fine_pixels: int = 1000
    extent_mm: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name, what in (("views", "number of views"), ("bins", "number of bins"), ("fine_pixels", "fine grid")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise InputError(f"The {what} ({name}) must be a whole number, not {value!r}.")
            object.__setattr__(self, name, int(value))  # numpy's integers are no JSON
        if not 1 <= self.photons <= 1e12:
            raise InputError(f"Photons per bin must lie in 1..1e12, not {self.photons:g}.")
        if self.views < 1 or FULL_VIEWS % self.views:
            kept = ", ".join(str(n) for n in (50, 100, 200, 250, 500, 1000))
            raise InputError(f"The number of views must divide {FULL_VIEWS} (such as {kept}), not {self.views}.")
        if not 8 <= self.bins <= 8192:
            raise InputError(f"Detector bins must lie in 8..8192, not {self.bins}.")
        if not 16 <= self.fine_pixels <= 4096:
            raise InputError(f"The fine grid (fine_pixels) must have 16..4096 pixels a row, not {self.fine_pixels}.")
        if self.extent_mm is not None and not 1 <= self.extent_mm <= 10000:
            raise InputError(f"The nominal width (extent_mm) must lie in 1..10000 mm, not {self.extent_mm:g}.")


@dataclass(frozen=True)
class LowDoseSimulation:
    """A simulated low-dose scan; volumes in axial order.

    Attributes:
        acquisition: the noisy scan and its reconstruction.
        truth: the patient as simulated, clipped to the scale of the data set.
        settings: everything needed to repeat it, JSON-serializable.
    """

    acquisition: Acquisition
    truth: Volume
    settings: dict[str, Any]


def simulate_lowdose(
    volume: Volume, *, preset: str = "true-scale", seed: int = 0, control: Control = SILENT, **overrides: Any
) -> LowDoseSimulation:
    """Scan a CT with few photons, slice by slice.

    Noise is drawn on photon counts, N ~ Poisson(N0 exp(-p)), never added to a sinogram; each slice's noise depends on
    the seed and its index only.

    Args:
        volume: CT in HU, any orientation.
        preset: "true-scale" (the CT's own spacing), "lodopab" (the image as 26 cm wide) or "lodopab-strict" (the chain
            of the published data set, step by step: the result has the central 362 x 362 pixels).
        seed: of the photon noise.
        control: reported to between slices.
        **overrides: fields of `LowDoseSettings`.

    Returns:
        The scan, its reconstruction, and the truth.

    Raises:
        InputError: unknown preset or setting, or one out of range; a strict one with images of another size.
    """
    settings = _settings(preset, overrides)
    axial = _published_part(volume.axial()) if settings.strict else volume.axial()
    scan = _Scan(settings, axial)
    shape = (axial.grid.shape[0], scan.geometry.n_views, scan.geometry.n_bins)
    sinogram = np.empty(shape, dtype=np.float32)
    image, truth = np.empty_like(axial.array), np.empty_like(axial.array)
    for z in control.track(range(shape[0]), "Simulating the low dose"):
        hu = axial.array[z] + _within_a_step(axial.array[z].shape, (seed, z)) if settings.strict else axial.array[z]
        mu = np.clip(hu * (MU_WATER - MU_AIR) / 1000.0 + MU_WATER, 0.0, MU_MAX)
        sinogram[z] = scan.measure(mu, (seed, z))
        image[z] = _hu(_reconstruct(sinogram[z], scan, settings))
        truth[z] = _hu(mu)
    facts = {**asdict(settings), "seed": seed, "version": __version__, "geometry": scan.geometry.to_dict()}
    nothing = np.zeros(shape, dtype=bool)
    acquisition = Acquisition(
        axial.replaced(image, name=f"{volume.name} low dose", simulation=facts), sinogram, nothing,
        np.zeros(axial.grid.shape, dtype=bool), scan.geometry, scan.grid, MU_WATER, "exact", settings.window,
        {"source": "simulated", **facts},
    )  # fmt: skip
    return LowDoseSimulation(acquisition, axial.replaced(truth, name=f"{volume.name} full dose"), facts)


class _Scan:
    """The geometry of the data set around one image grid."""

    def __init__(self, settings: LowDoseSettings, volume: Volume) -> None:
        column, row, _ = volume.grid.spacing
        rows, columns = volume.grid.shape[1:]
        scale = 1.0
        if settings.extent_mm is not None:
            scale = settings.extent_mm / max(rows * row, columns * column)
        self.grid = ImageGrid((rows, columns), (row * scale, column * scale))
        extent = max(rows * self.grid.spacing[0], columns * self.grid.spacing[1])
        step = FULL_VIEWS // settings.views
        self.geometry = ParallelBeam(
            settings.views,
            settings.bins,
            extent * math.sqrt(2.0) / settings.bins,
            first_angle=0.5 * math.pi / FULL_VIEWS,
            arc=math.pi / FULL_VIEWS * step * settings.views,
        )
        if settings.strict:
            self.factor = settings.fine_pixels / STRICT_SIZE
        else:
            self.factor = max(1, math.ceil(settings.fine_pixels / max(rows, columns)))
        size = round(rows * self.factor), round(columns * self.factor)
        fine = ImageGrid(size, (self.grid.spacing[0] / self.factor, self.grid.spacing[1] / self.factor))
        self.projector = Projector(self.geometry, fine)
        self.photons = settings.photons

    def measure(self, mu: NDArray[np.floating], key: tuple[int, int]) -> NDArray[np.float32]:
        """Noisy line integrals [view, bin] of attenuation in 1/mm."""
        from scipy.ndimage import zoom

        fine = mu if self.factor == 1 else zoom(mu, self.factor, order=1, mode="nearest", grid_mode=True)
        ideal = self.projector.forward(fine.astype(np.float32)).astype(np.float64)
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(key))))
        counts = np.maximum(poisson(self.photons * np.exp(-ideal), random), ZERO_COUNT)
        return (-np.log(counts / self.photons)).astype(np.float32)


def _published_part(volume: Volume) -> Volume:
    """The central 362 x 362 pixels of axial slices of 512 x 512.

    Raises:
        InputError: slices of another size.
    """
    size = list(volume.grid.shape[1:])
    if size == [STRICT_SIZE, STRICT_SIZE]:
        return volume
    if size != [512, 512]:
        raise InputError(
            f"LoDoPaB is made of slices of 512 x 512 pixels, these have {size[1]} x {size[0]}: take the preset "
            "lodopab, which counts the whole image as 26 cm, or true-scale."
        )
    return volume.part((slice(None), slice(CROP, -CROP), slice(CROP, -CROP)))


def _within_a_step(shape: tuple[int, ...], key: tuple[int, int]) -> NDArray[np.float32]:
    """Uniform noise in 0..1 HU, independent of the photons'."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([*key, 1])))
    return random.random(shape, dtype=np.float32)


def _reconstruct(sinogram: NDArray[np.float32], scan: _Scan, settings: LowDoseSettings) -> NDArray[np.float32]:
    """Attenuation in 1/mm of one slice."""
    return fbp(sinogram, scan.geometry, scan.grid, window=settings.window, frequency_scaling=settings.frequency_scaling)


def _hu(mu: NDArray[np.floating]) -> NDArray[np.float32]:
    return ((mu - MU_WATER) * (1000.0 / (MU_WATER - MU_AIR))).astype(np.float32)


def _settings(preset: str, overrides: dict[str, Any]) -> LowDoseSettings:
    if preset not in PRESETS:
        raise InputError(f"Unknown low-dose preset {preset!r}: known ones are {', '.join(PRESETS)}.")
    unknown = sorted(set(overrides) - set(LowDoseSettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(LowDoseSettings.__dataclass_fields__)
        raise InputError(f"Unknown low-dose setting {unknown[0]!r}: known ones are {known}.")
    return replace(LowDoseSettings(preset=preset, **PRESETS[preset]), **overrides)
