"""The trunk: outlines of skin, muscle wall and body cavity, and the diaphragm that divides the cavity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.phantom.patient import Patient
from ctrestoration.anatomy.phantom.shapes import Array
from ctrestoration.anatomy.phantom.spine import Spine

Table = NDArray[np.float32]
_Z0, _Z1 = -420, 520  # mm, range of the tables, one row a mm

# z; half-width and front of the muscle wall; its back behind the spine's line; cavity: wall at the side, in front,
# and where the cavity ends behind the spine's line.
_ROWS = np.array(
    [
        (-420, 150, -70, 60, 60, 60, -20),
        (-300, 163, -82, 62, 70, 50, -20),
        (-200, 166, -92, 58, 95, 40, -18),
        (-130, 158, -100, 56, 62, 16, -12),
        (-70, 141, -104, 64, 26, 11, 6),
        (0, 131, -107, 71, 19, 10, 23),
        (60, 131, -110, 70, 18, 10, 27),
        (120, 137, -113, 68, 17, 12, 34),
        (200, 142, -108, 69, 17, 15, 38),
        (280, 136, -86, 66, 20, 16, 35),
        (340, 140, -58, 62, 60, 16, 28),
        (375, 122, -46, 56, 82, 18, 18),
        (420, 95, -30, 50, 68, 20, 8),
        (520, 60, -20, 45, 42, 20, 8),
    ],
    dtype=float,
)


@dataclass(frozen=True)
class Outline:
    """A closed outline in every axial plane: a superellipse with half-width, front and back by height."""

    half_width: Table
    front: Table
    back: Table

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate signed distance in mm."""
        row = np.clip(np.rint(z) - _Z0, 0, _Z1 - _Z0).astype(np.intp)
        middle, half = 0.5 * (self.front + self.back), 0.5 * (self.back - self.front)
        p = np.abs(x) / self.half_width[row]
        q = np.abs(y - middle[row]) / half[row]
        # An ellipse in front; behind, exponent 2.5, because a back that is lain on is flat.
        round_part = np.sqrt(p * p + q * q)
        flat_part = (p * p * np.sqrt(p) + q * q * np.sqrt(q)) ** np.float32(0.4)
        rho = np.where(y < middle[row], round_part, flat_part)
        return (rho - 1) * np.minimum(self.half_width, half)[row]

    def at(self, z: float) -> tuple[float, float, float]:
        """Half-width, front and back at a height."""
        row = int(np.clip(round(z) - _Z0, 0, _Z1 - _Z0))
        return float(self.half_width[row]), float(self.front[row]), float(self.back[row])


@dataclass(frozen=True)
class Trunk:
    """The trunk's outlines and the spine's line by height.

    Attributes:
        skin: outer surface.
        wall: outer surface of the muscles.
        cavity: inner surface of the muscles.
        spine_x: left offset of the spine's line, one a mm of z.
        spine_y: its posterior offset.
        fat_mm: thickness of the fat at the flank.
    """

    skin: Outline
    wall: Outline
    cavity: Outline
    spine_x: Table
    spine_y: Table
    fat_mm: float

    def spine(self, z: float) -> tuple[float, float]:
        """X and y of the spine's line at a height."""
        row = int(np.clip(round(z) - _Z0, 0, _Z1 - _Z0))
        return float(self.spine_x[row]), float(self.spine_y[row])

    def at_spine(self, x: float, y: float, z: float) -> NDArray[np.float64]:
        """A design point given relative to the spine's line at its height."""
        sx, sy = self.spine(z)
        return np.array([sx + x, sy + y, z])

    def behind(self, y: Array, z: Array) -> Array:
        """How far points lie behind the spine's line, mm."""
        row = np.clip(np.rint(z) - _Z0, 0, _Z1 - _Z0).astype(np.intp)
        return y - self.spine_y[row]

    def diaphragm(self, x: Array, y: Array) -> Array:
        """Height of the diaphragm over points of the cavity: a dome on each side, deepest recess behind."""
        heights = []
        for center_x, center_y, peak, width in (
            (-68.0, -42.0, 186.0, 74.0),
            (66.0, -40.0, 174.0, 72.0),
            (6.0, -70.0, 164.0, 60.0),
        ):
            p, q = (x - np.float32(center_x)) / np.float32(width), (y - np.float32(center_y)) / np.float32(92.0)
            r2 = p * p + q * q
            heights.append(np.float32(peak) - 62 * r2 * np.sqrt(r2) - 16 * np.maximum(q, 0) * r2)
        return np.maximum(np.maximum(heights[0], heights[1]), heights[2])


def build_trunk(patient: Patient, spine: Spine) -> Trunk:
    """The outlines of a patient."""
    from scipy.interpolate import PchipInterpolator
    from scipy.ndimage import gaussian_filter1d

    z = np.arange(_Z0, _Z1 + 1, dtype=float)
    table = PchipInterpolator(_ROWS[:, 0], _ROWS[:, 1:])(z)
    line = spine.curve.point
    spine_y = np.interp(z, line[:, 2], line[:, 1])
    spine_x = np.interp(z, line[:, 2], line[:, 0])
    # The back follows the spine loosely: the table pushes the sacrum and the shoulder blades level with the loins.
    back_line = gaussian_filter1d(np.clip(spine_y, -20, 58), 30)
    frame = 0.55 + 0.45 * patient.bone_scale
    half = table[:, 0] * frame
    front = table[:, 1] * frame * patient.belly
    back = back_line + table[:, 2] * patient.bone_scale
    fat = patient.fat_mm * np.interp(z, [-300, -120, 0, 150, 330], [1.1, 1.15, 1.0, 0.6, 0.5])
    skin = _outline(half + fat, front - 0.9 * fat, back + 0.5 * fat + 4)
    wall = _outline(half, front, back)
    cavity = _outline(half - table[:, 3], front + table[:, 4], spine_y + table[:, 5])
    return Trunk(skin, wall, cavity, spine_x.astype(np.float32), spine_y.astype(np.float32), patient.fat_mm)


def _outline(half: NDArray[np.float64], front: NDArray[np.float64], back: NDArray[np.float64]) -> Outline:
    return Outline(
        np.maximum(half, 8).astype(np.float32),
        front.astype(np.float32),
        np.maximum(back, front + 20).astype(np.float32),
    )
