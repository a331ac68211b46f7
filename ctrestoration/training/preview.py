"""Pictures of a training: one sample a row, input | output | target, gray values in a fixed HU window."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_GAP = 4


def picture(rows: list[list[NDArray[np.float32]]], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Compose images [row, column] in HU into one gray picture; values outside the window are black or white."""
    low, high = window
    lines = []
    for images in rows:
        shades = [np.clip((image - low) / (high - low), 0, 1) * 255 for image in images]
        gap = np.full((shades[0].shape[0], _GAP), 255.0)
        cells = [cell for shade in shades for cell in (shade, gap)][:-1]
        lines += [np.hstack(cells), np.full((_GAP, sum(cell.shape[1] for cell in cells)), 255.0)]
    return np.rint(np.vstack(lines[:-1])).astype(np.uint8)


def write_png(path: Path, gray: NDArray[np.uint8]) -> None:
    """Write an 8-bit gray PNG (ISO/IEC 15948) with the standard library: the trainer needs no plotting package."""
    rows, columns = gray.shape
    raw = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(gray))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    with path.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in chunks:
            stream.write(struct.pack(">I", len(content)) + kind + content)
            stream.write(struct.pack(">I", zlib.crc32(kind + content)))
