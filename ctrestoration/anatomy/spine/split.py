"""Cuts the bone around the canal into single vertebrae."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.spine.canal import Canal
from ctrestoration.anatomy.spine.discs import Discs, sample_at
from ctrestoration.anatomy.spine.frame import CanalFrame
from ctrestoration.control import SILENT, Control

Array = NDArray[np.floating[Any]]
_FRONT_MM, _BACK_MM = 58.0, 62.0  # of the region of interest, from the canal
_SIDE_MM = 52.0
_HALF = 0.42  # of the cortex's height; a little under one half, because thin cortex does not reach its full height
_MARROW_MM2 = 70.0  # larger holes behind the bodies are the canal
_GAP_MM, _MARROW_SHARE = 2.6, 0.75  # marrow between two cortices: at most twice as far apart, and no soft tissue
_MIN_PIECE_MM = 13.0  # a piece of spine at the volume's end shorter than this is no vertebra of its own


@dataclass(frozen=True)
class Piece:
    """A stretch of the spine taken as one vertebra.

    Attributes:
        low: arc length of the disc below it.
        high: arc length of the disc above it.
        complete: whether both ends are discs that were found.
        note: why it is not complete.
    """

    low: float
    high: float
    complete: bool
    note: str


def pieces_between(discs: Discs, length: float) -> list[Piece]:
    """The stretches between discs, cranial to caudal, with the cut ones at both ends of the canal."""
    found = list(discs.position)
    pieces = [Piece(low, high, True, "") for low, high in itertools.pairwise(found)]
    if not found:
        return []
    if length - found[-1] > _MIN_PIECE_MM:
        pieces.append(Piece(found[-1], length, False, "its upper end was not found in the volume"))
    if discs.sacrum_top is None and found[0] > _MIN_PIECE_MM:
        pieces.insert(0, Piece(0.0, found[0], False, "its lower end was not found in the volume"))
    return pieces[::-1]


def split_vertebrae(
    array: Array,
    spacing: tuple[float, float, float],
    canal: Canal,
    frame: CanalFrame,
    pieces: list[Piece],
    control: Control = SILENT,
) -> NDArray[np.uint16]:
    """Vertebra 1..n (in the order of `pieces`) on the turned grid, 0 elsewhere.

    Bodies are cut at the discs' planes; the arches behind are divided by flooding the bone from the bodies through
    the pedicles, brightest bone first, so that the dark joint spaces become the borders.
    """
    from scipy import ndimage

    control.report(0.0, "Separating the vertebrae")
    roi = _roi(array.shape, spacing, frame)
    hu = ndimage.gaussian_filter(array[roi], [0.5 / value if value < 1.5 else 0.0 for value in spacing[::-1]])
    z, y, x = (
        np.arange(part.start, part.stop, dtype=np.float32) * np.float32(spacing[2 - n]) for n, part in enumerate(roi)
    )
    grid = np.meshgrid(z, y, x, indexing="ij")
    s, a, b = (np.asarray(value, dtype=np.float32) for value in frame.coordinates(grid[2], grid[1], grid[0]))
    control.report(0.3, "Separating the vertebrae")
    radius = float(np.sqrt(canal.mask.sum() * spacing[0] * spacing[1] / len(canal.line) / np.pi))
    threshold = _threshold(array, spacing, frame)
    number, depth, reach = _bands(array, spacing, frame, pieces + _rivals(pieces), s, threshold)
    bone = bone_mask(hu, b < -radius, threshold, spacing)
    inside = (np.abs(a) < reach) & (b > -depth) & (b < _BACK_MM)
    front = b < -radius - 1.0
    inside &= np.where(front, np.abs(a) < 27 + 0.25 * (reach - 27), True)
    bone &= inside & ~canal.mask[roi]
    control.report(0.5, "Separating the vertebrae")
    labels = flood(hu, bone, np.where(front, number, 0), threshold, spacing)
    control.report(0.85, "Separating the vertebrae")
    out = np.zeros(array.shape, dtype=np.uint16)
    out[roi] = _tidy(labels, s, pieces)
    return out


def bone_mask(
    hu: Array, front: NDArray[np.bool_], threshold: float, spacing: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Bone with its marrow: the half height of the nearby cortex, its holes filled.

    A fixed threshold low enough for spongiosa puts the surface of dense cortex too far out. Half way between soft
    tissue and the brightest voxel within 3 mm it lies where the cortex ends; marrow, which this leaves out, is
    enclosed by its shell.

    Args:
        hu: [z, y, x].
        front: where the bodies are; there every hole is marrow, behind only small ones (the large one is the canal).
        threshold: HU of the faintest bone.
        spacing: (x, y, z) mm.
    """
    from scipy import ndimage

    size = [2 * max(1, round(3.0 / value)) + 1 for value in (spacing[1], spacing[0])]
    gap = _disk(_GAP_MM, spacing)
    bone = np.empty(hu.shape, dtype=bool)
    for index, plane in enumerate(hu):
        peak = ndimage.maximum_filter(plane, size=size)
        shell = plane > np.maximum(threshold, 60 + _HALF * (peak - 60))
        closed = ndimage.binary_closing(shell)
        holes, count = ndimage.label(ndimage.binary_fill_holes(closed) & ~shell)
        area = np.bincount(holes.ravel(), minlength=count + 1) * spacing[0] * spacing[1]
        whole = shell | ((holes > 0) & (front[index] | (area < _MARROW_MM2)[holes]))
        # The marrow of a pedicle is open toward the body, so that no shell encloses it.
        wide = np.pad(whole, gap.shape[0])
        inner = tuple(slice(gap.shape[0], -gap.shape[0]) for _ in range(2))
        between = ndimage.binary_closing(wide, gap)[inner] & (plane > _MARROW_SHARE * threshold)
        bone[index] = whole | between
    return bone


def _disk(radius_mm: float, spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    reach = int(radius_mm / min(spacing[0], spacing[1]))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray((y * spacing[1]) ** 2 + (x * spacing[0]) ** 2 <= radius_mm**2)


def _rivals(pieces: list[Piece]) -> list[Piece]:
    """The sacrum below and whatever lies above: they claim their own bone, so that no vertebra takes it."""
    low, high = min(piece.low for piece in pieces), max(piece.high for piece in pieces)
    return [Piece(low - 45, low, False, "rival"), Piece(high, high + 40, False, "rival")]


def _roi(shape: tuple[int, ...], spacing: tuple[float, float, float], frame: CanalFrame) -> tuple[slice, slice, slice]:
    low = frame.point.min(axis=0) - np.array([_SIDE_MM, _FRONT_MM, 2.0])
    high = frame.point.max(axis=0) + np.array([_SIDE_MM, _BACK_MM, 2.0])
    slices = []
    for axis in (2, 1, 0):
        start = max(int(low[axis] / spacing[axis]), 0)
        slices.append(slice(start, min(int(np.ceil(high[axis] / spacing[axis])) + 1, shape[2 - axis])))
    return slices[0], slices[1], slices[2]


def _threshold(array: Array, spacing: tuple[float, float, float], frame: CanalFrame) -> float:
    """HU between soft tissue and this patient's spongiosa."""
    marrow = sample_at(array, spacing, frame.positions(np.arange(-30.0, -14, 2), np.linspace(-8, 8, 5)))
    # Coarse voxels mix the thin cortex with what is around it: bone starts lower there.
    return float(np.clip(0.5 * (np.median(marrow) + 90), np.clip(140 - 15 * spacing[0], 100, 125), 180))


def _bands(
    array: Array,
    spacing: tuple[float, float, float],
    frame: CanalFrame,
    pieces: list[Piece],
    s: Array,
    threshold: float,
) -> tuple[NDArray[np.int32], Array, Array]:
    """For each voxel the piece it is level with (0 in discs), that body's depth, and how far bone may reach aside."""
    number = np.zeros(s.shape, dtype=np.int32)
    depth = np.full(s.shape, 30.0, dtype=np.float32)
    reach = np.full(s.shape, 40.0, dtype=np.float32)
    back = np.arange(-55.0, -8, 1.0)
    profile = sample_at(array, spacing, frame.positions(back, np.linspace(-8, 8, 9)))
    depths = _body_depths(back, profile, pieces, threshold)
    for index, piece in enumerate(pieces, start=1):
        band = (s > piece.low - 2) & (s < piece.high + 2)
        depth[band] = depths[index - 1]
        # Lumbar transverse processes reach far; in the chest the same distance would take in the ribs.
        reach[band] = 47.0 if piece.high - piece.low > 28.5 else 33.0
        number[(s > piece.low + 1.5) & (s < piece.high - 1.5)] = index
    return number, depth, reach


def _body_depths(
    back: NDArray[np.float64], profile: NDArray[Any], pieces: list[Piece], threshold: float
) -> NDArray[np.float64]:
    """Distance from the canal's center to the front of each body, from the mean HU along a line forward.

    The front is where the HU falls below bone beyond the brightest spot of the front half, the anterior cortex.
    Neighbors keep one another from being led astray by a vessel or an osteophyte.
    """
    from scipy.ndimage import median_filter

    last = len(profile) - 1
    order = np.argsort([piece.low for piece in pieces])
    depths = np.empty(len(pieces))
    for rank in order:
        piece = pieces[rank]
        margin = 0.2 * (piece.high - piece.low)
        first = min(max(int(piece.low + margin), 0), last)
        mean = profile[first : min(max(int(piece.high - margin), first + 1), last + 1)].mean(axis=(0, 2))
        front = np.flatnonzero((back > -47) & (back < -23))
        position = int(front[np.argmax(mean[front])])
        while position > 0 and mean[position] > threshold:
            position -= 1
        depths[rank] = np.clip(-back[position], 24.0, 52.0)
    smooth = median_filter(depths[order], size=3, mode="nearest")
    depths[order] = np.clip(depths[order], smooth - 2.0, smooth + 3.0)
    return depths


def flood(
    hu: Array, bone: NDArray[np.bool_], number: NDArray[np.int32], threshold: float, spacing: tuple[float, float, float]
) -> NDArray[np.int32]:
    """Each bone voxel gets the number of the body it is nearest to, along paths through bone, dim voxels being long."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    node = np.full(bone.shape, -1, dtype=np.int32)
    node[bone] = np.arange(int(bone.sum()), dtype=np.int32)
    # From 1 (dense bone) to 6 (at the threshold): joint spaces and partial volume between two vertebrae are detours.
    slowness = 1 + 5 * np.clip(1 - (hu - threshold) / np.float32(150), 0, 1) ** 2
    starts, stops, weights = [], [], []
    for axis in range(3):
        first = [slice(None)] * 3
        second = [slice(None)] * 3
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        one, other = tuple(first), tuple(second)
        # Two bodies touch across a thin disc: their own voxels are settled and need no path between them.
        linked = bone[one] & bone[other] & ((number[one] == 0) | (number[other] == 0))
        starts.append(node[one][linked])
        stops.append(node[other][linked])
        weights.append((0.5 * spacing[2 - axis] * (slowness[one] + slowness[other]))[linked])
    seeds = np.flatnonzero(number[bone])
    count = int(bone.sum())
    labels = np.zeros(bone.shape, dtype=np.int32)
    if not seeds.size:
        return labels
    graph = coo_matrix((np.concatenate(weights), (np.concatenate(starts), np.concatenate(stops))), shape=(count, count))
    # Only seeds with a neighbor that still needs a number can matter.
    open_nodes = np.zeros(count, dtype=bool)
    open_nodes[graph.row] = True
    open_nodes[graph.col] = True
    active = seeds[open_nodes[seeds]]
    flat = number[bone].copy()
    if active.size:
        _, _, source = dijkstra(
            graph.tocsr(), directed=False, indices=active, min_only=True, return_predecessors=True, limit=150.0
        )
        reached = (source >= 0) & (flat == 0)
        flat[reached] = flat[source[reached]]
    labels[bone] = flat
    return labels


def _tidy(labels: NDArray[np.int32], s: Array, pieces: list[Piece]) -> NDArray[np.uint16]:
    """Each vertebra's largest connected part, not reaching beyond where its processes can be."""
    from scipy import ndimage

    out = np.zeros(labels.shape, dtype=np.uint16)
    for index, piece in enumerate(pieces, start=1):
        mask = (labels == index) & (s > piece.low - 24) & (s < piece.high + 14)
        if not mask.any():
            continue
        parts, _ = ndimage.label(mask)
        largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
        out[largest & (out == 0)] = index
    return out
