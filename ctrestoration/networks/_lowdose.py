"""How images go through low-dose reconstruction and task networks, the same in training and in use."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctrestoration.networks._images import HU_SCALE

LOWEST_HU, RANGE_HU = -1001.0, 4072.0
"""0 of LoDoPaB's scale, and how many HU its 0 to 1 spans."""

Output = Literal["residual", "sigmoid"]


def reconstruct_image(network: nn.Module, image: Tensor, output: Output, around: Tensor | None = None) -> Tensor:
    """The reconstruction in HU.

    Args:
        network: one channel for each slice that it sees, to one channel.
        image: low dose in HU [sample, 1, row, column]; not clipped, since its noise reaches below air.
        output: "residual": the network sees HU / 1000 and says what to add; "sigmoid": it sees LoDoPaB's scale, and a
            sigmoid of what it says is the image on that scale (arXiv 2511.07094, section on networks).
        around: its neighbors from the feet up, without itself, in HU [sample, slices - 1, row, column]; None where the
            network sees one slice.
    """
    seen = image
    if around is not None:
        below = around.shape[1] // 2
        seen = torch.cat([around[:, :below], image, around[:, below:]], dim=1)
    if output == "residual":
        return image + HU_SCALE * network(seen / HU_SCALE).float()
    return LOWEST_HU + RANGE_HU * torch.sigmoid(network((seen - LOWEST_HU) / RANGE_HU).float())


def neighbors_of(z: int, count: int, slices: int) -> list[int]:
    """Indices of the slices around one, without itself; beyond an end of the scan the last slice is repeated.

    Args:
        z: the middle slice.
        count: how many slices there are.
        slices: how many the network sees, an odd number.
    """
    half = slices // 2
    return [min(max(z + step, 0), count - 1) for step in range(-half, half + 1) if step]


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
