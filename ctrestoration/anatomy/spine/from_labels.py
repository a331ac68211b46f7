"""The spine from somebody else's segmentation: by name, by TotalSegmentator's numbers or by VerSe's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy.labels import LEVEL_ID, LEVELS, SACRUM_ID, UNKNOWN_LEVEL_BASE, VERSE_LEVEL, level_of
from ctrestoration.anatomy.spine.canal import find_canal
from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.volume import Grid, LabelMap, Orientation, axial_orientation

Scheme = Literal["auto", "names", "totalsegmentator", "verse"]
_LEVEL_IN_NAME = re.compile(
    r"(?<![A-Za-z0-9])(C[1-7]|(?:TH|T|D)(?:1[0-2]|[1-9])|L[1-5]|S1)(?![A-Za-z0-9])", re.IGNORECASE
)


def segment_from_labels(
    grid: Grid, labels: LabelMap, *, scheme: Scheme = "auto", control: Control = SILENT
) -> SpineSegmentation:
    """Vertebrae from a label map.

    Args:
        grid: of the CT. Labels stored along other axes are turned, exactly.
        labels: any segmentation that holds vertebrae.
        scheme: what its numbers mean; "auto" uses names where there are any, else the numbering under which the
            vertebrae follow one another from top to bottom.
        control: progress and cancel.

    Raises:
        InputError: labels on another grid, without vertebrae, with unknown names (they are listed), or with
            numbers that fit neither scheme.
    """
    from ctrestoration.io.labels import on_grid

    array = on_grid(labels.array, labels.grid, grid, labels.name)
    orientation, turned = axial_orientation(grid)
    array = orientation.apply(array)
    values = [int(value) for value in np.flatnonzero(np.bincount(array.ravel(), minlength=2)) if value]
    if not values:
        raise InputError(f"{labels.name} is empty: it holds no label other than 0.")
    level_by_value, used = _levels(labels, values, array, scheme)
    control.report(0.3, "Reading the vertebrae")
    out = np.zeros(array.shape, dtype=np.uint16)
    levels = []
    for value, level in sorted(level_by_value.items(), key=lambda item: LEVELS.index(item[1])):
        mask = array == value
        out[mask] = LEVEL_ID[level]
        levels.append(_described(mask, turned, level))
    control.report(0.6, "Reading the vertebrae")
    canal, line, notes = _canal(out, turned, orientation)
    names = {LEVEL_ID[level]: f"vertebrae_{level}" for level in level_by_value.values()}
    notes = (f"Levels are those of {labels.name}, read by {used}.", *notes)
    return SpineSegmentation(
        LabelMap(orientation.undo(out), grid, names, labels.name), canal, line, tuple(levels), "labels", notes
    )


def level_in_name(name: str) -> str | None:
    """The level a segment's name speaks of ("vertebrae_L3", "T12 vertebra", "Th7"), None where it names none.

    A name that joins its words with underscores is split there first.
    """
    found = _LEVEL_IN_NAME.search(name.replace("_", " "))
    if found is None or "disc" in name.lower() or "rib" in name.lower():
        return None
    level = found.group(1).upper().replace("TH", "T").replace("D", "T")
    return level if level in LEVEL_ID else None


def _levels(
    labels: LabelMap, values: list[int], array: NDArray[np.uint16], scheme: Scheme
) -> tuple[dict[int, str], str]:
    readers: dict[str, Callable[[int], str | None]] = {
        "names": lambda value: level_in_name(labels.names.get(value, "")),
        "totalsegmentator": level_of,
        "verse": VERSE_LEVEL.get,
    }
    if scheme not in ("auto", *readers):
        raise InputError(f"Unknown numbering {scheme!r}: choose auto, {', '.join(readers)}.")
    _refuse_unknown_levels(labels, values)
    if scheme == "names" or (scheme == "auto" and any(labels.names.get(value) for value in values)):
        found = {value: level for value in values if (level := readers["names"](value))}
        if not found:
            known = ", ".join(labels.names.get(value) or f"label {value}" for value in values[:12])
            raise InputError(
                f"{labels.name} names no vertebra: it holds {known}; expected names such as vertebrae_L3, L3 or T12."
            )
        return _unique(found, labels), "the names of its segments"
    options = {}
    for name in ("totalsegmentator", "verse") if scheme == "auto" else (scheme,):
        found = {value: level for value in values if (level := readers[name](value))}
        if found and (scheme != "auto" or _descends(found, array)):
            options[name] = found
    titles = {"totalsegmentator": "TotalSegmentator's numbers", "verse": "VerSe's numbers"}
    if len(options) == 1:
        name, found = next(iter(options.items()))
        return found, titles[name]
    if len(options) == 2:
        # Both read top to bottom only where a single vertebra is left: then the fuller reading is the file's own.
        name = max(options, key=lambda key: len(options[key]))
        if len(options["verse"]) != len(options["totalsegmentator"]):
            return options[name], titles[name]
    listed = ", ".join(map(str, values[:20]))
    raise InputError(
        f"{labels.name} holds the numbers {listed}, which do not tell vertebrae for certain: expected "
        "TotalSegmentator's "
        "(27 = L5 .. 50 = C1) or VerSe's (1 = C1 .. 24 = L5); name the numbering, or the segments."
    )


def _refuse_unknown_levels(labels: LabelMap, values: list[int]) -> None:
    """Vertebrae that were found by shape and never named: a wrong level would bring another level's screws."""
    unknown = range(UNKNOWN_LEVEL_BASE + 1, UNKNOWN_LEVEL_BASE + len(LEVELS) + 1)
    if not all(value in unknown for value in values) or any(level_in_name(labels.names.get(v, "")) for v in values):
        return
    raise InputError(
        f"{labels.name} numbers its vertebrae from the top and does not say which levels they are: look which is which "
        "and name one of them when segmenting, such as 'segment spine --name 2=L3' where the second is L3."
    )


def _unique(found: dict[int, str], labels: LabelMap) -> dict[int, str]:
    seen: dict[str, int] = {}
    for value, level in found.items():
        if level in seen:
            raise InputError(
                f"{labels.name} has two segments for {level}: {labels.names[seen[level]]} and {labels.names[value]}; "
                "expected one segment a vertebra."
            )
        seen[level] = value
    return found


def _descends(found: dict[int, str], array: NDArray[np.uint16]) -> bool:
    """Whether the levels follow one another from top to bottom."""
    heights = {}
    for value, level in found.items():
        rows = np.flatnonzero((array == value).any(axis=(1, 2)))
        heights[LEVELS.index(level)] = float(rows.mean())
    ordered = [heights[index] for index in sorted(heights)]
    return all(upper > lower for upper, lower in itertools.pairwise(ordered))


def _described(mask: NDArray[np.bool_], grid: Grid, level: str) -> SpineLevel:
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0)
    cut = bool((low == 0).any() or (high == np.array(mask.shape) - 1).any())
    x, y, z = (round(float(value), 2) for value in grid.to_world(where.mean(axis=0)[::-1]))
    note = "cut by the edge of the volume" if cut else ""
    return SpineLevel(level, LEVEL_ID[level], not cut, note, (x, y, z), round(len(where) * grid.voxel_mm3 / 1000, 2))


def _canal(
    vertebrae: NDArray[np.uint16], grid: Grid, orientation: Orientation
) -> tuple[NDArray[np.bool_], NDArray[np.float64], tuple[str, ...]]:
    """The canal inside the vertebrae's rings, found as in a CT whose bone is the mask."""
    bone = np.where((vertebrae > 0) & (vertebrae != SACRUM_ID), np.float32(400), np.float32(0))
    canal = find_canal(np.ascontiguousarray(bone), grid.spacing)
    if canal is None:
        note = "The masks form no closed ring around a canal, so that none is given."
        return np.zeros(orientation.undo(vertebrae).shape, dtype=bool), np.zeros((0, 3)), (note,)
    mask = canal.mask & (vertebrae == 0)
    return orientation.undo(mask), grid.to_world(canal.line / np.array(grid.spacing))[::-1], ()
