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

PRIOR_OFFSET = np.float32(0.3)
"""Line integral, that of 1.5 cm of water, added to both sinograms before the division. Where a ray meets hardly any
tissue the quotient would have no bounds: metal at the skin or at the edge of the field of view spoiled whole images."""


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
        return completed_by_quotient(data, data.projector.forward(prior))


def completed_by_quotient(data: SliceData, prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """The completed sinogram [view, bin]: interpolated after division by the line integrals of a prior [view, bin]."""
    lifted = np.maximum(prior, 0.0) + PRIOR_OFFSET
    quotient = (data.sinogram + PRIOR_OFFSET) / lifted
    return (interpolate_trace(quotient, data.trace) * lifted - PRIOR_OFFSET).astype(np.float32)


register(NormalizedMAR())
