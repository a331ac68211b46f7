"""Views that are turned or mirrored copies of each other, backprojected together; the counterpart of `lanes`.

A view a quarter of a turn on sees the image turned by a quarter as this one sees it, and a view from the mirrored side
sees it mirrored. Such views share the place where a pixel falls on the detector. With their bins innermost in memory,
one place serves up to eight views. Which way is taken is a matter of geometry and grid alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctrestoration.physics.geometry import Geometry, ImageGrid, ParallelBeam
from ctrestoration.physics.lanes import FEWEST, FILLED, LANES


@dataclass(frozen=True)
class ViewGroups:
    """Views grouped by symmetry.

    Attributes:
        copies: for each copy by how many quarters the image is turned, after it was mirrored left to right or not.
        angles: float64 [group], of the view that the first copy is, in radians.
        views: int32 [group, copy]: number of the view, -1 where there is none.
        backwards: bool [group, copy]: whether its bins run the other way.
    """

    copies: tuple[tuple[int, bool], ...]
    angles: NDArray[np.float64]
    views: NDArray[np.int32]
    backwards: NDArray[np.bool_]

    @property
    def slices_at_once(self) -> int:
        """How many slices share the lanes."""
        return LANES // len(self.copies)

    def side_by_side(self, filtered: NDArray[np.float32]) -> NDArray[np.float32]:
        """Views [slice, view, bin] -> [group, bin, LANES]."""
        lanes = np.zeros((len(self.angles), filtered.shape[2], LANES), dtype=np.float32)
        for z, scan in enumerate(filtered):
            for copy in range(len(self.copies)):
                views, backwards = self.views[:, copy], self.backwards[:, copy]
                lane = z * len(self.copies) + copy
                for there, step in ((~backwards & (views >= 0), 1), (backwards & (views >= 0), -1)):
                    lanes[there, :, lane] = scan[views[there], ::step]
        return lanes

    def turned_back(self, lanes: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Sums [row, column, LANES] -> [slice, row, column] of `count` slices."""
        parts = np.ascontiguousarray(lanes.transpose(2, 0, 1))
        out = np.zeros((count, *lanes.shape[:2]), dtype=np.float32)
        for z in range(count):
            for number, (quarters, mirrored) in enumerate(self.copies):
                part = parts[z * len(self.copies) + number]
                out[z] += np.rot90(part[:, ::-1] if mirrored else part, quarters)
        return out


@lru_cache(maxsize=8)
def symmetric_views(geometry: Geometry, grid: ImageGrid) -> ViewGroups | None:
    """Group the views of a scan; None where it has too few symmetries. The last few are kept."""
    square = grid.shape[0] == grid.shape[1] and grid.spacing[0] == grid.spacing[1]
    quarters = 1 if square else 2  # of a turn between two copies
    turns = geometry.angles / (0.5 * math.pi * quarters)
    whole = np.floor(turns + 1e-9).astype(int)
    rest = np.maximum(turns - whole, 0.0)
    mirrored = np.zeros(len(turns), dtype=bool)
    flipped = mirrored
    if geometry.offset == 0.0:
        mirrored = rest > 0.5 + 1e-9
        rest, whole = np.where(mirrored, 1.0 - rest, rest), whole + mirrored
        if isinstance(geometry, ParallelBeam) and geometry.arc < math.pi * (1 + 1e-9):
            # Half a turn on, a parallel view is the same with its bins the other way round.
            flipped = (whole * quarters) % 4 >= 2
            whole = whole - flipped * (2 // quarters)
    copy = 2 * ((whole * quarters) % 4) + mirrored
    keys, group = np.unique(np.rint(rest * 1e9).astype(np.int64), return_inverse=True)
    used, copy = np.unique(copy, return_inverse=True)
    table = np.full((len(keys), len(used)), -1, dtype=np.int32)
    table[group, copy] = np.arange(len(turns))
    served = int((table >= 0).sum())
    if served < len(turns) or served < FILLED * table.size or len(used) < FEWEST:
        return None
    backwards = np.zeros(table.shape, dtype=bool)
    backwards[group, copy] = mirrored ^ flipped
    copies = tuple((int(code) // 2, bool(code % 2)) for code in used)
    return ViewGroups(copies, keys * 1e-9 * 0.5 * math.pi * quarters, table, backwards)
