"""NMAR: interpolation of the sinogram after division by that of a tissue prior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.correct.completion import SliceData, complete
from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.correct.prior import tissue_prior
from ctrestoration.registry import Task, register
from ctrestoration.restoration import Restoration

PRIOR_FLOOR = 1e-6
"""Added to the prior's line integrals so that the quotient stays finite in air."""


class NormalizedMAR:
    """The quotient of measured and prior sinogram is flat, so a straight line across the trace distorts it little.

    The prior is made from the LI-corrected image, which is the safer start where artifacts are strong.
    """

    name = "nmar"
    title = "Normalized metal artifact reduction"
    task: Task = "mar"
    reference = (
        "Meyer et al.: Normalized metal artifact reduction (NMAR) in computed tomography. Med. Phys. 37 (2010) 5482."
    )

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """Correct every slice that holds metal; see `correct.completion.complete`."""
        return complete(acquisition, self.name, self.complete_slice, control, {"prior": "LI-corrected image"})

    @staticmethod
    def complete_slice(data: SliceData) -> NDArray[np.float32]:
        """The completed sinogram [view, bin] of one slice."""
        first = data.reconstruct(interpolate_trace(data.sinogram, data.trace))
        prior = tissue_prior(first, data.metal, data.mu_water)
        projected = np.maximum(data.projector.forward(prior), 0.0) + np.float32(PRIOR_FLOOR)
        return interpolate_trace(data.sinogram / projected, data.trace) * projected


register(NormalizedMAR())
