"""Scores of networks that were trained against metal artifacts, over stored test scans, and how tables show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import Control
from ctrestoration.evaluate.metrics import RING_PIXELS
from ctrestoration.io.syndeeplesion import MU_WATER_PER_CM

if TYPE_CHECKING:
    from ctrestoration.training.method import Batch

_FORMS = {"psnr_db": ".2f", "ssim": ".4f", "rmse_hu": ".1f", "ring_rmse_hu": ".1f"}
SCORES = tuple(_FORMS)


def score_run(folder: Path, scans: Path, control: Control) -> dict[str, Any]:
    """Mean scores of a finished run's weights, and of the uncorrected scans, over stored test scans.

    Args:
        folder: of the run.
        scans: folder of the test scans.
        control: reported to between scans.

    Returns:
        {"output": scores, "input": scores}: PSNR in dB and SSIM in the fixed range 0 to 0.5 1/cm against the metal-free
        scan, metal set to 0; RMSE in HU outside the metal, and within `RING_PIXELS` of it.
    """
    from ctrestoration.training.sources.stored_scans import Config

    restore = open_restorer(folder)
    source = Config(name="stored_scans", folder=scans).create()
    rows: dict[str, list[dict[str, float]]] = {"output": [], "input": []}
    for index in control.track(range(len(source)), f"Testing {folder.name}"):
        batch = batch_of(source, index)
        for name, image in (("output", restore(batch)), ("input", batch["input"][0, 0].numpy())):
            rows[name].append(_scores(image, batch))
    return {name: {key: _mean([row[key] for row in some]) for key in SCORES} for name, some in rows.items()}


def open_restorer(folder: Path) -> Callable[[Batch], NDArray[np.float32]]:
    """What a finished run's weights make of one sample (tensors [1, channel, row, column]): HU [row, column]."""
    import torch

    from ctrestoration.models.weights import load_into
    from ctrestoration.training.launch import open_run

    run, config = open_run(folder)
    torch.set_num_threads(1)
    method = config.method.create(config)
    parts = method.build(config)
    load_into(parts.modules["g"], run.weights / "g.safetensors")
    parts.modules["g"].eval()

    def restore(batch: Batch) -> NDArray[np.float32]:
        with torch.inference_mode():
            image: NDArray[np.float32] = method.restore(batch, parts)[0, 0].numpy()
        return image

    return restore


def batch_of(source: Any, index: int) -> Batch:
    """One sample of stored scans as a batch."""
    import torch

    from ctrestoration.training.keys import Key

    sample = source.sample(Key(0, "validation", 0, index))
    return {name: torch.from_numpy(array[None]) for name, array in sample.items()} | {"index": torch.tensor([index])}


def _scores(image: np.ndarray, batch: Batch) -> dict[str, float]:
    from ctrestoration.evaluate.benchmark_scores import benchmark_scores
    from ctrestoration.evaluate.masks import metal_ring

    target, metal = batch["target"][0, 0].numpy(), batch["metal"][0, 0].numpy() > 0
    mu, truth = (MU_WATER_PER_CM * (1.0 + part / 1000.0) for part in (image, target))
    found = benchmark_scores(mu, truth, metal)
    squared = (image.astype(np.float64) - target) ** 2
    ring = metal_ring(metal[None], RING_PIXELS)[0]
    return {
        "psnr_db": math.nan if found["psnr_db"] is None else found["psnr_db"],
        "ssim": found["ssim"],
        "rmse_hu": float(np.sqrt(squared[~metal].mean())),
        "ring_rmse_hu": float(np.sqrt(squared[ring].mean())) if ring.any() else math.nan,
    }


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None


def over_seeds(scores: Mapping[int, Mapping[str, float | None]]) -> dict[str, Any]:
    """The row of a table: {"seeds": sorted, score: [mean, spread]}, from the scores of each seed."""
    return {"seeds": sorted(scores)} | {key: spread_of([found[key] for found in scores.values()]) for key in SCORES}


def spread_of(values: Sequence[float | None]) -> list[float | None]:
    """Mean and standard deviation over seeds; None where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return [None, None]
    return [float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None]


def cells(row: Mapping[str, Any]) -> list[str]:
    """The scores of a row, as `over_seeds` makes it or of one measurement, for a table."""
    pairs = {key: row[key] if isinstance(row[key], list) else (row[key], None) for key in SCORES}
    return [text_of(pair, _FORMS[key]) for key, pair in pairs.items()]


def text_of(pair: Sequence[float | None], form: str) -> str:
    """A mean and its spread for a table."""
    mean, spread = pair
    if mean is None:
        return "-"
    return f"{mean:{form}}" + ("" if spread is None else f" ± {spread:{form.lstrip('+')}}")


def line(*cells: str) -> str:
    """A line of a Markdown table."""
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
