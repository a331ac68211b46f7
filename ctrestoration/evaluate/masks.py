"""Where metrics look: the body, and the ring around metal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BODY_HU = -300.0


def body_mask(image: NDArray[np.float32], threshold_hu: float = BODY_HU) -> NDArray[np.bool_]:
    """The patient in each axial slice: the largest connected part above the threshold, its holes filled.

    Args:
        image: HU [z, y, x].
        threshold_hu: below fat (-100), above lung and air.

    Returns:
        bool, same shape; lungs and bowel gas count as body, the table does not unless it touches the patient.
    """
    from scipy.ndimage import binary_fill_holes, label

    mask = np.zeros(image.shape, dtype=bool)
    for z in range(image.shape[0]):
        parts, count = label(image[z] > threshold_hu)
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            mask[z] = binary_fill_holes(parts == 1 + int(sizes.argmax()))
    return mask


def metal_ring(metal: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Pixels at most `pixels` away from metal in their own slice, without the metal (Euclidean distance).

    Args:
        metal: bool [z, y, x].
        pixels: width of the ring.

    Returns:
        bool, same shape.
    """
    from scipy.ndimage import distance_transform_edt

    ring = np.zeros(metal.shape, dtype=bool)
    for z in np.flatnonzero(metal.any(axis=(1, 2))):
        ring[z] = (distance_transform_edt(~metal[z]) <= pixels) & ~metal[z]
    return ring
