"""What came out of the study of the UC loss: the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctrestoration.evaluate.metrics import RING_PIXELS
from ctrestoration.studies.mar_scores import cells, line, over_seeds, spread_of, text_of
from ctrestoration.studies.uc import VARIANTS, Run, Scale
from ctrestoration.studies.uc_maps import ABOVE, SCANS

PUBLISHED = {
    "unet": ((38.21, 0.874), (41.33, 0.891)),
    "indudonet": ((46.88, 0.978), (48.67, 0.986)),
    "mepnet": ((53.08, 0.989), (54.71, 0.993)),
    "dicdnet": ((47.55, 0.984), (50.05, 0.991)),
}
"""(PSNR, SSIM) without and with the UC loss. Its scale is not that of the public benchmark: compare gains only."""

COLUMNS = (
    "network", "variant", "seeds", "PSNR", "SSIM", "RMSE", "near metal", "gain PSNR", "gain SSIM", "better",
    "published gain",
)  # fmt: skip


def summarize(
    scale: Scale, scores: Mapping[Run, Mapping[str, Any]], maps: Mapping[Run, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of every variant, and of its gain over plain, seed by seed.

    Args:
        scale: of the study.
        scores: of every tested run, see `mar_scores.score_run`.
        maps: of runs with the loss, see `uc_maps.map_statistics`.

    Returns:
        JSON types: network -> {"input": scores, "variants": {variant: {"seeds", "psnr_db": [mean, spread], ...,
        "gain": {"psnr_db": [mean, spread], "ssim": ..., "better": seeds with more PSNR than plain, "of": pairs}}},
        "published_gain", and with `maps` "uncertainty": {"mean", "share_above": [mean, spread]}}. A spread is None for
        a single seed.
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
        known = [found for run, found in (maps or {}).items() if run.network == network and found["scans"]]
        if known:
            table[network]["uncertainty"] = {
                key: spread_of([found[key] for found in known]) for key in ("mean", "share_above")
            }
    return table


def _variant(some: Mapping[int, Mapping[str, float]], plain: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    row = over_seeds(some)
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
        line(*COLUMNS),
        "|---" * len(COLUMNS) + "|",
    ]
    for network, content in table.items():
        lines.append(line(network, "uncorrected", "", *cells(content["input"]), "", "", "", ""))
        for variant, row in content["variants"].items():
            gain, published = row.get("gain"), content["published_gain"]
            gains = ["", "", ""]
            if gain:
                better = f"{gain['better']}/{gain['of']}"
                gains = [text_of(gain["psnr_db"], "+.2f"), text_of(gain["ssim"], "+.4f"), better]
            said = f"{published['psnr_db']:+.2f} / {published['ssim']:+.3f}" if variant == "uc" else ""
            lines.append(line(network, variant, str(len(row["seeds"])), *cells(row), *gains, said))
    maps = {network: content["uncertainty"] for network, content in table.items() if "uncertainty" in content}
    if maps:
        lines += [
            "",
            f"Maps of `uc`, outside metal, of the first {SCANS} training scans at most: pixels above {ABOVE:g} are",
            "those that the loss turns to; with 1 + U all others are trained nearly as before.",
            "",
            line("network", "mean of U", f"share above {ABOVE:g}"),
            "|---" * 3 + "|",
        ]
        lines += [
            line(network, text_of(found["mean"], ".3f"), text_of(found["share_above"], ".3f"))
            for network, found in maps.items()
        ]
    return "\n".join(lines) + "\n"
