"""Segmentation of the spine without trained weights, and an honest account of what it cannot know."""

from __future__ import annotations

import numpy as np

from ctrestoration.anatomy.labels import LEVEL_ID, LEVELS, UNKNOWN_LEVEL_BASE
from ctrestoration.anatomy.spine.canal import Canal, find_canal
from ctrestoration.anatomy.spine.discs import Discs, find_discs
from ctrestoration.anatomy.spine.frame import CanalFrame
from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.anatomy.spine.split import Piece, pieces_between, split_vertebrae
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.volume import Grid, LabelMap, Volume, axial_orientation

_MIN_SLICES_MM = 24.0
_WEAK_SIGNAL = 0.6


def segment_by_shape(
    volume: Volume, *, named: tuple[int, str] | None = None, control: Control = SILENT
) -> SpineSegmentation:
    """Canal and vertebrae from thresholds and shape.

    Args:
        volume: CT.
        named: (2, "L3") says that the second vertebra from the top is L3; the others follow. Without it the
            vertebrae are numbered from cranial, because shape alone does not tell which level one is.
        control: progress and cancel.

    Raises:
        InputError: a volume too short for a vertebra, without a spine, or a name that does not fit.
    """
    orientation, turned = axial_orientation(volume.grid)
    array = np.ascontiguousarray(orientation.apply(volume.array))
    spacing = turned.spacing
    if len(array) * spacing[2] < _MIN_SLICES_MM or len(array) < 4:
        raise InputError(
            f"{volume.name}: {len(array)} slices over {len(array) * spacing[2]:.0f} mm are too few to find a vertebra; "
            f"at least {_MIN_SLICES_MM:.0f} mm and 4 slices are needed."
        )
    canal = find_canal(array, spacing, control.part(0.0, 0.45))
    if canal is None:
        raise InputError(
            f"{volume.name}: no spinal canal was found (no closed ring of bone around a soft hole that runs on over "
            "several slices); give a segmentation of the vertebrae instead."
        )
    frame = CanalFrame.through(canal.line)
    discs = find_discs(array, spacing, frame)
    pieces = pieces_between(discs, float(len(frame.point) - 1))
    if not pieces:
        raise InputError(
            f"{volume.name}: a spinal canal of {len(frame.point):.0f} mm was found, but no disc along it, so that no "
            "vertebra could be told from the next; give a segmentation of the vertebrae instead."
        )
    names = level_names(len(pieces), named)
    labels = split_vertebrae(array, spacing, canal, frame, pieces, control.part(0.45, 1.0))
    order = _values(names)
    labels = np.array([0, *order], dtype=np.uint16)[labels]
    levels = tuple(
        _level(labels, turned, value, name, piece) for name, value, piece in zip(names, order, pieces, strict=True)
    )
    notes = _notes(canal, discs, spacing[2], len(array), names, named)
    return SpineSegmentation(
        LabelMap(orientation.undo(labels), volume.grid, dict(zip(order, map(_mask_name, names), strict=True)), "spine"),
        orientation.undo(canal.mask),
        turned.to_world(canal.line / np.array(spacing))[::-1],
        levels,
        "fallback",
        notes,
        None if discs.sacrum_top is None else len(names),
    )


def level_names(count: int, named: tuple[int, str] | None) -> list[str]:
    """Names of vertebrae 1..count from cranial.

    Raises:
        InputError: the named vertebra is not there, the level unknown, or the others would leave the spine.
    """
    if named is None:
        return [f"vertebra {n}" for n in range(1, count + 1)]
    number, level = named
    if level not in LEVELS:
        raise InputError(f"Unknown vertebral level {level!r}: use C1..C7, T1..T12, L1..L5 or S1.")
    if not 1 <= number <= count:
        raise InputError(f"There is no vertebra {number} to call {level}: {count} were found, 1 is the topmost.")
    first = LEVELS.index(level) - (number - 1)
    if first < 0 or first + count > len(LEVELS):
        raise InputError(f"Vertebra {number} of {count} cannot be {level}: the others would reach beyond C1 or S1.")
    return list(LEVELS[first : first + count])


def _values(names: list[str]) -> list[int]:
    return [LEVEL_ID.get(name, UNKNOWN_LEVEL_BASE + index) for index, name in enumerate(names, start=1)]


def _mask_name(name: str) -> str:
    return f"vertebrae_{name}" if name in LEVEL_ID else name.replace(" ", "_")


def _level(labels: np.ndarray, grid: Grid, value: int, name: str, piece: Piece) -> SpineLevel:
    where = np.argwhere(labels == value)
    if not where.size:
        return SpineLevel(name, value, False, "no bone was found at its place", (0.0, 0.0, 0.0), 0.0)
    center = grid.to_world(where.mean(axis=0)[::-1])
    shape = np.array(labels.shape)
    # Processes often end above or below the body: only the outermost slices tell whether the volume cuts them.
    touches = (where[:, 0] == 0).any() or (where[:, 0] == shape[0] - 1).any()
    touches = touches or bool((where[:, 1:] == 0).any() or (where[:, 1:] == shape[1:] - 1).any())
    note = piece.note or ("cut by the edge of the volume" if touches else "")
    return SpineLevel(
        name, value, piece.complete and not touches, note,
        (round(float(center[0]), 2), round(float(center[1]), 2), round(float(center[2]), 2)),
        round(len(where) * grid.voxel_mm3 / 1000, 2),
    )  # fmt: skip


def _notes(
    canal: Canal, discs: Discs, slice_mm: float, slices: int, names: list[str], named: tuple[int, str] | None
) -> tuple[str, ...]:
    notes = [
        f"The canal was followed over {len(canal.line) * slice_mm:.0f} of {slices * slice_mm:.0f} mm; its ring of bone "
        f"was seen in {100 * canal.seen:.0f} % of these slices (bone above {canal.threshold:.0f} HU)."
    ]
    weak = int((discs.signal < _WEAK_SIGNAL).sum())
    if weak:
        notes.append(f"{weak} of {len(discs.signal)} borders between vertebrae are faint: check them.")
    if discs.sacrum_top is not None:
        notes.append("Wings of bone on both sides were taken for the sacrum; it is not labeled.")
    if named is None:
        hint = ""
        if discs.sacrum_top is not None:
            hint = f" If this spine has five lumbar vertebrae, vertebra {len(names)} is L5."
        notes.append(f"Shape alone does not tell the levels: they are numbered from the top.{hint}")
    notes.append("Made by threshold and shape, without a trained model: borders are approximate, ribs may adhere.")
    return tuple(notes)
