"""Enhanced (multi-frame) CT files: where each frame lies.

SimpleITK (GDCM) reads the pixels, but takes frames in file order, replaces uneven spacing by 1 mm without a word and
applies the first frame's rescale to all; hence the functional groups are read with pydicom (DICOM PS3.3 C.7.6.16).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError, MissingDependencyError
from ctrestoration.io._itk import quiet, simpleitk
from ctrestoration.io._stack import Stack


def read_enhanced(path: Path) -> tuple[Stack, NDArray[np.float32]]:
    """The frames of a file as a stack, in file order, and their rescaled values [frame, y, x].

    Raises:
        InputError: damaged, frames without a place, with several orientations or several rescales.
        MissingDependencyError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError("pydicom", "imaging", "Reading an enhanced (multi-frame) CT") from error
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    positions = _each(frames, shared, "PlanePositionSequence", "ImagePositionPatient", path)
    orientations = _each(frames, shared, "PlaneOrientationSequence", "ImageOrientationPatient", path)
    spacings = _each(frames, shared, "PixelMeasuresSequence", "PixelSpacing", path)
    slopes = _each(frames, shared, "PixelValueTransformationSequence", "RescaleSlope", path)
    intercepts = _each(frames, shared, "PixelValueTransformationSequence", "RescaleIntercept", path)
    for values, what in ((orientations, "orientation"), (spacings, "pixel spacing")):
        if np.ptp(values, axis=0).max() > 1e-3:
            raise InputError(f"{path}: its frames differ in {what}: export each stack as a series of its own.")
    if np.ptp(slopes) > 0 or np.ptp(intercepts) > 0:
        raise InputError(f"{path}: every frame has its own rescale to HU: export it as single-frame DICOM files.")
    stack = Stack(
        (str(path),) * len(frames),
        positions,
        orientations[0].reshape(2, 3),
        (float(spacings[0][1]), float(spacings[0][0])),
    )
    return stack, _pixels(path)


def _each(frames: list[Any], shared: Any, group: str, keyword: str, path: Path) -> NDArray[np.float64]:
    """The values of an attribute in every frame, [frame, value]; the shared one where a frame has none."""
    values = []
    for frame in frames:
        holder = frame if group in frame else shared
        items = holder.get(group) if holder is not None else None
        value = items[0].get(keyword) if items else None
        if value is None:
            raise InputError(f"{path} is a multi-frame image whose frames have no {keyword}: give a CT series.")
        values.append(np.atleast_1d(np.asarray(value, dtype=float)))
    if not values:
        raise InputError(f"{path} is a multi-frame image without frame positions: give a CT series.")
    return np.stack(values)


def _pixels(path: Path) -> NDArray[np.float32]:
    sitk = simpleitk()
    with quiet():
        try:
            image = sitk.ReadImage(str(path), sitk.sitkFloat32, imageIO="GDCMImageIO")
        except RuntimeError as error:
            raise InputError(f"{path} is damaged or cut off: its pixels cannot be read.") from error
    return np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)
