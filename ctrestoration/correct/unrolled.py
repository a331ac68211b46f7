"""What unrolled networks look at beside the uncorrected image: the same in training and in use.

DICDNet, OSCNet, InDuDoNet and MEPNet begin from X_LI, the image of the interpolated sinogram. Unlike the image that the
method `li` gives it has tissue, not metal, where the metal is: what was measured is not put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctrestoration.correct.completion import SliceData, image_change
from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.correct.prior import tissue_prior

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.physics.projector import Projector


def unrolled_inputs(
    acquisition: Acquisition, z: int, projector: Projector, prior: bool = False, every: int = 1
) -> dict[str, NDArray[np.float32]]:
    """Images and sinograms of one slice.

    Args:
        acquisition: the data.
        z: the slice.
        projector: of its slices, see `correct.completion.projector_of`.
        prior: with the tissue prior of NMAR, which InDuDoNet+ looks at.
        every: of the network's views every n-th was measured, and the acquisition holds those (sparse views, MEPNet).

    Returns:
        "li" and, where asked for, "prior": HU [row, column]; "sinogram" and "sinogram_li": line integrals [view, bin],
        measured and interpolated; "kept": 1 where a ray was measured and met no metal, same shape. Sinograms have all
        the network's views, those that were not measured are 0.
    """
    data = SliceData(acquisition, z, projector)
    interpolated = interpolate_trace(data.sinogram, data.trace)
    li = acquisition.image.array[z] + image_change(data, interpolated)
    measured = {"sinogram": data.sinogram, "sinogram_li": interpolated, "kept": (~data.trace).astype(np.float32)}
    found = {"li": li, **{name: _spread(array, every) for name, array in measured.items()}}
    if prior:
        mu = np.float32(data.mu_water)
        found["prior"] = tissue_prior((li / np.float32(1000.0) + 1) * mu, data.metal, data.mu_water) / mu * 1000 - 1000
    return {name: np.asarray(array, dtype=np.float32) for name, array in found.items()}


def _spread(measured: NDArray[np.float32], every: int) -> NDArray[np.float32]:
    """Measured views [view, bin] among those that were not."""
    if every == 1:
        return measured
    full = np.zeros((len(measured) * every, measured.shape[1]), dtype=np.float32)
    full[::every] = measured
    return full
