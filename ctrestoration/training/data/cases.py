"""Patients with implants, drawn by seed and simulated: what data sets and on-the-fly training are made of.

A patient is a procedural phantom or a clean CT. A case puts metal into it as `implants.generator` mixes it (planned
screws and rods for most cases, other implants, shapes anywhere) and scans some of the slices with metal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.anatomy.spine.result import SpineSegmentation
from ctrestoration.errors import InputError
from ctrestoration.implants import loosening
from ctrestoration.implants.generator import MIX, MOVED, Case, PlannedSpine, generate_case
from ctrestoration.io.pairs import Pair
from ctrestoration.volume import AIR_HU, Grid, Volume

if TYPE_CHECKING:
    from ctrestoration.simulate.metal import MetalSimulation

_SLICES, _SLICE_MM = 36, 4.0
_SPINE_SIZE, _SPINE_SPACING = (60, 96, 96), (1.5, 1.5, 2.5)
_GAP_HU = 40.0
_LEAST_MM2 = 1.0
_TRIES = 50

Vector = NDArray[np.float64]
Fractions = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Patient:
    """Someone to put implants into.

    Attributes:
        name: identifies the patient; a patient is never in two splits.
        volume: clean, axial, square slices.
        find_spine: segments the vertebrae, in the volume's world but on voxels that may be finer; raises InputError
            where there are none. A module's function, so that loader processes can be handed the patient.
    """

    name: str
    volume: Volume
    find_spine: Callable[[], SpineSegmentation]

    @cached_property
    def spine(self) -> PlannedSpine | None:
        """Screws for every pedicle that takes one: planned when first needed and kept; None without a spine."""
        try:
            return PlannedSpine.of(self.find_spine())
        except InputError:
            return None


@dataclass(frozen=True)
class Scan:
    """One slice of a patient with metal in it, scanned.

    Attributes:
        metal: fraction 0..1 of each pixel, float32 [row, column].
        simulation: acquisition (sinogram, trace, image) and references of this one slice.
    """

    metal: NDArray[np.float32]
    simulation: MetalSimulation

    def pair(self, corrected: Sequence[str] = ()) -> Pair:
        """The images alone: uncorrected and metal-free, in HU, and the metal.

        Args:
            corrected: classical methods whose images are added, see `correct.corrected`.
        """
        from ctrestoration.correct.corrected import CorrectedSlices

        images = {"input": self.simulation.acquisition.image.array[0], "target": self.simulation.reference.array[0]}
        if corrected:
            images |= CorrectedSlices(self.simulation.acquisition, corrected).slice(0)
        return {**{name: np.maximum(image, AIR_HU) for name, image in images.items()}, "metal": self.metal}

    def without_artifact(self, masked: bool) -> Scan:
        """The metal-free scan in the place of the one with metal: a correction has to leave it as it is.

        Its sinogram is the metal-free image, forward projected, as that of a clinical CT would be.

        Args:
            masked: the mask and trace of the metal stay, so that a mask alone is no sign of an artifact; else there is
                no metal at all.
        """
        from ctrestoration.physics.projector import Projector

        old, clean = self.simulation.acquisition, self.simulation.reference
        mu = old.mu_water * (1.0 + np.maximum(clean.array, AIR_HU + 24.0) / 1000.0)
        sinogram = Projector(old.geometry, old.image_grid).forward(mu.astype(np.float32))
        nothing = np.zeros_like(old.trace), np.zeros_like(old.metal)
        trace, metal = (old.trace, old.metal) if masked else nothing
        acquisition = replace(old, image=clean, sinogram=sinogram, trace=trace, metal=metal)
        shown = self.metal if masked else np.zeros_like(self.metal)
        return Scan(shown, replace(self.simulation, acquisition=acquisition))

    def projected(self, preset: str) -> Scan:
        """The scan as a clinical CT without raw data: metal found by threshold, the image forward projected.

        Where no voxel is above the threshold the scan stays as it is.
        """
        from ctrestoration.anatomy.metal import segment_metal

        image = self.simulation.acquisition.image
        metal = segment_metal(image, min_volume_mm3=0.0, anywhere=True).mask
        if not metal.any():
            return self
        acquisition = Acquisition.from_image(image, metal, preset=preset)
        return Scan(acquisition.metal[0].astype(np.float32), replace(self.simulation, acquisition=acquisition))


def phantom_name(seed: int) -> str:
    """What the phantom of a seed is called as a patient."""
    return f"phantom-{seed}"


def phantom_patient(seed: int, size: int, pixel_mm: float) -> Patient:
    """A procedural phantom, centered on a lumbar level that the seed draws."""
    from ctrestoration.anatomy.phantom import spine_phantom

    level = f"L{1 + seed % 5}"
    phantom = spine_phantom(
        size=(_SLICES, size, size), spacing=(pixel_mm, pixel_mm, _SLICE_MM), seed=seed, region=level
    )
    return Patient(phantom_name(seed), phantom.volume, partial(_phantom_spine, seed, level))


def volume_patient(path: Path, size: int, pixel_mm: float) -> Patient:
    """A clean CT, resampled to square slices around the body.

    Raises:
        InputError: the file is unreadable or holds no body.
    """
    from ctrestoration.training.data.resampling import square_slices

    volume = square_slices(replace(_read_axial(path), name=str(path)), size, pixel_mm)
    name = f"{path.stem}-{short_digest(path)}"
    return Patient(name, replace(volume, name=path.name), partial(_volume_spine, path))


def scan_case(
    patient: Patient,
    draw: np.random.Generator,
    preset: str,
    slices: int,
    clean: float = 0.0,
    kinds: Sequence[str] = (),
) -> tuple[list[Scan], dict[str, Any]]:
    """Draw implants for a patient and scan some slices with them.

    Polymers (cage bodies, bone cement) cast no artifact worth correcting: they are part of the patient, in the input
    and in the target. "metal" is what a correction takes out.

    Args:
        patient: into whom.
        draw: everything random about this case.
        preset: scanner preset.
        slices: how many of the slices with metal are scanned.
        clean: share of the scans that are replaced by ones without artifact, half of them with a mask.
        kinds: see `draw_case`.

    Returns:
        The scans, and the case as JSON types: what was drawn, with the patient, the slices and the noise seed.
    """
    volume, metals, case = implanted(patient, draw, kinds)
    chosen = chosen_slices(volume, metals, draw, slices)
    seed = int(draw.integers(2**31))
    scans = [scan_slice(volume, metals, z, preset, seed + number) for number, z in enumerate(chosen)]
    facts = {"patient": patient.name, "slices": chosen, "noise_seed": seed, **case.description}
    if clean > 0:
        masked = [_clean_kind(draw, clean) for _ in scans]
        facts["without_artifact"] = [kind is not None for kind in masked]
        scans = [
            scan if kind is None else scan.without_artifact(kind) for scan, kind in zip(scans, masked, strict=True)
        ]
    return scans, facts


def implanted(patient: Patient, draw: np.random.Generator, kinds: Sequence[str] = ()) -> tuple[Volume, Fractions, Case]:
    """A patient with drawn implants: the volume with polymers in place, the fractions of every metal, the case."""
    case = draw_case(patient, draw, kinds)
    metals, polymers = _by_kind(case.implants)
    return _with_polymers(_loosened(patient.volume, case), polymers), metals, case


def slices_with_metal(volume: Volume, metals: Fractions) -> NDArray[np.intp]:
    """Slices that hold enough metal to be worth a scan."""
    return np.flatnonzero(_metal_mm2(_total(metals, volume.grid), volume.grid) >= _LEAST_MM2)


def chosen_slices(volume: Volume, metals: Fractions, draw: np.random.Generator, count: int) -> list[int]:
    """Some of the slices with metal, in their order."""
    with_metal = slices_with_metal(volume, metals)
    return [int(z) for z in np.sort(draw.choice(with_metal, size=min(count, with_metal.size), replace=False))]


def _clean_kind(draw: np.random.Generator, share: float) -> bool | None:
    """None: the scan stays; else it loses its artifact, and keeps the mask (True) or not."""
    chosen, masked = draw.random(2)
    return bool(masked < 0.5) if chosen < share else None


def scan_slice(volume: Volume, metals: Fractions, z: int, preset: str, seed: int) -> Scan:
    """Scan slice z of a patient with metals in place; `seed` is that of the noise."""
    from ctrestoration.simulate.metal import simulate_metal

    slab, here = slab_of(volume, metals, z, z + 1)
    simulation = simulate_metal(slab, here, preset=preset, seed=seed)
    return Scan(np.minimum(_total(here, slab.grid)[0], 1.0).astype(np.float32), simulation)


def slab_of(volume: Volume, metals: Fractions, first: int, stop: int) -> tuple[Volume, Fractions]:
    """The slices first..stop - 1 of a volume and of the metals in it."""
    span = slice(first, stop)
    return volume.part((span, slice(None), slice(None))), {name: some[span] for name, some in metals.items()}


def draw_case(patient: Patient, draw: np.random.Generator, kinds: Sequence[str] = ()) -> Case:
    """Metal as `generate_case` mixes it, that reaches at least one slice.

    Args:
        patient: into whom.
        draw: everything random about it.
        kinds: only these keys of `implants.generator.MIX` (or `MOVED`), in their proportion; empty: all of the mix.

    Where nothing metallic lies in the volume (a tiny clip between two slices, bone cement alone), a case of the same
    kind is drawn again, so that the mix stays as it is. The description's seed and kind repeat the case.

    Raises:
        InputError: 50 draws found no metal in the volume.
    """
    kind: str | None = None
    if kinds:
        shares = np.array([MIX[MOVED.get(name, name)] for name in kinds])
        kind = str(draw.choice(list(kinds), p=shares / shares.sum()))
    for _ in range(_TRIES):
        case = generate_case(patient.volume, int(draw.integers(2**31)), spine=patient.spine, kind=kind)
        grid = patient.volume.grid
        if (_metal_mm2(_total(_by_kind(case.implants)[0], grid), grid) >= _LEAST_MM2).any():
            return case
        kind = str(case.description["kind"])
    raise InputError(f"No implant of {_TRIES} drawn ones reaches the slices of {patient.name}: use a larger volume.")


def _phantom_spine(seed: int, level: str) -> SpineSegmentation:
    """The phantom's own labels, on voxels fine enough to plan screws whatever the slices of the data set are."""
    from ctrestoration.anatomy.phantom import spine_phantom
    from ctrestoration.anatomy.spine.from_labels import segment_from_labels

    phantom = spine_phantom(size=_SPINE_SIZE, spacing=_SPINE_SPACING, seed=seed, region=level)
    return segment_from_labels(phantom.volume.grid, phantom.labels)


def _volume_spine(path: Path) -> SpineSegmentation:
    """By shape, never by a program that is installed on one machine and not on the next."""
    from ctrestoration.anatomy.spine.segment import segment_spine

    return segment_spine(_read_axial(path), method="fallback")


def _read_axial(path: Path) -> Volume:
    from ctrestoration.io.images import read_volume

    return read_volume(path).axial()


def _by_kind(implants: Fractions) -> tuple[Fractions, Fractions]:
    """Metals and ceramics, which cast artifacts, and polymers, which do not."""
    from ctrestoration.physics.materials import material

    polymers = {name: fraction for name, fraction in implants.items() if material(name).kind == "polymer"}
    return {name: fraction for name, fraction in implants.items() if name not in polymers}, polymers


def _total(fractions: Fractions, grid: Grid) -> NDArray[np.float32]:
    return sum(fractions.values(), np.zeros(grid.shape, dtype=np.float32))


def _metal_mm2(metal: NDArray[np.float32], grid: Grid) -> NDArray[np.float64]:
    """Area of metal by slice; voxels that hold so little that no trace is cast do not count."""
    from ctrestoration.simulate.metal import TRACE_FRACTION

    seen = np.where(metal > TRACE_FRACTION, metal, 0.0)
    return np.asarray(seen.sum(axis=(1, 2), dtype=np.float64) * grid.spacing[0] * grid.spacing[1])


def _loosened(volume: Volume, case: Case) -> Volume:
    """The patient with the lucent gap that the case's loose screws have around them."""
    if case.plan is None or not any(screw.loosening_mm > 0 for screw in case.plan.screws):
        return volume
    gap = loosening(case.plan, volume.grid)
    return volume.replaced((volume.array * (1 - gap) + _GAP_HU * gap).astype(np.float32))


def _with_polymers(volume: Volume, polymers: Fractions) -> Volume:
    """The patient with polymers in place, at the HU of their attenuation."""
    from ctrestoration.physics.materials import material
    from ctrestoration.physics.polychromatic import REFERENCE_KEV

    water = float(material("water").attenuation(REFERENCE_KEV)[0])
    array = volume.array
    for name, fraction in polymers.items():
        hu = np.float32(1000 * (float(material(name).attenuation(REFERENCE_KEV)[0]) / water - 1))
        array = array * (1 - fraction) + hu * fraction
    return replace(volume, array=array.astype(np.float32)) if polymers else volume


def short_digest(path: Path) -> str:
    """Tells files of the same name apart; a DICOM folder counts by its names."""
    from ctrestoration.jobs.durable import sha256_of
    from ctrestoration.training.keys import derive

    if path.is_dir():
        return f"{derive(*sorted(item.name for item in path.iterdir())):x}"[:6]
    return sha256_of(path)[:6]
