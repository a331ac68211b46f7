"""MEPNet: InDuDoNet for sparse views, with an image prior that turns with the image.

Wang et al., "MEPNet: a model-driven equivariant proximal network for joint sparse-view reconstruction and metal
artifact reduction in CT images", MICCAI 2023. Sparse views need no other network: `kept` is 0 in views that were not
measured, and the images of `DualDomain` are reconstructed from the measured ones; see `every_nth_view` of the source
`scans`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctrestoration.networks._blocks import DUAL_CHANNELS
from ctrestoration.networks._rotated import ORIENTATIONS, GroupConvolution, LiftingConvolution, OrientationNorm
from ctrestoration.networks.indudonet import InDuDoNet

FEATURES = 4


class MEPNet(InDuDoNet):
    """See the module's docstring.

    Args:
        stages: N.
        blocks: T of the sinogram's proximal networks; the image's have T - 1 equivariant residual blocks.
    """

    def __init__(self, stages: int = 10, blocks: int = 4) -> None:
        super().__init__(stages, blocks, "unet")

    def _image_step(self, blocks: int) -> nn.Module:
        return EquivariantStep(DUAL_CHANNELS + 1, max(1, blocks - 1))


class EquivariantStep(nn.Module):
    """X <- ReLU(in + 0.01 out), out from features in eight orientations.

    Args:
        channels: of input and output.
        blocks: residual blocks, each of three (convolution, normalization, ReLU).
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.head = LiftingConvolution(channels, FEATURES)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(
                    layer
                    for _ in range(3)
                    for layer in (
                        GroupConvolution(FEATURES, FEATURES),
                        OrientationNorm(FEATURES),
                        nn.ReLU(inplace=True),
                    )
                )
            )
            for _ in range(blocks)
        )
        self.project = nn.Conv2d(FEATURES, channels, 1)
        self.tail = nn.Conv2d(channels, channels, 3, padding=1)

    def equivariant(self, features: Tensor) -> Tensor:
        """Features that turn with the image, averaged over orientations: [sample, FEATURES, row, column]."""
        turned = self.head(features)
        for block in self.blocks:
            turned = turned + 0.1 * block(turned)
        return turned.unflatten(1, (FEATURES, ORIENTATIONS)).mean(dim=2)

    def forward(self, features: Tensor) -> Tensor:
        """[sample, channel, row, column], same shape out."""
        out: Tensor = self.tail(self.project(self.equivariant(features)))
        return torch.relu(features + 0.01 * out)


NETWORK = MEPNet
KIND = "dual-domain"
