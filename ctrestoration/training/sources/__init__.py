"""Where training samples come from: a `Source` is a pure function of a key."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.training.config import DiscsSource, PairsSource, SimulatedSource
from ctrestoration.training.keys import Key

Sample = dict[str, NDArray[np.float32]]
"""Named float32 arrays [channel, row, column]: "input" and "target" in HU, "metal" 0..1 where known."""


class DamagedSampleError(DataRefusedError):
    """One sample cannot be read: the message names the file and the index."""


class Source(Protocol):
    """A set of samples. It is copied into loader processes, so files are opened in `sample`, not before."""

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def sample(self, key: Key) -> Sample:
        """The sample of a key: the same key gives the same bits in any process.

        Raises:
            DamagedSampleError: the stored data are damaged.
        """
        ...

    def fingerprint(self) -> str:
        """A digest of the data behind it, for the provenance."""
        ...


def make_source(settings: DiscsSource | PairsSource | SimulatedSource) -> Source:
    """The source that a run file describes.

    Raises:
        InputError: files are missing or hold no usable slice.
    """
    if isinstance(settings, DiscsSource):
        from ctrestoration.training.sources.discs import Discs

        return Discs(settings)
    if isinstance(settings, PairsSource):
        from ctrestoration.training.sources.stored import StoredPairs

        return StoredPairs(settings)
    from ctrestoration.training.sources.simulated import Simulated

    return Simulated(settings)
