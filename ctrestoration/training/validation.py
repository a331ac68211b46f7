"""Validation: metrics and pictures on data that no update ever sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from ctrestoration.training.keys import Key
from ctrestoration.training.loader import Loader
from ctrestoration.training.method import Batch, Stage
from ctrestoration.training.update import Updater


class Validator:
    """Runs a method over the validation data.

    Args:
        updater: holds method, networks, precision and device.
        loader: of the validation source.
        seed: the run's seed.
        batch_size: samples at once.
    """

    def __init__(self, updater: Updater, loader: Loader, seed: int, batch_size: int) -> None:
        self.updater = updater
        self.loader = loader
        self.seed = seed
        self.batch_size = batch_size

    @torch.no_grad()
    def metrics(self, stage: Stage, most: int | None = None) -> dict[str, float]:
        """The mean of every metric of a stage over all samples, or over the first `most`."""
        self._evaluation_mode()
        sums: dict[str, float] = {}
        count = 0
        samples = len(self.loader.source) if most is None else min(most, len(self.loader.source))
        for batch in self._batches(range(samples), self.batch_size):
            with self.updater.autocast():
                values = self.updater.method.validate(stage, batch, self.updater.parts)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value.double().sum())
            count += len(batch["index"])
        return {name: value / count for name, value in sums.items()}

    @torch.no_grad()
    def pictures(self, stage: Stage, count: int) -> list[list[NDArray[np.float32]]]:
        """Input, output and target of the first samples."""
        self._evaluation_mode()
        rows = []
        for batch in self._batches(range(min(count, len(self.loader.source))), 1):
            with self.updater.autocast():
                rows.append(self.updater.method.preview(stage, batch, self.updater.parts))
        return rows

    def _evaluation_mode(self) -> None:
        for module in self.updater.parts.modules.values():
            module.eval()

    def _batches(self, indices: range, size: int) -> Iterator[Batch]:
        keys = [Key(self.seed, "validation", 0, index) for index in indices]
        for batch in self.loader.batches([keys[start : start + size] for start in range(0, len(keys), size)]):
            yield self.updater.to_device(batch)
