"""U-Net: the encoder-decoder with skip connections of Ronneberger et al., MICCAI 2015, for restoration.

Differences from the paper: padded convolutions (the output has the size of the input), normalization after each
convolution, bilinear upsampling instead of transposed convolutions (no checkerboard), a linear 1x1 output. With the
default widths and two input channels it is the network that InDuDoNet uses for its prior (3,351,969 parameters).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrestoration.errors import InputError


class UNet(nn.Module):
    """U-Net of any depth.

    Args:
        widths: channels by level; the default has 3.35 million parameters.
        in_channels: channels of the input image.
        out_channels: channels of the output, which is linear (fit for a residual in HU / 1000).
        norm: normalization after each convolution.
        dropout: share of channels dropped after each block in training.

    Input [sample, in_channels, row, column], output [sample, out_channels, row, column]. Sizes that the depth does not
    divide are padded by reflection and cut again.

    Raises:
        InputError: fewer than two levels, an unknown norm, or a dropout outside 0..1.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256, 256),
        in_channels: int = 1,
        out_channels: int = 1,
        norm: Literal["batch", "instance", "none"] = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise InputError(f"A U-Net needs at least two levels of at least one channel, not {tuple(widths)}.")
        if norm not in ("batch", "instance", "none") or not 0 <= dropout < 1:
            raise InputError(f"A U-Net takes norm batch, instance or none and dropout 0..1, not {norm!r}, {dropout}.")
        self.widths = tuple(widths)
        self.down = nn.ModuleList()
        channels = in_channels
        for width in widths:
            self.down.append(_block(channels, width, norm, dropout))
            channels = width
        self.up = nn.ModuleList()
        for level in range(len(widths) - 2, -1, -1):
            # Each decoder block already narrows to the width of the level above, which halves the parameters.
            narrow = widths[max(level - 1, 0)]
            self.up.append(_block(channels + widths[level], narrow, norm, dropout))
            channels = narrow
        self.head = nn.Conv2d(channels, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        rows, columns = image.shape[-2:]
        features, skips = self._pad(image), []
        for level, block in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = block(features)
            skips.append(features)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = block(torch.cat([features, skip], dim=1))
        result: Tensor = self.head(features)[..., :rows, :columns]
        return result

    def _pad(self, image: Tensor) -> Tensor:
        step = 2 ** (len(self.down) - 1)
        rows, columns = image.shape[-2:]
        below, right = -rows % step, -columns % step
        if not below and not right:
            return image
        # Reflection needs more pixels than it adds; tiny images repeat their edge instead.
        if below >= rows or right >= columns:
            return functional.pad(image, (0, right, 0, below), mode="replicate")
        # What functional.pad does, whose gradient on CUDA is refused where training has to be deterministic.
        image = torch.cat([image, image[..., rows - 1 - below : rows - 1, :].flip(-2)], dim=-2)
        return torch.cat([image, image[..., columns - 1 - right : columns - 1].flip(-1)], dim=-1)


def _block(channels: int, width: int, norm: str, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source in (channels, width):
        layers.append(nn.Conv2d(source, width, 3, padding=1))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(width))
        elif norm == "instance":
            layers.append(nn.InstanceNorm2d(width, affine=True))
        layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)


NETWORK = UNet
KIND = "image"
LIMITS = {"widths": {"min_length": 2, "max_length": 7}, "dropout": {"ge": 0, "lt": 1}}
