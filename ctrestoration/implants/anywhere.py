"""Metal without regard to anatomy, as the published training protocols place it: implants in any pose, and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.construct import Part
from ctrestoration.implants.devices import device_parts
from ctrestoration.implants.mesh import Mesh, ellipsoid, lathe, sweep
from ctrestoration.implants.plan import Device
from ctrestoration.implants.screw import Thread
from ctrestoration.volume import Volume

Vector = NDArray[np.float64]
BODY_HU = -300.0
_KINDS = ("plif-cage", "dental-crown", "dental-filling", "clip", "coil", "sternal-wire", "plate", "cross-link", "stent")
METALS = ("Ti6Al4V", "316L", "CoCrMo")


def point_in_body(volume: Volume, rng: np.random.Generator) -> Vector:
    """A point of the patient, LPS mm: any voxel above -300 HU, or the middle of the volume where there is none."""
    inside = np.flatnonzero(volume.array.ravel() > BODY_HU)
    if not inside.size:
        return volume.grid.to_world((np.array(volume.grid.shape[::-1]) - 1) / 2)
    k, j, i = np.unravel_index(int(inside[rng.integers(inside.size)]), volume.grid.shape)
    return volume.grid.to_world(np.array([i, j, k]) + rng.uniform(-0.5, 0.5, 3))


def random_rotation(rng: np.random.Generator) -> Vector:
    """A rotation matrix, uniform over all."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, ::-1]


def random_implants(volume: Volume, rng: np.random.Generator) -> tuple[list[Part], list[dict[str, object]]]:
    """One to four real implants in any pose anywhere in the body; returns the solids and their description."""
    parts: list[Part] = []
    story: list[dict[str, object]] = []
    for _ in range(int(rng.integers(1, 5))):
        turn, where = random_rotation(rng), point_in_body(volume, rng)
        if rng.random() < 0.5:
            diameter = float(rng.choice([4.0, 5.0, 6.0, 6.5, 7.5]))
            length = float(rng.choice([25.0, 35.0, 45.0, 55.0]))
            material = str(rng.choice(METALS))
            mesh = Thread(diameter, diameter * float(rng.uniform(0.58, 0.72)), length).mesh().moved(turn, where)
            parts.append(Part("screw", material, mesh))
            story.append({"kind": "screw", "diameter_mm": diameter, "length_mm": length, "material": material,
                          "position": where.round(2).tolist()})  # fmt: skip
        else:
            kind = str(rng.choice(_KINDS))
            device = Device(kind, tuple(where), tuple(turn[:, 2]), tuple(turn[:, 0]))
            parts.extend(Part(name, material, mesh) for name, material, mesh in device_parts(device))
            story.append({"kind": kind, "position": where.round(2).tolist()})
    return parts, story


def moved_anywhere(parts: Sequence[Part], volume: Volume, rng: np.random.Generator) -> list[Part]:
    """The same solids, moved together: turned about their middle, which comes to lie somewhere in the body."""
    if not parts:
        return []
    turn, where = random_rotation(rng), point_in_body(volume, rng)
    middle = np.concatenate([part.mesh.points for part in parts]).mean(axis=0)
    return [replace(part, mesh=part.mesh.moved(turn, where - turn @ middle)) for part in parts]


def random_shapes(volume: Volume, rng: np.random.Generator) -> tuple[list[Part], list[dict[str, object]]]:
    """One to six blobs, bars and wires of 2 to 40 mm; returns the solids and their description."""
    material = str(rng.choice(METALS))
    center = point_in_body(volume, rng)
    parts: list[Part] = []
    story: list[dict[str, object]] = []
    for _ in range(int(rng.integers(1, 7))):
        shape = str(rng.choice(["blob", "bar", "wire"]))
        size = float(np.exp(rng.uniform(np.log(2), np.log(40))))
        where = center + rng.normal(0, 8, 3) if rng.random() < 0.6 else point_in_body(volume, rng)
        mesh = _shape(shape, size, rng).moved(random_rotation(rng), where)
        parts.append(Part(shape, material, mesh))
        story.append(
            {"kind": shape, "size_mm": round(size, 2), "material": material, "position": where.round(2).tolist()}
        )
    return parts, story


def _shape(shape: str, size: float, rng: np.random.Generator) -> Mesh:
    if shape == "blob":
        return ellipsoid(np.minimum(size / 2 * rng.uniform(0.4, 1.0, 3), 12.0).tolist(), 24)
    if shape == "bar":
        radius = float(np.clip(size * rng.uniform(0.05, 0.25), 0.6, 5.0))
        return lathe([(-size / 2, radius), (size / 2, radius)], 24)
    knots = np.cumsum(rng.normal(0, 1, (6, 3)), axis=0)
    t = np.linspace(0, 5, 40)
    path = np.stack([np.interp(t, np.arange(6), knots[:, n]) for n in range(3)], axis=1)
    kernel = np.hanning(9) / np.hanning(9).sum()
    path = np.stack([np.convolve(np.pad(path[:, n], 4, "edge"), kernel, "valid") for n in range(3)], axis=1)
    path = (path - path.mean(axis=0)) * size / np.ptp(path, axis=0).max()
    return sweep(path, float(rng.uniform(0.4, 1.2)), 12)
