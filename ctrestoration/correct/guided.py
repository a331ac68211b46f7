"""Completion of the metal trace by normalized interpolation with a prior that someone else has drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.correct.completion import SliceData
from ctrestoration.correct.methods.nmar import completed_by_quotient
from ctrestoration.volume import AIR_HU

FILL_PIXELS = 3.0
"""Standard deviation of the Gaussian by which tissue around metal is spread into it."""


def completed_with(data: SliceData, prior_hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """The completed sinogram [view, bin]: interpolated after division by the prior's, as in NMAR (Meyer et al. 2010).

    Args:
        data: the slice.
        prior_hu: an image without metal in HU [row, column]. What it says inside the metal is not looked at: the
            tissue around goes on there.
    """
    tissue = filled_metal(np.maximum(prior_hu, AIR_HU), data.metal)
    mu = (np.float32(data.mu_water) * (1.0 + tissue / 1000.0)).astype(np.float32)
    return completed_by_quotient(data, data.projector.forward(mu))


def filled_metal(image: NDArray[np.float32], metal: NDArray[np.bool_]) -> NDArray[np.float32]:
    """An image [row, column] whose metal pixels hold the Gaussian mean of the tissue around; far ones the nearest."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    if not metal.any() or metal.all():
        return image
    kept = (~metal).astype(np.float32)
    weight = gaussian_filter(kept, FILL_PIXELS)
    mean = gaussian_filter(image * kept, FILL_PIXELS) / np.maximum(weight, 1e-6)
    rows, columns = distance_transform_edt(metal, return_distances=False, return_indices=True)
    # Deep inside metal the Gaussian meets no tissue.
    mean = np.where(weight > 1e-3, mean, image[rows, columns])
    return np.where(metal, mean, image).astype(np.float32)
