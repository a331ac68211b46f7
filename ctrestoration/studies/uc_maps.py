"""The uncertainty maps of a finished training with the UC loss: how much of an image they weight at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctrestoration.control import Control

ABOVE = 0.1
"""U above this counts as weighted; with W = 1 + U all else is trained as before."""

SCANS = 16
"""So many training scans are looked at, the first ones."""


def map_statistics(folder: Path, scans: Path, control: Control) -> dict[str, Any]:
    """Mean of U, and the share of pixels outside metal where it is above `ABOVE`, over the first training scans.

    Args:
        folder: of a finished run; the weights of its warm-up's epochs lie in it.
        scans: folder of the training scans.
        control: reported to between scans.

    Returns:
        {"mean", "share_above", "scans"}; the first two None where the run keeps no weights of its warm-up any more.
    """
    import torch

    from ctrestoration.losses.uncertainty import uncertainty_map
    from ctrestoration.studies.mar_scores import batch_of
    from ctrestoration.training import snapshots
    from ctrestoration.training.launch import open_run
    from ctrestoration.training.method import Parts
    from ctrestoration.training.recipes._base import outside_metal
    from ctrestoration.training.recipes._uncertainty import EarlyNetworks
    from ctrestoration.training.sources.stored_scans import Config

    run, config = open_run(folder)
    if not any(run.snapshots.glob(f"{EarlyNetworks.WARM}-*.safetensors")):
        return {"mean": None, "share_above": None, "scans": 0}
    torch.set_num_threads(1)
    method = config.method.create(config)
    early = snapshots.load(run, EarlyNetworks.WARM, method.build(config).modules["g"])
    settings: Any = getattr(config.method, "uncertainty", config.method)
    source = Config(name="stored_scans", folder=scans).create()
    count = min(SCANS, len(source))
    total, above, pixels = 0.0, 0, 0
    with torch.inference_mode():
        for index in control.track(range(count), f"Uncertainty of {folder.name}"):
            batch = batch_of(source, index)
            metal = 1.0 - outside_metal(batch)
            outputs = torch.stack([method.restore(batch, Parts({"g": network}, {})) for network in early])
            found = uncertainty_map(outputs, metal, settings.clip)[metal < 0.5]
            total += float(found.sum(dtype=torch.float64))
            above += int((found > ABOVE).sum())
            pixels += found.numel()
    return {"mean": total / max(pixels, 1), "share_above": above / max(pixels, 1), "scans": count}
