"""What can be measured of a correction of real metal, where nobody knows the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.evaluate.masks import body_mask, metal_ring
from ctrestoration.evaluate.metrics import RING_PIXELS

DARK_HU = -200.0
"""Below fat: in the ring around metal it is lung, gas, or the shadow of the metal."""


def scores_without_truth(
    before: NDArray[np.float32], image: NDArray[np.float32], metal: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Measures of an image beside the uncorrected one; all over the body of the slices with metal, outside metal.

    Less is better only as long as no anatomy is lost: the ring holds bone and gas, too.

    Args:
        before: uncorrected, HU [z, y, x].
        image: corrected, HU, same shape.
        metal: bool, same shape.

    Returns:
        "ring_sd_hu", standard deviation within `RING_PIXELS` of metal; "ring_dark_percent", share below `DARK_HU` in
        that ring; "change_ring_hu" and "change_far_hu", root mean square of the change there and beyond three times
        its width; "change_without_metal_hu", the largest change in slices without metal. None where no voxel is.
    """
    slices = metal.any(axis=(1, 2))
    body = np.zeros_like(metal)
    body[slices] = body_mask(before[slices])
    ring = metal_ring(metal, RING_PIXELS) & body
    far = body & ~metal_ring(metal, 3 * RING_PIXELS) & ~metal
    change = image.astype(np.float64) - before
    around = image[ring]
    return {
        "ring_sd_hu": float(around.std()) if around.size else None,
        "ring_dark_percent": float(100 * (around < DARK_HU).mean()) if around.size else None,
        "change_ring_hu": _root(change[ring]),
        "change_far_hu": _root(change[far]),
        "change_without_metal_hu": float(np.abs(change[~slices]).max()) if not slices.all() else None,
    }


def _root(values: NDArray[np.float64]) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if values.size else None
