"""CT series in DICOM folders: which files belong together, in what order, and on what grid.

Geometry comes from Image Position and Image Orientation (DICOM PS3.3 C.7.6.2), never from Slice Thickness or
Spacing Between Slices: slices of 3 mm at 1.5 mm spacing are common. SimpleITK (GDCM) reads headers and pixels and
applies the rescale slope and intercept of every file.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import CTRestorationWarning, InputError, MissingDependencyError
from ctrestoration.io._enhanced import read_enhanced
from ctrestoration.io._itk import READABLE, image_suffix, quiet, simpleitk
from ctrestoration.io._stack import Stack, read_pixels, stacked
from ctrestoration.volume import Grid

_SUFFIXES = {"", ".dcm", ".dicom", ".ima"}
_MOST_FILES = 50_000


@dataclass(frozen=True)
class Header:
    """What is needed of one file to sort it into a volume.

    Attributes:
        path: the file.
        tags: values by name; see `_TAGS`.
        size: columns, rows, frames.
        orientation: 2x3, unit vectors along a row and along a column, LPS.
        position: LPS mm of the first pixel.
        spacing: mm between columns and between rows.
        layers: values per pixel, more than one in a color image.
    """

    path: Path
    tags: dict[str, str]
    size: tuple[int, int, int]
    orientation: NDArray[np.float64]
    position: NDArray[np.float64]
    spacing: tuple[float, float]
    layers: int

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector through the slices."""
        return np.cross(self.orientation[0], self.orientation[1])

    @property
    def is_localizer(self) -> bool:
        """True for the overview images that a scan is planned on."""
        kind = self.tags["image_type"].upper()
        return "LOCALIZER" in kind or "SCOUT" in kind


@dataclass(frozen=True)
class DicomVolume:
    """A series as one array.

    Attributes:
        array: values after rescaling, float32, [z, y, x].
        grid: where the voxels lie.
        facts: which series, and what had to be done to it; for the provenance.
    """

    array: NDArray[np.float32]
    grid: Grid
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """The files of one series."""

    uid: str
    headers: tuple[Header, ...]

    @property
    def number(self) -> str:
        """Series number as stored."""
        return self.headers[0].tags["number"]

    @property
    def label(self) -> str:
        """How to name the series to a person."""
        tags = self.headers[0].tags
        images = sum(header.size[2] for header in self.headers)
        named = (
            f"{tags['number'] or '?'} '{tags['description']}'" if tags["description"] else tags["number"] or self.uid
        )
        return f"{named} ({images} image{'s' if images != 1 else ''}, {tags['modality'] or 'no modality'})"

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The larger, the more it is what a person means by 'the CT': axial first, then by voxels, then the earlier."""
        axial = abs(self.headers[0].normal[2]) > np.cos(np.radians(35.0))
        number = int(self.number) if self.number.isdigit() else 0
        return bool(axial), sum(int(np.prod(header.size)) for header in self.headers), -number


_TAGS = {
    "series": "0020|000e",
    "instance": "0008|0018",
    "modality": "0008|0060",
    "description": "0008|103e",
    "number": "0020|0011",
    "image_type": "0008|0008",
    "frames": "0028|0008",
    "padding": "0028|0120",
    "signed": "0028|0103",
    "slope": "0028|1053",
    "intercept": "0028|1052",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "pixel_spacing": "0028|0030",
}


def is_dicom(path: Path) -> bool:
    """True for a folder, and for a file that carries the DICOM mark or is named as such files are."""
    if path.is_dir():
        return True
    return _has_mark(path) or path.suffix.lower() in {".dcm", ".dicom", ".ima"}


def read_dicom(path: Path, *, series: str | None = None, resample: bool = False) -> DicomVolume:
    """Read a CT series from a folder, searched with its subfolders, or one DICOM file.

    Where the folder holds several series and none is named, the largest axial CT series that is no localizer is
    taken, and a note says so.

    Args:
        path: folder or file.
        series: series number, description or instance UID.
        resample: interpolate slices at uneven positions onto even ones.

    Raises:
        InputError: no DICOM, no CT, no such series, uneven or missing slices, mixed images at one position.
    """
    if path.name.upper() == "DICOMDIR" and path.is_file():
        path = path.parent
    headers = _headers(path)
    chosen = _chosen(_grouped(headers), path, series)
    colored = [header for header in chosen.headers if header.layers != 1]
    if colored:
        raise InputError(f"{colored[0].path} is a color image, as screenshots and reports are: give the original CT.")
    # No UID: provenance ends up in published reports.
    facts: dict[str, Any] = {
        "series_number": chosen.number,
        "description": chosen.headers[0].tags["description"],
    }
    multiframe = [header for header in chosen.headers if header.size[2] > 1]
    if multiframe and len(chosen.headers) > 1:
        raise InputError(
            f"{path}: series {chosen.label} has several multi-frame files: give the path of one, such as "
            f"{multiframe[0].path}."
        )
    if multiframe:
        stack, pixels = read_enhanced(chosen.headers[0].path)
    else:
        stack = _stack(chosen, path)
        pixels = read_pixels(stack.files)
    array, grid, done = stacked(stack, pixels, str(path), resample=resample)
    facts |= done
    facts["slices"] = grid.shape[0]
    array, padded = _without_padding(array, chosen.headers[0].tags)
    if padded:
        facts["padding_value_voxels"] = padded
    return DicomVolume(array, grid, facts)


def _has_mark(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _headers(path: Path) -> list[Header]:
    files = _files(path)
    if path.is_dir() and not files:
        raise InputError(f"{path} is an empty folder: give a folder that holds the DICOM files of a CT.")
    candidates = [file for file in files if _has_mark(file) or file.suffix.lower() in _SUFFIXES]
    headers = [header for header in map(_header, candidates) if header is not None]
    if headers:
        return headers
    if path.is_file():
        raise InputError(f"{path} is not a DICOM image that can be read: it is damaged, or holds no image.")
    others = [file for file in files if image_suffix(file) in READABLE]
    hint = f"such as {others[0].relative_to(path)}" if others else f"one ending in {', '.join(READABLE)}"
    raise InputError(
        f"{path} holds no DICOM images among its {len(files)} file{'s' if len(files) != 1 else ''}: give the folder of "
        f"a CT series, or the path of an image file, {hint}."
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files: list[Path] = []
    for folder, _, names in os.walk(path):
        files += [Path(folder) / name for name in names]
        if len(files) > _MOST_FILES:
            raise InputError(f"{path} holds more than {_MOST_FILES} files: give the folder of one examination.")
    return sorted(files)


def _header(file: Path) -> Header | None:
    """The header of an image, or None where the file is none (a report, a DICOMDIR, another format)."""
    reader = simpleitk().ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO("GDCMImageIO")
    with quiet():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            if _has_mark(file) and _holds_pixels(file):
                raise InputError(f"{file} is damaged or cut off: remove it, or copy it again.") from error
            return None
    tags = {name: reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else "" for name, key in _TAGS.items()}
    columns, rows, *frames = reader.GetSize()
    direction = np.asarray(reader.GetDirection(), dtype=float)
    direction = direction.reshape(3, 3) if direction.size == 9 else np.eye(3)
    orientation = _numbers(tags["orientation"], 6)
    position = _numbers(tags["position"], 3)
    apart = _numbers(tags["pixel_spacing"], 2)
    spacing = (apart[1], apart[0]) if apart is not None else reader.GetSpacing()[:2]
    return Header(
        file,
        tags,
        (columns, rows, frames[0] if frames else 1),
        direction[:, :2].T if orientation is None else orientation.reshape(2, 3),
        np.resize(np.asarray(reader.GetOrigin(), dtype=float), 3) if position is None else position,
        (float(spacing[0]), float(spacing[1])),
        reader.GetNumberOfComponents(),
    )


def _holds_pixels(file: Path) -> bool:
    """True where a file that SimpleITK cannot read is an image all the same, and not a report or a DICOMDIR.

    Leaving a damaged image out would shorten the scan without a word.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError("pydicom", "imaging", f"Telling whether {file} is a damaged image") from error
    try:
        return "Rows" in pydicom.dcmread(file, stop_before_pixels=True)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError):
        return False


def _numbers(text: str, count: int) -> NDArray[np.float64] | None:
    try:
        numbers = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        return None
    return numbers if numbers.size == count else None


def _grouped(headers: list[Header]) -> list[Series]:
    groups: dict[str, dict[str, Header]] = {}
    for header in headers:
        # The same instance copied twice into the folder counts once.
        groups.setdefault(header.tags["series"], {}).setdefault(header.tags["instance"] or str(header.path), header)
    return [Series(uid, tuple(group.values())) for uid, group in sorted(groups.items())]


def _chosen(found: list[Series], path: Path, wanted: str | None) -> Series:
    ct = [series for series in found if series.headers[0].tags["modality"].upper() == "CT"]
    listed = "; ".join(series.label for series in found)
    if wanted is not None:
        return _named(found, path, wanted, listed)
    if not ct:
        raise InputError(f"{path} holds no CT: it has series {listed}.")
    images = [Series(s.uid, tuple(h for h in s.headers if not h.is_localizer)) for s in ct]
    images = [series for series in images if series.headers]
    if not images:
        raise InputError(f"{path} holds only localizer images: it has series {listed}.")
    best = max(images, key=lambda series: series.rank)
    if len(found) > 1:
        warnings.warn(
            f"{path} holds {len(found)} series: {listed}; took {best.label}, the largest axial CT "
            "(another: --series NUMBER).",
            CTRestorationWarning,
            stacklevel=4,
        )
    return best


def _named(found: list[Series], path: Path, wanted: str, listed: str) -> Series:
    word = wanted.strip().lower()
    exact = [s for s in found if word in (s.uid.lower(), s.number.lower(), s.headers[0].tags["description"].lower())]
    fitting = exact or [s for s in found if word and word in s.headers[0].tags["description"].lower()]
    if len(fitting) != 1:
        what = f"several series called {wanted!r}" if fitting else f"no series {wanted!r}"
        raise InputError(f"{path} holds {what}: choose one by number, description or UID out of {listed}.")
    modality = fitting[0].headers[0].tags["modality"].upper()
    if modality != "CT":
        raise InputError(f"{path}: series {fitting[0].label} is no CT; its values are not HU.")
    return fitting[0]


def _stack(series: Series, path: Path) -> Stack:
    """The largest set of images of a series that have one size, one pixel spacing and one orientation."""
    groups: dict[Any, list[Header]] = {}
    for header in series.headers:
        key = (header.size, tuple(np.round(header.spacing, 4)), tuple(np.round(header.orientation, 3).ravel() + 0.0))
        groups.setdefault(key, []).append(header)
    best = max(groups.values(), key=len)
    if len(best) < len(series.headers):
        warnings.warn(
            f"{path}: {len(series.headers) - len(best)} of {len(series.headers)} images of series {series.label} have "
            "another size or orientation and were left out.",
            CTRestorationWarning,
            stacklevel=5,
        )
    return Stack(
        tuple(str(header.path) for header in best),
        np.array([header.position for header in best]),
        best[0].orientation,
        best[0].spacing,
    )


def _without_padding(array: NDArray[np.float32], tags: dict[str, str]) -> tuple[NDArray[np.float32], int]:
    """Turn the declared pixel padding value into air, where it is not one already.

    An unsigned file may declare it as a negative number and the other way round; and a value within the range of
    tissue is no padding, whatever the header says.
    """
    stored = _numbers(tags["padding"], 1)
    if stored is None:
        return array, 0
    slope = _numbers(tags["slope"], 1)
    intercept = _numbers(tags["intercept"], 1)
    value = float(stored[0])
    if tags["signed"] == "1" and value > 32767:
        value -= 65536
    elif tags["signed"] == "0" and value < 0:
        value += 65536
    hu = value * (1.0 if slope is None else slope[0]) + (0.0 if intercept is None else intercept[0])
    if -1024.0 <= hu <= 3071.0:
        return array, 0
    padded = array == np.float32(hu)
    # Far below air, `raise_padding` sees to it and counts the voxels.
    if hu < -1024.0 or not padded.any():
        return array, 0
    return np.where(padded, np.float32(-1024.0), array), int(padded.sum())
