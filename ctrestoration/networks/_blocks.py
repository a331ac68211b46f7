"""Pieces that the unrolled networks share."""

from __future__ import annotations

from typing import NamedTuple

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
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
            )
            for _ in range(blocks)
        )

    def forward(self, features: Tensor) -> Tensor:
        """[sample, channel, row, column], same shape out."""
        for block in self.blocks:
            features = torch.relu(features + block(features))
        return features


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
    return features[:, :1], features[:, 1:]


def step_sizes(stages: int, value: float) -> nn.Parameter:
    """A learnable step size for each stage."""
    return nn.Parameter(torch.full((stages,), value))
