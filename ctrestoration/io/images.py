"""CT volumes and label maps in files: DICOM, NRRD, NIfTI, MetaImage; through SimpleITK.

The geometry of a result equals that of its input to 1e-5 mm; NIfTI-1 itself stores positions as 32-bit numbers, so
that a position 500 mm from the origin is rounded to 3e-5 mm there and nowhere else.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.hounsfield import checked_hu, cut_overshoot, raise_padding
from ctrestoration.io._itk import READABLE, check_output, image_suffix, read_image, write_image
from ctrestoration.io.dicom import is_dicom, read_dicom
from ctrestoration.io.labels import read_fraction, read_labels, write_labels
from ctrestoration.volume import Volume

__all__ = [
    "READABLE",
    "check_output",
    "read_fraction",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_volume",
]


def read_volume(
    path: str | Path,
    *,
    series: str | None = None,
    hu_offset: float | None = None,
    frame: int | None = None,
    resample: bool = False,
) -> Volume:
    """Read a CT volume.

    Padding below -1024 HU is raised to -1024, and the overshoots that resampling leaves above a scale clipped at
    3071 are cut; both are recorded in the provenance ("padding", "overshoot").

    Args:
        path: DICOM folder or file, or a file ending in .nrrd, .nhdr, .nii, .nii.gz, .mha or .mhd.
        series: in a DICOM folder of several series, the one to read: its number, description or instance UID.
        hu_offset: None where the file must hold HU; a number is added to every value (0 takes values as they are).
        frame: which volume of a four-dimensional file, from 0.
        resample: resample DICOM slices at uneven positions to even ones instead of refusing them.

    Returns:
        The volume, named after its file, on the grid of the file.

    Raises:
        InputError: not there, not an image, not a CT, not in HU, not whole: the message says which and what to do.
        MissingDependencyError: SimpleITK is not installed.
    """
    path = existing(path)
    facts: dict[str, Any] = {"file": path.name}
    if is_dicom(path):
        found = read_dicom(path, series=series, resample=resample)
        array, grid = found.array, found.grid
        facts["dicom"] = found.facts
    else:
        if series is not None:
            raise InputError(f"{path} is no DICOM folder, so there is no series {series!r} in it to choose.")
        stored = read_image(path, frame=frame)
        if stored.layers != 1:
            raise InputError(f"{path} is a color image ({stored.layers} values per voxel): give a CT in HU.")
        array, grid = stored.array, stored.grid
    values = checked_hu(array, str(path), hu_offset)
    if hu_offset:
        facts["hu_offset"] = float(hu_offset)
    values, padding = raise_padding(values)
    values, overshoot = cut_overshoot(values)
    if hu_offset is None and float(values.min()) > -500.0:
        warnings.warn(
            f"{path} holds no air (lowest value {float(values.min()):g}); its values are taken as HU.",
            CTRestorationWarning,
            stacklevel=2,
        )
    facts |= {key: fact for key, fact in (("padding", padding), ("overshoot", overshoot)) if fact}
    return Volume(values, grid, name=_name(path), provenance=facts)


def write_volume(volume: Volume, path: str | Path, *, whole_hu: bool = False) -> None:
    """Write a volume as .nrrd, .nii.gz, .nii or .mha; the file is complete or not there at all.

    Args:
        volume: what to write.
        path: the output file; its suffix chooses the format.
        whole_hu: round to whole HU in int16 (a third of the size) instead of float32 exactly.

    Raises:
        InputError: suffix that cannot be written.
        OutputError: where the file cannot be written.
    """
    array: Any = volume.array
    if whole_hu:
        array = np.clip(np.rint(array), -32768, 32767).astype(np.int16)
    write_image(array, volume.grid, path)


def existing(path: str | Path) -> Path:
    """The path, or a refusal where nothing is there."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path of the image.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    return path


def _name(path: Path) -> str:
    return (
        path.name.removesuffix(path.name[len(path.name) - len(image_suffix(path)) :]) if path.is_file() else path.name
    )
