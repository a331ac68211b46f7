"""What every way of segmenting the spine returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.points import LevelPoints
from ctrestoration.errors import InputError
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
            301 and on from cranial where they are not.
        canal: bool [z, y, x] on the same grid; empty where none was found.
        canal_line: centers of the canal from cranial to caudal, (n, 3) LPS mm; empty where none was found.
        levels: cranial to caudal.
        method: "labels", "totalsegmentator", "points" or "fallback".
        notes: sentences for the user.
        above_sacrum: for the fallback, the number (1 = topmost) of the vertebra that sits on the sacrum, which is L5 in
            a spine of five lumbar vertebrae; None where no sacrum was seen.
        points: level -> the three points it was cut out by; empty otherwise.
    """

    labels: LabelMap
    canal: NDArray[np.bool_]
    canal_line: NDArray[np.float64]
    levels: tuple[SpineLevel, ...]
    method: str
    notes: tuple[str, ...] = field(default=())
    above_sacrum: int | None = None
    points: Mapping[str, LevelPoints] = field(default_factory=dict)

    def cropped(self, start: int, stop: int) -> SpineSegmentation:
        """What of it lies in array[start:stop] of the first axis; vertebrae that reach the new ends count as cut.

        Levels keep their names: segmenting a whole scan and cropping the result knows more than segmenting a slab.

        Raises:
            InputError: start and stop are no range of the volume's slices.
        """
        count = self.labels.grid.shape[0]
        if not 0 <= start < stop <= count:
            raise InputError(f"Slices {start}..{stop} are no range of the volume's {count} slices.")
        grid = self.labels.grid.crop((start, 0, 0), (stop, *self.labels.grid.shape[1:]))
        array = self.labels.array[start:stop]
        levels = []
        for level in self.levels:
            where = np.argwhere(array == level.label)
            if not where.size:
                continue
            x, y, z = (round(float(value), 2) for value in grid.to_world(where.mean(axis=0)[::-1]))
            cut = bool((where[:, 0] == 0).any() or (where[:, 0] == stop - start - 1).any())
            note = level.note or ("cut by the edge of the volume" if cut else "")
            volume = round(len(where) * grid.voxel_mm3 / 1000, 2)
            levels.append(
                replace(level, complete=level.complete and not cut, note=note, center=(x, y, z), volume_ml=volume)
            )
        slices = grid.to_index(self.canal_line)[:, 2] if len(self.canal_line) else np.zeros(0)
        line = self.canal_line[(slices > -0.5) & (slices < stop - start - 0.5)]
        labels = LabelMap(array, grid, self.labels.names, self.labels.name)
        return replace(self, labels=labels, canal=self.canal[start:stop], canal_line=line, levels=tuple(levels))

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
            "above_sacrum": self.above_sacrum,
            "notes": list(self.notes),
            "points": {name: points.to_json() for name, points in self.points.items()},
        }
