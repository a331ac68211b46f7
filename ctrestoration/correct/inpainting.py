"""What a network that completes sinograms is given: three adjacent slices, first completed by NMAR.

The network says what to add to the NMAR-completed sinogram inside the metal trace. Outside the trace the measured
values stay, bit for bit: yhat = (1 - m) x + m G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.correct.completion import SliceData, projector_of
from ctrestoration.errors import InputError
from ctrestoration.volume import AIR_HU

CHANNELS = 9
"""Of `Neighborhood.channels`: completed sinogram, trace and metal path of three slices."""

PATH_UNIT_MM = 10.0


@dataclass(frozen=True)
class Neighborhood:
    """A slice between its neighbors; at the ends of the volume the slice itself stands in for a missing one.

    Attributes:
        filled: NMAR-completed line integrals of the slice before, the slice, and the one after [3, view, bin].
        trace: 1.0 where a ray met metal, same shape.
        path: length of the rays in metal in mm, same shape.
    """

    filled: NDArray[np.float32]
    trace: NDArray[np.float32]
    path: NDArray[np.float32]

    def channels(self, lengths: float) -> NDArray[np.float32]:
        """What the network sees, float32 [CHANNELS, view, bin].

        Args:
            lengths: factor that brings the body to its nominal size, see `networks._operator.nominal_lengths`.
        """
        scale = np.float32(lengths)
        return np.concatenate([self.filled * scale, self.trace, self.path * (scale / np.float32(PATH_UNIT_MM))])


class Neighborhoods:
    """The neighborhoods of an acquisition's slices; the sinograms of a few slices are kept for the next one.

    Raises:
        InputError: the scan is no full turn, so that its last view is no neighbor of its first.
    """

    def __init__(self, acquisition: Acquisition) -> None:
        refuse_partial_turn(acquisition.geometry.arc)
        self._acquisition = acquisition
        self.projector = projector_of(acquisition)
        self._single = lru_cache(maxsize=4)(self._one)

    def slice(self, z: int) -> Neighborhood:
        """Around slice z."""
        last = len(self._acquisition.sinogram) - 1
        parts = [self._single(min(max(near, 0), last)) for near in (z - 1, z, z + 1)]
        return Neighborhood(*(np.stack(arrays).astype(np.float32) for arrays in zip(*parts, strict=True)))

    def _one(self, z: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
        from ctrestoration.correct.methods.nmar import NormalizedMAR

        data = SliceData(self._acquisition, z, self.projector)
        if data.trace.any():
            completed = np.where(data.trace, NormalizedMAR.complete_slice(data), data.sinogram)
            return completed, data.trace, self.projector.forward(data.metal.astype(np.float32))
        sinogram = data.sinogram
        if not sinogram.any():
            # Slices without metal are not projected for a clinical CT, since nothing corrects them.
            hu = np.maximum(self._acquisition.image.array[z], AIR_HU + 24.0)
            sinogram = self.projector.forward((data.mu_water * (1.0 + hu / 1000.0)).astype(np.float32))
        return sinogram, data.trace, np.zeros_like(sinogram)


def refuse_partial_turn(arc: float) -> None:
    """Raises: InputError: the views do not cover a full turn."""
    if abs(arc - 2.0 * math.pi) > 1e-6:
        raise InputError(
            f"Sinogram inpainting needs views all around, and this scan covers {math.degrees(arc):.0f} degrees: choose "
            "another method, or a preset with a full turn."
        )
