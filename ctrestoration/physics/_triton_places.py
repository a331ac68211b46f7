"""Where pixels fall on the detector, in Triton, shared by all kernels that ask. Imported only with Triton.

All in float32. A place is a number of bins from the first one, some hundreds, so float32 is right to 1e-4 bin, and the
images of `_triton_fbp` agree with the CPU's, whose places are float64, to 1e-4 of their maximum. Float64 would do no
harm on a data center GPU, but runs at 1/64 of the speed on others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl

from ctrestoration.physics.fbp import detector_facts
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid

MARGIN = 0.05
"""What is added on either side of a span of candidates, in bins or pixels: far more than the rounding of float32."""

_FAN_STEP = 0.2
"""Radians between two rays from which on a fan is too coarse to reason with: such scans are no scans."""


@dataclass(frozen=True)
class Places:
    """What the kernels are told of a geometry and a grid.

    Attributes:
        cosines, sines: of the views, float32 [view] on the device.
        numbers: x of the first column, y of the first row, column and row spacing, distance of the source (all mm),
            place of the central ray in bins, bins in a pitch.
        kind: 0 parallel, 1 flat fan, 2 curved fan.
        candidates: the most bins of one view whose rays touch a pixel.
    """

    cosines: torch.Tensor
    sines: torch.Tensor
    numbers: tuple[float, float, float, float, float, float, float]
    kind: int
    candidates: int


def supported(geometry: Geometry, grid: ImageGrid) -> bool:
    """Whether every pixel lies in front of the source, and rays are as close together as those of a scanner."""
    if not isinstance(geometry, FanFlat | FanArc):
        return True
    gamma = geometry.fan_angles
    reach = _reach(grid) + max(grid.spacing)
    return bool(
        geometry.source_distance > 1.01 * reach
        and np.abs(gamma).max() + np.diff(gamma).max() < 0.5 * math.pi
        and np.diff(gamma).max() < _FAN_STEP
    )


@lru_cache(maxsize=8)
def places(geometry: Geometry, grid: ImageGrid, device: str) -> Places:
    """The facts of one geometry and grid on one device; the last few are kept."""
    kind, distance, middle, per_pitch = detector_facts(geometry)
    x, y = grid.coordinates()
    cosines, sines = (
        torch.from_numpy(turn(geometry.angles).astype(np.float32)).to(device) for turn in (np.cos, np.sin)
    )
    width = 2.0 * (_most_spread(kind, distance, grid) * per_pitch + MARGIN)
    return Places(
        cosines,
        sines,
        (float(x[0]), float(y[0]), grid.spacing[1], grid.spacing[0], distance, middle, per_pitch),
        kind,
        math.floor(width * (1 + 1e-4)) + 1,
    )


def _reach(grid: ImageGrid) -> float:
    """Distance of the outermost pixel center from the isocenter in mm."""
    x, y = grid.coordinates()
    return math.hypot(x[0], y[0])


def _most_spread(kind: int, distance: float, grid: ImageGrid) -> float:
    """Upper bound of the second result of `span`, in mm or radians: it is largest on the circle around all pixels."""
    step, radius = max(grid.spacing), _reach(grid)
    if kind == 0:
        return step
    turn = np.linspace(-math.pi, math.pi, 4096)
    across, along = radius * np.sin(turn), distance - radius * np.cos(turn)
    if kind == 1:
        return float((distance * np.hypot(across, along) * step / (along * (along - step))).max()) * (1 + 1e-4)
    return step / (distance - radius - step)


@triton.jit
def _arctangent(ratio):  # type: ignore[no-untyped-def]
    """Arcus tangens for -1..1: a polynomial through Chebyshev nodes, right to 1.2e-7, without a vendor's library."""
    z = ratio * ratio
    value = -0.0017011700903822203 * z + 0.010487649399874501
    value = value * z - 0.030351865114653265
    value = value * z + 0.05708955633078858
    value = value * z - 0.08349724996759872
    value = value * z + 0.10932341513279548
    value = value * z - 0.1426001608570026
    value = value * z + 0.19998075281505312
    value = value * z - 0.3333327629200022
    value = value * z + 0.9999999971605468
    return ratio * value


@triton.jit
def pixels_of_tile(columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows and columns of the pixels of this program's tile, in an image of so many columns."""
    wide = tl.cdiv(columns, COLUMNS)
    number = tl.arange(0, ROWS * COLUMNS)
    row = tl.program_id(0) // wide * ROWS + number // COLUMNS
    column = tl.program_id(0) % wide * COLUMNS + number % COLUMNS
    return row, column


@triton.jit
def place(x, y, c, s, distance, first, per_pitch, KIND: tl.constexpr):  # type: ignore[no-untyped-def]
    """Place of pixels on the detector in bins, and the FBP's weight there; as in `_numba_kernels.backproject`."""
    across = x * c + y * s
    along = distance - x * s + y * c
    if KIND == 0:
        at, weight = first + across * per_pitch, across * 0.0 + 1.0
    elif KIND == 1:
        scale = distance / along
        at, weight = first + across * scale * per_pitch, scale * scale
    else:
        square = across * across + along * along
        # Half the angle has a tangent below 1 wherever the pixel lies in front of the source.
        angle = 2.0 * _arctangent(across / (tl.sqrt(square) + along))
        at, weight = first + angle * per_pitch, 1.0 / square
    return at, weight


@triton.jit
def span(x, y, c, s, dx, dy, distance, first, per_pitch, KIND: tl.constexpr):  # type: ignore[no-untyped-def]
    """Place of pixels, and how far from it a ray may pass the detector that lies within one pixel of them.

    A pixel's neighbors along row and column are projected exactly, not to first order: no ray is missed.
    """
    across = x * c + y * s
    along = distance - x * s + y * c
    turned = tl.maximum(dx * tl.abs(c * along + s * across), dy * tl.abs(s * along - c * across))
    longest = tl.maximum(dx, dy)
    if KIND == 0:
        at, reach = first + across * per_pitch, tl.maximum(dx * tl.abs(c), dy * tl.abs(s)) * per_pitch + across * 0.0
    elif KIND == 1:
        inverse = distance * per_pitch / along
        at, reach = first + across * inverse, turned * inverse / (along - longest)
    else:
        radius = tl.sqrt(across * across + along * along)
        angle = 2.0 * _arctangent(across / (radius + along))
        at, reach = first + angle * per_pitch, turned * per_pitch / (radius * (radius - longest))
    return at, reach
