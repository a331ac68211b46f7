"""A threaded pedicle screw with its polyaxial head, as closed solids.

Radius of the shaft at distance s from the tip and angle phi: core(s) + depth(s) * profile(s / pitch - phi / 2 pi), with
a trapezoidal thread: crest 0.12 of the pitch, flanks to zero at +-0.30. Over the first 6 mm a factor t = 0..1 makes
the tip: core * (0.35 + 0.65 t), depth * t.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.implants.catalogue import catalogue
from ctrestoration.implants.mesh import Mesh, frame_along, lathe, rings, round_factor, strip

Vector = NDArray[np.float64]
TIP_MM = 6.0
_CREST, _FLANK = 0.06, 0.30
_MAX_TILT_DEG = 30.0


@dataclass(frozen=True)
class Thread:
    """A threaded shaft.

    Attributes:
        diameter_mm: outer.
        core_mm: at the bottom of the thread.
        length_mm: with the tip.
        pitch_mm: of the thread.
        bore_mm: cannulation, 0 = solid.
    """

    diameter_mm: float
    core_mm: float
    length_mm: float
    pitch_mm: float = 2.75
    bore_mm: float = 0.0

    def radius(self, s: Vector, phi: Vector) -> Vector:
        """Outer radius in mm at distance s from the tip and angle phi."""
        core, depth = self.core_mm / 2, (self.diameter_mm - self.core_mm) / 2
        t = np.clip(s / TIP_MM, 0, 1)
        turn = s / self.pitch_mm - phi / (2 * np.pi)
        away = np.abs(turn - np.rint(turn))
        profile = np.clip((_FLANK - away) / (_FLANK - _CREST), 0, 1)
        return np.maximum(core * (0.35 + 0.65 * t) + depth * t * profile, self.bore_mm / 2 + 0.15 * (self.bore_mm > 0))

    @property
    def volume_mm3(self) -> float:
        """Closed form for a solid shaft; a bore takes its cylinder away (tip as if it were wide enough)."""
        c, d = self.core_mm / 2, (self.diameter_mm - self.core_mm) / 2
        full = np.pi * (c * c + 0.72 * c * d + 0.28 * d * d) * (self.length_mm - TIP_MM)
        tip = TIP_MM * np.pi * (0.49083 * c * c + 0.2820 * c * d + 0.09333 * d * d)
        return float(full + tip - np.pi * (self.bore_mm / 2) ** 2 * self.length_mm)

    def mesh(self, around: int = 36, per_pitch: int = 16) -> Mesh:
        """The shaft along z: the tip at 0, the head's end at the length."""
        count = max(8, round(self.length_mm / self.pitch_mm * per_pitch))
        s = np.linspace(0, self.length_mm, count + 1)
        phi = np.arange(around) * 2 * np.pi / around
        radius = self.radius(s[:, None], phi[None, :]) * round_factor(around)
        outer = _stack(radius, phi, s)
        if self.bore_mm <= 0:
            return rings(outer)
        bore = np.full((len(s), around), self.bore_mm / 2 * round_factor(around))
        return rings(np.concatenate([outer, _stack(bore, phi, s)[::-1]]), loop=True)


def _stack(radius: Vector, phi: Vector, s: Vector) -> Vector:
    return np.stack([radius * np.cos(phi), radius * np.sin(phi), np.broadcast_to(s[:, None], radius.shape)], axis=-1)


def shaft(entry: Vector, target: Vector, thread: Thread) -> Mesh:
    """The shaft from entry (its head's end) to target (its tip), LPS mm."""
    return thread.mesh().moved(frame_along(entry - target), target)


def head(entry: Vector, axis: Vector, rod_direction: Vector, rod_mm: float, set_screw: bool) -> list[Mesh]:
    """Tulip and set screw.

    Args:
        entry: the neck, LPS mm.
        axis: unit vector from the tip backward.
        rod_direction: the slot lies along it; the head tilts toward it within its cone.
        rod_mm: rod diameter; smaller rods have smaller heads.
        set_screw: whether it is there.
    """
    d = catalogue()["head"]
    k = rod_mm / d["for_rod_mm"] if rod_mm < d["for_rod_mm"] else 1.0
    up = _tilted(axis, rod_direction)
    radius, slot = d["diameter_mm"] / 2 * k, (rod_mm + 0.2) / 2
    floor, top = d["slot_from_mm"] * k, d["height_mm"] * k
    low, high = (value * k for value in d["set_screw_from_to_mm"])
    inner = d["set_screw_mm"] / 2 * k
    parts = [lathe([(0, 0.62 * radius), (0.35 * floor, radius), (floor, radius)])]
    wide = np.arccos(slot / radius)
    tight = np.arccos(min(slot / inner, 1.0))
    for turn in (1.0, -1.0):
        outer_angle, inner_angle = np.linspace(-wide, wide, 17), np.linspace(-tight, tight, 17)
        outer = turn * radius * np.stack([np.cos(outer_angle), np.sin(outer_angle)], axis=1)
        bore = turn * inner * np.stack([np.cos(inner_angle), np.sin(inner_angle)], axis=1)
        parts.append(strip(outer, bore, floor, top))
    if set_screw:
        parts.append(lathe([(low, inner), (high, inner)]))
    # The slot runs along y: x is across the rod.
    matrix = frame_along(up, np.cross(rod_direction, up))
    return [part.moved(matrix, entry) for part in parts]


def _tilted(axis: Vector, rod_direction: Vector) -> Vector:
    """The head's axis: perpendicular to the rod, as far as the cone allows."""
    rod = rod_direction / np.linalg.norm(rod_direction)
    wanted = axis - (axis @ rod) * rod
    if np.linalg.norm(wanted) < 1e-6:
        return axis
    wanted = wanted / np.linalg.norm(wanted)
    angle = np.degrees(np.arccos(np.clip(wanted @ axis, -1, 1)))
    if angle <= _MAX_TILT_DEG:
        return np.asarray(wanted)
    share = _MAX_TILT_DEG / angle
    mixed = np.sin((1 - share) * np.radians(angle)) * axis + np.sin(share * np.radians(angle)) * wanted
    return np.asarray(mixed / np.linalg.norm(mixed))
