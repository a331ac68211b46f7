"""Chooses the part of a CT that shows the lumbar spine, for work that would take too long on the whole scan."""

from __future__ import annotations

import numpy as np

from ctrestoration.anatomy.spine.canal import find_canal
from ctrestoration.anatomy.spine.discs import find_discs
from ctrestoration.anatomy.spine.frame import CanalFrame
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.volume import Volume, axial_orientation

_LUMBAR_MM = (95.0, 60.0)  # typical distance of the middle of L3 above the sacrum, below the diaphragm's ribs


def choose_lumbar_slab(
    volume: Volume, *, thickness_mm: float | None = None, slices: int | None = None, control: Control = SILENT
) -> tuple[int, int, str]:
    """The axial slices that show the lumbar spine best.

    Args:
        volume: CT.
        thickness_mm: how thick the slab shall be, > 0; or
        slices: how many slices, >= 1. Exactly one of the two.
        control: progress and cancel.

    Returns:
        start, stop, sentence: array slices start..stop-1 of the volume turned by `axial_orientation` (its first axis
        as it is stored where that is the axial one, top or bottom first alike), and what was chosen and why.

    Raises:
        InputError: no thickness, or no spine in the volume.
    """
    orientation, grid = axial_orientation(volume.grid)
    step = grid.spacing[2]
    count = slices if slices is not None else round((thickness_mm or 0.0) / step)
    if (thickness_mm is None) == (slices is None) or count < 1:
        raise InputError("The lumbar slab needs either a thickness in mm above 0 or a number of slices from 1 on.")
    array = np.ascontiguousarray(orientation.apply(volume.array))
    count = min(count, len(array))
    canal = find_canal(array, grid.spacing, control)
    if canal is None:
        raise InputError(
            f"{volume.name}: no spinal canal was found, so no lumbar slab can be chosen; give a CT of the lumbar spine."
        )
    frame = CanalFrame.through(canal.line)
    discs = find_discs(array, grid.spacing, frame)
    middle, why = _middle(frame, discs.sacrum_top, discs.position)
    start = int(np.clip(round(middle / step - (count - 1) / 2), 0, len(array) - count))
    flipped = bool(orientation.flips[0])
    if flipped:
        start = len(array) - start - count
    low, high = grid.to_world([0, 0, start])[2], grid.to_world([0, 0, start + count - 1])[2]
    sentence = (
        f"Slices {start}-{start + count - 1} of {len(array)} ({count * step:.0f} mm, z = {min(low, high):.0f} to "
        f"{max(low, high):.0f} mm) were chosen: {why}."
    )
    return start, start + count, sentence


def _middle(frame: CanalFrame, sacrum_top: float | None, discs: np.ndarray) -> tuple[float, str]:
    """Height in mm of the slab's middle in the turned volume, and the reason."""
    if sacrum_top is not None and len(discs):
        # The middle of the third and fourth vertebra above the sacrum.
        upper = discs[min(3, len(discs) - 1)]
        lower = discs[min(2, len(discs) - 1)]
        s = int(np.clip(0.5 * (upper + lower), 0, len(frame.point) - 1))
        return float(frame.point[s, 2]), "they are centered on the third vertebra above the sacrum, probably L3"
    if len(discs) > 1:
        # Vertebrae grow from neck to loin: without a sacrum the tallest ones are the most lumbar.
        pitch = np.diff(discs)
        best = int(np.argmax(np.convolve(pitch, np.ones(min(3, len(pitch))), mode="same")))
        s = int(np.clip(0.5 * (discs[best] + discs[best + 1]), 0, len(frame.point) - 1))
        return float(frame.point[s, 2]), "no sacrum was seen; they are centered on the tallest vertebrae"
    middle = frame.point[len(frame.point) // 2, 2]
    return float(middle), "neither sacrum nor discs were seen; they are centered on the spinal canal that was found"
