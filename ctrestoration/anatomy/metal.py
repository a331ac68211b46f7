"""Metal in a CT volume, by threshold: a level that the scan's own scale justifies, and components that are implants.

The rule starts at 2500 HU and goes lower only where a pile-up of voxels proves that the scan was clipped below that
(`ctrestoration.hounsfield.find_clipping`). What else shines above the threshold is told apart by where it lies:
glare of a truncated scan hugs the edge of the field of view, and the couch, head rests and cables lie outside the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.hounsfield import Clipping, find_clipping
from ctrestoration.volume import AIR_HU, Grid, Volume, axial_orientation

USUAL_THRESHOLD_HU = 2500.0
LOWEST_THRESHOLD_HU = 1800.0
"""Below it, bone is taken for metal. Of 604 pieces of metal simulated at 1 mm all reached 2146 HU, and of 612 masks of
metal that was not there one reached 1878, the next 1523 to 1600."""
CLIP_SHARE = 0.95
MINIMUM_VOLUME_MM3 = 10.0
MINIMUM_VOXELS = 2

_EDGE_MM = 5.0
"""How near the edge of the field of view glare lies."""

_BODY_HU = -300.0
_BODY_GRID_MM = 4.0
"""Voxel side at which the body is found: finer than a hand's width, coarse enough to take no time."""

_THIN_MM = 8.0
"""What is thinner than this and above the body's threshold is couch shell, sheet or cable, not body."""

_BODY_PART = 0.02
"""Parts smaller than this share of the largest (a second leg is larger) are no part of the body."""


@dataclass(frozen=True)
class MetalComponent:
    """One connected piece above the threshold.

    Attributes:
        volume_mm3: its volume.
        voxels: its number of voxels.
        center: world point (x, y, z) of its center of mass in LPS mm.
        highest_hu: its highest value.
        rejected: why it is not counted as metal, or None where it is.
    """

    volume_mm3: float
    voxels: int
    center: tuple[float, float, float]
    highest_hu: float
    rejected: str | None = None


@dataclass(frozen=True)
class MetalSegmentation:
    """Metal found in a volume.

    Attributes:
        mask: bool [z, y, x] on the volume's grid.
        threshold: HU above which a voxel was counted.
        reason: one sentence on why this threshold.
        components: the pieces of the mask, largest first.
        rejected: the pieces left out, largest first, each with its reason.
        clip_level: HU at which the scan was clipped, or None where nothing proves clipping.
    """

    mask: NDArray[np.bool_]
    threshold: float
    reason: str
    components: tuple[MetalComponent, ...]
    rejected: tuple[MetalComponent, ...]
    clip_level: float | None

    @property
    def volume_mm3(self) -> float:
        """Volume of all metal in mm3."""
        return float(sum(component.volume_mm3 for component in self.components))


def segment_metal(
    volume: Volume,
    *,
    threshold: float | None = None,
    min_volume_mm3: float = MINIMUM_VOLUME_MM3,
    anywhere: bool = False,
    control: Control = SILENT,
) -> MetalSegmentation:
    """Find metal by threshold.

    Components are connected by faces, edges and corners (26 neighbors). Those smaller than `min_volume_mm3` or than
    two voxels are noise and dropped. Half of a component must lie inside the body, and less than half of it within
    5 mm of the edge of the field of view, unless `anywhere`.

    Args:
        volume: CT in HU.
        threshold: HU above which a voxel is metal; None chooses by `metal_threshold`.
        min_volume_mm3: smallest component kept, in mm3.
        anywhere: keep components at the edge of the field of view and outside the body, too.
        control: progress and cancel.

    Returns:
        The mask and how it came about; empty where there is no metal.

    Raises:
        InputError: a threshold or minimum volume that makes no sense.
        Cancelled: the user stopped.
    """
    if threshold is not None and not -1000.0 < threshold < 32767.0:
        raise InputError(f"The metal threshold must lie between -1000 and 32767 HU, not {threshold:g}.")
    if not 0.0 <= min_volume_mm3 < np.inf:
        raise InputError(f"The smallest metal volume must be 0 mm3 or more, not {min_volume_mm3:g}.")
    control.report(0.0, "Looking for metal")
    level, reason, clipping = metal_threshold(volume.array)
    if threshold is not None:
        level, reason = float(threshold), f"{threshold:g} HU, as asked."
        if clipping is not None and level >= clipping.level:
            reason = (
                f"{threshold:g} HU, as asked, but the scan is clipped at {clipping.level:g} HU: nothing can lie above."
            )
    orientation, grid = axial_orientation(volume.grid)
    array = orientation.apply(volume.array)
    pieces = _connected(array, level)
    control.report(0.3, "Telling implants from the couch and from glare")
    needed = max(min_volume_mm3, MINIMUM_VOXELS * grid.voxel_mm3)
    places = [] if anywhere else _forbidden_places(array, grid, needed_at_all=bool(pieces))
    mask = np.zeros(array.shape, dtype=bool)
    kept: list[MetalComponent] = []
    rejected: list[MetalComponent] = []
    for voxels in pieces:
        why = _why_not(voxels, grid, needed, places)
        (rejected if why else kept).append(_component(voxels, array, grid, why))
        if not why:
            mask[voxels] = True
    control.report(1.0, "Telling implants from the couch and from glare")
    return MetalSegmentation(
        orientation.undo(mask),
        level,
        reason,
        tuple(sorted(kept, key=lambda found: -found.volume_mm3)),
        tuple(sorted(rejected, key=lambda found: -found.volume_mm3)),
        clipping.level if clipping else None,
    )


def not_metal(mask: NDArray[np.bool_], array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pieces of a metal mask that cannot be metal: none of their voxels reaches `LOWEST_THRESHOLD_HU`.

    Args:
        mask: bool [z, y, x]; pieces are connected by faces, edges and corners.
        array: the CT in HU, of the same shape.

    Returns:
        bool [z, y, x], the voxels of such pieces.
    """
    from scipy.ndimage import label

    labels, count = label(mask, structure=np.ones((3, 3, 3)))
    piece = labels[mask]
    highest = np.full(count + 1, -np.inf)
    np.maximum.at(highest, piece, array[mask])
    found = np.zeros_like(mask)
    found[mask] = (highest < LOWEST_THRESHOLD_HU)[piece]
    return found


def metal_threshold(array: NDArray[np.floating[Any]]) -> tuple[float, str, Clipping | None]:
    """Choose the metal threshold of a scan.

    Args:
        array: HU, any shape.

    Returns:
        Threshold in HU: min(2500, 95 % of the clipping level) but at least 1800; one sentence that says why; and the
        clipping found, if any.
    """
    clipping = find_clipping(array)
    if clipping is None:
        return USUAL_THRESHOLD_HU, f"{USUAL_THRESHOLD_HU:g} HU, the usual level: no sign of a clipped scan.", None
    where = f"{clipping.voxels} voxels pile up at {clipping.level:g} HU, where the scan is clipped"
    level = max(LOWEST_THRESHOLD_HU, min(USUAL_THRESHOLD_HU, CLIP_SHARE * clipping.level))
    if level == USUAL_THRESHOLD_HU:
        return level, f"{level:g} HU, the usual level: {where}, and that is high enough.", clipping
    if level == LOWEST_THRESHOLD_HU:
        return level, f"{level:g} HU, the lowest level at which bone stays out: {where}.", clipping
    return level, f"{level:g} HU, 95 % of the scan's highest value: {where}.", clipping


def _connected(array: NDArray[np.float32], level: float) -> list[tuple[NDArray[np.intp], ...]]:
    """Index arrays (z, y, x) of every component above the level."""
    from scipy.ndimage import label

    above = array > level
    boxes = tuple(
        np.flatnonzero(above.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)
    )
    if boxes[0].size == 0:
        return []
    start = [int(box[0]) for box in boxes]
    inside = above[tuple(slice(int(box[0]), int(box[-1]) + 1) for box in boxes)]
    labels, count = label(inside, structure=np.ones((3, 3, 3)))
    where = np.nonzero(inside)
    numbers = labels[where]
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=count + 1)[1:])
    parts = np.split(order, ends[:-1])
    return [tuple(axis[part] + first for axis, first in zip(where, start, strict=True)) for part in parts]


def _component(
    voxels: tuple[NDArray[np.intp], ...], array: NDArray[np.float32], grid: Grid, why: str | None
) -> MetalComponent:
    x, y, z = grid.to_world([float(axis.mean()) for axis in voxels[::-1]])
    count = len(voxels[0])
    return MetalComponent(
        round(count * grid.voxel_mm3, 3), count, (float(x), float(y), float(z)), float(array[voxels].max()), why
    )


def _why_not(
    voxels: tuple[NDArray[np.intp], ...],
    grid: Grid,
    needed_mm3: float,
    places: list[tuple[str, NDArray[np.bool_], NDArray[np.intp]]],
) -> str | None:
    size = len(voxels[0]) * grid.voxel_mm3
    # A sum of float32 spacings must not decide whether two voxels make two voxels.
    if size < needed_mm3 * (1 - 1e-6):
        return f"smaller than {needed_mm3:.3g} mm3"
    for reason, place, stride in places:
        inside = tuple(
            np.minimum(axis // step, length - 1) for axis, step, length in zip(voxels, stride, place.shape, strict=True)
        )
        if place[inside].mean() > 0.5:
            return reason
    return None


def _forbidden_places(
    array: NDArray[np.float32], grid: Grid, *, needed_at_all: bool
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.intp]]]:
    """Where bright things are no implants: (reason, bool [z, y, x], stride of that array against the volume)."""
    if not needed_at_all:
        return []
    edge = _field_edge(array, grid)[None]
    edge_stride = np.array([array.shape[0], 1, 1])
    body, stride = _body(array, grid)
    return [
        ("at the edge of the field of view, like the glare of a truncated scan", edge, edge_stride),
        ("outside the body, like the couch or a cable", ~body, stride),
    ]


def _field_edge(array: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """Pixels (y, x) within 5 mm of the edge of the scanned field: its circle where there is padding, or the matrix."""
    from scipy.ndimage import distance_transform_edt

    inside = _field_of_view(np.asarray((array <= AIR_HU).all(axis=0)))
    x, y, _ = grid.spacing
    return np.asarray(distance_transform_edt(np.pad(inside, 1), sampling=(y, x))[1:-1, 1:-1] <= _EDGE_MM)


def _field_of_view(padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The scanned circle (y, x), found in the pixels that are padding in every slice; all pixels where there is none.

    The padding may be smaller than the corners of a reconstructed square (a truncated scan) and may be larger (air
    that was clipped to the same value): the first is recognized by its boundary being a circle, the second by
    the corners outside the inscribed circle being padding throughout.
    """
    rows, columns = padding.shape
    y, x = np.mgrid[:rows, :columns].astype(float)
    if not padding[[0, 0, -1, -1], [0, -1, 0, -1]].all():
        return np.ones_like(padding)
    circle = _boundary_circle(~padding)
    if circle is None:
        circle = ((columns - 1) / 2, (rows - 1) / 2, min(rows, columns) / 2)
    inside = np.hypot(x - circle[0], y - circle[1]) <= circle[2] + 1.0
    return inside if padding[~inside].mean() > 0.99 else np.ones_like(padding)


def _boundary_circle(field: NDArray[np.bool_]) -> tuple[float, float, float] | None:
    """Center (x, y) and radius in pixels of the circle that a region's boundary follows to 1.5 pixels, or None."""
    from scipy.ndimage import binary_erosion

    edge = field & ~binary_erosion(field, border_value=1)
    y, x = (axis.astype(float) for axis in np.nonzero(edge))
    if x.size < 30:
        return None
    # Kasa's circle fit: x^2 + y^2 = 2 a x + 2 b y + c is linear in a, b and c.
    system = np.stack([2 * x, 2 * y, np.ones_like(x)], axis=1)
    (a, b, c), *_ = np.linalg.lstsq(system, x**2 + y**2, rcond=None)
    radius = np.sqrt(max(c + a**2 + b**2, 0.0))
    off = np.abs(np.hypot(x - a, y - b) - radius)
    return (float(a), float(b), float(radius)) if float(np.sqrt((off**2).mean())) < 1.5 else None


def _body(array: NDArray[np.float32], grid: Grid) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """The body on a coarser lattice of the volume, and the stride of that lattice.

    Opening removes the shells of the couch, sheets and cables; what remains and is large is body, with its holes
    (lung, bowel gas) filled slice by slice.
    """
    from scipy.ndimage import binary_dilation, binary_fill_holes, binary_opening, label

    stride = np.maximum(1, np.floor(_BODY_GRID_MM / np.asarray(grid.spacing[::-1]))).astype(np.intp)
    coarse = array[tuple(slice(None, None, int(step)) for step in stride)] > _BODY_HU
    reach = np.round(_THIN_MM / 2 / (np.asarray(grid.spacing[::-1]) * stride)).astype(int)
    ball = _disk(max(1, int(reach[1])), max(1, int(reach[2])))[None]
    thick = binary_opening(np.pad(coarse, ((0, 0), (4, 4), (4, 4)), mode="edge"), structure=ball)[:, 4:-4, 4:-4]
    labels, count = label(thick, structure=np.ones((3, 3, 3)))
    if not count:
        return np.ones_like(coarse), stride
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.isin(labels, np.flatnonzero(sizes >= _BODY_PART * sizes.max()))
    # One step back outwards: opening rounds off the skin, and the lattice is coarse.
    body = binary_dilation(body, structure=_disk(1, 1)[None]) & coarse
    return np.stack([binary_fill_holes(piece) for piece in body]), stride


def _disk(rows: int, columns: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    return np.asarray((y / (rows + 0.01)) ** 2 + (x / (columns + 0.01)) ** 2 <= 1.0)
