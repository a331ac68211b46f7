"""How well a task is done on an image: Dice without background, lesions found by size, change of a full-dose image.

Rule for empty classes, stated beside every number: "drop" leaves a class out of a slice whose truth has none of it,
whatever was found there (MONAI's `ignore_empty=True`); "one" counts 1 where nothing was found either, else 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Empty = Literal["drop", "one"]
EMPTY_RULES: dict[str, str] = {
    "drop": "a class that the truth of a slice does not have is left out of that slice",
    "one": "a class that the truth of a slice does not have counts 1 where nothing was found, else 0",
}
LESION_EDGES_MM = (10.0, 20.0)
"""Lesions are told apart below, between and above these diameters of a circle of their area."""

_CONNECTED = np.ones((3, 3), dtype=int)


def class_dice(
    found: NDArray[np.integer], truth: NDArray[np.integer], classes: Sequence[int], empty: Empty = "drop"
) -> NDArray[np.float64]:
    """Dice of each class in one slice; NaN where the rule leaves the class out.

    Args:
        found: class numbers (argmax) of any shape.
        truth: the same shape.
        classes: which numbers; background (0) does not belong in here.
        empty: rule for classes that the truth does not have.
    """
    scores = np.full(len(classes), np.nan)
    for position, number in enumerate(classes):
        a, b = found == number, truth == number
        if b.any():
            scores[position] = 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        elif empty == "one":
            scores[position] = 0.0 if a.any() else 1.0
    return scores


def mean_dice(
    found: NDArray[np.integer], truth: NDArray[np.integer], classes: Sequence[int], empty: Empty = "drop"
) -> float:
    """Mean over the classes that count, of one slice; NaN where none does."""
    scores = class_dice(found, truth, classes, empty)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def volume_dice(found: NDArray[np.integer], truth: NDArray[np.integer], classes: Sequence[int]) -> list[float | None]:
    """Dice of each class over all the slices of a patient at once; None where neither has any of it."""
    scores: list[float | None] = []
    for number in classes:
        a, b = found == number, truth == number
        total = np.count_nonzero(a) + np.count_nonzero(b)
        scores.append(None if total == 0 else 2.0 * np.count_nonzero(a & b) / total)
    return scores


def lesions_found(found: NDArray[np.bool_], truth: NDArray[np.bool_], pixel_mm: float) -> dict[str, Any]:
    """Which lesions of a slice were touched, by size, and how many findings touch none.

    Args:
        found: bool [row, column].
        truth: bool, same shape.
        pixel_mm: pixel width.

    Returns:
        `sizes`: for each size ("<10 mm", ...) [found, all]; `false`: findings that touch no lesion.
    """
    from scipy.ndimage import label

    lesions, count = label(truth, _CONNECTED)
    findings, number = label(found, _CONNECTED)
    sizes = {name: [0, 0] for name in _size_names()}
    for lesion in range(1, count + 1):
        here = lesions == lesion
        diameter = 2.0 * pixel_mm * np.sqrt(np.count_nonzero(here) / np.pi)
        entry = sizes[_size_names()[int(np.searchsorted(LESION_EDGES_MM, diameter, side="right"))]]
        entry[0] += bool((found & here).any())
        entry[1] += 1
    touching = np.unique(findings[truth & found])
    return {"sizes": sizes, "false": int(number - np.count_nonzero(touching))}


def full_dose_drift(output: NDArray[np.floating], full_dose: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Mean absolute change in HU that a reconstruction makes to an image which has nothing to be restored.

    Args:
        output: what the network makes of the full-dose image, HU.
        full_dose: that image.
        inside: where to look, bool.
    """
    return float(np.abs(output[inside].astype(np.float64) - full_dose[inside]).mean())


def rank_correlation(ours: Mapping[str, float], published: Mapping[str, float]) -> dict[str, Any]:
    """Spearman's rank correlation between two tables, over the rows that both have; ties get mean ranks.

    Returns:
        `rho` (None with fewer than three rows, or where one table does not vary) and `rows`.
    """
    from scipy.stats import rankdata

    rows = [name for name in published if name in ours and np.isfinite(ours[name])]
    if len(rows) < 3:
        return {"rho": None, "rows": rows}
    first, second = (rankdata([table[name] for name in rows]) for table in (ours, published))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"rho": None, "rows": rows}
    return {"rho": float(np.corrcoef(first, second)[0, 1]), "rows": rows}


def _size_names() -> list[str]:
    low, high = LESION_EDGES_MM
    return [f"<{low:g} mm", f"{low:g}-{high:g} mm", f">{high:g} mm"]
