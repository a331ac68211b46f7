"""Filters that can be turned: a Fourier series on a disc, sampled on a rotated grid.

Xie et al., "Fourier series expansion based filter parametrization for equivariant convolutions", IEEE TPAMI 45 (2023)
4537; used as in Wang et al., OSCNet (MICCAI 2022) and MEPNet (MICCAI 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ORIENTATIONS = 8
FREQUENCIES = 5
"""Frequencies -2..2 in both directions."""


def rotated_basis(size: int) -> Tensor:
    """Orthonormal basis functions on the grids of every orientation.

    Args:
        size: taps of the filter in each direction, odd.

    Returns:
        float32 [orientation, size, size, function]; orthonormal in the mean over all orientations.
    """
    axis = torch.linspace(-1.0, 1.0, size, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    disc = torch.exp(-torch.clamp(rows**2 + columns**2 - 1.0, min=0.0) / 0.2)
    waves = [(k, m) for k in range(-2, 3) for m in range(-2, 3)]
    grids = []
    for number in range(ORIENTATIONS):
        angle = 2.0 * math.pi * number / ORIENTATIONS
        across = math.cos(angle) * columns + math.sin(angle) * rows
        down = math.cos(angle) * rows - math.sin(angle) * columns
        scale = math.pi * (FREQUENCIES - 1) / FREQUENCIES
        phases = torch.stack([scale * (k * across + m * down) for k, m in waves], dim=-1)
        grids.append(disc[..., None] * torch.cat([torch.cos(phases), torch.sin(phases)], dim=-1))
    stacked = torch.stack(grids)
    flat = stacked.reshape(-1, stacked.shape[-1])
    _, values, right = torch.linalg.svd(flat, full_matrices=False)
    rank = int((values > 1e-6 * values[0]).sum())
    turned = stacked @ (right[:rank].T / values[:rank])
    return (math.sqrt(ORIENTATIONS) * turned).to(torch.float32)


class LiftingConvolution(nn.Module):
    """Convolution of an image with filters in every orientation: [sample, c, ...] -> [sample, out * 8, ...].

    Turning the image by 90 degrees turns every output and shifts its orientation axis by two.
    """

    basis: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int = 5) -> None:
        super().__init__()
        self.register_buffer("basis", rotated_basis(size), persistent=False)
        functions = self.basis.shape[-1]
        bound = 1.0 / math.sqrt(in_channels * size * size)
        self.coefficients = nn.Parameter(torch.empty(out_channels, in_channels, functions).uniform_(-bound, bound))
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        weight = torch.einsum("oif,rhwf->orihw", self.coefficients, self.basis).flatten(0, 1)
        return functional.conv2d(image, weight, padding=self.size // 2)


class GroupConvolution(nn.Module):
    """Convolution between features in every orientation: [sample, in * 8, ...] -> [sample, out * 8, ...]."""

    basis: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int = 5) -> None:
        super().__init__()
        self.register_buffer("basis", rotated_basis(size), persistent=False)
        functions = self.basis.shape[-1]
        bound = 1.0 / math.sqrt(in_channels * ORIENTATIONS * size * size)
        shape = (out_channels, in_channels, ORIENTATIONS, functions)
        self.coefficients = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        # A filter turned by r reads input orientation s with the coefficients of s - r.
        turns = [
            torch.einsum("oisf,hwf->oishw", self.coefficients.roll(r, dims=2), self.basis[r])
            for r in range(ORIENTATIONS)
        ]
        weight = torch.stack(turns, dim=1).flatten(2, 3).flatten(0, 1)
        return functional.conv2d(features, weight, padding=self.size // 2)


class OrientationNorm(nn.Module):
    """Batch normalization whose statistics and weights are shared by the orientations of a feature."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """[sample, channel * 8, row, column], same shape out."""
        apart = features.unflatten(1, (-1, ORIENTATIONS))
        normalized: Tensor = self.norm(apart)
        return normalized.flatten(1, 2)
