"""What ITK does not say about NIfTI files: cut off, sheared, not written whole, or with voxels that are not numbers.

Source: the NIfTI-1 header (nifti1.h): sizes at byte 40, data type at 70, bits per voxel at 72, start of the voxels at
108, scaling at 112, affine at 280.
"""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

SUFFIXES = (".nii", ".nii.gz")
_HEADER_BYTES = 348
_FLOATS = {16: "f4", 64: "f8"}
SHEAR_TOLERANCE = 1e-3
_BLOCK_BYTES = 2**22


def require_sound(path: Path) -> None:
    """Refuse a file that was cut off, which ITK reads without a word, or whose axes are sheared.

    Raises:
        InputError: one of these.
    """
    found = _header(path)
    if found is None:
        return
    order, header = found
    if struct.unpack(f"{order}h", header[254:256])[0] > 0:
        axes = np.array(struct.unpack(f"{order}12f", header[280:328])).reshape(3, 4)[:, :3]
        axes = axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
        if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE:
            raise InputError(
                f"{path} has voxel axes that are not at right angles, as from a tilted gantry: read the original DICOM "
                "folder, which is straightened on reading, or resample the image to a straight grid."
            )
    sizes = struct.unpack(f"{order}8h", header[40:56])
    bits = struct.unpack(f"{order}h", header[72:74])[0]
    voxels = int(np.prod([max(n, 1) for n in sizes[1 : sizes[0] + 1]], dtype=np.int64))
    expected = _start(order, header) + voxels * bits // 8
    actual = _size(path, expected)
    if actual < expected:
        raise InputError(f"{path} is damaged or cut off: it holds {actual} of {expected} bytes.")


def is_whole(part: Path, voxel_bytes: int) -> bool:
    """Whether a file just written holds all its voxels, which take so many bytes in memory."""
    found = _header(part)
    if found is None:
        return False
    expected = _start(*found) + voxel_bytes
    return _size(part, expected) >= expected


def restore_not_finite(path: Path, array: NDArray[Any], frame: int) -> None:
    """Put NaN back, in place, where the file has NaN or infinity: ITK reads these voxels as 0, which in HU is water.

    Args:
        path: a whole file.
        array: [z, y, x] as ITK read it.
        frame: which volume of a four-dimensional file it is.
    """
    found = _header(path)
    if found is None:
        return
    order, header = found
    kind = _FLOATS.get(struct.unpack(f"{order}h", header[70:72])[0])
    slope, intercept = struct.unpack(f"{order}2f", header[112:120])
    read_as = 0.0 if slope == 0 else intercept
    # The voxels are read a second time only where some hold the value that hides a NaN.
    if kind is None or not np.issubdtype(array.dtype, np.floating) or not (array == array.dtype.type(read_as)).any():
        return
    dtype = np.dtype(order + kind)
    flat = array.reshape(-1)
    with _opened(path) as stream:
        stream.seek(_start(order, header) + frame * array.size * dtype.itemsize)
        for first in range(0, array.size, _BLOCK_BYTES // dtype.itemsize):
            count = min(_BLOCK_BYTES // dtype.itemsize, array.size - first)
            stored = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
            flat[first : first + len(stored)][~np.isfinite(stored)] = np.nan


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _header(path: Path) -> tuple[str, bytes] | None:
    """Byte order and the header of a NIfTI-1 file; None where it is none."""
    try:
        with _opened(path) as stream:
            header = stream.read(_HEADER_BYTES)
    except (OSError, EOFError):
        return None
    if len(header) < _HEADER_BYTES:
        return None
    order = "<" if struct.unpack("<i", header[:4])[0] == _HEADER_BYTES else ">"
    return (order, header) if struct.unpack(f"{order}i", header[:4])[0] == _HEADER_BYTES else None


def _start(order: str, header: bytes) -> int:
    return int(struct.unpack(f"{order}f", header[108:112])[0])


def _size(path: Path, expected: int) -> int:
    """Bytes of the file, unpacked."""
    if not path.name.lower().endswith(".gz"):
        return path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        # The last four bytes of a whole gzip file are its unpacked size modulo 2**32: no need to unpack it twice.
        if struct.unpack("<I", stream.read(4))[0] == expected % 2**32:
            return expected
    size = 0
    try:
        with gzip.open(path, "rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                size += len(block)
    except (OSError, EOFError):
        pass
    return size
