"""What DeepLesion's `DL_info.csv` says: pixel sizes, lesions, windows, and the official split.

Columns as its publishers' own code reads them: pixel coordinates count from 1 there; spacing is that of (x, y) and the
interval of slices.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrestoration.errors import InputError

LESION_NAMES = {
    1: "lesion_bone",
    2: "lesion_abdomen",
    3: "lesion_mediastinum",
    4: "lesion_liver",
    5: "lesion_lung",
    6: "lesion_kidney",
    7: "lesion_soft_tissue",
    8: "lesion_pelvis",
    9: "lesion",
}
"""Coarse types, numbered as in the file; 9 stands for a lesion without type (-1 in the file)."""

UNTYPED = 9

SPLITS = {1: "train", 2: "validation", 3: "test"}


@dataclass(frozen=True)
class Lesion:
    """One row.

    Attributes:
        slice: number of its key slice.
        box: (x0, y0, x1, y1) in pixels counted from 0, 5 pixels wider on each side than the measurement.
        label: a key of `LESION_NAMES`.
        noisy: marked by the publishers as possibly noisy.
        window: (lowest, highest) HU that a reader saw, or None.
        diameters: (long, short) in pixels, or None.
        measurement: ends of the long, then of the short diameter (x, y, x, y, ...), in pixels from 0, or None.
    """

    slice: int
    box: tuple[float, ...]
    label: int
    noisy: bool
    window: tuple[float, ...] | None
    diameters: tuple[float, ...] | None
    measurement: tuple[float, ...] | None

    @property
    def area(self) -> float:
        """Square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "slice": self.slice,
            "box_px": list(self.box),
            "label": self.label,
            "name": LESION_NAMES[self.label],
            "possibly_noisy": self.noisy,
            "window_hu": list(self.window) if self.window else None,
            "diameters_px": list(self.diameters) if self.diameters else None,
            "measurement_px": list(self.measurement) if self.measurement else None,
        }


@dataclass(frozen=True)
class Series:
    """Spacing (x, y, z) in mm, lesions in the order of the file, official split or ""."""

    spacing: tuple[float, float, float]
    lesions: tuple[Lesion, ...]
    split: str


def read_info(folder: Path) -> dict[str, Series]:
    """Read the `DL_info.csv` that lies anywhere in a folder.

    Returns:
        Name of the series, such as "000001_01_01" -> what is known about it.

    Raises:
        InputError: no file, a column is missing, or a row holds something else than it should.
    """
    path = next(iter(sorted(folder.rglob("DL_info.csv"))), None)
    if path is None:
        raise InputError(f"{folder} holds no DL_info.csv: it has the pixel size of every series.")
    found: dict[str, Series] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = {"File_name", "Spacing_mm_px_"} - {*(reader.fieldnames or ())}
            if missing:
                raise InputError(f"{path} has no column {' or '.join(sorted(missing))}: take it as NIH publishes it.")
            for row in reader:
                _add(found, row, f"{path}, line {reader.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no readable CSV file: {error}.") from error
    return found


def _add(found: dict[str, Series], row: Mapping[str, str | None], where: str) -> None:
    series, _, key_slice = (row["File_name"] or "").removesuffix(".png").rpartition("_")
    spacing = _numbers(row, "Spacing_mm_px_", 3, where)
    if spacing is None or not series or not key_slice.isdigit() or not all(spacing):
        raise InputError(f"{where}: give File_name as 000001_01_01_103.png and three lengths as Spacing_mm_px_.")
    x, y, z = map(abs, spacing)
    known = found.get(series, Series((x, y, z), (), ""))
    lesion = _lesion(row, int(key_slice), where)
    lesions = known.lesions if lesion is None else (*known.lesions, lesion)
    split = SPLITS.get(_whole(row, "Train_Val_Test", where) or 0, "")
    found[series] = Series(known.spacing, lesions, known.split or split)


def _lesion(row: Mapping[str, str | None], key_slice: int, where: str) -> Lesion | None:
    box = _numbers(row, "Bounding_boxes", 4, where)
    if box is None:
        return None
    kind = _whole(row, "Coarse_lesion_type", where) or -1
    ends = _numbers(row, "Measurement_coordinates", 8, where)
    return Lesion(
        key_slice, _from_zero(box), kind if kind in LESION_NAMES else UNTYPED,
        bool(_whole(row, "Possibly_noisy", where)), _numbers(row, "DICOM_windows", 2, where),
        _numbers(row, "Lesion_diameters_Pixel_", 2, where), _from_zero(ends) if ends else None,
    )  # fmt: skip


def _from_zero(coordinates: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(one - 1.0, 6) for one in coordinates)


def _numbers(row: Mapping[str, str | None], column: str, count: int, where: str) -> tuple[float, ...] | None:
    """None where the file has no such column, or nothing in it."""
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        raise InputError(f"{where}: {column} must be {count} number{'s' if count > 1 else ''}, not {text[:60]!r}.")
    return found


def _whole(row: Mapping[str, str | None], column: str, where: str) -> int | None:
    found = _numbers(row, column, 1, where)
    return None if found is None else int(found[0])
