"""Restoration: what a method gives back, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.volume import Volume


@dataclass(frozen=True)
class Restoration:
    """The result of a correction or a reconstruction.

    Attributes:
        image: HU, on the grid of the input volume.
        uncertainty: standard deviation in HU on the same grid, or None where the method gives none.
        synthesized: bool [z, y, x], True where voxel values were invented rather than measured (None: nowhere known).
        provenance: method, its settings and version, JSON-serializable.
    """

    image: Volume
    uncertainty: Volume | None = None
    synthesized: NDArray[np.bool_] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
