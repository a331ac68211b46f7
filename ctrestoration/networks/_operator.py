"""The scanner as the unrolled networks see it: projection of images in network units, its adjoint, and its strength.

Networks see attenuation and line integrals as the public benchmarks scale them: an image is mu in 1/cm times 255,
clipped to 0..255 (0.192 1/cm = water = 49); a sinogram is the line integral times 255/4, clipped to 0..255.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ctrestoration.hounsfield import MU_WATER as MU_WATER
from ctrestoration.physics.geometry import ImageGrid
from ctrestoration.physics.projector import Projector

FIELD_MM = 153.6
"""Bodies are seen as if the longer side of their image were so long, as in the public benchmarks: line integrals of
true bodies would not fit into the range of network sinograms."""

IMAGE_SCALE = 2550.0
"""Attenuation in 1/mm times this is a network image."""

SINOGRAM_SCALE = 255.0 / 4.0
"""Line integrals times this are a network sinogram."""


class NetworkOperator:
    """Forward projection A and adjoint A^T between network images and network sinograms.

    Args:
        projector: of one geometry and grid; line integrals of attenuation in 1/mm.

    Attributes:
        lengths: factor of all lengths that brings the image to `FIELD_MM`.
        strength: ||A||^2, the largest eigenvalue of A^T A. Step sizes divided by it mean the same on every scanner.
    """

    def __init__(self, projector: Projector) -> None:
        self.projector = projector
        self.lengths = nominal_lengths(projector.grid)
        self._scale = self.lengths * SINOGRAM_SCALE / IMAGE_SCALE
        self.strength = self._scale**2 * _largest_eigenvalue(projector)

    def forward(self, image: Tensor) -> Tensor:
        """Network images [..., row, column] -> network sinograms [..., view, bin]; differentiable."""
        projected: Tensor = self.projector.forward(image.float())  # 8 bits of bfloat16 are too few for either domain
        return self._scale * projected

    def to_network(self, line_integrals: Tensor) -> Tensor:
        """Network sinogram of line integrals of attenuation in 1/mm along this scanner's rays."""
        return torch.clamp(line_integrals * (self.lengths * SINOGRAM_SCALE), 0.0, 255.0)

    def to_line_integrals(self, sinogram: Tensor) -> Tensor:
        """The inverse of `to_network` where nothing was clipped."""
        return sinogram / (self.lengths * SINOGRAM_SCALE)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The exact transpose of `forward`; differentiable."""
        image: Tensor = self.projector.adjoint(sinogram.float())
        return self._scale * image


@lru_cache(maxsize=8)
def _largest_eigenvalue(projector: Projector, iterations: int = 12) -> float:
    """Power iteration from a constant image, which is close to the answer already: line integrals add up."""
    import numpy as np

    image = np.ones(projector.grid.shape, dtype=np.float32)
    value = 0.0
    for _ in range(iterations):
        image /= np.linalg.norm(image)
        image = projector.adjoint(projector.forward(image))
        value = float(np.linalg.norm(image))
    return value


def to_network_image(mu: Tensor) -> Tensor:
    """Attenuation in 1/mm -> network image."""
    return torch.clamp(mu * IMAGE_SCALE, 0.0, 255.0)


def from_hu(hu: Tensor) -> Tensor:
    """HU -> network image."""
    return to_network_image(MU_WATER * (1.0 + hu / 1000.0))


def to_hu(image: Tensor) -> Tensor:
    """Network image -> HU."""
    return image / IMAGE_SCALE * (1000.0 / MU_WATER) - 1000.0


def nominal_lengths(grid: ImageGrid) -> float:
    """Factor by which lengths are multiplied so that the longer side of the image becomes `FIELD_MM`."""
    factor = FIELD_MM / max(size * step for size, step in zip(grid.shape, grid.spacing, strict=True))
    return 1.0 if abs(factor - 1.0) < 1e-6 else factor
