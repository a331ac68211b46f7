"""LDCT-and-Projection-data: raw data in DICOM-CT-PD, one file a view.

Chen et al., "Technical note: Development and validation of an open data format for CT projection data", Med. Phys. 42
(2015) 6964. Geometry stands in private tags of VR FL, the attenuation of water in one of VR DS, which is text; where a
file does not say its VRs, both arrive as raw bytes.
"""

from __future__ import annotations

import struct
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.errors import CTRestorationWarning, InputError, MissingDependencyError
from ctrestoration.hounsfield import MU_WATER
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.io.importers.projections import Projections

NAME = "ct-pd"
TITLE = "LDCT-and-Projection-data (DICOM-CT-PD)"
SOURCE = "Moen et al., Med. Phys. 48 (2021) 902; TCIA 10.7937/9NPB-2637, partly under limited access."

WATER_RANGE = (0.015, 0.025)
"""What an attenuation of water can be at the energies of CT, 1/mm."""

_ANGLE, _POSITION, _RADIUS = (0x7031, 0x1001), (0x7031, 0x1002), (0x7031, 0x1003)
_SOURCE_DETECTOR, _CENTRAL = (0x7031, 0x1031), (0x7031, 0x1033)
_TRANSVERSE_MM, _AXIAL_MM = (0x7029, 0x1002), (0x7029, 0x1006)
_DETECTOR_ROWS, _SHAPE = (0x7029, 0x1010), (0x7029, 0x100B)
_SPOT = ((0x7033, 0x100B), (0x7033, 0x100C), (0x7033, 0x100D))
_WATER = (0x7041, 0x1001)

Tag = tuple[int, int]


def survey(folder: Path) -> Survey:
    """See `Importer.survey`; every folder of views is a case, full and low dose apart."""
    folder = checked_folder(folder)
    draft = Draft()
    for series in sorted({path.parent for path in folder.rglob("*.dcm")}):
        kind = series.name.lower()
        # "1.000000-Full Dose Projections-25858" in TCIA's set, "full_DICOM-CT-PD" in the AAPM challenge's.
        if "projection" not in kind and "ct-pd" not in kind:
            draft.skip(series, "holds images, no projections")
            continue
        patient = next(
            (part for part in series.relative_to(folder).parts if part[:1] in "NCL" and part[1:].isdigit()), ""
        )
        dose = "low" if "low" in kind or "quarter" in kind else "full"
        person = patient or series.parent.name
        notes = () if patient else ("no patient number in its path",)
        # One name space with the challenge's image pairs, whose patients have numbers of the same kind.
        owner = f"mayo-{patient}" if patient else f"ldct-{person}"
        draft.cases.append(Case(f"{person}-{dose}", owner, partial(_load, series), notes))
    notes = ("A flying focal spot is read, not modeled: rebin with its deflections.",)
    return draft.finish(NAME, folder, "N001/.../*Full Dose Projections*/*.dcm", notes)


def _load(series: Path) -> Imported:
    views = _views(series)
    first_path, first = views[0]
    shape = str(_text(first, _SHAPE, first_path) or "CYLINDRICAL").strip(" \0")
    if shape != "CYLINDRICAL":
        raise InputError(f"{first_path} comes from a {shape} detector: only CYLINDRICAL ones are read.")
    numbers = np.array([[_float(view, tag, path) for tag in (_ANGLE, _POSITION, _RADIUS)] for path, view in views])
    spots = np.array([[_float(view, tag, path, 0.0) for tag in _SPOT] for path, view in views])
    sinogram = _stacked(views)
    column, row = _floats(first, _CENTRAL, first_path, 2)
    # The file counts elements from 1, columns from the end that `_line_integrals` turns to the back: element c becomes
    # channels - c. Rows keep their order.
    central = (row - 1.0, sinogram.shape[2] - column)
    return Imported(
        projections=Projections(
            sinogram, np.unwrap(numbers[:, 0]), numbers[:, 1], numbers[:, 2],
            _float(first, _SOURCE_DETECTOR, first_path), central,
            (_float(first, _AXIAL_MM, first_path), _float(first, _TRANSVERSE_MM, first_path)),
            _water(first, first_path), spots,
        )
    )  # fmt: skip


def _views(series: Path) -> list[tuple[Path, Any]]:
    """Every file with its data set, in the order of acquisition."""
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError("pydicom", "imaging", "Reading DICOM-CT-PD") from error
    views = []
    for path in sorted(series.glob("*.dcm")):
        try:
            view = pydicom.dcmread(path)
            number = int(view.InstanceNumber)
        except pydicom.errors.InvalidDicomError as error:
            raise InputError(f"{path} is no DICOM file.") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path} has no InstanceNumber, which tells the order of the views.") from error
        except (OSError, EOFError, struct.error) as error:
            raise InputError(f"{path} is damaged ({error}): copy it again.") from error
        views.append((number, path, view))
    if not views:
        raise InputError(f"{series} holds no *.dcm files any more.")
    # The file names do not sort by view in every exam.
    return [(path, view) for _, path, view in sorted(views, key=lambda entry: entry[0])]


def _stacked(views: list[tuple[Path, Any]]) -> np.ndarray:
    found = []
    for path, view in views:
        found.append(_line_integrals(view, path))
        if found[-1].shape != found[0].shape:
            raise InputError(
                f"{path} has {found[-1].shape} detector elements (rows, columns), {views[0][0].name} {found[0].shape}."
            )
    return np.stack(found)


def _line_integrals(view: Any, path: Path) -> np.ndarray:
    """[detector row, channel], channels the other way round than in the file.

    As a rule the image's columns are the detector's rows; private tags tell where it is not so.
    """
    try:
        rows, columns, bits = int(view.Rows), int(view.Columns), int(view.BitsAllocated)
        slope, intercept, data = float(view.RescaleSlope), float(view.RescaleIntercept), view.PixelData
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no view of a scan: {error}.") from error
    if bits != 16 or len(data) != 2 * rows * columns:
        raise InputError(
            f"{path} holds {len(data)} bytes of {bits}-bit pixels; {rows} x {columns} of 16 bits take "
            f"{2 * rows * columns}: it is cut off or compressed."
        )
    stored = np.frombuffer(data, dtype="<u2").reshape(rows, columns)
    turned = rows != columns and _whole(view, _DETECTOR_ROWS, path) == rows
    values = (stored if turned else stored.T).astype(np.float32) * slope + intercept
    return np.ascontiguousarray(values[:, ::-1].astype(np.float32))


def _water(view: Any, path: Path) -> float:
    """Attenuation of water in 1/mm.

    Raises:
        InputError: the tag holds no number, or none that water can have in 1/mm or 1/cm.
    """
    if _WATER not in view:
        # A file without it gets ours, and the user a warning.
        told = f"{path} does not say the attenuation of water: {MU_WATER} /mm is taken."
        warnings.warn(told, CTRestorationWarning, stacklevel=2)
        return MU_WATER
    value = _value(view, _WATER, path)
    number = _decimal(value)
    # Four bytes that are no text can only be a packed float: no float32 in range reads as a number.
    if number is None and isinstance(value, bytes) and len(value) == 4:
        number = struct.unpack("<f", value)[0]
    low, high = WATER_RANGE
    for scale in (1.0, 0.1):  # some files give 1/cm
        if number is not None and low <= number * scale <= high:
            return float(number * scale)
    raise InputError(
        f"{path} gives {value!r} as attenuation of water in tag (7041,1001): {low} to {high} /mm, or ten times that in "
        "1/cm, is expected."
    )


def _decimal(value: Any) -> float | None:
    try:
        return float(value.decode("ascii").strip(" \0") if isinstance(value, bytes) else value)
    except (TypeError, ValueError):
        return None


def _value(view: Any, tag: Tag, path: Path) -> Any:
    try:
        return view[tag].value
    except (TypeError, ValueError, struct.error) as error:
        raise InputError(f"{path}: private tag ({tag[0]:04X},{tag[1]:04X}) is damaged: {error}.") from error


def _float(view: Any, tag: Tag, path: Path, default: float | None = None) -> float:
    return _floats(view, tag, path, 1, default)[0]


def _floats(view: Any, tag: Tag, path: Path, count: int, default: float | None = None) -> list[float]:
    name = f"private tag ({tag[0]:04X},{tag[1]:04X})"
    if tag not in view:
        if default is not None:
            return [default] * count
        raise InputError(f"{path} lacks the {name}, which has the scan's geometry.")
    value = _value(view, tag, path)
    try:
        if isinstance(value, bytes):
            found = list(struct.unpack(f"<{count}f", value))
        else:
            found = [float(part) for part in np.atleast_1d(value)]
    except (struct.error, TypeError, ValueError) as error:
        raise InputError(f"{path}: {name} holds {value!r}, not {count} float32.") from error
    if len(found) != count or not np.isfinite(found).all():
        raise InputError(f"{path}: {name} holds {value!r}, not {count} finite numbers.")
    return found


def _whole(view: Any, tag: Tag, path: Path) -> int | None:
    value = _value(view, tag, path) if tag in view else None
    if isinstance(value, bytes):
        return int.from_bytes(value, "little") if len(value) == 2 else None
    return int(value) if isinstance(value, int) else None


def _text(view: Any, tag: Tag, path: Path) -> str | None:
    if tag not in view:
        return None
    value = _value(view, tag, path)
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
