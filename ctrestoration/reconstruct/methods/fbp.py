"""Filtered backprojection by three recipes: sharp and noisy, smooth, and from the reprojected image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.reconstruct.slices import fbp_hu, restore_slices, to_mu
from ctrestoration.registry import Task, register
from ctrestoration.restoration import Restoration


class WindowedFBP:
    """FBP of the sinogram with one filter window.

    Attributes:
        options: window and frequency scaling, see `physics.fbp.fbp`.
    """

    task: Task = "reconstruction"

    def __init__(self, name: str, title: str, reference: str, **options: Any) -> None:
        self.name, self.title, self.reference, self.options = name, title, reference, options

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """See `reconstruct.slices.restore_slices`; raises InputError without a sinogram."""

        def one(z: int) -> NDArray[np.float32]:
            return fbp_hu(acquisition, acquisition.sinogram[z], **self.options)

        return restore_slices(acquisition, self.name, one, control, self.options, needs_sinogram=True)


class ReprojectedFBP:
    """The low-dose image is projected again, without noise, and filtered back: interpolation smooths it a little.

    What the row "FBP" of the task-adaptive paper most likely is; it needs no sinogram.
    """

    name = "fbp-reproject"
    title = "FBP of the reprojected image"
    task: Task = "reconstruction"
    reference = "Task-Adaptive Low-Dose CT Reconstruction, arXiv 2511.07094, Table I, row FBP (as we read it)."

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """See `reconstruct.slices.restore_slices`."""
        from ctrestoration.physics.projector import Projector

        projector = Projector(acquisition.geometry, acquisition.image_grid)

        def one(z: int) -> NDArray[np.float32]:
            mu = to_mu(acquisition.image.array[z], acquisition.mu_water)
            return fbp_hu(acquisition, projector.forward(mu))

        return restore_slices(acquisition, self.name, one, control)


_REFERENCE = "Leuschner et al., LoDoPaB-CT, Scientific Data 8 (2021) 109"
register(WindowedFBP("fbp", "FBP, Ram-Lak", _REFERENCE, window="ram-lak"))
register(
    WindowedFBP(
        "fbp-hann", "FBP, Hann window", f"{_REFERENCE}; cut-off of its FBP baseline", window="hann",
        frequency_scaling=0.641,
    )
)  # fmt: skip
register(ReprojectedFBP())
