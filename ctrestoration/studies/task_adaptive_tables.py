"""Tables I and II of the task-adaptive paper, and how ours stand beside them.

Source: Task-Adaptive Low-Dose CT Reconstruction, arXiv 2511.07094, Tables I (PSNR, SSIM) and II (Dice of the frozen
segmenter without background); mean and standard deviation over the test slices of LiTS at 512x512. Fine orderings lie
inside these spreads: what is compared is the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ctrestoration.evaluate.task_scores import rank_correlation
from ctrestoration.studies.task_adaptive_claims import claims

Pair = tuple[float, float]
PUBLISHED: Mapping[str, Mapping[str, Pair]] = MappingProxyType(
    {
        "low-dose": {"psnr_db": (24.8596, 2.2471), "ssim": (0.4547, 0.0760), "dice": (0.0259, 0.1085)},
        "fbp": {"psnr_db": (28.0596, 2.0881), "ssim": (0.5722, 0.0859), "dice": (0.3065, 0.2935)},
        "bm3d": {"psnr_db": (34.2072, 3.1110), "ssim": (0.8760, 0.0803), "dice": (0.6258, 0.2785)},
        "base": {"psnr_db": (36.0490, 1.3215), "ssim": (0.9096, 0.0260), "dice": (0.2797, 0.2289)},
        "joint-0.1": {"psnr_db": (30.8751, 2.1918), "ssim": (0.8750, 0.0250), "dice": (0.3306, 0.2553)},
        "joint-0.5": {"psnr_db": (31.6969, 1.0815), "ssim": (0.8331, 0.0386), "dice": (0.0129, 0.0493)},
        "joint-0.9": {"psnr_db": (21.9782, 2.9886), "ssim": (0.6071, 0.0321), "dice": (0.0004, 0.0108)},
        "adaptive-0.1": {"psnr_db": (32.1841, 1.3017), "ssim": (0.8616, 0.0243), "dice": (0.6300, 0.2724)},
        "adaptive-0.5": {"psnr_db": (30.7086, 1.1228), "ssim": (0.8616, 0.0287), "dice": (0.7065, 0.2519)},
        "adaptive-0.9": {"psnr_db": (31.2182, 1.3942), "ssim": (0.8698, 0.0258), "dice": (0.7065, 0.2485)},
        "full-dose": {"dice": (0.8740, 0.1856)},
    }
)
SCORES = ("psnr_db", "ssim", "dice")
EXTRA = ("heldout_dice", "own_dice", "drift_hu", "full_dose_dice", "liver_bias_hu", "lesion_bias_hu", "error_per_mm")

TITLES = {
    "low-dose": "Low-dose", "fbp": "FBP (of the reprojected image)",
    "nlm": "Non-local means", "tv": "Total variation", "bm3d": "BM3D", "base": "Base U-Net",
    "residual": "Base U-Net, residual output", "full-dose": "Full-dose",
}  # fmt: skip

Row = dict[str, list[float | None]]
"""Score -> a value for each test slice; None where it does not count, since JSON has no NaN."""


def summarize(
    rows: Mapping[str, Mapping[int, Row]], validation: Mapping[str, Mapping[int, Mapping[str, float]]] | None = None
) -> dict[str, Any]:
    """Means and spreads, rank correlations and the paper's three claims.

    Args:
        rows: row -> seed -> scores of every test slice.
        validation: row -> seed -> score -> mean over the validation slices; decides which networks claims are about.

    Returns:
        JSON types: "rows": {row: {score: {"mean", "sd" over slices, "seeds" (mean of each), "seed_sd"}}}, with
        "validation" {score: mean} where known; "ranks": {score: {"rho", "rows"}}; "claims"; "front":
        rows, see `pareto_front`.
    """
    table: dict[str, Any] = {}
    for name, seeds in rows.items():
        table[name] = {}
        for score in (*SCORES, *EXTRA):
            values = {seed: np.array(row[score], dtype=float) for seed, row in seeds.items() if score in row}
            values = {seed: one for seed, one in values.items() if np.isfinite(one).any()}
            if not values:
                continue
            means = {seed: float(np.nanmean(one)) for seed, one in values.items()}
            table[name][score] = {
                "mean": float(np.mean(list(means.values()))),
                "sd": float(np.mean([np.nanstd(one) for one in values.values()])),
                "seeds": {str(seed): mean for seed, mean in sorted(means.items())},
                "seed_sd": float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else None,
            }
    for name, by_seed in (validation or {}).items():
        known = [one for one in by_seed.values() if one]
        scores = sorted(set.intersection(*map(set, known))) if known else []
        table[name]["validation"] = {score: float(np.mean([one[score] for one in known])) for score in scores}
    return {"rows": table, "ranks": _ranks(table), "claims": claims(table), "front": pareto_front(table)}


def pareto_front(table: Mapping[str, Any]) -> list[str]:
    """Rows that no other row beats in PSNR and in the frozen segmenter's Dice at once, the best PSNR first.

    Rows of fewer seeds than others have take no part.
    """
    most = max((_seed_count(row) for row in table.values()), default=0)
    points = {
        name: (row["psnr_db"]["mean"], row["dice"]["mean"])
        for name, row in table.items()
        if "psnr_db" in row and "dice" in row and _seed_count(row) == most
    }
    front = [
        name
        for name, (psnr, dice) in points.items()
        if not any(p >= psnr and d >= dice and (p, d) != (psnr, dice) for p, d in points.values())
    ]
    return sorted(front, key=lambda name: -points[name][0])


def paired(volumes: Mapping[str, Mapping[int, Mapping[str, float]]], against: str = "base") -> dict[str, Any]:
    """Volume Dice of every row beside that of the base network, patient by patient.

    Args:
        volumes: row -> seed -> patient -> Dice over all of the patient's slices.
        against: the row that the others are compared with.

    Returns:
        JSON types: row -> {"mean", "sd" over the patients, "patients"}, beside `against` with {"difference", "better"
        (patients), "p" (two-sided Wilcoxon signed-rank test over the patients, None where it cannot be made)}. The
        value of a patient is the mean over the seeds; rows are compared over the seeds that both have.
    """
    from scipy.stats import wilcoxon

    table: dict[str, Any] = {}
    base = volumes.get(against, {})
    for row, seeds in volumes.items():
        mine = _patient_means(seeds)
        values = list(mine.values())
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        table[row] = {"mean": float(np.mean(values)), "sd": spread, "patients": len(values)}
        both = [seed for seed in seeds if seed in base]
        if row == against or not both:
            continue
        ours, theirs = (_patient_means({seed: one[seed] for seed in both}) for one in (seeds, base))
        shared = [name for name in ours if name in theirs]
        if not shared:
            continue
        differences = np.array([ours[name] - theirs[name] for name in shared])
        p = float(wilcoxon(differences).pvalue) if len(shared) > 4 and differences.any() else None
        table[row] |= {"difference": float(differences.mean()), "better": int((differences > 0).sum()), "p": p}
    return table


def _patient_means(seeds: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Mean over the seeds, for the patients that all of them have."""
    names = sorted(set.intersection(*(set(one) for one in seeds.values())))
    return {name: float(np.mean([one[name] for one in seeds.values()])) for name in names}


def markdown(name: str, result: Mapping[str, Any], facts: Sequence[str]) -> str:
    """Both tables beside the published ones, for people."""
    lines = [f"# Task-adaptive reconstruction at scale {name}", "", *facts, ""]
    lines += [
        "Ours: mean ± standard deviation over test slices, mean over seeds; in brackets the standard deviation of"
    ]
    lines += ["the seeds' means. Published: arXiv 2511.07094, LiTS at 512x512; compare orders, not values.", ""]
    lines += ["| method | PSNR | published | SSIM | published | Dice, frozen g | published |", "|---" * 7 + "|"]
    most = max((_seed_count(scores) for scores in result["rows"].values()), default=0)
    for row, scores in result["rows"].items():
        count = _seed_count(scores)
        cells = [title(row) if count == most else f"{title(row)} ({count} of {most} seeds)"]
        for score, form in zip(SCORES, (".2f", ".3f", ".3f"), strict=True):
            cells += [_ours(scores.get(score), form), _theirs(PUBLISHED.get(row, {}).get(score), form)]
        lines.append("| " + " | ".join(cells) + " |")
    columns = (
        "method", "Dice, held-out segmenter", "Dice, its own task network", "drift of full dose, HU",
        "Dice of g on the drifted full dose", "bias in the liver, HU", "bias in lesions, HU",
        "mean frequency of the error, 1/mm", "lesions found", "false",
    )  # fmt: skip
    lines += ["", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row, scores in result["rows"].items():
        extra = [_ours(scores.get(score), ".1f" if score.endswith("hu") else ".3f") for score in EXTRA]
        extra += _lesions(result.get("lesions", {}).get(row, {}))
        if any(cell != "-" for cell in extra):
            lines.append("| " + " | ".join([title(row), *extra]) + " |")
    if result.get("volumes"):
        lines += [
            "",
            "Dice of the frozen segmenter over all slices of a patient at once, mean over seeds; p: Wilcoxon's",
        ]
        lines += ["signed-rank test over patients, not corrected for the number of rows.", ""]
        lines += ["| method | volume Dice | patients | beside base | patients better | p |", "|---" * 6 + "|"]
        for row, found in result["volumes"].items():
            spread = "" if found["sd"] is None else f" ± {found['sd']:.3f}"
            beside = [f"{found['difference']:+.3f}", f"{found['better']}"] if "difference" in found else ["-", "-"]
            p = "-" if found.get("p") is None else "< 0.001" if found["p"] < 0.001 else f"{found['p']:.3f}"
            cells = [title(row), f"{found['mean']:.3f}{spread}", str(found["patients"]), *beside, p]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| order of the rows | Spearman's rank correlation with the paper | rows |", "|---|---|---|"]
    for score, rank in result["ranks"].items():
        rho = "-" if rank["rho"] is None else f"{rank['rho']:+.2f}"
        lines.append(f"| {score} | {rho} | {len(rank['rows'])} |")
    if result.get("front"):
        lines += ["", f"No other row has more PSNR and more Dice at once: {'; '.join(map(title, result['front']))}."]
    lines += ["", "| claim | holds here | figures |", "|---|---|---|"]
    for claim in result["claims"].values():
        figures = [f"{name}: {value:.3f}" for name, value in claim["values"].items() if value is not None]
        lines.append(f"| {claim['says']} | {'yes' if claim['holds'] else 'no'} | {'; '.join(figures) or '-'} |")
    return "\n".join(lines) + "\n"


def title(row: str) -> str:
    """A row as a person calls it."""
    if row.endswith("-ce"):
        return f"{title(row.removesuffix('-ce'))}, with cross-entropy"
    kind, _, number = row.partition("-")
    if kind == "joint":
        return f"Joint, C = {number}"
    if kind == "adaptive":
        return f"Task-adaptive, alpha = {number}"
    if kind == "residual" and number:
        known = title(number if number.startswith("bound") else f"adaptive-{number}")
        return known.replace("Task-adaptive,", "Task-adaptive, residual output,")
    if kind == "bound":
        return f"Task-adaptive, at most {number} dB below base"
    return TITLES.get(row, row)


def _lesions(seeds: Mapping[int, Any]) -> list[str]:
    """Found of all lesions, and false findings, over the slices of all seeds."""
    if not seeds:
        return ["-", "-"]
    pairs = [counts for one in seeds.values() for counts in one["sizes"].values()]
    return [f"{sum(a for a, _ in pairs)}/{sum(b for _, b in pairs)}", str(sum(one["false"] for one in seeds.values()))]


def _ranks(table: Mapping[str, Any]) -> dict[str, Any]:
    ranks = {}
    for score in SCORES:
        ours = {name: row[score]["mean"] for name, row in table.items() if score in row}
        theirs = {name: row[score][0] for name, row in PUBLISHED.items() if score in row}
        ranks[score] = rank_correlation(ours, theirs)
    return ranks


def _seed_count(scores: Mapping[str, Any]) -> int:
    return len(scores.get("dice", {}).get("seeds", {}))


def _ours(found: Mapping[str, Any] | None, form: str) -> str:
    if found is None:
        return "-"
    spread = "" if found["seed_sd"] is None else f" ({found['seed_sd']:{form}})"
    return f"{found['mean']:{form}} ± {found['sd']:{form}}{spread}"


def _theirs(pair: Pair | None, form: str) -> str:
    return "-" if pair is None else f"{pair[0]:{form}} ± {pair[1]:{form}}"
