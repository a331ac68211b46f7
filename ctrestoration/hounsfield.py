"""What the numbers of a CT mean: padding, clipping at the top of the scanner's scale, and values that are not HU.

Sources: DICOM PS3.3 C.8.2.1 (rescale to HU) and C.7.5.1.1.2 (pixel padding); the clipping rules were measured on public
scans (a clipped dental scan holds 739 voxels at its maximum of 2976 HU, unclipped scans hold one).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.volume import AIR_HU

MU_WATER = 0.0192
"""Attenuation of water in 1/mm: what public MAR benchmarks round it to at 70 keV (NIST: 0.01929). They count in 1/cm,
as `io.syndeeplesion` does; ten times this is another float than 0.192."""

SCALE_TOP_HU = 3071.0
"""Highest HU of a 12-bit scanner scale (-1024..3071)."""

_PILE_UP_VOXELS = 20
_CLIP_FLOOR_HU = 1800.0
_HIGHEST_OVERSHOOT_HU = 3600.0
"""Cubic interpolation overshoots a step by an eighth: 3071 + 4095 / 8."""

_HIGHEST_PLAUSIBLE_HU = 32767.0
_AIR_AT_MOST_HU = -500.0


@dataclass(frozen=True)
class Clipping:
    """Proof that a scan was cut off at the top of its scale.

    Attributes:
        level: HU at which values stop being true.
        voxels: how many voxels lie in the pile-up.
        smeared: True where resampling spread the pile-up and overshoots lie above it.
    """

    level: float
    voxels: int
    smeared: bool


def find_clipping(array: NDArray[np.floating]) -> Clipping | None:
    """Find the level at which a CT was clipped, by the pile-up of voxels that clipping leaves.

    A clipped scan holds many voxels at exactly its maximum. A clipped scan that was resampled shows a peak of the
    histogram at 3050-3100 HU instead, with overshoots above. Neither is taken for granted from the maximum alone:
    a scan without metal has a low maximum, too.

    Args:
        array: HU, any shape.

    Returns:
        The clipping, or None where nothing proves one.
    """
    values = np.asarray(array)
    top = float(values.max())
    if top < _CLIP_FLOOR_HU:
        return None
    at_top = int(np.count_nonzero(values >= top - 0.5))
    if at_top >= _PILE_UP_VOXELS:
        return Clipping(top, at_top, smeared=False)
    if not SCALE_TOP_HU < top <= _HIGHEST_OVERSHOOT_HU:
        return None
    # The bin that holds 3071 must stand out from what lies below, and hold more than all that lies above: chance must
    # never cut the values of a scan that was not clipped.
    high = values[values >= 3000.0]
    below, peak, above = np.histogram(high, [3000.0, 3050.0, 3100.0, np.inf])[0].tolist()
    if peak > 2 * below and peak > 2 * above and peak - max(below, above) >= _PILE_UP_VOXELS:
        return Clipping(SCALE_TOP_HU, peak, smeared=True)
    return None


def checked_hu(array: NDArray[np.generic], name: str, hu_offset: float | None = None) -> NDArray[np.float32]:
    """The values as HU in float32, or a refusal that says why they are not HU and what to do.

    Args:
        array: values as stored (rescaled where the file says so), any shape.
        name: what to call the image in messages.
        hu_offset: None to judge whether the values are HU; a number to add to every value and skip that judgment
            (0 takes the values as they are).

    Returns:
        HU, float32, not yet clipped at the bottom.

    Raises:
        InputError: NaN or infinite voxels, 8-bit data, or values that are not HU.
    """
    if array.dtype.itemsize == 1:
        raise InputError(
            f"{name} stores 8-bit values ({array.dtype}), which cannot hold CT numbers: give the original CT in HU, "
            "not a windowed export."
        )
    values = np.asarray(array, dtype=np.float32)
    _require_finite(values, name)
    if hu_offset is not None:
        return values + np.float32(hu_offset) if hu_offset else values
    _require_hu(values, name)
    return values


def raise_padding(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Raise everything below `AIR_HU` to it; scanners pad with -2048 or -3024 outside the field of view.

    Returns:
        The values, and the facts for the provenance: empty, or the lowest value and the number of voxels raised.
    """
    low = values < AIR_HU
    count = int(np.count_nonzero(low))
    if not count:
        return values, {}
    facts = {"lowest_hu": float(values.min()), "voxels": count}
    return np.where(low, np.float32(AIR_HU), values), facts


def cut_overshoot(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Cut the overshoots that resampling a clipped scan leaves above 3071 HU.

    Returns:
        The values, and the facts for the provenance: empty, or the level, the old maximum and the number of voxels.
    """
    clipping = find_clipping(values)
    if clipping is None or not clipping.smeared:
        return values, {}
    top = np.float32(clipping.level)
    facts = {
        "level_hu": clipping.level,
        "highest_hu": float(values.max()),
        "voxels": int(np.count_nonzero(values > top)),
    }
    return np.minimum(values, top), facts


def _require_finite(values: NDArray[np.float32], name: str) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    first = np.unravel_index(int(np.argmin(finite)), values.shape)
    index = ", ".join(str(int(n)) for n in first[::-1])
    raise InputError(
        f"{name} has {values.size - int(finite.sum())} voxels that are NaN or infinite, the first at index "
        f"({index}) (i, j, k): replace them, for instance by -1024 outside the scanned field, before using the image."
    )


def _require_hu(values: NDArray[np.float32], name: str) -> None:
    low, high = float(values.min()), float(values.max())
    told = f"{name} does not hold HU: its values run from {low:g} to {high:g}"
    if high - low <= 20.0:
        raise InputError(
            f"{told}, as in a mask or a normalized image; give the original CT, or --hu-offset 0 if these are HU."
        )
    if low >= 0.0 and high <= 255.0:
        raise InputError(
            f"{told}, as in an 8-bit or windowed image; give the original CT, or --hu-offset 0 if these are HU."
        )
    if low >= 0.0 and high > 60000.0:
        raise InputError(
            f"{told}, as signed CT numbers do when stored as unsigned: export the CT again as signed 16-bit."
        )
    if low >= 0.0:
        raise InputError(
            f"{told}, and air should lie near -1000; if 0 means air, add --hu-offset -1024 "
            "(--hu-offset 0 takes the values as they are)."
        )
    if high > _HIGHEST_PLAUSIBLE_HU:
        raise InputError(f"{told}, and no CT scale goes above {_HIGHEST_PLAUSIBLE_HU:g}; check how it was converted.")
    if low > _AIR_AT_MOST_HU and np.count_nonzero(values == np.float32(low)) > 0.01 * values.size:
        raise InputError(
            f"{told}, cut off at the bottom as by a display window, while air should lie near -1000; "
            "give the original CT, or --hu-offset 0 if these are HU."
        )
