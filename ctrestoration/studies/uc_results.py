"""What came out of the study of the UC loss: scores of every run on the test scans, and the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctrestoration.control import Control
from ctrestoration.studies.uc import VARIANTS, Run, Scale

if TYPE_CHECKING:
    from ctrestoration.training.method import Batch

PUBLISHED = {
    "unet": ((38.21, 0.874), (41.33, 0.891)),
    "indudonet": ((46.88, 0.978), (48.67, 0.986)),
    "mepnet": ((53.08, 0.989), (54.71, 0.993)),
    "dicdnet": ((47.55, 0.984), (50.05, 0.991)),
}
"""(PSNR, SSIM) without and with the UC loss. Its scale is not that of the public benchmark: compare gains only."""

SCORES = ("psnr_db", "ssim", "rmse_hu", "ring_rmse_hu")
COLUMNS = (
    "network", "variant", "seeds", "PSNR", "SSIM", "RMSE", "near metal", "gain PSNR", "gain SSIM", "better",
    "published gain",
)  # fmt: skip
RING_PIXELS = 10
_WATER_PER_CM = 0.192


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
    import torch

    from ctrestoration.models.weights import load_into
    from ctrestoration.training.launch import open_run
    from ctrestoration.training.sources.stored_scans import Config

    run, config = open_run(folder)
    torch.set_num_threads(1)
    method = config.method.create(config)
    parts = method.build(config)
    load_into(parts.modules["g"], run.weights / "g.safetensors")
    parts.modules["g"].eval()
    source = Config(name="stored_scans", folder=scans).create()
    rows: dict[str, list[dict[str, float]]] = {"output": [], "input": []}
    with torch.inference_mode():
        for index in control.track(range(len(source)), f"Testing {folder.name}"):
            batch = _batch(source, index)
            for name, image in (("output", method.restore(batch, parts)), ("input", batch["input"])):
                rows[name].append(_scores(image[0, 0].numpy(), batch))
    return {name: {key: _mean([row[key] for row in some]) for key in SCORES} for name, some in rows.items()}


def _batch(source: Any, index: int) -> Batch:
    import torch

    from ctrestoration.training.keys import Key

    sample = source.sample(Key(0, "validation", 0, index))
    return {name: torch.from_numpy(array[None]) for name, array in sample.items()} | {"index": torch.tensor([index])}


def _scores(image: np.ndarray, batch: Batch) -> dict[str, float]:
    from ctrestoration.evaluate.benchmark_scores import benchmark_scores
    from ctrestoration.evaluate.masks import metal_ring

    target, metal = batch["target"][0, 0].numpy(), batch["metal"][0, 0].numpy() > 0
    mu, truth = (_WATER_PER_CM * (1.0 + part / 1000.0) for part in (image, target))
    found = benchmark_scores(mu, truth, metal)
    squared = (image.astype(np.float64) - target) ** 2
    ring = metal_ring(metal[None], RING_PIXELS)[0]
    return {
        "psnr_db": math.nan if found["psnr_db"] is None else found["psnr_db"],
        "ssim": found["ssim"],
        "rmse_hu": float(np.sqrt(squared[~metal].mean())),
        "ring_rmse_hu": float(np.sqrt(squared[ring].mean())) if ring.any() else math.nan,
    }


def summarize(scale: Scale, scores: Mapping[Run, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of every variant, and of its gain over plain, seed by seed.

    Returns:
        JSON types: network -> {"input": scores, "variants": {variant: {"seeds", "psnr_db": [mean, spread], ...,
        "gain": {"psnr_db": [mean, spread], "ssim": ..., "better": seeds with more PSNR than plain, "of": pairs}}},
        "published_gain"}. A spread is None for a single seed.
    """
    table: dict[str, Any] = {}
    for network in scale.networks:
        mine = {run: found for run, found in scores.items() if run.network == network}
        if not mine:
            continue
        plain = {run.seed: found["output"] for run, found in mine.items() if run.variant == "plain"}
        variants = {}
        for variant in VARIANTS:
            some = {run.seed: found["output"] for run, found in mine.items() if run.variant == variant}
            if some:
                variants[variant] = _variant(some, {} if variant == "plain" else plain)
        (before, after) = PUBLISHED[network]
        table[network] = {
            "input": next(iter(mine.values()))["input"],
            "variants": variants,
            "published_gain": {"psnr_db": round(after[0] - before[0], 2), "ssim": round(after[1] - before[1], 3)},
        }
    return table


def _variant(some: Mapping[int, Mapping[str, float]], plain: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"seeds": sorted(some)}
    row |= {key: spread_of([found[key] for found in some.values()]) for key in SCORES}
    pairs = [(some[seed], plain[seed]) for seed in some if seed in plain]
    if pairs:
        gains = {key: [one[key] - other[key] for one, other in pairs] for key in ("psnr_db", "ssim")}
        row["gain"] = {key: spread_of(values) for key, values in gains.items()}
        row["gain"] |= {"better": sum(value > 0 for value in gains["psnr_db"]), "of": len(pairs)}
    return row


def markdown(name: str, table: Mapping[str, Any], facts: Sequence[str]) -> str:
    """The table for people."""
    lines = [
        f"# The UC loss at scale {name}",
        "",
        *facts,
        "",
        "PSNR in dB and SSIM in the fixed range 0 to 0.5 1/cm, against the metal-free scan, metal set to 0; RMSE in HU",
        f"outside metal and within {RING_PIXELS} pixels of it. Mean ± standard deviation over seeds. Gains are over",
        "plain, seed by seed; published ones are the paper's, whose absolute values are on another scale. Every",
        "training of a network takes the same number of gradient steps, the warm-up included; the passes of the early",
        "networks come on top.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    for network, content in table.items():
        before = content["input"]
        forms = zip(SCORES, (".2f", ".4f", ".1f", ".1f"), strict=True)
        scores = " | ".join(text_of((before[key], None), form) for key, form in forms)
        lines.append(f"| {network} | uncorrected | | {scores} | | | | |")
        for variant, row in content["variants"].items():
            gain, published = row.get("gain"), content["published_gain"]
            said = f"{published['psnr_db']:+.2f} / {published['ssim']:+.3f}" if variant == "uc" else ""
            cells = [
                network,
                variant,
                str(len(row["seeds"])),
                text_of(row["psnr_db"], ".2f"),
                text_of(row["ssim"], ".4f"),
            ]
            cells += [text_of(row["rmse_hu"], ".1f"), text_of(row["ring_rmse_hu"], ".1f")]
            if gain:
                cells += [
                    text_of(gain["psnr_db"], "+.2f"),
                    text_of(gain["ssim"], "+.4f"),
                    f"{gain['better']}/{gain['of']}",
                ]
            else:
                cells += ["", "", ""]
            lines.append("| " + " | ".join([*cells, said]) + " |")
    return "\n".join(lines) + "\n"


def spread_of(values: Sequence[float | None]) -> list[float | None]:
    """Mean and standard deviation over seeds; None where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return [None, None]
    return [float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None]


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None


def text_of(pair: Sequence[float | None], form: str) -> str:
    """A mean and its spread for a table."""
    mean, spread = pair
    if mean is None:
        return "-"
    return f"{mean:{form}}" + ("" if spread is None else f" ± {spread:{form.lstrip('+')}}")
