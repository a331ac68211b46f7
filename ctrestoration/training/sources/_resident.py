"""Samples that lie on the device of the training, all of them: batches are cut out there.

A small network on a GPU waits for its data otherwise: reading, cropping and copying a slice takes a CPU milliseconds,
the step one. Imported only where torch is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctrestoration.jobs.outcome import OutOfMemoryError
from ctrestoration.training.hardware import is_out_of_memory
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import DamagedSampleError, Sample, refuse_nonfinite
from ctrestoration.training.sources._augment import BODY_HU, View

Draw = Callable[[Key, NDArray[np.bool_]], View]
"""What is seen of a sample: from its key, and where the patient is [row, column]."""


class ResidentSamples:
    """Every sample of a source, on a device.

    Args:
        samples: in their order, alike in shape, one channel in every array.
        count: how many there are.
        device: where they are kept.
        draw: what is seen of each.

    Raises:
        DamagedSampleError: one holds NaN or infinity, or has another shape than the first.
        OutOfMemoryError: the device has too little memory for all of them.
    """

    def __init__(self, samples: Iterable[Sample], count: int, device: torch.device, draw: Draw) -> None:
        self._draw = draw
        self._groups: list[tuple[tuple[str, ...], Tensor]] = []
        self._bodies = np.empty(0, dtype=bool)
        for index, sample in enumerate(samples):
            refuse_nonfinite(sample, index)
            if not self._groups:
                self._allocate(sample, count, device)
                first = {name: array.shape for name, array in sample.items()}
            if (shapes := {name: array.shape for name, array in sample.items()}) != first:
                raise DamagedSampleError(f"Sample {index} has arrays {shapes}, the first one {first}: no one batch.")
            for names, tensor in self._groups:
                tensor[index] = torch.from_numpy(np.concatenate([sample[name] for name in names])).to(device)
            self._bodies[index] = sample["target"][0] > BODY_HU

    def _allocate(self, sample: Sample, count: int, device: torch.device) -> None:
        """Arrays of one size lie side by side, so that one operation cuts all of them."""
        by_shape: dict[tuple[int, ...], list[str]] = {}
        for name, array in sample.items():
            by_shape.setdefault(array.shape, []).append(name)
        try:
            self._groups = [
                (tuple(names), torch.empty((count, len(names), *shape[1:]), dtype=torch.float32, device=device))
                for shape, names in by_shape.items()
            ]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = 4e-9 * count * sum(array.size for array in sample.values())
            raise OutOfMemoryError(
                f"{count} samples of {size:.1f} GB in all do not fit into the memory of {device}: leave data...keep "
                "out."
            ) from error
        self._bodies = np.empty((count, *sample["target"].shape[1:]), dtype=bool)

    def batch(self, keys: Sequence[Key]) -> dict[str, Tensor]:
        """The samples of these keys: the same bits as the source's own, side by side on the device."""
        views = [self._draw(key, self._bodies[key.index]) for key in keys]
        made: dict[str, Tensor] = {"index": torch.tensor([key.index for key in keys])}
        for names, tensor in self._groups:
            cut = torch.stack([view.of_images(tensor[key.index]) for key, view in zip(keys, views, strict=True)])
            made |= {name: cut[:, place : place + 1].contiguous() for place, name in enumerate(names)}
        return made
