"""The numbers of `ctrestoration evaluate` as a table: exact in its node, rounded on the page."""

from __future__ import annotations

import math
from typing import Any

MADE_BY, WINDOW, MASK = "Made by", "Window (HU)", "Mask"
_DECIMALS = {
    "PSNR (dB)": 2, "SSIM": 4, "RMSE (HU)": 1, "Body RMSE (HU)": 1, "Near-metal RMSE (HU)": 1, "Bone Dice": 4,
}  # fmt: skip


def columnsOf(
    labels: list[str], names: list[str], reference: str, scores: list[dict[str, Any]], mask: str
) -> dict[str, list[Any]]:
    """Columns for the table node.

    Args:
        labels: what made the images, as short as it tells them apart.
        names: of the images.
        reference: its name.
        scores: what the command printed for each image, see `ctrestoration.evaluate.metrics.evaluate`.
        mask: what the numbers leave out, in words.

    Returns:
        Title -> one value an image. PSNR is infinite where the images are equal; what cannot be computed is None.
    """
    regions = [found["regions"] for found in scores]
    return {
        MADE_BY: list(labels),
        "PSNR (dB)": [math.inf if found["psnr_db"] is None else found["psnr_db"] for found in scores],
        "SSIM": [found["ssim"] for found in scores],
        "RMSE (HU)": [found["rmse_hu"] for found in scores],
        "Near-metal RMSE (HU)": [found["ring_rmse_hu"] for found in scores],
        "Body RMSE (HU)": [found["body"]["rmse_hu"] if "body" in found else None for found in regions],
        "Bone Dice": [found["dice"] for found in scores],
        WINDOW: [f"{found['window'][0]:g} to {found['window'][1]:g}" for found in scores],
        MASK: [mask] * len(names),
        "Reference": [reference] * len(names),
        "Image": list(names),
    }


def displayed(columns: dict[str, list[Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows as people read them."""
    rows = zip(*([_text(title, value) for value in values] for title, values in columns.items()), strict=True)
    return tuple(columns), [tuple(row) for row in rows]


def _text(title: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return "equal" if math.isinf(value) else f"{value:.{_DECIMALS.get(title, 3)}f}"
