"""Synthetic DICOM series for tests, written with pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stored_ct(shape: tuple[int, int, int] = (6, 12, 10), seed: int = 0) -> np.ndarray:
    """Stored values (HU + 1024) of an air background with noisy tissue, uint16 [z, y, x]."""
    random = np.random.default_rng(seed)
    stored = np.full(shape, 24, dtype=np.uint16)
    stored[:, 2:-2, 2:-2] = random.integers(900, 1400, (shape[0], shape[1] - 4, shape[2] - 4))
    return stored


def even_positions(count: int, spacing: float = 2.5, origin: Sequence[float] = (-120.25, -80.5, 33.75)) -> np.ndarray:
    """Positions of `count` axial slices towards the head."""
    return np.asarray(origin) + np.outer(np.arange(count) * spacing, [0.0, 0.0, 1.0])


def write_series(
    folder: Path,
    stored: np.ndarray,
    positions: Any = None,
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: tuple[float, float] = (0.7, 0.7),
    uid: str | None = None,
    **tags: Any,
) -> list[Path]:
    """Write one file a slice; returns the files.

    Args:
        folder: where; made if needed.
        stored: stored values [z, y, x] or, in color, [z, y, x, 3]; int16 and uint16 decide Pixel Representation.
        positions: Image Position (Patient) of each slice; by default `even_positions`.
        orientation: Image Orientation (Patient).
        spacing: mm between columns and between rows.
        uid: Series Instance UID.
        tags: any DICOM keyword; None removes one that is written by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    positions = even_positions(len(stored)) if positions is None else positions
    uid = uid or generate_uid()
    files = []
    for number, (pixels, position) in enumerate(zip(stored, positions, strict=True)):
        dataset = _slice(pixels, position, orientation, spacing, uid, number)
        for keyword, value in tags.items():
            value = value[number] if isinstance(value, list) and len(value) == len(stored) else value
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)
        # Names must not tell the order of the slices.
        files.append(folder / f"{(number * 7919) % 1009:04d}-{dataset.SOPInstanceUID[-8:]}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def _slice(
    pixels: np.ndarray,
    position: Sequence[float],
    orientation: Sequence[float],
    spacing: tuple[float, float],
    uid: str,
    number: int,
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = uid
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.SeriesDescription = 3, "Abdomen soft"
    dataset.InstanceNumber = number + 1
    dataset.SliceThickness = 5.0
    dataset.ImagePositionPatient = [_decimal(mm) for mm in position]
    dataset.ImageOrientationPatient = [_decimal(cosine) for cosine in orientation]
    dataset.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = pixels.tobytes()
    return dataset


def _decimal(value: float) -> str:
    """A DICOM decimal string has 16 characters at most."""
    return f"{value:.10f}"[:16]


def write_enhanced(
    file: Path, stored: np.ndarray, positions: Any, intercepts: Sequence[float], uid: str | None = None
) -> None:
    """Write an enhanced CT: every slice a frame of one file, each with its own position and rescale intercept."""
    dataset = _slice(stored[0], positions[0], AXIAL, (0.7, 0.9), uid or generate_uid(), 0)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedCTImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        dataset.pop(keyword)
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        dataset.pop(keyword)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.9, 0.7], 5.0
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for position, intercept in zip(positions, intercepts, strict=True):
        frame, place, transform = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [_decimal(mm) for mm in position]
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, _decimal(intercept), "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [transform]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.NumberOfFrames = len(stored)
    dataset.PixelData = stored.tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
