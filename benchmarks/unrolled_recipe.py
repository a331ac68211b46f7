"""InDuDoNet's published training step without a run around it, for the benchmarks that time it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ctrestoration.physics.projector import Projector
from ctrestoration.training.method import Parts
from ctrestoration.training.runfile import RunConfig

PRESET = "syndeeplesion-640"
PUBLISHED_STAGES = 10


def indudonet(stages: int, size: int) -> tuple[Any, Parts]:
    """The recipe of the published losses and its network, with seed 0, for images of size x size pixels of 1 mm."""
    config = RunConfig.model_validate(
        {
            "schema_version": 1,
            "method": {"name": "unrolled", "network": {"name": "indudonet", "stages": stages}},
            "data": {
                "train": {"name": "scans", "size": size, "pixel_mm": 1.0, "preset": PRESET, "phantoms": 1},
                "batch_size": 1,
            },
        }
    )
    method = config.method.create(config)
    torch.manual_seed(0)
    return method, method.build(config)


def batch_of_disks(projector: Projector) -> dict[str, torch.Tensor]:
    """A disk with two bright disks, and a trace around its middle: what is computed does not depend on the values."""
    rows, columns = np.mgrid[: projector.grid.shape[0], : projector.grid.shape[1]] / projector.grid.shape[0] - 0.5
    hu = np.where(rows**2 + columns**2 < 0.16, 40.0, -1000.0)
    hu[(np.abs(columns) - 0.1) ** 2 + rows**2 < 0.001] = 1000.0
    sinogram = projector.forward((0.0192 * (1 + hu / 1000)).astype(np.float32))
    metal = ((np.abs(columns) - 0.1) ** 2 + rows**2 < 0.0005).astype(np.float32)
    trace = projector.forward(metal) > 0
    arrays = {"input": hu, "target": hu, "li": hu, "metal": metal, "sinogram": sinogram, "sinogram_li": sinogram}
    arrays |= {"target_sinogram": sinogram, "kept": ~trace}
    batch = {name: torch.from_numpy(np.asarray(array, dtype=np.float32))[None, None] for name, array in arrays.items()}
    return {**batch, "index": torch.tensor([0])}
