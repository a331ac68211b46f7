"""How images go through low-dose reconstruction and task networks, the same in training and in use."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctrestoration.networks._images import HU_SCALE

LOWEST_HU, RANGE_HU = -1001.0, 4072.0
"""0 of LoDoPaB's scale, and how many HU its 0 to 1 spans."""

Output = Literal["residual", "sigmoid"]


def reconstruct_image(network: nn.Module, image: Tensor, output: Output) -> Tensor:
    """The reconstruction in HU.

    Args:
        network: one channel to one channel.
        image: low dose in HU [sample, 1, row, column]; not clipped, since its noise reaches below air.
        output: "residual": the network sees HU / 1000 and says what to add; "sigmoid": it sees LoDoPaB's scale, and a
            sigmoid of what it says is the image on that scale (arXiv 2511.07094, section on networks).
    """
    if output == "residual":
        return image + HU_SCALE * network(image / HU_SCALE).float()
    seen = (image - LOWEST_HU) / RANGE_HU
    return LOWEST_HU + RANGE_HU * torch.sigmoid(network(seen).float())


def task_input(image: Tensor, window: tuple[float, float] | None) -> Tensor:
    """What a task network sees of an image in HU.

    Args:
        image: HU [sample, 1, row, column].
        window: HU that become 0 and 1, clipped between; None: HU / 1000, as ours are trained.
    """
    if window is None:
        return image / HU_SCALE
    low, high = window
    return ((image - low) / (high - low)).clamp(0, 1)
