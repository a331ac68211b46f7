"""What every way of segmenting the spine returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.volume import LabelMap


@dataclass(frozen=True)
class SpineLevel:
    """One vertebra that was found.

    Attributes:
        name: "L3" where the level is known, else "vertebra 2", counted from cranial.
        label: its value in the label map.
        complete: False where the volume's edge cuts it or its end was not found.
        note: why not, or what to mind; empty where there is nothing to say.
        center: of the mask, LPS mm.
        volume_ml: of the mask.
    """

    name: str
    label: int
    complete: bool
    note: str
    center: tuple[float, float, float]
    volume_ml: float


@dataclass(frozen=True)
class SpineSegmentation:
    """Vertebrae and canal.

    Attributes:
        labels: one value per vertebra on the grid of the volume; TotalSegmentator's numbers where levels are known,
            1..n from cranial where they are not.
        canal: bool [z, y, x] on the same grid; empty where none was found.
        canal_line: centers of the canal from cranial to caudal, (n, 3) LPS mm; empty where none was found.
        levels: cranial to caudal.
        method: "labels", "totalsegmentator" or "fallback".
        notes: sentences for the user.
    """

    labels: LabelMap
    canal: NDArray[np.bool_]
    canal_line: NDArray[np.float64]
    levels: tuple[SpineLevel, ...]
    method: str
    notes: tuple[str, ...] = field(default=())

    @property
    def complete_levels(self) -> tuple[str, ...]:
        """Names of the vertebrae that lie wholly in the volume."""
        return tuple(level.name for level in self.levels if level.complete)

    def to_json(self) -> dict[str, Any]:
        """Levels and notes as JSON types."""
        return {
            "method": self.method,
            "levels": [asdict(level) for level in self.levels],
            "canal_voxels": int(self.canal.sum()),
            "notes": list(self.notes),
        }
