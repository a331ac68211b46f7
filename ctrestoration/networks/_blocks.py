"""Pieces that the unrolled networks share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

DUAL_CHANNELS = 32
"""Extra channels that carry memory from stage to stage beside the image itself (Nc of the papers)."""


class DualDomain(NamedTuple):
    """What a dual-domain network is given; network units, see `networks._operator`.

    Attributes:
        image: the uncorrected image X_ma [sample, 1, row, column].
        image_li: the LI-corrected image X_LI, same shape.
        sinogram: the measured sinogram S_ma [sample, 1, view, bin].
        sinogram_li: the interpolated one S_LI, same shape.
        kept: Tr, 1 where a ray was measured and met no metal, else 0, same shape.
        prior: the NMAR prior image, same shape as the image; only InDuDoNet+ looks at it.
    """

    image: Tensor
    image_li: Tensor
    sinogram: Tensor
    sinogram_li: Tensor
    kept: Tensor
    prior: Tensor | None = None


class DualDomainResult(NamedTuple):
    """What each stage of a dual-domain network says, the last one being the answer.

    Attributes:
        images: X_1 ... X_N, network images.
        sinograms: Y S_1 ... Y S_N, completed network sinograms.
    """

    images: list[Tensor]
    sinograms: list[Tensor]


class ResidualStack(nn.Module):
    """T times z <- ReLU(z + BN(conv3x3(ReLU(BN(conv3x3(z)))))), all with the same number of channels.

    Args:
        channels: of input, output and everything between.
        blocks: T.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
            )
            for _ in range(blocks)
        )

    def forward(self, features: Tensor) -> Tensor:
        """[sample, channel, row, column], same shape out."""
        features = _laid_out(features, self.blocks)
        for block in self.blocks:
            change = block(features)
            if change.dtype == features.dtype:
                features = torch.relu_(change.add_(features))
            else:  # in bfloat16 only what is added: channel 0 is the image itself, and 8 bits of it are 20 HU
                features = torch.relu_(features + change)
        return _laid_out(features, self.blocks)


def _laid_out(features: Tensor, network: nn.Module) -> Tensor:
    """Features as they are, in the memory layout of the network's first convolution, and so their gradient.

    An image beside its dual channels is a slice of its neighbor's memory and comes channels first; with weights that
    are channels last, both layouts met in every layer, and its normalization took four times as long.
    """
    weight = next(network.parameters())
    if weight.is_contiguous() or not weight.is_contiguous(memory_format=torch.channels_last):
        return features
    laid_out: Tensor = _ChannelsLast.apply(features)
    return laid_out


class _ChannelsLast(torch.autograd.Function):
    """The same values with channels next to each other, forward and backward."""

    @staticmethod
    def forward(context: Any, features: Tensor) -> Tensor:
        return features.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=torch.channels_last)


class DualStart(nn.Module):
    """The first image (or sinogram) and its dual channels, from the LI-corrected one.

    Args:
        step: the network that refines both, `DUAL_CHANNELS` + 1 channels.
    """

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.spread = nn.Conv2d(1, DUAL_CHANNELS, 3, padding=1, bias=False)
        nn.init.constant_(self.spread.weight, 1.0 / 9.0)
        self.step = step

    def forward(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """[sample, 1, row, column] -> (refined, same shape; dual channels)."""
        return split(self.step(torch.cat([first, self.spread(first)], dim=1)))


def split(features: Tensor) -> tuple[Tensor, Tensor]:
    """Channel 0 is the image; the others are its dual channels."""
    image, dual = features.split([1, features.shape[1] - 1], dim=1)
    return image, dual


def step_sizes(stages: int, value: float) -> nn.Parameter:
    """A learnable step size for each stage."""
    return nn.Parameter(torch.full((stages,), value))
