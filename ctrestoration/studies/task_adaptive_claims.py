"""What the task-adaptive paper says in words, and the openings it left, tested on the rows of a study.

Source: Task-Adaptive Low-Dose CT Reconstruction, arXiv 2511.07094. Networks with another output than the published one
are compared with the base network of their own output. Which of many networks is shown is decided by the validation
patients; the best of the test would flatter itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSICAL = ("fbp", "nlm", "tv", "bm3d")
"""Rows without training. BM3D only where the user has installed its package: its license forbids shipping it."""
_JOINT = ("joint-0.1", "joint-0.5", "joint-0.9")
_NEAR_DICE = 0.95
"""Of the full dose's Dice."""
_NEAR_DB = 1.0
"""Below the base network's PSNR."""
_PUBLISHED_SHARE = 0.72


@dataclass(frozen=True)
class _Form:
    """Networks that end alike.

    Attributes:
        base: row of the one that no task was shown to.
        adaptive: rows of those with a task loss.
        key: after the name of a claim.
        whose: after the words of a claim.
    """

    base: str
    adaptive: tuple[str, ...]
    key: str = ""
    whose: str = ""


def claims(table: Mapping[str, Any]) -> dict[str, Any]:
    """Test every claim for which there are rows.

    Args:
        table: rows of `summarize`; "validation" of a row decides which network a claim is about. Rows with fewer seeds
            than the base network are not chosen: another seed's segmenter judges otherwise.

    Returns:
        Claim -> {"says": sentence, "holds": bool, "values": figures by name, None where one has no meaning}.
    """
    seeds = _seeds(table.get("base", {}))
    rows = {name: row for name, row in table.items() if _seeds(row) >= seeds}
    adaptive = [name for name in rows if name.startswith(("adaptive-", "bound-")) and "dice" in rows[name]]
    residual = [name for name in rows if name.startswith("residual-") and "dice" in rows[name]]
    found = _published(rows) | _each_alpha(table) | _joint(table)
    forms = (_Form("base", tuple(adaptive)), _Form("residual", tuple(residual), "_residual", " with a residual output"))
    for form in forms:
        if form.adaptive and {form.base, "base", "full-dose"} <= set(rows):
            found |= _openings(rows, form)
    return found


def _seeds(row: Mapping[str, Any]) -> set[str]:
    return set(row.get("dice", {}).get("seeds", {}))


def _mean(rows: Mapping[str, Any], score: str) -> dict[str, float]:
    return {name: row[score]["mean"] for name, row in rows.items() if score in row}


def _claim(says: str, holds: bool, values: Mapping[str, float | None]) -> dict[str, Any]:
    return {"says": says, "holds": bool(holds), "values": dict(values)}


def _published(rows: Mapping[str, Any]) -> dict[str, Any]:
    dice = _mean(rows, "dice")
    # Not the paper's networks: what they are compared with must not be ours.
    psnr = {name: value for name, value in _mean(rows, "psnr_db").items() if not name.startswith("residual")}
    found: dict[str, Any] = {}
    if {"base", "fbp"} <= set(dice):
        best = max(psnr, key=lambda name: psnr[name]) == "base"
        found["image_quality_misleads"] = _claim(
            "The base network has the best PSNR of all and a lower Dice than FBP.",
            best and dice["base"] < dice["fbp"], {"base": dice["base"], "fbp": dice["fbp"]},
        )  # fmt: skip
    return found


def _each_alpha(table: Mapping[str, Any]) -> dict[str, Any]:
    fixed = sorted(name for name in table if name.startswith("adaptive-") and "dice" in table[name])
    if not fixed or "base" not in table:
        return {}
    gains = {}
    for name in fixed:
        mine, base = _over_shared_seeds(table, (name, "base"))
        gains[f"{name} - base"] = mine - base
    says = "Every task-adaptive network has a higher Dice than the base network."
    return {"every_alpha_helps": _claim(says, min(gains.values()) > 0, gains)}


def _over_shared_seeds(table: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """Mean Dice of rows over the seeds that all of them have; their own means where none is told or shared."""
    seeds = set.intersection(*(_seeds(table[name]) for name in names))
    if not seeds:
        return [float(table[name]["dice"]["mean"]) for name in names]
    return [float(np.mean([table[name]["dice"]["seeds"][seed] for seed in seeds])) for name in names]


def _joint(table: Mapping[str, Any]) -> dict[str, Any]:
    if not set(_JOINT) <= set(table):
        return {}
    means = _over_shared_seeds(table, _JOINT)
    return {
        "joint_fails_the_frozen_segmenter": _claim(
            "Under the frozen segmenter joint training gets worse with C.",
            means == sorted(means, reverse=True), dict(zip(_JOINT, means, strict=True)),
        )
    }  # fmt: skip


def _openings(rows: Mapping[str, Any], form: _Form) -> dict[str, Any]:
    dice, psnr, heldout = (_mean(rows, score) for score in ("dice", "psnr_db", "heldout_dice"))
    best = _chosen(rows, form.adaptive)
    share = _share(dice[best], dice["base"], dice["full-dose"])
    by_seed = {f"share, seed {seed}": value for seed, value in _shares(rows, best).items()}
    found = {
        "gap_closed": _claim(
            f"{best} closes at least half of the Dice gap between base and full dose.",
            share is not None and share >= 0.5, {"share": share, **by_seed, "published share": _PUBLISHED_SHARE},
        )
    }  # fmt: skip
    classical = {name: dice[name] for name in CLASSICAL if name in dice}
    if classical:
        found["above_classical"] = _claim(
            f"{best} has a higher Dice than every classical method.",
            dice[best] > max(classical.values()), {best: dice[best], **classical},
        )  # fmt: skip
    if form.base != "base":
        found["helps"] = _claim(
            f"The task loss helps{form.whose}, too: {best} has a higher Dice than {form.base}.",
            dice[best] > dice[form.base], {name: dice[name] for name in (form.base, best)},
        )  # fmt: skip
    near = _chosen(rows, _within(rows, form) or form.adaptive)
    part, drop = dice[near] / dice["full-dose"], psnr[form.base] - psnr[near]
    found["both_at_once"] = _claim(
        f"{near} is within 5 % of the full dose's Dice and within 1 dB of {form.base}.",
        part >= _NEAR_DICE and drop <= _NEAR_DB, {"part of the full dose": part, "dB below": drop},
    )  # fmt: skip
    if {best, form.base} <= set(heldout):
        found["heldout_confirms"] = _claim(
            f"The held-out segmenter, too, does better on {best} than on {form.base}.",
            heldout[best] > heldout[form.base], {name: heldout[name] for name in (form.base, best)},
        )  # fmt: skip
    return {f"{name}{form.key}": claim for name, claim in found.items()}


def _on_validation(rows: Mapping[str, Any], score: str) -> dict[str, float]:
    """Of the rows that were validated; where none was, as in published tables, of the test."""
    found = {name: row["validation"][score] for name, row in rows.items() if score in row.get("validation", {})}
    return found or _mean(rows, score)


def _chosen(rows: Mapping[str, Any], names: Sequence[str]) -> str:
    """The row with the highest Dice on validation patients."""
    dice = _on_validation(rows, "dice")
    return max(names, key=lambda name: dice.get(name, 0.0))


def _within(rows: Mapping[str, Any], form: _Form) -> list[str]:
    """Networks that keep near the base network's PSNR on validation patients."""
    psnr = _on_validation(rows, "psnr_db")
    return [name for name in form.adaptive if psnr.get(name, 0.0) >= psnr.get(form.base, 0.0) - _NEAR_DB]


def _share(value: float, low: float, high: float) -> float | None:
    """Of the way from `low` to `high`; None where there is none."""
    return (value - low) / (high - low) if high > low else None


def _shares(rows: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """Of the gap, by seed."""
    mine, low, high = (rows[row]["dice"].get("seeds", {}) for row in (name, "base", "full-dose"))
    return {seed: _share(mine[seed], low[seed], high[seed]) for seed in sorted(set(mine) & set(low) & set(high))}
