"""The tissue prior of normalized metal artifact reduction (NMAR).

Meyer et al., "Normalized metal artifact reduction (NMAR) in computed tomography", Med. Phys. 37 (2010) 5482, with
the class limits of the public CNNMAR demonstration (Zhang and Yu, IEEE TMI 37 (2018) 1370).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

BONE_FLOOR = 1.2
"""Bone starts at 1.2 times the attenuation of water (200 HU) at least."""


def tissue_thresholds(image: NDArray[np.float32], mu_water: float) -> tuple[float, float]:
    """Limits between air and water, and between water and bone, by k-means on the image's own values.

    Args:
        image: attenuation in 1/mm [row, column], with metal already set to water.
        mu_water: attenuation of water in 1/mm.

    Returns:
        (t_water, t_bone) in 1/mm; t_bone is at least `BONE_FLOOR` * mu_water, t_water lies between 0 and mu_water.
    """
    from scipy.cluster.vq import kmeans2

    values = image.astype(np.float64).reshape(-1, 1)
    start = np.array([[0.0], [mu_water], [2.0 * mu_water]])
    with warnings.catch_warnings():
        # An empty class (a slice of lung, or without bone) keeps its start; the floors below then decide.
        warnings.simplefilter("ignore", UserWarning)
        centers, labels = kmeans2(values, start, iter=30, minit="matrix", missing="warn")
    order = np.argsort(centers[:, 0])
    water, bone = values[labels == order[1]], values[labels == order[2]]
    t_water = float(water.min()) if water.size else 0.5 * mu_water
    t_bone = float(bone.min()) if bone.size else BONE_FLOOR * mu_water
    return min(max(t_water, 0.0), mu_water), max(t_bone, BONE_FLOOR * mu_water)


def tissue_prior(image: NDArray[np.float32], metal: NDArray[np.bool_], mu_water: float) -> NDArray[np.float32]:
    """A picture of the anatomy without streaks: air 0, soft tissue water, bone as it is.

    Args:
        image: attenuation in 1/mm [row, column] of a first correction.
        metal: bool [row, column].
        mu_water: attenuation of water in 1/mm.

    Returns:
        float32 [row, column] in 1/mm.
    """
    from scipy.ndimage import gaussian_filter

    start = np.where(metal, np.float32(mu_water), image)
    t_water, t_bone = tissue_thresholds(start, mu_water)
    smooth = gaussian_filter(start, sigma=1.0, mode="nearest", radius=2)
    prior = np.where(smooth <= t_water, 0.0, np.where(smooth < t_bone, mu_water, smooth))
    return prior.astype(np.float32)
