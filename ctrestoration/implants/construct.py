"""A plan's implants as closed meshes, and as metal fractions on a CT grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import SILENT, Control
from ctrestoration.implants.devices import device_parts
from ctrestoration.implants.mesh import Mesh, frame_along, lathe, require_closed, sweep
from ctrestoration.implants.plan import Plan, Rod, Screw
from ctrestoration.implants.rods import centerline, head_center
from ctrestoration.implants.screw import Thread, head, shaft
from ctrestoration.implants.voxelize import add, voxelize
from ctrestoration.volume import Grid

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One closed solid of one material."""

    name: str
    material: str
    mesh: Mesh


def parts_of(plan: Plan) -> list[Part]:
    """Every solid of a plan.

    Raises:
        InputError: an unknown implant or size.
    """
    parts: list[Part] = []
    for screw in plan.screws:
        parts.extend(_screw(screw, rod_near(plan, screw)))
    for rod in plan.rods:
        mesh = sweep(centerline(rod), rod.diameter_mm / 2)
        parts.append(Part(f"rod {rod.side}", rod.material, mesh))
    for device in plan.devices:
        parts.extend(Part(name, material, mesh) for name, material, mesh in device_parts(device))
    return parts


def place(plan: Plan, grid: Grid, control: Control = SILENT) -> dict[str, NDArray[np.float32]]:
    """Metal fractions of a plan's implants.

    Args:
        plan: the construct.
        grid: any CT grid.
        control: reported to between parts.

    Returns:
        material -> fraction 0..1, float32 [z, y, x]; where parts of one material overlap, the larger fraction counts,
        and several materials are scaled to sum to at most 1.

    Raises:
        InputError: an unknown implant or size, or a mesh that is not closed.
        Cancelled: where the control asks to stop.
    """
    return place_parts(parts_of(plan), grid, control)


def place_parts(parts: list[Part], grid: Grid, control: Control = SILENT) -> dict[str, NDArray[np.float32]]:
    """Fractions of closed solids, as `place` does it."""
    maps: dict[str, NDArray[np.float32]] = {}
    for part in control.track(parts, "Placing the implants"):
        require_closed(part.mesh, part.name)
        fraction = maps.setdefault(part.material, np.zeros(grid.shape, dtype=np.float32))
        add(fraction, voxelize(part.mesh, grid))
    if len(maps) > 1:
        total = np.sum(list(maps.values()), axis=0)
        if total.max() > 1:
            np.maximum(total, 1, out=total)
            for fraction in maps.values():
                fraction /= total
    return maps


def loosening(plan: Plan, grid: Grid) -> NDArray[np.float32]:
    """The lucent gap around loose screws: the share of each voxel that is soft tissue instead of bone, 0..1.

    A sleeve around the shaft as wide as the screw's `loosening_mm`; its inside holds the screw.
    """
    out = np.zeros(grid.shape, dtype=np.float32)
    for screw in plan.screws:
        if screw.loosening_mm > 0:
            entry, target = np.asarray(screw.entry, dtype=np.float64), np.asarray(screw.target, dtype=np.float64)
            radius = screw.diameter_mm / 2 + screw.loosening_mm
            sleeve = lathe([(0.0, radius), (screw.length_mm, radius)])
            add(out, voxelize(sleeve.moved(frame_along(entry - target), target), grid))
    metal = place(plan, grid)
    return np.asarray(np.clip(out - sum(metal.values(), np.zeros_like(out)), 0, 1))


def rod_near(plan: Plan, screw: Screw) -> tuple[Vector, float]:
    """Direction and diameter of the rod at a screw's head; the body's long axis where it has none."""
    center = head_center(screw)
    best: tuple[float, Vector, Rod] | None = None
    for rod in plan.rods:
        curve = centerline(rod)
        away = np.linalg.norm(curve - center, axis=1)
        nearest = int(np.argmin(away))
        if away[nearest] < 5 and (best is None or away[nearest] < best[0]):
            best = (float(away[nearest]), np.gradient(curve, axis=0)[nearest], rod)
    return (np.array([0.0, 0.0, 1.0]), 5.5) if best is None else (best[1], best[2].diameter_mm)


def _screw(screw: Screw, rod: tuple[Vector, float]) -> list[Part]:
    entry, target = np.asarray(screw.entry, dtype=np.float64), np.asarray(screw.target, dtype=np.float64)
    thread = Thread(
        screw.diameter_mm, screw.core_ratio * screw.diameter_mm, screw.length_mm, screw.pitch_mm, screw.cannulated_mm
    )
    name = f"screw {screw.level} {screw.side}"
    parts = [Part(name, screw.material, shaft(entry, target, thread))]
    if screw.head:
        backward = (entry - target) / screw.length_mm
        meshes = head(entry, backward, rod[0], rod[1], screw.set_screw)
        parts += [Part(f"{name} head {n}", screw.material, mesh) for n, mesh in enumerate(meshes)]
    return parts
