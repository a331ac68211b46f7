"""U-Net for sinograms of a full turn: the first view is the neighbor of the last one.

The U-Net itself pads by zeros. So that no view has an edge, views are repeated around both ends before it, farther
than it can look, and cut off again after it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctrestoration.networks.unet import UNet


class SinogramUNet(nn.Module):
    """U-Net for sinograms of a full turn.

    Args:
        widths: channels by level.
        in_channels: channels of the input.
        out_channels: channels of the output, which is linear.
        norm: normalization after each convolution.

    Input [sample, in_channels, view, bin], output [sample, out_channels, view, bin]. Turning the input by a multiple of
    2^(levels - 1) views turns the output, where that divides the number of views.

    Raises:
        InputError: fewer than two levels, or an unknown norm.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256, 256),
        in_channels: int = 1,
        out_channels: int = 1,
        norm: Literal["batch", "instance", "none"] = "batch",
    ) -> None:
        super().__init__()
        self.unet = UNet(widths, in_channels, out_channels, norm)
        # Two 3x3 convolutions each way on every level, and upsampling looks one coarse pixel farther.
        reach = sum(2 << level for level in range(len(widths))) + sum(4 << level for level in range(len(widths) - 1))
        step = 1 << (len(widths) - 1)
        self.halo = -(-reach // step) * step

    @property
    def head(self) -> nn.Module:
        """The last layer."""
        return self.unet.head

    def forward(self, sinogram: Tensor) -> Tensor:
        """See the class and the module."""
        views = sinogram.shape[-2]
        around = torch.arange(-self.halo, views + self.halo, device=sinogram.device) % views
        result: Tensor = self.unet(sinogram[..., around, :])[..., self.halo : self.halo + views, :]
        return result


NETWORK = SinogramUNet
KIND = "sinogram"
LIMITS = {"widths": {"min_length": 2, "max_length": 7}}
