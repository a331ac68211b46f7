"""What the scanner makes of metal: a clean CT and implants in, an acquisition with and without the artifact out.

The chain is that of the public SynDeepLesion benchmark (Yu et al., IEEE TMI 40 (2021) 228): tissue split into water
and bone, polychromatic projection together with the metal, partial volume at the metal's edge, Poisson noise, water
correction, FBP. Tube current modulation is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.evaluate.masks import BODY_HU
from ctrestoration.hounsfield import MU_WATER
from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.geometry import Geometry, ImageGrid
from ctrestoration.physics.materials import material
from ctrestoration.physics.noise import detected
from ctrestoration.physics.polychromatic import REFERENCE_KEV, WaterCorrection, polychromatic, water_correction
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.physics.projector import Projector
from ctrestoration.physics.spectra import Spectrum, spectrum
from ctrestoration.physics.tissues import TissueModel, tissues
from ctrestoration.volume import Volume

TRACE_FRACTION = 0.01
"""Voxels with a smaller share of metal cast no trace."""

CASTING = ("metal", "ceramic")
"""Kinds of material that cast a trace and are taken out of the reference."""

COARSE = 2.0
"""Bins this much wider than the pixels are worth a warning; the public presets stay below at their own image sizes."""

TRUNCATION_SHARE = 0.001
"""More of the body than this outside the field of view is worth a warning."""


@dataclass(frozen=True)
class MetalSettings:
    """Everything about a simulated scan that is not the patient.

    Attributes:
        preset: scanner geometry, see `physics.presets`.
        spectrum: see `physics.spectra`.
        tissue_model: how CT numbers become materials, see `physics.tissues`.
        mu_water: attenuation of water in 1/mm that stands for 0 HU at 70 keV.
        photons: per detector bin without patient; None: no noise at all.
        scatter: photons added to every bin.
        scatter_ratio: patient scatter as a share of the primary photons, blurred along the detector.
        electronic_noise: standard deviation in photons a bin.
        metal_edge: metal path at the outermost bins of the trace is divided by this; 1 leaves it alone.
        fbp_mode: None takes the preset's.
        fbp_window: filter window; None takes the preset's.
    """

    preset: str = "syndeeplesion-640"
    spectrum: str = "adn-120"
    tissue_model: TissueModel = "water-bone"
    mu_water: float = MU_WATER
    photons: float | None = 2e7
    scatter: float = 20.0
    scatter_ratio: float = 0.0
    electronic_noise: float = 0.0
    metal_edge: float = 4.0
    fbp_mode: str | None = None
    fbp_window: str | None = None

    def __post_init__(self) -> None:
        if self.photons is not None and not 1 <= self.photons <= 1e12:
            raise InputError(
                f"Photons per bin must lie in 1..1e12 (on the command line 0 for no noise), not {self.photons:g}."
            )
        if not 0 <= self.scatter <= 1e9:
            raise InputError(f"Scatter must lie in 0..1e9 photons per bin, not {self.scatter:g}.")
        if not 0 <= self.scatter_ratio <= 10 or not 0 <= self.electronic_noise <= 1e6:
            raise InputError(
                f"Scatter ratio must lie in 0..10 and electronic noise in 0..1e6 photons, not {self.scatter_ratio:g} "
                f"and {self.electronic_noise:g}."
            )
        if not 1 <= self.metal_edge <= 100:
            raise InputError(f"The metal edge divisor must lie in 1..100, not {self.metal_edge:g}.")
        if not 0.005 <= self.mu_water <= 0.1:
            raise InputError(f"The attenuation of water must lie in 0.005..0.1 per mm, not {self.mu_water:g}.")


@dataclass(frozen=True)
class MetalSimulation:
    """A simulated scan with implants, and what it would have been without.

    All volumes are in axial order (`Volume.axial()`); `Volume.in_order_of` turns them back.

    Attributes:
        acquisition: the scan with metal.
        reference: the same scan, same noise, without metal: the fair reference of a correction.
        truth: the patient as simulated, without metal, noise or reconstruction; CT numbers at 70 keV.
        settings: everything needed to repeat it, JSON-serializable.
    """

    acquisition: Acquisition
    reference: Volume
    truth: Volume
    settings: dict[str, Any]


def simulate_metal(
    volume: Volume,
    implants: Mapping[str, NDArray[np.float32]],
    *,
    preset: str = "syndeeplesion-640",
    seed: int = 0,
    first_slice: int = 0,
    control: Control = SILENT,
    **overrides: Any,
) -> MetalSimulation:
    """Scan a CT with implants put into it.

    Metal replaces tissue: a voxel of metal fraction f keeps 1 - f of its tissue. Materials that are neither metal nor
    ceramic (contrast agent, another tissue, PEEK) replace tissue, too, but belong to the patient: the scan without
    metal and the truth have them, and they cast no trace. The slices are simulated one by one; each slice's noise
    depends on the seed and its index only.

    Args:
        volume: clean CT in HU, any orientation.
        implants: material name -> its share of each voxel 0..1, float32 [z, y, x] on the volume's grid. Names are
            those of `physics.materials`, "iodine 12 mg/ml" and the like included.
        preset: scanner geometry.
        seed: of the photon noise.
        first_slice: number of the lowest axial slice in the whole scan, where `volume` is a part of one: the part
            then gets the whole scan's noise.
        control: reported to between slices.
        **overrides: fields of `MetalSettings`.

    Returns:
        The scan with and without metal.

    Raises:
        InputError: unknown preset, material or setting; fractions outside 0..1, that sum above 1, or on another grid.
    """
    settings = _settings(preset, overrides)
    shares = _checked(volume, implants)
    axial = volume.axial()
    turned = {name: volume.replaced(f).axial().array for name, f in shares.items()}
    fractions = {name: f for name, f in turned.items() if material(name).kind in CASTING}
    fillers = {name: f for name, f in turned.items() if name not in fractions}
    scan = _Scan(settings, axial)
    _warn_of_scanner(axial, scan)
    slices = range(axial.grid.shape[0])
    shape = (len(slices), scan.geometry.n_views, scan.geometry.n_bins)
    sinogram, trace = np.empty(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    image, reference = np.empty_like(axial.array), np.empty_like(axial.array)
    truth = np.empty_like(axial.array) if fillers else axial.array
    for z in control.track(slices, "Simulating the scan"):
        metal = {name: np.where(f[z] > TRACE_FRACTION, f[z], 0.0) for name, f in fractions.items()}
        metal = {name: f for name, f in metal.items() if f.any()}
        patient = scan.patient(axial.array[z], {name: f[z] for name, f in fillers.items()})
        if fillers:
            truth[z] = sum(patient.values()) * np.float32(1000.0 / settings.mu_water) - np.float32(1000.0)
        clean, sinogram[z], trace[z] = scan.measure(patient, metal, (seed, first_slice + z))
        reference[z] = scan.reconstruct(clean)
        image[z] = scan.reconstruct(sinogram[z]) if metal else reference[z]
    total = sum(fractions.values(), np.zeros(axial.grid.shape, dtype=np.float32))
    facts = {**asdict(settings), "seed": seed, "materials": sorted(shares), "version": __version__}
    facts["geometry"] = scan.geometry.to_dict()
    facts["pixel_mm"] = {"patient": list(axial.grid.spacing[:2]), "scanned": list(scan.grid.spacing[::-1])}
    facts |= {"scanner": scan.source, "fbp_mode": scan.fbp_mode, "fbp_window": scan.fbp_window}
    acquisition = Acquisition(
        axial.replaced(image, name=f"{volume.name} with metal", simulation=facts), sinogram, trace, total >= 0.5,
        scan.geometry, scan.grid, settings.mu_water, scan.fbp_mode, scan.fbp_window,
        {"source": "simulated", **facts},
    )  # fmt: skip
    scanned = axial.replaced(reference, name=f"{volume.name} scanned", simulation=facts)
    return MetalSimulation(acquisition, scanned, axial.replaced(truth) if fillers else axial, facts)


class _Scan:
    """One scanner with its settings, ready to measure slices."""

    def __init__(self, settings: MetalSettings, volume: Volume) -> None:
        scanner = scanner_preset(settings.preset)
        column, row, _ = volume.grid.spacing
        self.settings = settings
        self.source = scanner.source
        self.grid: ImageGrid = scanner.image_grid(volume.grid.shape[1:], (row, column))
        self.geometry: Geometry = scanner.geometry(self.grid)
        self.fbp_mode = settings.fbp_mode or scanner.fbp_mode
        self.fbp_window = settings.fbp_window or scanner.fbp_window
        self.beam: Spectrum = spectrum(settings.spectrum)
        self.correct: WaterCorrection = water_correction(self.beam)
        self.projector = Projector(self.geometry, self.grid)

    def patient(
        self, hu: NDArray[np.float32], fillers: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        """Attenuation at 70 keV in 1/mm of every material of one slice but the metals."""
        parts = tissues(hu, self.settings.mu_water, self.settings.tissue_model)
        present = {name: f for name, f in fillers.items() if f.any()}
        if present:
            left = np.float32(1.0) - sum(present.values(), np.zeros(hu.shape, dtype=np.float32))
            parts = {name: part * left for name, part in parts.items()}
        for name, f in present.items():
            filled = f * np.float32(material(name).attenuation(REFERENCE_KEV)[0])
            parts[name] = parts[name] + filled if name in parts else filled
        return parts

    def measure(
        self,
        patient: Mapping[str, NDArray[np.float32]],
        metal: Mapping[str, NDArray[np.float32]],
        key: tuple[int, int],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Water-corrected noisy line integrals [view, bin] without and with metal, and the metal trace of one slice.

        Rays that meet no metal are the same in both scans, to the photon, unless a scatter kernel couples them.
        """
        tissue, count = np.stack(list(patient.values())), len(patient)
        projections = self.projector.forward(np.concatenate([tissue, *(f[None] for f in metal.values())]))
        clean = self._detect(dict(zip(patient, projections, strict=False)), (*key, 0))
        trace = np.asarray((projections[count:] > 0).any(axis=0))
        if not metal:
            return clean, clean, trace
        # Scattered photons reach rays beside the metal, too: with a scatter kernel every ray is computed again.
        rays = np.ones_like(trace) if self.settings.scatter_ratio > 0 else trace
        shape = trace.shape if self.settings.scatter_ratio > 0 else (int(trace.sum()),)
        left = np.float32(1.0) - sum(metal.values(), np.zeros(self.grid.shape, dtype=np.float32))
        edge = (trace & ~_inner(trace))[rays]
        integrals = dict(zip(patient, self.projector.forward_rays(tissue * left, rays), strict=True))
        for name, path in zip(metal, projections[count:, rays], strict=True):
            softened = np.where(edge, path / np.float32(self.settings.metal_edge), path)
            integrals[name] = softened * np.float32(material(name).attenuation(REFERENCE_KEV)[0])
        shaped = {name: values.reshape(shape) for name, values in integrals.items()}
        shaded = clean.copy()
        shaded[rays] = self._detect(shaped, (*key, 1)).ravel()
        return clean, shaded, trace

    def _detect(self, integrals: Mapping[str, NDArray[np.float32]], key: tuple[int, ...]) -> NDArray[np.float32]:
        """Water-corrected line integrals, with noise, of the materials' line integrals at 70 keV."""
        ideal = polychromatic(integrals, self.beam)
        settings = self.settings
        if settings.photons is not None:
            ideal = detected(
                ideal,
                settings.photons,
                settings.scatter,
                key,
                scatter_ratio=settings.scatter_ratio,
                electronic=settings.electronic_noise,
            )
        return self.correct(ideal)

    def reconstruct(self, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU of one slice."""
        mu = fbp(sinogram, self.geometry, self.grid, window=self.fbp_window, mode=self.fbp_mode)
        return mu * np.float32(1000.0 / self.settings.mu_water) - np.float32(1000.0)


def _warn_of_scanner(volume: Volume, scan: _Scan) -> None:
    """Say so where the scanner does not fit the image: body that some view misses, bins much coarser than pixels."""
    x, y = scan.grid.coordinates()
    outside = x[None, :] ** 2 + y[:, None] ** 2 > scan.geometry.field_radius**2
    body = volume.array > BODY_HU
    share = float((body & outside).sum() / max(int(body.sum()), 1))
    if share > TRUNCATION_SHARE:
        warnings.warn(
            f"{100 * share:.1f} % of the patient lies outside the scanner's field of view of "
            f"{2 * scan.geometry.field_radius:.0f} mm: the scan is truncated and its edge will glare.",
            CTRestorationWarning,
            stacklevel=3,
        )
    width, pixel = scan.geometry.bin_width, min(scan.grid.spacing)
    if width > COARSE * pixel:
        warnings.warn(
            f"The detector's bins are {width:.2g} mm wide at the isocenter, the pixels {pixel:.2g} mm: by Nyquist's "
            f"theorem the scan cannot resolve details under {2 * width:.2g} mm, so the result will be blurred.",
            CTRestorationWarning,
            stacklevel=3,
        )


def _inner(trace: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The trace without its outermost bin on either side of every run along the detector."""
    inner = trace.copy()
    inner[:, 1:] &= trace[:, :-1]
    inner[:, :-1] &= trace[:, 1:]
    return inner


def _settings(preset: str, overrides: dict[str, Any]) -> MetalSettings:
    unknown = sorted(set(overrides) - set(MetalSettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(MetalSettings.__dataclass_fields__)
        raise InputError(f"Unknown simulation setting {unknown[0]!r}: known ones are {known}.")
    return replace(MetalSettings(preset=preset), **overrides)


def _checked(volume: Volume, implants: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Fractions by the materials' full names, each within 0..1 and together at most 1."""
    metals: dict[str, NDArray[np.float32]] = {}
    for name, fraction in implants.items():
        fraction = np.asarray(fraction, dtype=np.float32)
        if fraction.shape != volume.grid.shape:
            raise InputError(f"The {name} fractions have shape {fraction.shape}, {volume.name} {volume.grid.shape}.")
        if not np.isfinite(fraction).all() or fraction.min() < 0 or fraction.max() > 1 + 1e-4:
            raise InputError(f"The {name} fractions must lie in 0..1, not {fraction.min():g} to {fraction.max():g}.")
        full = material(name).name
        metals[full] = metals[full] + fraction if full in metals else fraction
    if metals and sum(metals.values()).max() > 1 + 1e-3:  # type: ignore[union-attr]
        raise InputError(
            "Material fractions sum above 1 in some voxel: scale them so that every voxel holds at most 1."
        )
    return metals
