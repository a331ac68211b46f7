"""Images that networks look at beside the uncorrected one: the same slice, corrected by a classical method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctrestoration.correct.completion import SliceData, completed_change, projector_of
from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition

CORRECTED = ("nmar", "li")
"""Methods whose images networks can be given."""


class CorrectedSlices:
    """Slices of an acquisition as classical methods correct them: the same numbers as the methods themselves.

    Args:
        acquisition: the data.
        names: of `CORRECTED`.

    Raises:
        InputError: another name.
    """

    def __init__(self, acquisition: Acquisition, names: Sequence[str]) -> None:
        from ctrestoration.correct.methods.li import LinearInterpolation
        from ctrestoration.correct.methods.nmar import NormalizedMAR

        complete = {"nmar": NormalizedMAR.complete_slice, "li": LinearInterpolation.complete_slice}
        unknown = [name for name in names if name not in complete]
        if unknown:
            raise InputError(f"Networks can look at images corrected by {' and '.join(CORRECTED)}, not {unknown[0]}.")
        self._acquisition = acquisition
        self._complete = {name: complete[name] for name in names}
        self.projector = projector_of(acquisition)

    def slice(self, z: int) -> dict[str, NDArray[np.float32]]:
        """HU [row, column] of slice z by every method; the uncorrected image where the slice holds no metal."""
        image = self._acquisition.image.array[z]
        if not self._acquisition.trace[z].any():
            return {name: image.copy() for name in self._complete}
        data = SliceData(self._acquisition, z, self.projector)
        return {name: image + completed_change(data, run(data)) for name, run in self._complete.items()}
