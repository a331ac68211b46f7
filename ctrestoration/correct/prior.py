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
        # An empty class (a slice of lung, or without bone) keeps its start; the limits below then decide.
        warnings.simplefilter("ignore", UserWarning)
        centers, _ = kmeans2(values, start, iter=30, minit="matrix", missing="warn")
    air, water, bone = np.sort(centers[:, 0])
    # The classes meet half-way between their centers; the smallest member of a class, which public code takes, is the
    # same in a noisy image but turns water into air in a noise-free one.
    t_water, t_bone = 0.5 * (air + water), 0.5 * (water + bone)
    return float(np.clip(t_water, 0.0, mu_water)), float(max(t_bone, BONE_FLOOR * mu_water))


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
