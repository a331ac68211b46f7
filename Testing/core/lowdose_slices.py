"""Small labeled slices for tests of low-dose recipes: no phantom, no simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample


class LabeledSlices:
    """A body with a disc ("liver") and a smaller disc in it ("lesion") under white noise."""

    def __init__(self, count: int = 8, size: int = 16, noise_hu: float = 150.0, slices: int = 1) -> None:
        self.count, self.size, self.noise_hu, self.slices = count, size, noise_hu, slices

    def __len__(self) -> int:
        return self.count

    def sample(self, key: Key) -> Sample:
        draw = key.generator("slices")
        size = self.size
        y, x = np.mgrid[:size, :size]
        row, column = draw.uniform(0.4, 0.6, 2) * size
        distance = np.hypot(y - row, x - column)
        labels = (distance < 0.3 * size).astype(np.float32)
        labels[distance < 0.12 * size] = 2
        target = np.select([labels == 2, labels == 1], [-150.0, 250.0], 0.0).astype(np.float32)
        noisy = target + self.noise_hu * draw.standard_normal(target.shape).astype(np.float32)
        sample = {"input": noisy[None], "target": target[None], "labels": labels[None]}
        if self.slices > 1:  # a body that is the same in every slice: its neighbors show it under other noise
            shape = (self.slices - 1, size, size)
            sample["around_target"] = np.broadcast_to(target, shape).copy()
            sample["around"] = (target + self.noise_hu * draw.standard_normal(shape)).astype(np.float32)
        return sample

    def fingerprint(self) -> str:
        return "labeled slices"


NETWORK = {"name": "unet", "widths": [4, 8]}
TASK: dict[str, Any] = {"network": NETWORK}


def run_file(method: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The content of a run file; its data are replaced by `LabeledSlices`."""
    return {
        "schema_version": 1,
        "seed": 5,
        "method": {"network": NETWORK, **method},
        "data": {
            "train": {"name": "lowdose"},
            "validation": {"name": "lowdose", "split": "validation"},
            "batch_size": 4,
        },
        "optim": {"lr": 3e-3},
        "hardware": {"device": "cpu", "threads": 1, "probe_steps": 3},
        "checkpoint": {"save_every": 3},
        "preview": {"every_epochs": 0},
        **changes,
    }  # fmt: skip
