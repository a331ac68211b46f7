"""The line the spine follows, its frames, and coordinates along it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.phantom.levels import KYPHOSIS_SHARE, LORDOSIS_SHARE, MOBILE

Array = NDArray[np.floating[Any]]
Vector = NDArray[np.float64]
_STEP = 0.25
_BELOW, _ABOVE = 170.0, 90.0  # mm of curve beyond the sacral endplate and beyond the topmost vertebra


@dataclass(frozen=True)
class SpineCurve:
    """A curve through the vertebral bodies, parametrized by the length s in mm upward from the sacral endplate.

    Attributes:
        s: samples of the parameter, uniform, ascending.
        point: (n, 3) design space LPS mm.
        left: (n, 3) unit vectors to the patient's left, turned with the vertebrae.
        posterior: (n, 3) unit vectors.
        up: (n, 3) unit tangents.
    """

    s: Vector
    point: Vector
    left: Vector
    posterior: Vector
    up: Vector

    @classmethod
    def build(
        cls,
        centers: dict[str, float],
        *,
        lordosis_deg: float,
        kyphosis_deg: float,
        sacral_slope_deg: float,
        scoliosis_deg: float,
        scoliosis_apex: float,
        scoliosis_length: float,
    ) -> SpineCurve:
        """The curve with the given angles.

        Args:
            centers: s of each body's center, in mm, from C5 to L5.
            lordosis_deg: L1 to S1.
            kyphosis_deg: T1 to T12.
            sacral_slope_deg: tilt of the sacral endplate against the axial plane.
            scoliosis_deg: Cobb angle, positive = convex to the left.
            scoliosis_apex: s of the coronal curve's apex.
            scoliosis_length: wavelength of the coronal curve.
        """
        from scipy.interpolate import PchipInterpolator

        top = centers[MOBILE[0]]
        s = np.arange(-_BELOW, top + _ABOVE, _STEP)
        # The sacrum turns from its endplate backward, then forward to the coccyx.
        known = [(-150.0, -55.0), (-110.0, -35.0), (-80.0, 0.0), (-50.0, 0.62 * sacral_slope_deg)]
        known += [(-18.0, sacral_slope_deg), (0.0, sacral_slope_deg - LORDOSIS_SHARE["S1"] * lordosis_deg)]
        for level in reversed(MOBILE):
            lost = LORDOSIS_SHARE.get(level, 1.0) * lordosis_deg
            gained = KYPHOSIS_SHARE.get(level, 0.0) * kyphosis_deg
            known.append((centers[level], sacral_slope_deg - lost + gained))
        known += [(top + 150, known[-1][1] - 12)]
        tilt = np.radians(PchipInterpolator(*np.transpose(known))(np.clip(s, -150, top + 150)))
        # A sine whose steepest tangents, half a wavelength apart, enclose the Cobb angle.
        wave = 2 * np.pi / scoliosis_length
        window = np.exp(-(((s - scoliosis_apex) / (0.75 * scoliosis_length)) ** 4))
        lean = -np.radians(scoliosis_deg / 2) * np.sin(wave * (s - scoliosis_apex)) * window
        up = np.stack([np.sin(lean), -np.sin(tilt) * np.cos(lean), np.cos(tilt) * np.cos(lean)], axis=1)
        point = np.cumsum(up, axis=0) * _STEP
        point -= point[int(np.argmin(np.abs(s - centers["L3"])))]
        # Vertebral bodies turn toward the convexity.
        spin = np.radians(0.35 * scoliosis_deg) * np.cos(wave * (s - scoliosis_apex)) * window
        flat = np.array([1.0, 0.0, 0.0]) - up[:, :1] * up
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        back = np.cross(up, flat)
        left = np.cos(spin)[:, None] * flat + np.sin(spin)[:, None] * back
        return cls(s, point, left, np.cross(up, left), up)

    def frame(self, s: float) -> tuple[Vector, Vector]:
        """Point (3,) and axes (3, 3), columns left, posterior, up, at the parameter s."""
        index = self._index(np.float32(s))
        axes = np.stack([self.left[index], self.posterior[index], self.up[index]], axis=1)
        return self.point[index] + (s - self.s[index]) * self.up[index], axes

    def along(self, values: list[tuple[float, float]]) -> Array:
        """A quantity given at some (s, value), interpolated to every sample of the curve."""
        known = sorted(values)
        return np.interp(self.s, *np.transpose(known)).astype(np.float32)

    def coordinates(self, x: Array, y: Array, z: Array) -> tuple[NDArray[np.intp], Array, Array]:
        """Nearest sample's index, left and posterior offset in mm of design points.

        The sample is found by a few projections on the tangent; its spacing (0.25 mm along the tangent) does not
        enter the offsets to first order, which are taken across it.
        """
        heights = self.point[:, 2]
        start = np.searchsorted(heights, np.float32(z)).astype(np.float32)
        index = np.clip(start, 0, len(self.s) - 1).astype(np.intp)
        point, up = self.point.astype(np.float32), self.up.astype(np.float32)
        for _ in range(3):
            dx, dy, dz = (axis - point[index, n] for n, axis in enumerate((x, y, z)))
            step = dx * up[index, 0] + dy * up[index, 1] + dz * up[index, 2]
            index = np.clip(index + np.rint(step / np.float32(_STEP)), 0, len(self.s) - 1).astype(np.intp)
        left, back = self.left.astype(np.float32), self.posterior.astype(np.float32)
        dx, dy, dz = (axis - point[index, n] for n, axis in enumerate((x, y, z)))
        a = dx * left[index, 0] + dy * left[index, 1] + dz * left[index, 2]
        b = dx * back[index, 0] + dy * back[index, 1] + dz * back[index, 2]
        return np.asarray(index), np.asarray(a), np.asarray(b)

    def _index(self, s: np.float32) -> int:
        return int(np.clip(np.rint((s - self.s[0]) / _STEP), 0, len(self.s) - 1))
