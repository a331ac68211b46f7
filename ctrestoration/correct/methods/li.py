"""LI: linear interpolation across the metal trace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.correct.completion import SliceData, complete
from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.registry import Task, register
from ctrestoration.restoration import Restoration


class LinearInterpolation:
    """Per view, a straight line between the detector bins on both sides of the metal trace."""

    name = "li"
    title = "Linear interpolation"
    task: Task = "mar"
    reference = (
        "Kalender, Hebel, Ebersberger: Reduction of CT artifacts caused by metallic implants. Radiology 164 (1987) 576."
    )

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """Correct every slice that holds metal; see `correct.completion.complete`."""
        return complete(acquisition, self.name, self.complete_slice, control)

    @staticmethod
    def complete_slice(data: SliceData) -> NDArray[np.float32]:
        """The completed sinogram [view, bin] of one slice."""
        return interpolate_trace(data.sinogram, data.trace)


register(LinearInterpolation())
