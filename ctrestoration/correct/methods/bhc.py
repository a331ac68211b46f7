"""BHC: beam hardening correction of the metal trace by a polynomial of the metal path length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.correct.completion import SliceData, complete
from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.registry import Task, register
from ctrestoration.restoration import Restoration


class BeamHardeningCorrection:
    """Keeps what was measured behind metal and straightens it, instead of replacing it.

    The part of a measured line integral that is due to metal, d = p - LI(p), is fitted by c1 a + c2 a^2 + c3 a^3 with
    a the metal path length; p + c1 a - fit(a) is what monochromatic radiation would have measured. It mends beam
    hardening of small, weakly attenuating implants; against photon starvation and scatter it does nothing.
    """

    name = "bhc"
    title = "Metal beam hardening correction"
    task: Task = "mar"
    reference = (
        "Verburg and Seco: CT metal artifact reduction method correcting for beam hardening and missing projections. "
        "Phys. Med. Biol. 57 (2012) 2803; polynomial form of Zhang and Yu, IEEE TMI 37 (2018) 1370."
    )

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """Correct every slice that holds metal; see `correct.completion.complete`."""
        return complete(acquisition, self.name, self._complete, control, {"order": 3}, measured=True)

    @staticmethod
    def _complete(data: SliceData) -> NDArray[np.float32]:
        path = data.projector.forward(data.metal.astype(np.float32)).astype(np.float64)
        excess = data.sinogram - interpolate_trace(data.sinogram, data.trace)
        a, d = path[data.trace], excess[data.trace].astype(np.float64)
        powers = np.stack([a, a**2, a**3], axis=1)
        # Columns scaled to unit size: path lengths in mm would make the cubic term dominate the solver's tolerance.
        scale = np.maximum(np.abs(powers).max(axis=0), np.finfo(float).tiny)
        coefficients = np.linalg.lstsq(powers / scale, d, rcond=None)[0] / scale
        completed = data.sinogram.astype(np.float64)
        completed[data.trace] += coefficients[0] * a - powers @ coefficients
        return completed.astype(np.float32)


register(BeamHardeningCorrection())
