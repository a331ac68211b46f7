"""InDuDoNet and InDuDoNet+: image and sinogram restored together, by unrolling a proximal gradient method.

Wang et al., "InDuDoNet: an interpretable dual domain network for CT metal artifact reduction", MICCAI 2021, Eq. 6-9;
"InDuDoNet+: a deep unfolding dual domain network for metal artifact reduction in CT images", Med. Image Anal. 85
(2023) 102729. The networks minimize ||A X - Y S||^2 + alpha ||Tr (Y S - S_ma)||^2 with learned priors on X and S;
Y is the sinogram of a prior image, S the sinogram normalized by it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctrestoration.errors import InputError
from ctrestoration.networks._blocks import (
    DUAL_CHANNELS,
    DualDomain,
    DualDomainResult,
    DualStart,
    ResidualStack,
    split,
    step_sizes,
)
from ctrestoration.networks._operator import NetworkOperator
from ctrestoration.networks.unet import UNet

IMAGE_STEP = 0.74
"""Image step size at its start (eta2 = 5, used as eta2/10) times this is the published 0.37 / ||A||^2."""


class InDuDoNet(nn.Module):
    """See the module's docstring.

    Args:
        stages: N, each with its own proximal networks.
        blocks: T, residual blocks of every proximal network.
        prior: "unet" learns the prior image from X_ma and X_LI (InDuDoNet); "nmar" weights the NMAR prior image by
            three convolutions of X_ma (InDuDoNet+). The published settings have 5,094,977 and 1,752,929 parameters.

    Raises:
        InputError: fewer than one stage or block, or an unknown prior.
    """

    def __init__(self, stages: int = 10, blocks: int = 4, prior: Literal["unet", "nmar"] = "unet") -> None:
        super().__init__()
        if stages < 1 or blocks < 1 or prior not in ("unet", "nmar"):
            raise InputError(
                f"InDuDoNet takes 1 or more stages and blocks, and prior unet or nmar, not {stages}, {blocks} and "
                f"{prior!r}."
            )
        channels = DUAL_CHANNELS + 1
        self.prior = UNet(in_channels=2) if prior == "unet" else _prior_weights()
        self.norm = nn.BatchNorm2d(1)
        self.image_start = DualStart(ResidualStack(channels, blocks))
        self.sinogram_start = DualStart(ResidualStack(channels, blocks))
        self.image_steps = nn.ModuleList(self._image_step(blocks) for _ in range(stages))
        self.sinogram_steps = nn.ModuleList(ResidualStack(channels, blocks) for _ in range(stages))
        self.eta_sinogram = step_sizes(stages, 1.0)
        self.eta_image = step_sizes(stages, 5.0)
        self.alpha = step_sizes(stages, 0.5)

    def _image_step(self, blocks: int) -> nn.Module:
        """The proximal network of the image of one stage."""
        return ResidualStack(DUAL_CHANNELS + 1, blocks)

    def prior_image(self, data: DualDomain) -> Tensor:
        """X_s, in network units.

        Raises:
            InputError: InDuDoNet+ without an NMAR prior image.
        """
        if isinstance(self.prior, UNet):
            corrected: Tensor = data.image_li + self.prior(torch.cat([data.image, data.image_li], dim=1))
            return corrected
        if data.prior is None:
            raise InputError("InDuDoNet+ needs the NMAR prior image beside the sinograms.")
        weighted: Tensor = self.prior(data.image) * data.prior
        return weighted

    def forward(self, data: DualDomain, operator: NetworkOperator) -> DualDomainResult:
        """Every stage's image and completed sinogram, in network units."""
        norm = operator.forward(torch.relu(self.norm(self.prior_image(data))))
        sinogram, sinogram_dual = self.sinogram_start(data.sinogram_li)
        image, image_dual = self.image_start(data.image_li)
        result = DualDomainResult([], [])
        for stage, (image_step, sinogram_step) in enumerate(zip(self.image_steps, self.sinogram_steps, strict=True)):
            projected = operator.forward(image)
            completed = norm * sinogram
            gradient = norm * (completed - projected)
            gradient = gradient + self.alpha[stage] * data.kept * norm * (completed - data.sinogram)
            moved = sinogram - self.eta_sinogram[stage] / 10 * gradient
            sinogram, sinogram_dual = split(sinogram_step(torch.cat([moved, sinogram_dual], dim=1)))
            completed = norm * sinogram
            step = self.eta_image[stage] / 10 * IMAGE_STEP / operator.strength
            moved = image - step * operator.adjoint(projected - completed)
            image, image_dual = split(image_step(torch.cat([moved, image_dual], dim=1)))
            result.images.append(image)
            result.sinograms.append(completed)
        return result


def _prior_weights() -> nn.Sequential:
    """WNet of InDuDoNet+: what the NMAR prior is multiplied by."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 1, 3, padding=1),
    )


NETWORK = InDuDoNet
KIND = "dual-domain"
