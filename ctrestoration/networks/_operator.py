"""The scanner as the unrolled networks see it: projection of images in network units, its adjoint, and its strength.

Networks see attenuation and line integrals as the public benchmarks scale them: an image is mu in 1/cm times 255,
clipped to 0..255 (0.192 1/cm = water = 49); a sinogram is the line integral times 255/4, clipped to 0..255.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ctrestoration.physics.projector import Projector

IMAGE_SCALE = 2550.0
"""Attenuation in 1/mm times this is a network image."""

SINOGRAM_SCALE = 255.0 / 4.0
"""Line integrals times this are a network sinogram."""


class NetworkOperator:
    """Forward projection A and adjoint A^T between network images and network sinograms.

    Args:
        projector: of one geometry and grid; line integrals of attenuation in 1/mm.

    Attributes:
        strength: ||A||^2, the largest eigenvalue of A^T A. Step sizes divided by it mean the same on every scanner.
    """

    def __init__(self, projector: Projector) -> None:
        self.projector = projector
        self._scale = SINOGRAM_SCALE / IMAGE_SCALE
        self.strength = self._scale**2 * _largest_eigenvalue(projector)

    def forward(self, image: Tensor) -> Tensor:
        """Network images [..., row, column] -> network sinograms [..., view, bin]; differentiable."""
        projected: Tensor = self.projector.forward(image)
        return self._scale * projected

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The exact transpose of `forward`; differentiable."""
        image: Tensor = self.projector.adjoint(sinogram)
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


def to_network_sinogram(line_integrals: Tensor) -> Tensor:
    """Line integrals -> network sinogram."""
    return torch.clamp(line_integrals * SINOGRAM_SCALE, 0.0, 255.0)
