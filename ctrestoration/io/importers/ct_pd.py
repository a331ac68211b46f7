"""LDCT-and-Projection-data: raw data in DICOM-CT-PD, one file a view.

Chen et al., "Technical note: Development and validation of an open data format for CT projection data", Med. Phys. 42
(2015) 6964. Geometry stands in private tags that hold float32 as raw bytes.
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.errors import InputError, MissingDependencyError
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.io.importers.projections import Projections

NAME = "ct-pd"
TITLE = "LDCT-and-Projection-data (DICOM-CT-PD)"
SOURCE = "Moen et al., Med. Phys. 48 (2021) 902; TCIA 10.7937/9NPB-2637, partly under limited access."

_ANGLE, _POSITION, _RADIUS = (0x7031, 0x1001), (0x7031, 0x1002), (0x7031, 0x1003)
_SOURCE_DETECTOR, _CENTRAL = (0x7031, 0x1031), (0x7031, 0x1033)
_TRANSVERSE_MM, _AXIAL_MM = (0x7029, 0x1002), (0x7029, 0x1006)
_SHAPE = (0x7029, 0x100B)
_SPOT = ((0x7033, 0x100B), (0x7033, 0x100C), (0x7033, 0x100D))
_WATER = (0x7041, 0x1001)


def survey(folder: Path) -> Survey:
    """See `Importer.survey`; every folder of views is a case, full and low dose apart."""
    folder = checked_folder(folder)
    draft = Draft()
    for series in sorted({path.parent for path in folder.rglob("*.dcm")}):
        if "projection" not in series.name.lower():
            draft.skip(series, "holds images, no projections")
            continue
        patient = next(
            (part for part in series.relative_to(folder).parts if part[:1] in "NCL" and part[1:].isdigit()), ""
        )
        dose = "low" if "low" in series.name.lower() else "full"
        name = f"{patient or series.parent.name}-{dose}"
        notes = () if patient else ("no patient number in its path",)
        draft.cases.append(Case(name, f"ldct-{patient or series.parent.name}", partial(_load, series), notes))
    notes = ("A flying focal spot is read, not modeled: rebin with its deflections.",)
    return draft.finish(NAME, folder, "N001/.../*Full Dose Projections*/*.dcm", notes)


def _load(series: Path) -> Imported:
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError("pydicom", "imaging", "Reading DICOM-CT-PD") from error
    views = []
    for path in sorted(series.glob("*.dcm")):
        try:
            views.append((path, pydicom.dcmread(path)))
        except pydicom.errors.InvalidDicomError as error:
            raise InputError(f"{path} is no DICOM file.") from error
    # The file names do not sort by view in every exam.
    views.sort(key=lambda entry: int(entry[1].InstanceNumber))
    first_path, first = views[0]
    shape = str(_text(first, _SHAPE) or "CYLINDRICAL").strip()
    if shape != "CYLINDRICAL":
        raise InputError(f"{first_path} comes from a {shape} detector: only CYLINDRICAL ones are read.")
    numbers = np.array([[_float(view, tag, path) for tag in (_ANGLE, _POSITION, _RADIUS)] for path, view in views])
    spots = np.array([[_float(view, tag, path, 0.0) for tag in _SPOT] for path, view in views])
    column, row = _floats(first, _CENTRAL, first_path, 2)
    water = _float(first, _WATER, first_path, 0.0192)
    return Imported(
        projections=Projections(
            np.stack([_line_integrals(view) for _, view in views]),
            np.unwrap(numbers[:, 0]), numbers[:, 1], numbers[:, 2],
            _float(first, _SOURCE_DETECTOR, first_path),
            (row - 1.0, column - 1.0),
            (_float(first, _AXIAL_MM, first_path), _float(first, _TRANSVERSE_MM, first_path)),
            water if water < 0.1 else water / 10.0,  # some files give 1/cm
            spots,
        )
    )  # fmt: skip


def _line_integrals(view: Any) -> np.ndarray:
    """[detector row, channel]: columns of the file run along the rows of the detector, channels the other way round."""
    stored = np.frombuffer(view.PixelData, dtype="<u2").reshape((int(view.Columns), int(view.Rows)), order="F")
    values = stored.astype(np.float32) * float(view.RescaleSlope) + float(view.RescaleIntercept)
    return np.ascontiguousarray(values[:, ::-1].astype(np.float32))


def _float(view: Any, tag: tuple[int, int], path: Path, default: float | None = None) -> float:
    return _floats(view, tag, path, 1, default)[0]


def _floats(view: Any, tag: tuple[int, int], path: Path, count: int, default: float | None = None) -> list[float]:
    if tag not in view:
        if default is not None:
            return [default] * count
        raise InputError(f"{path} lacks the private tag ({tag[0]:04X},{tag[1]:04X}), which has the scan's geometry.")
    value = view[tag].value
    if isinstance(value, bytes):
        return list(struct.unpack(f"<{count}f", value[: 4 * count]))
    return [float(part) for part in np.atleast_1d(value)][:count]


def _text(view: Any, tag: tuple[int, int]) -> str | None:
    if tag not in view:
        return None
    value = view[tag].value
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
