"""What image networks see, the same in training and in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ctrestoration.errors import InputError

HU_SCALE = 1000.0
"""Networks see HU / 1000: water 0, air -1, dense bone about 1.5."""

SEEN_HU = (-1024.0, 3071.0)
"""Networks see HU clipped to the range of 12-bit scanners, so that simulated metal looks as it does in clinical CT."""


def network_inputs(batch: Mapping[str, Tensor], inputs: Sequence[str]) -> Tensor:
    """What an image network sees [sample, len(inputs), row, column].

    Args:
        batch: [sample, 1, row, column] by name: images in HU; "metal" 0..1, which becomes 0 or 1.
        inputs: which of them, in this order.

    Raises:
        InputError: the batch lacks one of the inputs.
    """
    missing = [name for name in inputs if name not in batch]
    if missing:
        raise InputError(f"The network looks at {', '.join(inputs)}, and the data hold no {missing[0]}.")
    low, high = SEEN_HU
    channels = [
        (batch[name] >= 0.5).to(torch.float32) if name == "metal" else batch[name].clamp(low, high) / HU_SCALE
        for name in inputs
    ]
    return torch.cat(channels, dim=1)
