"""Patients with implants, drawn by key and simulated: what data sets and on-the-fly training are made of.

A patient is a procedural phantom or a clean CT. A case puts drawn implants into it and scans it: pedicle screws with
rods along the true or measured anatomy for most cases, free bars for the rest, so that networks do not learn that
metal always sits in pedicles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.implants import Plan, Rod, Screw, place
from ctrestoration.implants.rods import head_center
from ctrestoration.io.pairs import Pair
from ctrestoration.volume import AIR_HU, Grid, Volume

SCREW_SHARE = 0.65
MATERIALS = {"Ti6Al4V": 0.7, "CoCrMo": 0.15, "316L": 0.15}
_SLICES, _SLICE_MM = 10, 4.0
_BODY_HU, _BONE_HU = -200.0, 250.0

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Pedicle:
    """Where a screw can go: the axis of a pedicle in LPS mm."""

    level: str
    side: str
    entry: Vector
    direction: Vector
    width: float


@dataclass(frozen=True)
class Patient:
    """Someone to put implants into.

    Attributes:
        name: identifies the patient; a patient is never in two splits.
        volume: clean, axial, square slices.
        pedicles: where known; empty for a CT without truth.
    """

    name: str
    volume: Volume
    pedicles: tuple[Pedicle, ...]


def phantom_patient(seed: int, size: int, pixel_mm: float) -> Patient:
    """A procedural phantom, centered on a lumbar level that the seed draws."""
    from ctrestoration.anatomy.phantom import spine_phantom

    level = f"L{1 + seed % 5}"
    phantom = spine_phantom(
        size=(_SLICES, size, size), spacing=(pixel_mm, pixel_mm, _SLICE_MM), seed=seed, region=level
    )
    pedicles = [
        Pedicle(truth.name, side, np.array(axis.entry), np.array(axis.direction), axis.width)
        for truth in phantom.truth.levels.values()
        for side, axis in truth.pedicles.items()
        if _inside(np.array(axis.isthmus), phantom.volume.grid)
    ]
    return Patient(f"phantom-{seed}", phantom.volume, tuple(pedicles))


def volume_patient(path: Path, size: int, pixel_mm: float) -> Patient:
    """A clean CT, resampled to square slices around the body.

    Raises:
        InputError: the file is unreadable or holds no body.
    """
    from scipy.ndimage import affine_transform

    from ctrestoration.io.images import read_volume

    axial = read_volume(path).axial()
    body = axial.array > _BODY_HU
    if not body.any():
        raise InputError(f"{path} holds no patient: nothing in it is above {_BODY_HU:g} HU.")
    middle = [0.5 * (found.min() + found.max()) for found in np.nonzero(body.any(axis=0))]
    scale = np.array([pixel_mm / axial.grid.spacing[1], pixel_mm / axial.grid.spacing[0]])
    start = np.array(middle) - scale * (size - 1) / 2
    # Smooth before sampling coarsely; linear between pixels, as partial volumes would be.
    slices = [
        affine_transform(_smoothed(plane, scale), scale, start, (size, size), order=1, cval=AIR_HU)
        for plane in axial.array
    ]
    spacing = (pixel_mm, pixel_mm, axial.grid.spacing[2])
    grid = Grid.from_parts((len(slices), size, size), spacing)
    return Patient(f"{path.stem}-{_short_digest(path)}", Volume(np.stack(slices), grid, path.name), ())


def simulate_case(patient: Patient, draw: np.random.Generator, preset: str, slices: int) -> list[Pair]:
    """Draw implants for a patient, scan some slices with them, and return the pairs.

    Args:
        patient: into whom.
        draw: everything random about this case.
        preset: scanner preset.
        slices: how many of the slices with metal are scanned.
    """
    from ctrestoration.simulate.metal import simulate_metal

    plan = draw_plan(patient, draw)
    grid = patient.volume.grid
    fractions = place(plan, grid)
    metal = sum(fractions.values(), np.zeros(grid.shape, dtype=np.float32))
    amounts = metal.sum(axis=(1, 2))
    with_metal = np.flatnonzero(amounts > 0.5)
    if with_metal.size == 0:
        with_metal = np.array([int(np.argmax(amounts))])
    chosen = np.sort(draw.choice(with_metal, size=min(slices, with_metal.size), replace=False))
    seed = int(draw.integers(2**31))
    pairs: list[Pair] = []
    for number, z in enumerate(int(index) for index in chosen):
        slab = Volume(patient.volume.array[z : z + 1], grid.crop((z, 0, 0), (z + 1, *grid.shape[1:])))
        here = {name: fraction[z : z + 1] for name, fraction in fractions.items()}
        scan = simulate_metal(slab, here, preset=preset, seed=seed + number)
        pairs.append(
            {
                "input": np.maximum(scan.acquisition.image.array[0], AIR_HU),
                "target": np.maximum(scan.reference.array[0], AIR_HU),
                "metal": np.minimum(metal[z], 1.0).astype(np.float32),
            }
        )
    return pairs


def draw_plan(patient: Patient, draw: np.random.Generator) -> Plan:
    """Screws and rods along the pedicles, or free bars where chance says so or no pedicle is known."""
    material = str(draw.choice(list(MATERIALS), p=list(MATERIALS.values())))
    if patient.pedicles and draw.random() < SCREW_SHARE:
        screws = tuple(_screw(pedicle, material, draw) for pedicle in patient.pedicles)
        kept = tuple(screw for screw in screws if draw.random() < 0.85) or screws[:1]
        return Plan(kept, _rods(kept, material))
    return Plan((), tuple(_bar(patient.volume, material, draw) for _ in range(int(draw.integers(1, 5)))))


def _screw(pedicle: Pedicle, material: str, draw: np.random.Generator) -> Screw:
    """A screw near the axis: surgeons miss by a millimeter and a few degrees."""
    direction = pedicle.direction + draw.normal(0, math.radians(3), 3)
    direction /= np.linalg.norm(direction)
    entry = pedicle.entry + draw.normal(0, 1.0, 3)
    diameter = float(np.clip(0.8 * pedicle.width, 4.5, 7.5))
    target = entry + direction * draw.uniform(38, 50)
    side = "left" if pedicle.side == "left" else "right"
    return Screw(pedicle.level, side, _point(entry), _point(target), diameter, material)  # type: ignore[arg-type]


def _rods(screws: tuple[Screw, ...], material: str) -> tuple[Rod, ...]:
    rods = []
    for side in ("left", "right"):
        heads = sorted((head_center(screw) for screw in screws if screw.side == side), key=lambda head: -head[2])
        if heads:
            up = np.array([0.0, 0.0, 30.0])  # the rod goes on to levels beyond the slab
            points = [heads[0] + up, *heads, heads[-1] - up]
            rods.append(Rod(side, tuple(_point(point) for point in points), 5.5, material))  # type: ignore[arg-type]
    return tuple(rods)


def _bar(volume: Volume, material: str, draw: np.random.Generator) -> Rod:
    """A bar of any direction; it starts in bone where there is any."""
    places = np.argwhere(volume.array > _BONE_HU)
    if len(places) == 0:
        places = np.argwhere(volume.array > _BODY_HU)
    if len(places) == 0:
        raise InputError(f"{volume.name} holds no patient: nothing in it is above {_BODY_HU:g} HU.")
    start = volume.grid.to_world(places[int(draw.integers(len(places)))][::-1].astype(float))
    direction = draw.standard_normal(3)
    stop = start + direction / np.linalg.norm(direction) * draw.uniform(8, 60)
    return Rod("left", (_point(start), _point(stop)), float(draw.uniform(2.5, 12)), material)


def _inside(point: Vector, grid: Grid) -> bool:
    index = grid.to_index(point)
    return bool((index >= 0).all() and (index <= np.array(grid.shape[::-1]) - 1).all())


def _smoothed(plane: NDArray[np.float32], scale: Vector) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(plane, np.maximum(scale - 1, 0) / 2))


def _short_digest(path: Path) -> str:
    """Tells files of the same name apart; a DICOM folder counts by its names."""
    from ctrestoration.jobs.durable import sha256_of
    from ctrestoration.training.keys import derive

    if path.is_dir():
        return f"{derive(*sorted(item.name for item in path.iterdir())):x}"[:6]
    return sha256_of(path)[:6]


def _point(values: Vector) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
